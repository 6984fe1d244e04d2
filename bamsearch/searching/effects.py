"""What each site, r and d do to accuracy: a linear mixed model of a search's trainings.

::

    accuracy = mu + sum over sites with BAM of beta_site + gamma_r R + gamma_d D + u_design + noise

R is the mean of log2 r over the design's BAMs, less the mean over the BAMs of all designs; 0 where
there is none. D likewise. Doubling r at every site that has BAM thus adds gamma_r, however many
these are, which a sum over the sites would not do; and beta is the effect of a BAM with r and d at
the mean. r and d are those that are computed: C / h and min(d, max(H, W)).

u is what a design has beyond this sum: pairs of sites, r at one site. Two seeds of a design share
it, and so are no independent evidence of a site. Its variance and the noise's are by restricted
maximum likelihood (Patterson & Thompson 1971). That a search trains again what did well does no
harm to a likelihood: the accuracies that it chose by are in the data.
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
from bamsearch.records.learned import Aspect

Floats = NDArray[np.float64]

Training = tuple[Sequence[Insertion], float]
"""A design's insertions, none for the base, and its accuracy in per cent."""

CONFIDENCE = 0.95
"""Of each interval."""

_SPARE = 3
"""Designs beyond the number of coefficients; with fewer an interval says nothing."""

_LEAST = 1e-5
"""Points: less is no deviation of accuracies, which are counts of images, but rounding."""


def noise(runs: Sequence[Training]) -> float | None:
    """Standard deviation of one training about its design's mean, pooled over designs, in points.

    Args:
        runs: trainings with their accuracies.

    Returns:
        None where no design was trained twice.
    """
    found = _pooled([tuple(insertions) for insertions, _ in runs], [y for _, y in runs])
    spare = int(found.counts.sum()) - len(found.counts)
    return sqrt(found.within / spare) if spare else None


def effects(sites: Sequence[Site], runs: Sequence[Training]) -> tuple[Effect, ...]:
    """The effect of each site, of r and of d in points, each with its 95 % interval.

    Intervals are Student's with designs less coefficients degrees of freedom: exact where all
    designs have equally many seeds, or one.

    Args:
        sites: of the model, in network order.
        runs: trainings with their accuracies, those of references included.

    Returns:
        Sites in network order, then r and d. What cannot be told is left out: a site that all
        designs have, r where no site has two. r and d also where there are too few designs for
        them; all of it where there are too few for the sites.
    """
    used = {one.site for insertions, _ in runs for one in insertions}
    sites = [site for site in sites if site.name in used]
    designs = [_computed(sites, insertions) for insertions, _ in runs]
    means = _pooled(designs, [accuracy for _, accuracy in runs])
    # Seeds that happen to agree do not prove that there is no noise.
    least = (len(runs) - len(means.counts)) * _LEAST**2
    means = replace(means, within=max(means.within, least))
    factors = _factors(sites, list(dict.fromkeys(designs)))
    for some in (factors, [one for one in factors if one.aspect == "site"]):
        if some:
            columns = [np.ones(len(means.counts)), *(one.column for one in some)]
            fit = _fit(np.column_stack(columns), means)
            if fit is not None:
                return tuple(
                    Effect(one.aspect, one.sites, *interval, one.designs)
                    for one, interval in zip(some, fit[1:], strict=True)
                    if interval is not None
                )
    return ()


# (site, r, d) as computed, in network order
_Design = tuple[tuple[str, float, int], ...]


@dataclass(frozen=True, slots=True)
class _Means:
    """Accuracies by design: how many, (n,); their mean, (n,); squares about it, summed over all."""

    counts: Floats
    means: Floats
    within: float


@dataclass(frozen=True, slots=True)
class _Factor:
    """A column of the model, (designs,), and what it stands for."""

    aspect: Aspect
    sites: tuple[str, ...]
    column: Floats
    designs: int


def _computed(sites: Sequence[Site], insertions: Sequence[Insertion]) -> _Design:
    there = {one.site: one for one in insertions}
    return tuple(
        (
            site.name,
            site.channels / hidden_channels(site.channels, there[site.name].reduction),
            effective_dilation(site, there[site.name].dilation),
        )
        for site in sites
        if site.name in there
    )


