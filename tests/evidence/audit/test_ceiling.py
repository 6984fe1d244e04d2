"""The noise ceiling: by hand, and on spreads that are planted."""

import numpy as np
import pytest

from bamsearch.evidence.audit.agreement import ceiling


def test_by_hand():
    # Two seeds; rows differ by 2 between designs and by 0, 0, 1, -1 between seeds.
    noise_ceiling = ceiling(
        np.array([[80.0, 80.0], [82.0, 82.0], [84.0, 85.0], [86.0, 85.0]]), "band"
    )
    # Variances within designs: 0, 0, 1/2, 1/2. No seed is better as a whole.
    assert noise_ceiling.run_sd == pytest.approx(0.5, abs=1e-4)
    # Residuals -+1/2 at two designs, squares 4 * 1/4 over (4 - 1)(2 - 1).
    assert noise_ceiling.paired_sd == pytest.approx((1 / 3) ** 0.5, abs=1e-4)
    means = np.array([80.0, 82.0, 84.5, 85.5])
    between = ((means - means.mean()) ** 2).sum() / 3
    assert noise_ceiling.design_sd == pytest.approx((between - 1 / 3 / 2) ** 0.5, abs=1e-4)
    r = np.corrcoef([80, 82, 84, 86], [80, 82, 85, 85])[0, 1]
    assert noise_ceiling.pearson == pytest.approx(r, abs=1e-4)
    assert noise_ceiling.reliability == pytest.approx(2 * r / (1 + r), abs=1e-4)
    assert noise_ceiling.highest == pytest.approx((2 * r / (1 + r)) ** 0.5, abs=1e-4)
    assert (noise_ceiling.setting, noise_ceiling.designs) == ("band", 4)


def test_planted_spreads_are_found_and_what_a_seed_does_to_all_is_apart():
    rng = np.random.default_rng(0)
    designs, seeds = 4000, 3
    true = rng.normal(90, 0.5, (designs, 1))
    noise = rng.normal(0, 0.3, (designs, seeds))
    plain = ceiling(true + noise, "space")
    assert plain.design_sd == pytest.approx(0.5, rel=0.03)
    assert plain.run_sd == pytest.approx(0.3, rel=0.03)
    assert plain.pearson == pytest.approx(0.25 / (0.25 + 0.09), abs=0.02)
    assert plain.reliability == pytest.approx(0.25 / (0.25 + 0.09 / 3), abs=0.02)
    # The mean of the seeds is that near to the truth.
    mean = (true + noise).mean(axis=1)
    assert plain.highest == pytest.approx(np.corrcoef(mean, true[:, 0])[0, 1], abs=0.02)
    shifted = ceiling(true + noise + np.array([0.0, 2.0, -1.0]), "space")
    assert shifted.run_sd > 1
    assert shifted.paired_sd == pytest.approx(plain.paired_sd, abs=1e-3)
    assert shifted.design_sd == pytest.approx(plain.design_sd, abs=1e-3)


def test_designs_that_do_not_differ_leave_nothing_to_find():
    noise_ceiling = ceiling(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [2.0, 1.0]]), "space")
    assert (
        noise_ceiling.design_sd,
        noise_ceiling.reliability,
        noise_ceiling.highest,
        noise_ceiling.highest_tau,
    ) == (0, 0, 0, 0)
    assert noise_ceiling.pearson == -1
    same = ceiling(np.full((5, 2), 7.0), "space")
    assert (same.run_sd, same.pearson, same.reliability, same.highest_tau) == (0, None, None, None)
    assert ceiling(np.ones((3, 2)), "space") is None
    assert ceiling(np.ones((9, 1)), "space") is None


def test_tau_of_a_perfect_score_is_that_of_normal_values():
    rng = np.random.default_rng(1)
    true = rng.normal(size=(3000, 1))
    runs = true + rng.normal(size=(3000, 2))
    from scipy import stats

    reached = stats.kendalltau(true[:, 0], runs.mean(axis=1)).statistic
    assert ceiling(runs, "space").highest_tau == pytest.approx(reached, abs=0.02)
