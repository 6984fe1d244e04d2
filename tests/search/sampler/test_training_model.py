"""The model of trainings: against the textbook's formula, and what must not move it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bamsearch.sampler import training_analysis
from bamsearch.sampler.kernel import Kernel
from bamsearch.sampler.posterior import draw_noisy_kernel_samples
from bamsearch.sampler.training_analysis import TrainingModel

BASE, GOOD, OTHER, BAD = (0, 0, 0), (0, 0, 2), (0, 1, 2), (3, 0, 0)


def trainings(seed: int = 0, noise: float = 1.0) -> list[tuple[tuple[int, ...], float, int]]:
    rng = np.random.default_rng(seed)
    worth = {BASE: 70.0, GOOD: 72.0, OTHER: 71.5, BAD: 69.0}
    return [(d, w + noise * rng.normal(), s) for s in range(3) for d, w in worth.items()]


def test_one_hypothesis_is_the_textbooks_posterior(toys, monkeypatch):
    feasible, observed = toys.three_sites(), trainings()
    kernel = Kernel(feasible)
    only = draw_noisy_kernel_samples(kernel)[7]
    monkeypatch.setattr(training_analysis, "draw_noisy_kernel_samples", lambda kernel: [only])
    model = TrainingModel(feasible, observed)
    # The hypothesis written out, training by training, in the notation of the module.
    u = np.random.default_rng(2).random(3)
    v = 1 / (1 + 0.003 ** (1 - u[0]) * 1e4 ** u[0])
    w, c = 0.3 * u[1], 0.1 + 0.6 * u[2]
    designs = [BASE, GOOD, OTHER, BAD]
    g = kernel.covariances([only], kernel.codes(np.array(designs, dtype=np.int8)))[0]
    f = 1 + v * (1 - w) * g + v * w * np.eye(4)
    f[0, 0] += 1000.0 if np.random.default_rng(3).random() < 0.85 else 1000.0 * v
    y = np.array([value for _, value, _ in observed])
    centre = np.median(y)
    low, high = sorted(y)[3], sorted(y)[8]
    spread = (high - low) / 1.349
    total = np.array(
        [
            [
                f[designs.index(d), designs.index(e)]
                + (1 - v) * (c * (s == t) + (1 - c) * ((d, s) == (e, t)))
                for e, _, t in observed
            ]
            for d, _, s in observed
        ]
    )
    seen = np.array([[f[i, designs.index(e)] for e, _, _ in observed] for i in range(4)])
    z = (y - centre) / spread
    mean = centre + spread * seen @ np.linalg.solve(total, z)
    assert model.mean == pytest.approx(mean, abs=1e-4)
    # Gelman et al.: the scale's posterior is inverse gamma (1 + n / 2, 2 + z' total^-1 z / 2).
    scale = (2 + 0.5 * z @ np.linalg.solve(total, z)) / (1 + 0.5 * len(z))
    assert model.noise == pytest.approx(spread * np.sqrt(scale * (1 - v)), rel=1e-4)
    assert model.shared == pytest.approx(spread * np.sqrt(scale * (1 - v) * c), rel=1e-4)
    draws = model.draw(60_000, 1)
    covariance = scale * (f - seen @ np.linalg.solve(total, seen.T)) * spread**2
    t = stats.multivariate_t(mean, training_analysis._WIDER**2 * covariance, df=2 + len(z))
    for column in range(4):
        side = np.sqrt(t.shape[column, column])
        expected = mean[column] + side * stats.t.ppf([0.1, 0.9], 2 + len(z))
        assert np.quantile(draws[:, column], [0.1, 0.9]) == pytest.approx(expected, abs=0.05)
    assert np.corrcoef(draws.T) == pytest.approx(np.corrcoef(t.rvs(60_000, 3).T), abs=0.03)


def test_accuracies_keep_their_unit(toys):
    feasible, observed = toys.three_sites(), trainings()
    moved = [(encoding, 5 + 3 * value, seed) for encoding, value, seed in observed]
    model, other = TrainingModel(feasible, observed), TrainingModel(feasible, moved)
    assert other.mean == pytest.approx(5 + 3 * model.mean, abs=1e-6)
    assert other.noise == pytest.approx(3 * model.noise, rel=1e-6)
    assert other.draw(100, 5) == pytest.approx(5 + 3 * model.draw(100, 5), abs=1e-4)


def test_what_a_seed_does_to_all_designs_is_in_no_difference(toys):
    """Seed 1 is a point worse for everyone: only trainings known to share it are pairs."""
    feasible = toys.three_sites()
    observed = trainings(noise=0.1)
    shifted = [(encoding, value - (seed == 1), seed) for encoding, value, seed in observed]
    model = TrainingModel(feasible, shifted)
    spread = np.sqrt(model.noise**2 - model.shared**2)
    assert model.shared > spread
    assert model.mean[1] - model.mean[0] == pytest.approx(2.0, abs=0.3)
    unpaired = [(encoding, value, index) for index, (encoding, value, _) in enumerate(shifted)]
    widths = [
        np.std(draws[:, 1] - draws[:, 0])
        for draws in (m.draw(4000, 0) for m in (model, TrainingModel(feasible, unpaired)))
    ]
    assert widths[0] < 0.7 * widths[1]


def test_a_training_at_chance_moves_its_own_design_only(toys):
    feasible, observed = toys.three_sites(), trainings(noise=0.3)
    failed = (0, 4, 0)
    model = TrainingModel(feasible, [*observed, (failed, 10.0, 0)])
    plain = TrainingModel(feasible, observed)
    assert model.outliers.tolist() == [len(observed)]
    assert model.encodings[-1] == failed
    assert model.mean[-1] == 10.0
    assert model.mean[:-1] == pytest.approx(plain.mean, abs=0.05)
    assert np.median(model.draw(1000, 0)[:, -1]) == pytest.approx(10.0, abs=0.5)


def test_a_design_with_one_failed_training_keeps_its_others(toys):
    feasible, observed = toys.three_sites(), trainings(noise=0.3)
    model = TrainingModel(feasible, [*observed, (GOOD, 10.0, 9)])
    assert model.mean == pytest.approx(TrainingModel(feasible, observed).mean, abs=0.05)


def test_a_base_far_below_all_others_is_not_an_outlier(toys):
    """Nothing floors what the base is reported as, however much BAM helps."""
    rng = np.random.default_rng(4)
    observed = [(BASE, 50 + 0.1 * rng.normal(), seed) for seed in range(3)]
    observed += [(d, 70 + 0.1 * rng.normal(), 0) for d in (GOOD, OTHER, BAD, (1, 1, 0), (2, 0, 1))]
    model = TrainingModel(toys.three_sites(), observed)
    assert not len(model.outliers)
    assert model.mean[0] == pytest.approx(50, abs=0.3)


def test_designs_without_a_training_are_predicted_too(toys):
    feasible, observed = toys.three_sites(), trainings(noise=0.1)
    model = TrainingModel(feasible, observed, [(0, 0, 1), GOOD])
    assert model.encodings == (BASE, GOOD, OTHER, BAD, (0, 0, 1))
    deviations = model.draw(4000, 0).std(axis=0)
    assert deviations[4] > 2 * deviations[1]
