"""Effects of the sites, of r and of d on accuracy: a linear mixed model of a search's trainings.

Notation: training i has design j and accuracy y_i in percent; S_j are the sites of design j that
have BAM::

    y_i = mu + sum_{s in S_j} beta_s + gamma_r R_j + gamma_d D_j + u_j + e_i

    beta_s   effect of BAM at site s, with r and d at their means          fixed, points
    R_j      mean of log2 r over the BAMs of design j, centred over the BAMs of all designs;
             0 for a design without BAM; D_j likewise for d
    gamma_r  effect of doubling r at every site that has BAM               fixed, points
    u_j      deviation of design j from this sum: pairs of sites, r at one site    variance rho v
    e_i      noise of one training                                                 variance v

R is a mean over sites, not a sum: gamma_r is then one number, however many BAMs a design has. r and
d are the effective ones, C / h and min(d, max(H, W)).

Two seeds of a design share u_j, so they are not independent evidence of a site. rho and v are
estimated by restricted maximum likelihood (REML; Patterson and Thompson 1971). Repeating good
designs, as a search does, does not bias a likelihood: the accuracies that the choice was based on
are in the data.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from math import log2, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, stats

from bamsearch.attention.cost import effective_dilation, hidden_channels
from bamsearch.records import Effect, Insertion, Site
from bamsearch.records.training_analysis import Aspect

Floats = NDArray[np.float64]

EffectObservation = tuple[Sequence[Insertion], float]
"""A design's insertions, empty for the base, and its accuracy in percent."""

CONFIDENCE = 0.95
"""Confidence level of each interval."""

_SPARE = 3
"""Least degrees of freedom: Student's 95% quantile is 4.3 at 2 and 12.7 at 1."""

_LEAST = 1e-5
"""Points: smaller deviations are rounding, because accuracies are counts of images."""


def effects(sites: Sequence[Site], runs: Sequence[EffectObservation]) -> tuple[Effect, ...]:
    """The effects of each site, of r and of d in points, with 95% intervals.

    Intervals are Student's, with designs less coefficients degrees of freedom: exact where all
    designs have the same number of seeds.

    Args:
        sites: sites of the model, in network order.
        runs: trainings with their accuracies, those of baselines included.

    Returns:
        Effects of the sites in network order, then of r and of d. Effects that cannot be estimated
        are missing: a site that all designs have, r where no site has two values of it, r and d
        where there are too few designs for them, and all where there are too few for the sites.
    """
    used = {insertion.site for insertions, _ in runs for insertion in insertions}
    sites = [site for site in sites if site.name in used]
    designs = [_computed(sites, insertions) for insertions, _ in runs]
    means = _pooled(designs, [accuracy for _, accuracy in runs])
    # Seeds that happen to agree do not prove that the noise is zero.
    least = (len(runs) - len(means.counts)) * _LEAST**2
    means = replace(means, within=max(means.within, least))
    factors = _factors(sites, list(dict.fromkeys(designs)))
    # First with r and d; with too few designs for them, the sites alone.
    for subset in (factors, [factor for factor in factors if factor.aspect == "site"]):
        if subset:
            columns = [np.ones(len(means.counts)), *(factor.column for factor in subset)]
            fit = _fit(np.column_stack(columns), means)
            if fit is not None:
                return tuple(
                    Effect(factor.aspect, factor.sites, *interval, factor.designs)
                    for factor, interval in zip(subset, fit[1:], strict=True)
                    if interval is not None
                )
    return ()


# (site, effective r, effective d) in network order
_Design = tuple[tuple[str, float, int], ...]


@dataclass(frozen=True, slots=True)
class _Means:
    """Accuracies by design: counts (n,), means (n,), and the pooled squares about the means."""

    counts: Floats
    means: Floats
    within: float


@dataclass(frozen=True, slots=True)
class _Factor:
    """A column of the model matrix, (designs,), with its sites and number of designs."""

    aspect: Aspect
    sites: tuple[str, ...]
    column: Floats
    designs: int


def _computed(sites: Sequence[Site], insertions: Sequence[Insertion]) -> _Design:
    by_site = {insertion.site: insertion for insertion in insertions}
    return tuple(
        (
            site.name,
            site.channels / hidden_channels(site.channels, by_site[site.name].reduction),
            effective_dilation(site, by_site[site.name].dilation),
        )
        for site in sites
        if site.name in by_site
    )


def _pooled(designs: Sequence[Hashable], accuracies: Sequence[float]) -> _Means:
    groups: dict[Hashable, list[float]] = {}
    for design, accuracy in zip(designs, accuracies, strict=True):
        groups.setdefault(design, []).append(accuracy)
    values = [np.array(group) for group in groups.values()]
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in values)
    counts, means = [float(len(group)) for group in values], [group.mean() for group in values]
    return _Means(np.array(counts), np.array(means), within)


