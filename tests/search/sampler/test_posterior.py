"""The Gaussian process against its textbook formulas, written out with numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erfcx
from scipy.stats import multivariate_t, norm

from bamsearch.records import Budget, Cost, ModelSummary, Site
from bamsearch.sampler.gp import chebyshev
from bamsearch.sampler.kernel import CrossCovariance, Kernel, KernelSample
from bamsearch.sampler.posterior import (
    ModelAverage,
    covariances,
    draw_kernel_samples,
    fit,
    log_expected_improvement,
    posterior_weights,
    standardise,
)
from bamsearch.space.feasible import Feasible, feasible
from bamsearch.space.space import parse_space, search_space

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
def feasible_set() -> Feasible:
    return designs(107_000_000)


def drawn(feasible_set: Feasible, number: int) -> np.ndarray:
    return np.unique(feasible_set.sample(np.random.default_rng(0), number), axis=0)


def interacting(kernel: Kernel) -> list[KernelSample]:
    """The first kernel samples, some of which have pairs, interactions of all, and sizes."""
    samples = draw_kernel_samples(kernel)[:12]
    assert sum(sample.pairs > 0.01 for sample in samples) >= 3
    assert sum(sample.joint > 0.01 for sample in samples) >= 3
    return samples


def covariance(feasible_set: Feasible, sample: KernelSample, rows: np.ndarray) -> np.ndarray:
    """Without noise, design by design, from the definition."""
    kernel = Kernel(feasible_set)
    codes, choices = kernel.codes(rows), rows.shape[1]
    alike = np.tensordot(sample.options, kernel.own_grams(codes), axes=1)
    total = np.tensordot(sample.components, kernel.grams(codes), axes=1) + 1.0
    for a in range(len(rows)):
        for b in range(len(rows)):
            at = alike[:, a, b]
            pairs = sum(at[i] * at[j] for i in range(choices) for j in range(i))
            total[a, b] += sample.pairs * pairs / (choices * (choices - 1) / 2)
            total[a, b] += sample.joint * np.exp(sample.reach * (at.mean() - 1))
    return total


def test_each_component_is_a_covariance(feasible_set: Feasible) -> None:
    kernel = Kernel(feasible_set)
    for component, gram in zip(
        kernel.components, kernel.grams(kernel.codes(drawn(feasible_set, 60))), strict=True
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
    gram_of = {component: gram for component, gram in zip(kernel.components, grams, strict=True)}
    # +1 where both have or lack BAM, -1 elsewhere: equal at all choices, or unlike at two.
    assert gram_of["on", "own"][0].tolist() == [1, 0, 0, 1]
    # The same option, off too.
    assert gram_of["cell", "own"][0].tolist() == [1, 0.5, 0.5, 0.75]
    # r: nothing between different choices unless they are of one stage.
    same = gram_of["r", "stage"][0, 0]
    assert gram_of["r", "own"][0, 1] == 0
    assert gram_of["r", "stage"][0, 1] == pytest.approx(same)
    assert gram_of["r", "stage"][0, 2] == 0
    assert gram_of["r", "all"][0, 2] == pytest.approx(same)
    assert gram_of["r", "near"][0, 1] == pytest.approx(same * np.exp(-0.5))
    assert gram_of["r", "near"][0, 2] == pytest.approx(same * np.exp(-1.5))
    # Small r and large r are unlike.
    assert gram_of["r", "own"][0, 3] < 0


def test_likeness_at_a_choice_adds_up_to_the_components(feasible_set: Feasible) -> None:
    kernel = Kernel(feasible_set)
    codes = kernel.codes(drawn(feasible_set, 30))
    by_choice, grams = kernel.own_grams(codes), kernel.grams(codes)
    for component, gram in zip(kernel.components, grams, strict=True):
        if component.link == "own" and component.kind in kernel.kinds:
            computed = by_choice[kernel.kinds.index(component.kind)].sum(axis=0) / kernel.choices
            assert computed == pytest.approx(gram, abs=1e-12), component


def test_diagonals_are_those_of_the_grams(feasible_set: Feasible) -> None:
    kernel = Kernel(feasible_set)
    codes = kernel.codes(drawn(feasible_set, 30))
    wanted = np.diagonal(kernel.grams(codes), axis1=1, axis2=2)
    assert kernel.diagonals(codes) == pytest.approx(wanted, abs=1e-9)
    for sample in interacting(kernel):
        cross, covariance = (
            CrossCovariance(kernel, sample, codes),
            kernel.covariances([sample], codes)[0],
        )
        assert cross(codes) == pytest.approx(covariance, abs=1e-9)
        variances = cross.variances(codes, kernel.diagonals(codes))
        assert variances == pytest.approx(np.diag(covariance), abs=1e-9)


def test_covariances_are_those_of_the_definition(feasible_set: Feasible) -> None:
    kernel = Kernel(feasible_set)
    rows = drawn(feasible_set, 25)
    some = interacting(kernel)
    for sample, computed in zip(some, covariances(kernel, some, kernel.codes(rows)), strict=True):
        wanted = covariance(feasible_set, sample, rows) + (sample.noise + 1e-6) * np.eye(len(rows))
        assert computed == pytest.approx(wanted, abs=1e-10)


def test_hypotheses_are_alike_in_variance_and_unlike_in_kind(feasible_set: Feasible) -> None:
    kernel = Kernel(feasible_set)
    every = draw_kernel_samples(kernel)
    assert [sample.noise for sample in every] == [
        sample.noise for sample in draw_kernel_samples(kernel)
    ]
    for sample in every:
        assert sample.components.sum() + sample.pairs + sample.joint == pytest.approx(1)
        assert sample.options.sum() == pytest.approx(1)
        assert min(sample.components.min(), sample.options.min(), sample.pairs, sample.joint) >= 0
    rough = np.array([sample.options[-1] for sample in every])
    assert rough.min() < 0.01
    assert rough.max() > 0.99
    assert 0.1 < np.mean([sample.pairs == 0 for sample in every]) < 0.3


def test_the_evidence_is_a_t_density(feasible_set: Feasible) -> None:
    """Of a Gaussian whose scale is inverse gamma, of shape and rate 2: 4 degrees of freedom."""
    kernel = Kernel(feasible_set)
    rows = drawn(feasible_set, 30)
    scores = np.random.default_rng(2).normal(size=len(rows))
    some = interacting(kernel)
    wanted = [
        multivariate_t(
            np.zeros(len(rows)),
            covariance(feasible_set, sample, rows) + (sample.noise + 1e-6) * np.eye(len(rows)),
            df=4,
        ).logpdf(scores)
        for sample in some
    ]
    matrices = covariances(kernel, some, kernel.codes(rows))
    computed = np.array([fit(covariance, scores).log_evidence for covariance in matrices])
    assert computed - computed[0] == pytest.approx(np.array(wanted) - wanted[0], abs=1e-7)
    order = np.argsort(wanted)[::-1][:3]
    shares = np.exp(np.array(wanted)[order] - wanted[order[0]])
    weights = posterior_weights(kernel, some, kernel.codes(rows), scores, 3)
    shares = shares[shares >= 0.03]
    assert [sample for sample, _ in weights] == [some[i] for i in order[: len(shares)]]
    assert [share for _, share in weights] == pytest.approx(shares / shares.sum())


def test_scores_tell_what_kind_they_are_of(feasible_set: Feasible) -> None:
    kernel = Kernel(feasible_set)
    rows = drawn(feasible_set, 60)
    choice = feasible_set.space.choices[0]
    r = np.array([0.0 if o.off else np.log2(o.reduction) - 3 for o in choice.options])
    rough_share: dict[str, list[float]] = {"rough": [], "smooth": []}
    for seed in range(6):
        drawn_effects = np.random.default_rng(seed).normal(size=(rows.shape[1], len(r)))
        for kind, effects in (("rough", drawn_effects), ("smooth", drawn_effects[:, :1] * r)):
            values = sum(effect[rows[:, i]] for i, effect in enumerate(effects))
            scores = standardise(np.asarray(values))
            weights = posterior_weights(
                kernel, draw_kernel_samples(kernel), kernel.codes(rows), scores, 8
            )
            rough_share[kind].append(sum(share * sample.options[-1] for sample, share in weights))
    assert np.mean(rough_share["rough"]) > 0.5
    assert np.mean(rough_share["smooth"]) < 0.1


def test_predictions_are_those_of_the_textbook(feasible_set: Feasible) -> None:
    kernel = Kernel(feasible_set)
    rows = drawn(feasible_set, 60)
    codes = kernel.codes(rows)
    scores = np.random.default_rng(2).normal(size=20)
    some = interacting(kernel)
    shares = np.arange(1, 13) / 78
    means, variances, improvements = [], [], []
    for sample in some:
        full = covariance(feasible_set, sample, rows)
        inverse = np.linalg.inv(full[:20, :20] + (sample.noise + 1e-6) * np.eye(20))
        scale = (2 + scores @ inverse @ scores / 2) / (2 + 20 / 2)
        mean = full[20:, :20] @ inverse @ scores
        variance = scale * np.diag(full[20:, 20:] - full[20:, :20] @ inverse @ full[:20, 20:])
        means.append(mean)
        variances.append(variance)
        z = (mean - 1.5) / np.sqrt(variance)
        improvements.append(np.sqrt(variance) * (z * norm.cdf(z) + norm.pdf(z)))
    mixture = ModelAverage(kernel, list(zip(some, shares, strict=True)), codes[:20], scores)
    prediction = mixture.predict(codes[20:])
    mean = prediction.mean
    assert mean == pytest.approx(shares @ means, abs=1e-9)
    second = shares @ (np.array(variances) + np.array(means) ** 2)
    assert prediction.variance == pytest.approx(second - mean**2, abs=1e-9)
    computed = prediction.log_improvement(1.5)
    assert np.exp(computed) == pytest.approx(shares @ improvements, rel=1e-6)


@pytest.mark.parametrize("best", [-2.0, 0.0, 3.0, 9.0])
def test_expected_improvement_is_an_expectation(best: float) -> None:
    mean, deviation = 0.5, 0.7
    wanted, _ = quad(
        lambda y: (y - best) * norm.pdf(y, mean, deviation), best, best + 20, epsabs=0, epsrel=1e-9
    )
    computed = log_expected_improvement(np.array([mean]), np.array([deviation]), best)
    assert np.exp(computed)[0] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("z", [-5.0, -20.0, -24.9, -25.1, -40.0, -200.0])
def test_expected_improvement_far_below_the_best(z: float) -> None:
    """phi(z) (1 + z Phi(z) / phi(z)), where erfcx gives the ratio."""
    ratio = np.sqrt(np.pi / 2) * erfcx(-z / np.sqrt(2))
    wanted = norm.logpdf(z) + np.log(1 + z * ratio)
    computed = log_expected_improvement(np.array([z]), np.ones(1), 0.0)[0]
    assert computed == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("z", [24.9, 25.1, 40.0, 1e4])
def test_expected_improvement_far_above_the_best(z: float) -> None:
    """Then it is certain."""
    computed = log_expected_improvement(np.array([z]), np.ones(1), 0.0)[0]
    assert computed == pytest.approx(np.log(z), abs=1e-9)


def test_expected_improvement_tells_hopeless_designs_apart() -> None:
    mean = -np.linspace(1, 200, 400)
    computed = log_expected_improvement(mean, np.ones(400), 0.0)
    assert np.isfinite(computed).all()
    assert (np.diff(computed) < 0).all()


def test_chebyshev_finds_every_point_of_a_front() -> None:
    """Also those in a dent, which no weighted sum finds."""
    gains = np.array([[1.0, 0.0], [0.4, 0.4], [0.0, 1.0], [0.3, 0.3]])
    shares = np.linspace(0.01, 0.99, 99)
    computed = {int(chebyshev(gains, np.array([s, 1 - s])).argmax()) for s in shares}
    assert computed == {0, 1, 2}


@pytest.mark.parametrize(
    "scores",
    [[1.0], [3.0, 3.0, 3.0], [0.0, 0.0], [1e300, -1e300, 5e299], [5.0, 5.0, 5.0, 5.0, 6.0]],
)
def test_standardised_scores_are_finite_and_in_order(scores: list[float]) -> None:
    computed = standardise(np.array(scores))
    assert np.isfinite(computed).all()
    assert np.abs(computed).max() < 20
    for a, first in zip(scores, computed, strict=True):
        for b, second in zip(scores, computed, strict=True):
            assert (a > b) == (first > second)


def test_an_outlier_does_not_hide_the_others() -> None:
    scores = np.random.default_rng(0).normal(size=50)
    plain, beside = standardise(scores), standardise(np.append(scores, -1e6))
    assert beside[:-1] == pytest.approx(plain, abs=0.2)
