"""The Gaussian process against its textbook formulas, written out with numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erfcx
from scipy.stats import multivariate_normal, norm

from bamsearch.records import Budget, Cost, ModelSummary, Site
from bamsearch.searching.acquire import chebyshev, log_expected_improvement
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.fitting import feasible
from bamsearch.searching.kernel import Kernel
from bamsearch.searching.posterior import (
    Posterior,
    Weights,
    likely_weights,
    prior_weights,
    standardise,
    unlikeliness,
)
from bamsearch.searching.space import parse_space, search_space

# Two stages: of three choices, and of one.
MAPS = {"a": (64, 28), "b": (64, 28), "c": (64, 28), "d": (128, 14)}


def designs(limit: int) -> Feasible:
    sites = tuple(
        Site(name, channels, side, side, 224 // side, "NCHW", "block")
        for name, (channels, side) in MAPS.items()
    )
    summary = ModelSummary(
        "toy", (3, 224, 224), "", (3, 224, 224), sites, Cost(10**6, 10**8, 10**8)
    )
    content = {"name": "toy", "sites": ["?"], "reductions": [4, 8, 16], "dilations": [1, 2, 4]}
    space = search_space(parse_space(content, "toy"), summary)
    return feasible(space, [Budget("gflops", "toy", limit, 100_000_000)])


@pytest.fixture(scope="module")
def there() -> Feasible:
    return designs(107_000_000)


def drawn(there: Feasible, number: int) -> np.ndarray:
    return np.unique(there.sample(np.random.default_rng(0), number), axis=0)


def weights_of(kernel: Kernel) -> Weights:
    rng = np.random.default_rng(1)
    return Weights(rng.uniform(0.05, 0.5, len(kernel.components)), 0.3, 0.1, 0.05)


def covariance(kernel: Kernel, weights: Weights, codes: np.ndarray) -> np.ndarray:
    gram = np.tensordot(weights.components, kernel.grams(codes), axes=1)
    return gram + weights.pairs * gram**2 + weights.triples * gram**3 + 1.0


def test_each_component_is_a_covariance(there: Feasible) -> None:
    kernel = Kernel(there)
    for component, gram in zip(
        kernel.components, kernel.grams(kernel.codes(drawn(there, 60))), strict=True
    ):
        assert np.allclose(gram, gram.T), component
        assert np.linalg.eigvalsh(gram).min() > -1e-9, component
        assert gram.diagonal().max() > 0, component


def test_what_is_compared() -> None:
    """Of the components, by hand, between designs with BAM at one choice of four."""
    kernel = Kernel(designs(10**10))
    # r4 d1 at a, the same at b, at d, r16 d4 at a.
    rows = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [9, 0, 0, 0]], dtype=np.int8)
    grams = kernel.grams(kernel.codes(rows))
    found = {(c.what, c.which): gram for c, gram in zip(kernel.components, grams, strict=True)}
    # +1 where both have or lack BAM, -1 elsewhere: equal at all choices, or unlike at two.
    assert found["on", "own"][0].tolist() == [1, 0, 0, 1]
    assert found["cell", "own"][0].tolist() == [0.25, 0, 0, 0]
    # r: nothing between different choices unless they are of one stage.
    same = found["r", "stage"][0, 0]
    assert found["r", "own"][0, 1] == 0
    assert found["r", "stage"][0, 1] == pytest.approx(same)
    assert found["r", "stage"][0, 2] == 0
    assert found["r", "all"][0, 2] == pytest.approx(same)
    assert found["r", "near"][0, 1] == pytest.approx(same * np.exp(-0.5))
    assert found["r", "near"][0, 2] == pytest.approx(same * np.exp(-1.5))
    # Small r and large r are unlike.
    assert found["r", "own"][0, 3] < 0


def test_predictions_are_those_of_the_textbook(there: Feasible) -> None:
    kernel = Kernel(there)
    weights = weights_of(kernel)
    codes = kernel.codes(drawn(there, 60))
    seen, unseen = codes[:20], codes[20:]
    scores = np.random.default_rng(2).normal(size=20)
    full = covariance(kernel, weights, codes)
    inverse = np.linalg.inv(full[:20, :20] + (weights.noise + 1e-6) * np.eye(20))
    mean, deviation = Posterior(kernel, weights, seen, scores).predict(unseen)
    assert mean == pytest.approx(full[20:, :20] @ inverse @ scores, abs=1e-9)
    explained = full[20:, :20] @ inverse @ full[:20, 20:]
    variance = np.diag(full[20:, 20:] - explained)
    assert deviation**2 == pytest.approx(variance, abs=1e-9)


def test_likely_weights_are_a_maximum(there: Feasible) -> None:
    """Of the likelihood and the prior, computed by scipy; no step away from it is better."""
    kernel = Kernel(there)
    codes = kernel.codes(drawn(there, 40))
    rng = np.random.default_rng(3)
    scores = standardise(codes[:, 0] + 0.3 * rng.normal(size=len(codes)))
    prior = prior_weights(kernel)
    centre = np.log([*prior.components, prior.pairs, prior.triples, prior.noise])
    spreads = np.array([1.0] * (len(centre) - 1) + [2.0])

    def likely(logs: np.ndarray) -> float:
        *components, pairs, triples, noise = np.exp(logs)
        weights = Weights(np.array(components), pairs, triples, noise)
        full = covariance(kernel, weights, codes) + (noise + 1e-6) * np.eye(len(codes))
        return float(
            multivariate_normal(np.zeros(len(codes)), full).logpdf(scores)
            + norm(centre, spreads).logpdf(logs).sum()
        )

    found = likely_weights(kernel, codes, scores)
    at = np.log([*found.components, found.pairs, found.triples, found.noise])
    best = likely(at)
    assert best > likely(centre) + 1
    for index in range(len(at)):
        for step in (-0.5, 0.5):
            beside = at.copy()
            beside[index] += step
            assert likely(beside) < best + 0.01


def test_the_gradient_is_that_of_the_unlikeliness(there: Feasible) -> None:
    kernel = Kernel(there)
    grams = kernel.grams(kernel.codes(drawn(there, 20)))
    rng = np.random.default_rng(4)
    size = len(grams) + 3
    logs, centre, spreads = rng.normal(size=size), np.zeros(size), rng.uniform(0.5, 2, size)
    given = grams, rng.normal(size=grams.shape[1]), centre, spreads
    _, gradient = unlikeliness(logs, *given)
    for index in range(size):
        step = np.zeros(size)
        step[index] = 1e-5
        rise = unlikeliness(logs + step, *given)[0] - unlikeliness(logs - step, *given)[0]
        assert gradient[index] == pytest.approx(rise / 2e-5, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("best", [-2.0, 0.0, 3.0, 9.0])
def test_expected_improvement_is_an_expectation(best: float) -> None:
    mean, deviation = 0.5, 0.7
    wanted, _ = quad(
        lambda y: (y - best) * norm.pdf(y, mean, deviation), best, best + 20, epsabs=0, epsrel=1e-9
    )
    found = log_expected_improvement(np.array([mean]), np.array([deviation]), best)
    assert np.exp(found)[0] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("z", [-5.0, -20.0, -24.9, -25.1, -40.0, -200.0])
def test_expected_improvement_far_below_the_best(z: float) -> None:
    """phi(z) (1 + z Phi(z) / phi(z)), where erfcx gives the ratio."""
    ratio = np.sqrt(np.pi / 2) * erfcx(-z / np.sqrt(2))
    wanted = norm.logpdf(z) + np.log(1 + z * ratio)
    found = log_expected_improvement(np.array([z]), np.ones(1), 0.0)[0]
    assert found == pytest.approx(wanted, abs=0.01)


def test_expected_improvement_tells_hopeless_designs_apart() -> None:
    mean = -np.linspace(1, 200, 400)
    found = log_expected_improvement(mean, np.ones(400), 0.0)
    assert np.isfinite(found).all()
    assert (np.diff(found) < 0).all()


def test_chebyshev_finds_every_point_of_a_front() -> None:
    """Also those in a dent, which no weighted sum finds."""
    gains = np.array([[1.0, 0.0], [0.4, 0.4], [0.0, 1.0], [0.3, 0.3]])
    shares = np.linspace(0.01, 0.99, 99)
    found = {int(chebyshev(gains, np.array([s, 1 - s])).argmax()) for s in shares}
    assert found == {0, 1, 2}


@pytest.mark.parametrize(
    "scores",
    [[1.0], [3.0, 3.0, 3.0], [0.0, 0.0], [1e300, -1e300, 5e299], [5.0, 5.0, 5.0, 5.0, 6.0]],
)
def test_standardised_scores_are_finite_and_in_order(scores: list[float]) -> None:
    found = standardise(np.array(scores))
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 20
    for a, left in zip(scores, found, strict=True):
        for b, right in zip(scores, found, strict=True):
            assert (a > b) == (left > right)


def test_an_outlier_does_not_hide_the_others() -> None:
    scores = np.random.default_rng(0).normal(size=50)
    plain, beside = standardise(scores), standardise(np.append(scores, -1e6))
    assert beside[:-1] == pytest.approx(plain, abs=0.2)
