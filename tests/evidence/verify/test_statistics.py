"""Intervals and numbers of seeds, against SciPy, published tables and hand calculation."""

from math import sqrt

import pytest
from scipy import stats

from bamsearch.evidence.verify.statistics import interval, power, seeds_needed, smallest_detectable

FOUND = [91.2, 90.4, 91.9, 90.8, 91.5]
BASE = [90.9, 90.5, 91.1, 90.2, 91.3]
DIFFERENCES = [value - other for value, other in zip(FOUND, BASE, strict=True)]


@pytest.mark.parametrize("comparisons", [1, 4])
def test_an_interval_is_that_of_the_paired_test(comparisons):
    computed = interval(DIFFERENCES, 1 - 0.05 / comparisons, 0.0)
    expected = stats.ttest_rel(FOUND, BASE).confidence_interval(1 - 0.05 / comparisons)
    assert (computed.low, computed.high) == pytest.approx((expected.low, expected.high))


def test_two_values_by_hand():
    # sd = sqrt(1/2), standard error 1/2; t of 97.5% with one degree of freedom is 12.706.
    computed = interval([0.0, 1.0], 0.95, 0.0)
    assert (computed.mean, computed.sd) == pytest.approx((0.5, sqrt(0.5)))
    assert computed.high - computed.mean == pytest.approx(12.706 / 2, abs=1e-3)


def test_one_value_has_no_interval():
    with pytest.raises(ValueError, match="needs two values, not 1"):
        interval([1.0], 0.95, 0.1)


def test_equal_values_do_not_prove_that_nothing_spreads():
    # An image of 1,000 is 0.1 points; t of 97.5% with three degrees of freedom is 3.182.
    computed = interval([0.2] * 4, 0.95, 0.1)
    assert computed.high - computed.mean == pytest.approx(3.182 * 0.1 / 2, abs=1e-4)


@pytest.mark.parametrize("margin", [0.3, 0.8, 0.9, 1.5, 4.0])
def test_inside_the_margin_is_two_one_sided_tests(margin):
    confidence = 1 - 0.05 / 3
    above = stats.ttest_1samp(DIFFERENCES, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(DIFFERENCES, margin, alternative="less").pvalue
    passed = max(above, below) < (1 - confidence) / 2
    assert interval(DIFFERENCES, confidence, 0.0).inside(margin) == passed


def test_the_margins_above_are_on_both_sides():
    computed = interval(DIFFERENCES, 1 - 0.05 / 3, 0.0)
    assert computed.inside(4.0)
    assert not computed.inside(0.3)


def test_power_of_a_published_case():
    # Cohen 1988 and G*Power: 34 pairs tell half a deviation with a chance of 0.808.
    assert power(0.5, 1.0, 34, 0.95) == pytest.approx(0.8078, abs=1e-4)
    assert seeds_needed(1.0, 0.95, 0.5) == 34


@pytest.mark.parametrize("confidence", [0.95, 0.9875])
@pytest.mark.parametrize("seeds", [3, 5, 20])
@pytest.mark.parametrize("effect", [0.0, 0.4, 1.2])
def test_power_is_that_of_the_noncentral_t(confidence, seeds, effect):
    limit = stats.t.ppf((1 + confidence) / 2, seeds - 1)
    shift = effect * sqrt(seeds)
    expected = stats.nct.sf(limit, seeds - 1, shift) + stats.nct.cdf(-limit, seeds - 1, shift)
    assert power(effect, 1.0, seeds, confidence) == pytest.approx(expected, abs=1e-4)


def test_the_smallest_detectable_difference():
    # With many pairs t is normal: (1.960 + 0.842) standard errors.
    many = smallest_detectable(2.0, 10_000, 0.95)
    assert many == pytest.approx((1.95996 + 0.84162) * 2.0 / 100, rel=1e-3)
    for seeds, comparisons in ((2, 4), (5, 3)):
        result = smallest_detectable(0.41, seeds, 1 - 0.05 / comparisons)
        assert power(result, 0.41, seeds, 1 - 0.05 / comparisons) == pytest.approx(0.8, abs=1e-3)


def test_seeds_needed_is_the_first_number_that_is_enough():
    for sd, comparisons in ((0.41, 3), (0.29, 1), (1.0, 4)):
        needed = seeds_needed(sd, 1 - 0.05 / comparisons)
        assert power(0.3, sd, needed, 1 - 0.05 / comparisons) >= 0.8
        assert power(0.3, sd, needed - 1, 1 - 0.05 / comparisons) < 0.8
    assert seeds_needed(1e-6, 0.95) == 2
    assert seeds_needed(1000.0, 0.95) is None
