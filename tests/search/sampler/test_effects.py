"""Effects against textbook formulas, a plain least squares, and data with planted effects."""

from __future__ import annotations

from itertools import product
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from bamsearch.records import Cost, Insertion, ModelSummary, Site
from bamsearch.sampler.effects import effects

SITES = tuple(Site(f"s{n}", 8, 9, 9, 4, "NCHW", "block") for n in range(4))
SUMMARY = ModelSummary("net", (3, 9, 9), "", (3, 9, 9), SITES, Cost(1000, 10**9, 10**9))
SITES = SUMMARY.sites


def design(*sites: tuple[int, int, int]) -> tuple[Insertion, ...]:
    return tuple(Insertion(f"s{n}", r, d) for n, r, d in sites)


def by_name(estimates):
    return {
        effect.sites if effect.aspect == "site" else effect.aspect: effect for effect in estimates
    }


def drawn(rng, count: int) -> list[tuple[Insertion, ...]]:
    """Different designs: each site with a chance of a half, any r and d; the base among them."""
    estimates = {(): None}
    while len(estimates) < count:
        sites = [
            (n, int(rng.choice([1, 2, 4, 8])), int(rng.choice([1, 2, 4])))
            for n in range(4)
            if rng.random() < 0.5
        ]
        estimates[design(*sites)] = None
    return list(estimates)


def coded(designs) -> np.ndarray:
    """The model's columns, written again: ones, sites, r, d."""
    every = [insertion for some in designs for insertion in some]
    centres = [
        np.mean([np.log2(insertion.reduction) for insertion in every]),
        np.mean([np.log2(insertion.dilation) for insertion in every]),
    ]
    rows = []
    for some in designs:
        row = [
            1.0,
            *(float(any(insertion.site == f"s{n}" for insertion in some)) for n in range(4)),
        ]
        row.append(np.mean([np.log2(o.reduction) for o in some]) - centres[0] if some else 0.0)
        row.append(np.mean([np.log2(o.dilation) for o in some]) - centres[1] if some else 0.0)
        rows.append(row)
    return np.array(rows)


def test_a_seed_each_is_ordinary_least_squares():
    rng = np.random.default_rng(3)
    designs = drawn(rng, 30)
    accuracies = 90 + rng.normal(size=30)
    matrix = coded(designs)
    solved, (residual,), *_ = np.linalg.lstsq(matrix, accuracies, rcond=None)
    errors = np.sqrt(residual / (30 - 7) * np.diag(np.linalg.inv(matrix.T @ matrix)))
    half = stats.t.ppf(0.975, 30 - 7) * errors
    estimates = effects(SITES, list(zip(designs, accuracies, strict=True)))
    assert [effect.aspect for effect in estimates] == ["site"] * 4 + ["r", "d"]
    assert [effect.sites for effect in estimates[:4]] == [("s0",), ("s1",), ("s2",), ("s3",)]
    assert estimates[4].sites == estimates[5].sites == ("s0", "s1", "s2", "s3")
    np.testing.assert_allclose([effect.points for effect in estimates], solved[1:], atol=1e-9)
    np.testing.assert_allclose([effect.low for effect in estimates], (solved - half)[1:], atol=1e-9)
    np.testing.assert_allclose(
        [effect.high for effect in estimates], (solved + half)[1:], atol=1e-9
    )
    assert [effect.designs for effect in estimates] == [*matrix[:, 1:5].sum(0).astype(int), 29, 29]


def test_r_alone_is_the_slope_of_a_line():
    """BAM at one site in every design: no effect of the site, r's as linregress has it."""
    rng = np.random.default_rng(0)
    designs = [design((1, r, d)) for r in (1, 2, 4, 8) for d in (1, 2)]
    accuracies = 90 + rng.normal(size=8)
    # d is balanced, so that its column leaves r's slope as it is
    estimates = by_name(effects(SITES, list(zip(designs, accuracies, strict=True))))
    line = stats.linregress([np.log2(design[0].reduction) for design in designs], accuracies)
    assert set(estimates) == {"r", "d"}
    assert estimates["r"].points == pytest.approx(line.slope)
    high = np.mean(
        [y for design, y in zip(designs, accuracies, strict=True) if design[0].dilation == 2]
    )
    assert estimates["d"].points == pytest.approx(2 * (high - np.mean(accuracies)))


def factorial(rng, seeds: int, lack: float, sd: float):
    """All 16 sets of sites with r = 2 and d = 1, each with so many seeds: (runs, table)."""
    runs, table = [], []
    for on in product((0, 1), repeat=4):
        some = design(*((n, 2, 1) for n in range(4) if on[n]))
        means = 90 + 0.5 * on[3] + lack * rng.normal()
        row = [float(means + sd * rng.normal()) for _ in range(seeds)]
        runs += [(some, y) for y in row]
        table.append((on, row))
    return runs, table


@pytest.mark.parametrize(("lack", "more"), [(0.5, True), (0.0, False)])
def test_balanced_seeds_are_the_textbook_analysis_of_variance(lack, more):
    runs, table = factorial(np.random.default_rng(2), 3, lack, 0.3)
    values = np.array([row for _, row in table])
    signs = np.array([on for on, _ in table]) * 2 - 1
    contrasts = (signs * values.mean(1)[:, None]).mean(0)  # half of each effect
    between = 3 * float(((values.mean(1) - values.mean() - signs @ contrasts) ** 2).sum())
    within = float(((values - values.mean(1)[:, None]) ** 2).sum())
    # Lack of fit beyond the noise: its mean square is the error; else REML pools the two.
    assert (between / 11 > within / 32) == more
    variance = between / 11 if more else (between + within) / 43
    half = stats.t.ppf(0.975, 16 - 5) * sqrt(4 * variance / 48)
    estimates = effects(SITES, runs)
    assert [effect.sites for effect in estimates] == [("s0",), ("s1",), ("s2",), ("s3",)]
    np.testing.assert_allclose([effect.points for effect in estimates], 2 * contrasts, atol=1e-9)
    np.testing.assert_allclose(
        [effect.high - effect.points for effect in estimates], half, rtol=1e-4
    )


