"""Correlations against SciPy's, textbook formulas, and samples written out."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bamsearch.evidence.audit.agreement import Comparison, agreements, draw_resamples, resamples
from bamsearch.evidence.audit.correlation import partial, spearman, tau_b


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def tied(rng, n: int = 15):
    """Two columns that go together, both with ties."""
    x = rng.integers(0, 6, n).astype(float)
    return x, x + rng.integers(0, 5, n)


def by_scipy(measure: str, x, y) -> float:
    function = stats.kendalltau if measure == "tau" else stats.spearmanr
    return float(function(x, y).statistic)


def partial_by_hand(measure: str, x, y, z) -> float:
    """Kendall's formula; for rho, what a line through the ranks of z leaves of those of x and y."""
    if measure == "tau":
        xy, xz, yz = (by_scipy("tau", *pair) for pair in ((x, y), (x, z), (y, z)))
        return (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    ranks = [stats.rankdata(v) for v in (x, y, z)]
    design = np.column_stack([np.ones(len(x)), ranks[2]])
    residuals = [rank - design @ np.linalg.lstsq(design, rank, rcond=None)[0] for rank in ranks[:2]]
    return float(np.corrcoef(*residuals)[0, 1])


def only(agreements, score: str, measure: str):
    return next(
        agreement
        for agreement in agreements
        if (agreement.score, agreement.measure) == (score, measure)
    )


def test_tau_with_ties_by_hand():
    x, y = np.array([1.0, 1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0, 2.0])
    # Of 6 pairs (1,2) ties in x and (3,4) in y; (1,3) and (1,4) agree, (2,3) and (2,4) do not.
    assert tau_b(x, y, np.ones((1, 4)))[0] == 0
    y = np.array([1.0, 2.0, 2.0, 3.0])
    # (1,2) ties in x, (2,3) in y; the other 4 pairs are concordant.
    assert tau_b(x, y, np.ones((1, 4)))[0] == pytest.approx(4 / np.sqrt(5 * 5))


@pytest.mark.parametrize(("function", "measure"), [(tau_b, "tau"), (spearman, "rho")])
def test_each_resample_is_what_scipy_says_of_it_written_out(rng, function, measure):
    x, y = tied(rng)
    counts = resamples(15, 3, number=60)
    assert (counts.sum(axis=1) == 15).all()
    result = function(x, y, np.concatenate([np.ones((1, 15)), counts]))
    assert result[0] == pytest.approx(by_scipy(measure, x, y))
    for value, row in zip(result[1:], counts.astype(int), strict=True):
        written = np.repeat(np.arange(15), row)
        assert value == pytest.approx(by_scipy(measure, x[written], y[written]))


@pytest.mark.parametrize(("function", "measure"), [(tau_b, "tau"), (spearman, "rho")])
def test_partial_correlation_is_that_of_the_textbook(rng, function, measure):
    z = rng.normal(size=20)
    x, y = z + rng.normal(size=20), z + rng.normal(size=20)
    ones = np.ones((1, 20))
    result = partial(function(x, y, ones), function(x, z, ones), function(y, z, ones))
    assert result[0] == pytest.approx(partial_by_hand(measure, x, y, z))


def test_what_size_decides_has_no_partial_correlation():
    assert np.isnan(partial(np.array([0.5]), np.array([1.0]), np.array([0.5]))).all()


@pytest.mark.parametrize("measure", ["tau", "rho"])
def test_values_and_percentiles_of_a_direct_bootstrap(rng, measure):
    size = rng.normal(size=20)
    x, y = size + rng.normal(size=20), size + rng.normal(size=20)
    draws = [np.repeat(np.arange(20), row) for row in resamples(20, 9, number=400).astype(int)]
    result = agreements([Comparison("s", ((x, y),))], size, "band", 9, number=400)
    agreement = only(result, "s", measure)
    values = [by_scipy(measure, x[d], y[d]) for d in draws]
    assert agreement.value == pytest.approx(by_scipy(measure, x, y), abs=1e-4)
    assert (agreement.low, agreement.high) == pytest.approx(
        np.quantile(values, [0.025, 0.975]), abs=1e-4
    )
    more = [v - by_scipy(measure, size[d], y[d]) for v, d in zip(values, draws, strict=True)]
    assert (agreement.more_low, agreement.more_high) == pytest.approx(
        np.quantile(more, [0.025, 0.975]), abs=1e-4
    )
    held = only(agreements([Comparison("s", ((x, y),))], size, "size", 9, number=400), "s", measure)
    values = [partial_by_hand(measure, x[d], y[d], size[d]) for d in draws]
    assert held.value == pytest.approx(partial_by_hand(measure, x, y, size), abs=1e-4)
    assert (held.low, held.high) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-4)
    assert held.more is None