def _factors(sites: Sequence[Site], designs: Sequence[_Design]) -> list[_Factor]:
    names: dict[bytes, list[str]] = {}
    for site in sites:
        column = np.array([site.name in {bam[0] for bam in design} for design in designs], float)
        names.setdefault(column.tobytes(), []).append(site.name)
    # Sites with one column always occur together: they get one effect.
    factors = [
        _Factor("site", tuple(together), np.frombuffer(key), int(np.frombuffer(key).sum()))
        for key, together in names.items()
    ]
    everywhere = tuple(site.name for site in sites)
    with_bam = sum(bool(design) for design in designs)
    doubled: tuple[tuple[Aspect, int], ...] = (("r", 1), ("d", 2))
    for aspect, at in doubled:
        values = {(bam[0], bam[at]) for design in designs for bam in design}
        # With one value per site, the mean is a function of the sites: it has no effect of its own.
        if len(values) > len(sites):
            column = _doublings([[float(bam[at]) for bam in design] for design in designs])
            factors.append(_Factor(aspect, everywhere, column, with_bam))
    return factors


def _doublings(values: Sequence[Sequence[float]]) -> Floats:
    """R or D: mean log2 of each design's values, centred over all values; 0 without values."""
    logs = [[log2(value) for value in design] for design in values]
    centre = float(np.mean([log for design in logs for log in design]))
    return np.array([np.mean(design) - centre if design else 0.0 for design in logs])


def _fit(matrix: Floats, data: _Means) -> list[tuple[float, float, float] | None] | None:
    """Each coefficient with its interval; None for one that the designs do not determine.

    Args:
        matrix: model matrix, (designs, coefficients); the first column is ones.
        data: accuracies by design.

    Returns:
        None if there are too few designs, or the fit is exact.
    """
    # In a basis of the row space, because columns may be linearly dependent.
    _, sizes, rows = np.linalg.svd(matrix, full_matrices=False)
    rows = rows[sizes > sizes[0] * 1e-9]
    freedom = len(matrix) - len(rows)
    if freedom < _SPARE:
        return None
    model = matrix @ rows.T
    ratio = _ratio(model, data)
    solved, residual, inverse = _solved(model, data, ratio)
    variance = residual / (data.counts.sum() - len(rows))
    if sqrt(variance) <= _LEAST:
        return None
    points, spread = rows.T @ solved, variance * (rows.T @ inverse @ rows)
    # A coefficient is estimable if its unit vector lies in the row space.
    estimable = np.isclose(np.diag(rows.T @ rows), 1.0, atol=1e-6)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    half = quantile * np.sqrt(np.maximum(np.diag(spread), 0.0))
    return [
        (float(p), float(p - h), float(p + h)) if determined else None
        for p, h, determined in zip(points, half, estimable, strict=True)
    ]


def _solved(model: Floats, data: _Means, ratio: float) -> tuple[Floats, float, Floats]:
    """Generalised least squares: coefficients, residual sum of squares, (X' W X)^-1.

    The mean of n_j trainings has variance v (1 + rho n_j) / n_j, so its weight is
    n_j / (1 + rho n_j).

    Args:
        model: X, (designs, coefficients), of full rank.
        data: accuracies by design.
        ratio: rho.
    """
    weights = data.counts / (1 + ratio * data.counts)
    inverse: Floats = linalg.inv(model.T @ (weights[:, None] * model))
    solved = inverse @ (model.T @ (weights * data.means))
    residual = data.within + float(weights @ (data.means - model @ solved) ** 2)
    return solved, residual, inverse


def _ratio(model: Floats, data: _Means) -> float:
    """The rho with the highest restricted likelihood; v is profiled out.

    With R(rho) the residual sum of squares, N trainings and k coefficients::

        -2 log L = (N - k) log R + sum_j log(1 + rho n_j) + log det(X' W X) + const
    """
    freedom = data.counts.sum() - model.shape[1]
    if data.counts.max() == 1:
        return 0.0  # with one seed per design, u and e cannot be separated

    def loss(log: float) -> float:
        ratio = float(np.exp(log))
        _, residual, inverse = _solved(model, data, ratio)
        spread = np.log1p(ratio * data.counts).sum() - np.linalg.slogdet(inverse)[1]
        return float(freedom * np.log(residual) + spread)

    # A grid first, because there may be a second minimum.
    logs = np.arange(-10.0, 26.0)
    losses = [loss(log) for log in logs]
    at = int(np.argmin(losses))
    best = optimize.minimize_scalar(loss, bounds=(logs[at] - 1, logs[at] + 1), method="bounded")
    return float(np.exp(best.x)) if best.fun < loss(-np.inf) else 0.0
