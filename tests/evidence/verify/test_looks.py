"""Levels of looks, against Pocock's tables and brute force; decisions and intervals by hand."""

import numpy as np
import pytest
from scipy import stats

from bamsearch.evidence.verify.looks import Rule, conclude, look_sizes, nominal_level
from bamsearch.evidence.verify.statistics import interval, interval_over_images


@pytest.mark.parametrize(
    ("seeds", "looks", "sizes"),
    [
        (25, 5, (5, 10, 15, 20, 25)),
        (10, 5, (3, 5, 7, 8, 10)),  # 3, 4.75, 6.5, 8.25, 10
        (10, 1, (10,)),
        (5, 5, (3, 4, 5)),
        (4, 2, (3, 4)),
        (3, 5, (3,)),
        (2, 5, (2,)),
    ],
)
def test_looks_are_spaced_evenly_from_three_pairs_on(seeds, looks, sizes):
    assert look_sizes(seeds, looks) == sizes


@pytest.mark.parametrize(
    ("looks", "level"), [(2, 0.0294), (3, 0.0221), (4, 0.0182), (5, 0.0158), (10, 0.0106)]
)
def test_levels_of_large_samples_are_those_of_pocock(looks, level):
    """Pocock 1977, table 1: nominal levels for an overall two-sided level of 0.05."""
    sizes = tuple(100_000 * look for look in range(1, looks + 1))
    assert 0.975 * level < nominal_level(sizes, 1) < level


@pytest.mark.parametrize("sizes", [(2,), (10,), (100_000,)])
def test_one_look_takes_the_whole_level(sizes):
    assert nominal_level(sizes, 1) == pytest.approx(0.05)
    assert nominal_level(sizes, 4) == pytest.approx(0.0125)


@pytest.mark.parametrize(
    ("sizes", "comparisons"), [((3, 5, 7, 8, 10), 1), ((3, 5, 7, 8, 10), 4), ((3, 4, 5), 2)]
)
def test_levels_of_small_samples_are_those_of_brute_force(sizes, comparisons):
    """SciPy's t-test of the values themselves, at every look."""
    repetitions = 100_000
    values = np.random.default_rng(7).normal(0.0, 3.0, (repetitions, sizes[-1]))
    p = [stats.ttest_1samp(values[:, :size], 0.0, axis=1).pvalue for size in sizes]
    rejected = float((np.min(p, axis=0) < nominal_level(sizes, comparisons)).mean())
    wanted = 0.05 / comparisons
    error = (wanted / repetitions) ** 0.5
    assert 0.98 * wanted - 4 * error < rejected < wanted + 2 * error


def test_what_looks_save_and_cost():
    """An independent simulation of 25 pairs in five looks: 12 on average, power 0.990."""
    sizes = look_sizes(25, 5)
    level = nominal_level(sizes, 1)
    assert 0.0144 < level <= 0.0147
    rule = Rule(level, margin=1e-9)
    rng = np.random.default_rng(0)
    ends = [conclude(rng.normal(1.0, 1.0, 25), sizes, rule) for _ in range(1_000)]
    better = np.mean([end.interval.low > 0 for end in ends])
    assert better == pytest.approx(0.990, abs=4 * (0.01 / 1000) ** 0.5)
    pairs = [end.pairs for end in ends]
    assert np.mean(pairs) == pytest.approx(12.0, abs=4 * np.std(pairs) / 1000**0.5 + 0.25)


def test_a_comparison_ends_at_the_look_that_decides_it():
    rule = Rule(0.05, margin=0.5)
    # t of 97.5% with two degrees of freedom is 4.303: 2 +- 4.303 * 1 / sqrt(3) contains 0,
    # and with four pairs 2 +- 3.182 * 0.816 / 2 does not.
    values = np.array([1.0, 2.0, 3.0, 2.0, -90.0])
    end = conclude(values, (3, 4, 5), rule)
    assert (end.look, end.pairs, end.decided) == (2, 4, True)
    assert end.interval.low == pytest.approx(2 - 3.1824 * (2 / 3) ** 0.5 / 2, abs=1e-3)
    # The later value is not looked at.
    assert conclude(values[:4], (3, 4), rule) == end
    first = conclude(values, (3,), rule)
    assert (first.look, first.pairs, first.decided) == (1, 3, False)