def test_most_intervals_have_the_planted_effects():
    """40 designs with 1 to 3 seeds, lack of fit as large as the noise: 200 sets of data."""
    rng = np.random.default_rng(11)
    planted = np.array([0.0, 0.3, -0.2, 0.4, -0.1, 0.1])
    inside = np.zeros(6)
    for _ in range(200):
        designs = drawn(rng, 40)
        means = 90 + coded(designs)[:, 1:] @ planted + 0.3 * rng.normal(size=40)
        runs = [
            (some, mean + 0.3 * rng.normal())
            for some, mean in zip(designs, means, strict=True)
            for _ in range(rng.integers(1, 4))
        ]
        estimates = effects(SITES, runs)
        inside += [
            effect.low <= true <= effect.high
            for effect, true in zip(estimates, planted, strict=True)
        ]
    # of 1200: 1140 expected; of each 200: 190, with a deviation of 3.1
    assert 1110 <= inside.sum() <= 1170
    assert inside.min() >= 180


def test_seeds_of_a_design_are_not_independent_evidence():
    """Eight designs with lack of fit: more seeds make the interval no narrower than designs do."""
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(100):
        runs = factorial(rng, 20, 0.5, 0.05)[0]
        (*_, last) = effects(SITES, runs)
        missed += not last.low <= 0.5 <= last.high
    assert missed <= 13


def test_sites_that_go_together_are_one_factor_and_those_in_all_designs_are_left_out():
    rng = np.random.default_rng(1)
    designs = []
    for r, d in product((1, 2, 4, 8), (1, 2, 4)):
        designs += [
            design((0, 4, 1), (2, r, d)),
            design((0, 4, 1), (1, r, d), (2, 1, 1), (3, d, 4)),
        ]
    estimates = effects(SITES, [(some, 90 + rng.normal()) for some in designs])
    assert [effect.sites for effect in estimates if effect.aspect == "site"] == [("s1", "s3")]
    assert next(iter(estimates)).designs == 12
    assert [effect.aspect for effect in estimates] == ["site", "r", "d"]


def test_sites_of_which_one_is_always_there_are_left_open():
    rng = np.random.default_rng(1)
    designs = [design((n, r, d)) for n in (0, 1) for r in (1, 2, 4) for d in (1, 2)]
    estimates = effects(SITES, [(some, 90 + rng.normal()) for some in designs])
    assert [effect.aspect for effect in estimates] == ["r", "d"]
    # The base makes the difference.
    estimates = effects(SITES, [(some, 90 + rng.normal()) for some in [(), *designs]])
    assert [effect.aspect for effect in estimates] == ["site", "site", "r", "d"]


def test_an_r_without_variation_at_a_site_is_not_a_factor():
    rng = np.random.default_rng(1)
    reductions = (1, 2, 4, 8)
    designs = [
        design(*((n, reductions[n], 1) for n in range(4) if on[n]))
        for on in product((0, 1), repeat=4)
    ]
    estimates = effects(SITES, [(some, 90 + rng.normal()) for some in designs])
    assert [effect.aspect for effect in estimates] == ["site"] * 4


def test_too_few_designs():
    rng = np.random.default_rng(1)

    def of(count: int, seeds: int = 1):
        designs = drawn(np.random.default_rng(7), 40)[:count]
        return effects(
            SITES, [(design, 90 + rng.normal()) for design in designs for _ in range(seeds)]
        )

    # seven coefficients and three to spare, else five
    assert [effect.aspect for effect in of(10)] == ["site"] * 4 + ["r", "d"]
    assert [effect.aspect for effect in of(9)] == ["site"] * 4
    assert of(7, seeds=5) == ()
    assert effects(SITES, []) == ()
    assert effects(SITES, [((), 90.0)] * 9) == ()


def test_accuracies_that_are_all_the_same_tell_nothing():
    designs = drawn(np.random.default_rng(7), 20)
    assert effects(SITES, [(design, 91.3) for design in designs for _ in (0, 1)]) == ()


def test_seeds_that_agree_leave_the_designs_to_differ():
    """No noise at all: the interval is of the design means."""
    rng = np.random.default_rng(4)
    means = [(some, 90 + rng.normal()) for some in drawn(rng, 25)]
    once, twice = effects(SITES, means), effects(SITES, means * 2)
    for effect, other in zip(once, twice, strict=True):
        assert other.points == pytest.approx(effect.points, abs=1e-6)
        assert other.high - other.low == pytest.approx(effect.high - effect.low, rel=1e-3)


def test_what_computes_the_same_is_one_design():
    """d = 9 and d = 100 on a 9x9 map; r = 8 and r = 16 of 8 channels."""
    rng = np.random.default_rng(4)
    runs = [(some, 90 + rng.normal()) for some in drawn(rng, 25)]
    plain = [(design((0, 8, 9)), 90.5), (design((0, 8, 9)), 91.0)]
    other = [(design((0, 16, 100)), 90.5), (design((0, 8, 9)), 91.0)]
    assert effects(SITES, runs + plain) == effects(SITES, runs + other)