def _pooled(designs: Sequence[Hashable], accuracies: Sequence[float]) -> _Means:
    groups: dict[Hashable, list[float]] = {}
    for design, accuracy in zip(designs, accuracies, strict=True):
        groups.setdefault(design, []).append(accuracy)
    means = [sum(group) / len(group) for group in groups.values()]
    within = sum(
        (one - mean) ** 2
        for group, mean in zip(groups.values(), means, strict=True)
        for one in group
    )
    counts = [float(len(group)) for group in groups.values()]
    return _Means(np.array(counts), np.array(means), within)


def _factors(sites: Sequence[Site], designs: Sequence[_Design]) -> list[_Factor]:
    names: dict[bytes, list[str]] = {}
    for site in sites:
        column = np.array([site.name in {one[0] for one in design} for design in designs], float)
        names.setdefault(column.tobytes(), []).append(site.name)
    found = [
        _Factor("site", tuple(together), np.frombuffer(key), int(np.frombuffer(key).sum()))
        for key, together in names.items()
    ]
    everywhere = tuple(site.name for site in sites)
    with_bam = sum(bool(design) for design in designs)
    doubled: tuple[tuple[Aspect, int], ...] = (("r", 1), ("d", 2))
    for aspect, at in doubled:
        values = {(one[0], one[at]) for design in designs for one in design}
        # Where each site has one value only, another mean says which sites there are.
        if len(values) > len(sites):
            column = _doublings([[float(one[at]) for one in design] for design in designs])
            found.append(_Factor(aspect, everywhere, column, with_bam))
    return found


def _doublings(values: Sequence[Sequence[float]]) -> Floats:
    """The mean of log2 of each design's values, less the mean over all values; 0 of none."""
    logs = [[log2(one) for one in some] for some in values]
    centre = float(np.mean([one for some in logs for one in some]))
    return np.array([np.mean(some) - centre if some else 0.0 for some in logs])


def _fit(matrix: Floats, data: _Means) -> list[tuple[float, float, float] | None] | None:
    """Each coefficient with its interval; None for one that the designs leave open.

    Args:
        matrix: (designs, coefficients), the first column of ones.
        data: of the designs.

    Returns:
        None where there are too few designs, or they do not differ from what the model says.
    """
    # In a basis of the rows: columns may depend on each other.
    _, sizes, rows = np.linalg.svd(matrix, full_matrices=False)
    rows = rows[sizes > sizes[0] * 1e-9]
    freedom = len(matrix) - len(rows)
    if freedom < _SPARE:
        return None
    model = matrix @ rows.T
    ratio = _ratio(model, data)
    solved, left, inverse = _solved(model, data, ratio)
    variance = left / (data.counts.sum() - len(rows))
    if sqrt(variance) <= _LEAST:
        return None
    points, spread = rows.T @ solved, variance * (rows.T @ inverse @ rows)
    told = np.isclose(np.diag(rows.T @ rows), 1.0, atol=1e-6)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    half = quantile * np.sqrt(np.maximum(np.diag(spread), 0.0))
    return [
        (float(p), float(p - h), float(p + h)) if known else None
        for p, h, known in zip(points, half, told, strict=True)
    ]


def _solved(model: Floats, data: _Means, ratio: float) -> tuple[Floats, float, Floats]:
    """Generalised least squares: coefficients, weighted squares that are left, (X' W X)^-1.

    Args:
        model: (designs, coefficients), of full rank.
        data: of the designs.
        ratio: of the variance of u to that of the noise.
    """
    weights = data.counts / (1 + ratio * data.counts)
    inverse: Floats = linalg.inv(model.T @ (weights[:, None] * model))
    solved = inverse @ (model.T @ (weights * data.means))
    left = data.within + float(weights @ (data.means - model @ solved) ** 2)
    return solved, left, inverse


def _ratio(model: Floats, data: _Means) -> float:
    """The ratio of the variances of u and of the noise with the highest restricted likelihood."""
    spare = data.counts.sum() - model.shape[1]
    if data.counts.max() == 1:
        return 0.0  # with a seed each the two are one

    def loss(log: float) -> float:
        ratio = float(np.exp(log))
        _, left, inverse = _solved(model, data, ratio)
        spread = np.log1p(ratio * data.counts).sum() - np.linalg.slogdet(inverse)[1]
        return float(spare * np.log(left) + spread)

    # First roughly, since there may be a second valley.
    logs = np.arange(-10.0, 26.0)
    losses = [loss(log) for log in logs]
    at = int(np.argmin(losses))
    found = optimize.minimize_scalar(loss, bounds=(logs[at] - 1, logs[at] + 1), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(-np.inf) else 0.0