def test_a_small_difference_is_decided_too():
    values = np.array([0.1, -0.1, 0.1, -0.1])
    assert conclude(values, (4,), Rule(0.05, margin=0.5)).decided
    assert not conclude(values, (4,), Rule(0.05, margin=0.1)).decided


@pytest.mark.parametrize(
    ("expect", "decided"), [(None, False), ("better", False), ("not-worse", True)]
)
def test_an_expectation_that_is_proven_decides(expect, decided):
    values = np.array([1.0, 2.0, 3.0])  # 2 +- 2.48: above -0.5, but not above 0
    assert conclude(values, (3,), Rule(0.05, 0.5, expect=expect)).decided == decided


def test_diverged_trainings_leave_gaps_in_the_looks():
    values, rule = np.array([1.0, 2.0, 3.0, 2.0]), Rule(0.05, margin=0.001)
    # The seeds 1 and 2 of six are lost: the look at three seeds has one pair, and that at four two.
    end = conclude(values, (3, 4), rule, rows=[0, 3, 4, 5])
    assert (end.look, end.pairs) == (2, 2)
    assert conclude(values, (3,), rule, rows=[0, 3, 4, 5]) is None


def squares_by_hand(values):
    """Mean squares of rows, columns and the rest, in loops."""
    rows, columns = values.shape
    mean = sum(values[i, j] for i in range(rows) for j in range(columns)) / (rows * columns)
    by_row = [sum(values[i]) / columns for i in range(rows)]
    by_column = [sum(values[:, j]) / rows for j in range(columns)]
    row = columns * sum((value - mean) ** 2 for value in by_row) / (rows - 1)
    column = rows * sum((value - mean) ** 2 for value in by_column) / (columns - 1)
    rest = sum(
        (values[i, j] - by_row[i] - by_column[j] + mean) ** 2
        for i in range(rows)
        for j in range(columns)
    ) / ((rows - 1) * (columns - 1))
    return mean, row, column, rest


def test_an_interval_over_images_adds_their_component():
    rng = np.random.default_rng(3)
    images = rng.normal(0.0, 60.0, 40)
    values = 5.0 + images + rng.normal(0.0, 10.0, (6, 40))
    mean, row, column, rest = squares_by_hand(values)
    assert column > rest
    t_seeds, t_images = stats.t.ppf(0.99, 5), stats.t.ppf(0.99, 39)
    half = (t_seeds**2 * row / 240 + t_images**2 * (column - rest) / 240) ** 0.5
    interval = interval_over_images(values, 0.98, 0.0)
    assert (interval.low, interval.high) == pytest.approx((mean - half, mean + half))


def test_it_is_never_narrower_than_over_seeds():
    rng = np.random.default_rng(4)
    for _ in range(50):
        values = 100 * rng.integers(-1, 2, (4, 30)).astype(np.int8)
        over_images = interval_over_images(values, 0.95, 0.1)
        over_seeds = interval(values.mean(axis=1), 0.95, 0.1)
        assert over_images.mean == pytest.approx(over_seeds.mean)
        assert over_images.high >= over_seeds.high
    # Columns with equal means have no component: what is left is the interval over seeds.
    latin = np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 1.0], [3.0, 1.0, 2.0]])
    shifted = latin + np.array([[0.0], [5.0], [1.0]])
    expected = interval(shifted.mean(axis=1), 0.95, 0.0)
    computed = interval_over_images(shifted, 0.95, 0.0)
    assert (computed.low, computed.high) == pytest.approx((expected.low, expected.high))


def test_one_image_has_no_interval_over_images():
    with pytest.raises(ValueError, match="needs two images, not 1"):
        interval_over_images(np.zeros((3, 1)), 0.95, 0.1)


def test_a_rule_takes_images_apart_where_it_is_over_them():
    values = np.array([[100, 0, 0, -100], [100, 100, 0, -100], [100, 0, 0, 0]], dtype=np.int8)
    over_seeds = Rule(0.05, 0.5).interval(values, 1.0)
    by_hand = interval([0.0, 25.0, 25.0], 0.95, 1.0)
    assert (over_seeds.low, over_seeds.high) == pytest.approx((by_hand.low, by_hand.high))
    assert Rule(0.05, 0.5, "images").interval(values, 1.0).high > over_seeds.high