def test_differences_to_the_size_hold_together(rng):
    x, y = tied(rng, 20)
    size = rng.integers(0, 6, 20).astype(float)
    rivals = [Comparison(name, ((x, y),)) for name in "abcd"]
    agreement = only(
        agreements([*rivals, Comparison("params", ((size, y),))], size, "band", 1), "a", "tau"
    )
    counts = resamples(20, 1)
    more = tau_b(x, y, counts) - tau_b(size, y, counts)
    # Four differences at 5% together: 1.25% each.
    wanted = np.nanquantile(more, [0.00625, 0.99375])
    assert (agreement.more_low, agreement.more_high) == pytest.approx(wanted, abs=1e-4)
    assert (agreement.low, agreement.high) == pytest.approx(
        np.nanquantile(tau_b(x, y, counts), [0.025, 0.975]), abs=1e-4
    )


def test_several_pairs_are_a_mean_and_size_meets_the_same_trainings(rng):
    size = rng.normal(size=10)
    pairs = tuple((rng.normal(size=10), size + rng.normal(size=10)) for _ in range(3))
    agreement = only(agreements([Comparison("train", pairs)], size, "space", 0), "train", "tau")
    mean = np.mean([by_scipy("tau", x, y) for x, y in pairs])
    sizes = np.mean([by_scipy("tau", size, y) for _, y in pairs])
    assert agreement.value == pytest.approx(mean, abs=1e-4)
    assert agreement.more == pytest.approx(mean - sizes, abs=1e-4)


def test_what_has_no_value_says_why(rng):
    y, size = rng.normal(size=8), np.arange(8.0)
    gaps = np.where(np.arange(8) < 5, np.nan, y)
    same = np.ones(8)
    comparisons = [
        Comparison("same", ((same, y),)),
        Comparison("gaps", ((gaps, y),)),
        Comparison("truth", ((y, same),)),
        Comparison("params", ((size, y),)),
    ]
    result = agreements(comparisons, size, "space", 0)
    for score, reason in [
        ("same", "it is the same for all designs"),
        ("gaps", "fewer than 4 designs"),
        ("truth", "all designs reach the same accuracy"),
    ]:
        agreement = only(result, score, "tau")
        assert (agreement.value, agreement.low, agreement.more, agreement.reason) == (
            None,
            None,
            None,
            reason,
        )
    assert only(result, "gaps", "tau").designs == 3
    assert only(result, "params", "tau").value is not None
    held = agreements([*comparisons, Comparison("twice", ((2 * size, y),))], size, "size", 0)
    assert only(held, "params", "tau").reason == "it is the size itself"
    assert only(held, "twice", "rho").reason == "the size decides it"
    assert only(agreements(comparisons, same, "size", 0), "gaps", "tau").value is None
    few = agreements([Comparison("s", ((y[:3], y[:3]),))], size[:3], "band", 0)
    assert {agreement.reason for agreement in few} == {"fewer than 4 designs"}


def test_gaps_leave_the_other_designs(rng):
    x, y, size = rng.normal(size=(3, 12))
    x[[2, 7]] = np.nan
    agreement = only(agreements([Comparison("s", ((x, y),))], size, "space", 0), "s", "tau")
    finite = np.isfinite(x)
    assert agreement.designs == 10
    assert agreement.value == pytest.approx(by_scipy("tau", x[finite], y[finite]), abs=1e-4)
    assert agreement.low < agreement.value < agreement.high


def test_resamples_without_a_design_that_has_a_value_are_passed_over(rng):
    # Of 4000 samples of 20 designs some 46 have none of these 4: 0.8 ** 20 each.
    x, y, size = rng.normal(size=(3, 20))
    x[4:] = np.nan
    agreement = only(agreements([Comparison("s", ((x, y),))], size, "space", 0), "s", "rho")
    assert agreement.designs == 4
    assert agreement.value == pytest.approx(by_scipy("rho", x[:4], y[:4]), abs=1e-4)


@pytest.mark.parametrize("setting", ["band", "size"])
@pytest.mark.parametrize("measure", ["tau", "rho"])
def test_draws_are_averaged_as_ranks_and_resampled_beside_the_designs(rng, measure, setting):
    size = rng.normal(size=14)
    draws = np.round(size + rng.normal(size=(5, 14)))  # with ties
    y = size + rng.normal(size=14)
    counts = resamples(14, 9, number=300).astype(int)
    weights = draw_resamples(5, 9, number=300).astype(int)
    assert (weights.sum(axis=1) == 5).all()

    def written_out(designs, taken):
        ranks = stats.rankdata(draws[taken][:, designs], axis=1).mean(axis=0)
        if setting == "size":
            return partial_by_hand(measure, ranks, y[designs], size[designs]), None
        value = by_scipy(measure, ranks, y[designs])
        return value, value - by_scipy(measure, size[designs], y[designs])

    agreement = only(
        agreements([Comparison("s", ((draws, y),))], size, setting, 9, number=300), "s", measure
    )
    value, more = written_out(np.arange(14), np.arange(5))
    assert (agreement.value, agreement.draws) == (pytest.approx(value, abs=1e-4), 5)
    samples = [
        written_out(np.repeat(np.arange(14), row), np.repeat(np.arange(5), weight))
        for row, weight in zip(counts, weights, strict=True)
    ]
    ends = np.quantile([value for value, _ in samples], [0.025, 0.975])
    assert (agreement.low, agreement.high) == pytest.approx(ends, abs=1e-4)
    if setting == "band":
        assert agreement.more == pytest.approx(more, abs=1e-4)
        ends = np.quantile([more for _, more in samples], [0.025, 0.975])
        assert (agreement.more_low, agreement.more_high) == pytest.approx(ends, abs=1e-4)
    once = [
        partial_by_hand(measure, x, y, size) if setting == "size" else by_scipy(measure, x, y)
        for x in draws
    ]
    assert agreement.one_draw == pytest.approx(np.mean(once), abs=1e-4)
    assert agreement.draw_sd == pytest.approx(np.std(once, ddof=1), abs=1e-4)


def test_equal_draws_change_nothing_and_different_ones_widen_the_interval(rng):
    size, y = rng.normal(size=(2, 30))
    x = y + rng.normal(size=30)
    comparisons = [
        Comparison("once", ((x, y),)),
        Comparison("equal", ((np.tile(x, (6, 1)), y),)),
        Comparison("apart", ((x + 2 * rng.normal(size=(6, 1)) * rng.normal(size=30), y),)),
    ]
    result = agreements(comparisons, size, "space", 0)
    for measure in ("tau", "rho"):
        once, equal, apart = (only(result, name, measure) for name in ("once", "equal", "apart"))
        assert (equal.draws, equal.draw_sd, equal.one_draw) == (6, 0, equal.value)
        same = {"score": "once", "draws": 1, "one_draw": None, "draw_sd": None}
        assert replace(equal, **same) == once
        # The same draws without resampling them: their mean rank, as one draw.
        ranks = stats.rankdata(comparisons[2].pairs[0][0], axis=1).mean(axis=0)
        fixed = only(
            agreements([Comparison("fixed", ((ranks, y),))], size, "space", 0), "fixed", measure
        )
        assert apart.value == fixed.value
        assert apart.high - apart.low > 1.1 * (fixed.high - fixed.low)


def test_a_design_on_which_one_draw_failed_is_left_out(rng):
    draws, y, size = rng.normal(size=(3, 12)), rng.normal(size=12), rng.normal(size=12)
    draws[1, 4] = np.nan
    draws[2] = 1.0  # a draw without any order has no correlation of its own
    agreement = only(agreements([Comparison("s", ((draws, y),))], size, "space", 0), "s", "tau")
    finite = np.isfinite(draws).all(axis=0)
    ranks = stats.rankdata(draws[:, finite], axis=1).mean(axis=0)
    assert (agreement.designs, agreement.draws) == (11, 3)
    assert agreement.value == pytest.approx(by_scipy("tau", ranks, y[finite]), abs=1e-4)
    once = [by_scipy("tau", x[finite], y[finite]) for x in draws[:2]]
    assert agreement.one_draw == pytest.approx(np.mean(once), abs=1e-4)
