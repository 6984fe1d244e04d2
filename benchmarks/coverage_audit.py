"""Coverage of the intervals of an audit, on simulated audits with a known truth.

``audit_cell`` simulates audits. The true accuracy of a design is a sum of effects of sites, r and
d; each training adds noise. A score is the true accuracy, plus an error that all draws share, plus
the error of a draw of initial weights; each audit has new draws. Intervals are those of
``agreements``. The truth is tau of the same score over many designs and other draws: averaged over
as many draws as the audit has, and over many.

    python benchmarks/coverage_audit.py
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from coverage_verify import Row
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from bamsearch.evidence.audit.agreement import Comparison, agreements

Values = NDArray[np.float64]

SITES, LEVELS = 3, 4
SITE_EFFECTS, LEVEL_EFFECT = np.array([0.5, 1.4, 2.6]), 0.5
"""Effects in points of accuracy, as in the committed audit: BAM at a site, each doubling of r."""

# Each site has BAM with a chance of 1/2, at an even level from 0 to 3: mean 1.5, variance 5/4.
_MEANS = SITE_EFFECTS - 1.5 * LEVEL_EFFECT
TRUTH_SD = float(np.sqrt((_MEANS**2 / 4 + LEVEL_EFFECT**2 * 1.25 / 2).sum()))

TRAIN_NOISE = 0.96
"""Noise of a training, in standard deviations of designs: 1.17 of 1.22 points in the audit."""

_MANY_DESIGNS, _MANY_DRAWS, _WORLDS = 2_000, 200, 8
_RESAMPLES = 1_000


@dataclass(frozen=True)
class Coverage:
    """Coverage of an interval.

    Attributes:
        measure: ``tau``, or ``more``, the difference to ``params``.
        truth: tau with the ranks averaged over as many draws as the audit has.
        many: the same over many draws.
        held: share of the intervals that contain ``truth``.
        held_many: share of the intervals that contain ``many``.
        error: Monte Carlo standard error of these shares.
        width: mean width of the intervals.
    """

    measure: str
    truth: float
    many: float
    held: float
    held_many: float
    error: float
    width: float


@dataclass(frozen=True)
class World:
    """Designs of an audit: (draws, designs) scores, (designs,) mean accuracies and sizes."""

    scores: Values
    accuracies: Values
    size: Values


def draw_world(
    rng: np.random.Generator, designs: int, seeds: int, draws: int, noise: float, shared: float
) -> World:
    """Designs drawn evenly, trained with seeds and scored with draws.

    Args:
        rng: random generator.
        designs: number of designs.
        seeds: trainings of each design.
        draws: draws of the score.
        noise: standard deviation of the error of a draw for each design.
        shared: standard deviation of the error of a draw for the BAM at each site, which all
            designs with that BAM share, as they share its initial weights.
    """
    has = rng.integers(2, size=(designs, SITES)).astype(np.float64)
    level = rng.integers(LEVELS, size=(designs, SITES)) * has
    size = (has * (LEVELS - level)) @ np.arange(1, SITES + 1) + 1e-3 * rng.normal(size=designs)
    truth = (has @ SITE_EFFECTS - LEVEL_EFFECT * level.sum(axis=1)) / TRUTH_SD
    persistent = np.sqrt(0.5) * (truth + rng.normal(size=designs))
    of_sites = rng.normal(0, shared, (draws, SITES)) @ (has - 0.5).T
    scores = persistent + of_sites + rng.normal(0, noise, (draws, designs))
    trained = truth + rng.normal(0, TRAIN_NOISE, (seeds, designs))
    return World(scores, trained.mean(axis=0), size)


def audit_cell(
    designs: int = 28,
    seeds: int = 3,
    draws: int = 8,
    *,
    noise: float = 0.5,
    shared: float = 0.7,
    repetitions: int = 400,
    resample_draws: bool = True,
) -> list[Coverage]:
    """Coverage of the intervals of tau and of its difference to ``params``.

    Args:
        designs: number of designs in each audit.
        seeds: trainings of each design.
        draws: draws of the score.
        noise: see :func:`draw_world`.
        shared: see :func:`draw_world`.
        repetitions: number of simulated audits.
        resample_draws: whether the intervals resample draws too, not only designs.
    """
    settings = (seeds, draws, noise, shared)
    same, many = _truth(*settings), _truth(seeds, _MANY_DRAWS, noise, shared)
    rows = []
    for repetition in range(repetitions):
        world = draw_world(np.random.default_rng([repetition, 1]), designs, *settings)
        scores = world.scores if resample_draws else rankdata(world.scores, axis=1).mean(axis=0)
        comparisons = [
            Comparison("score", ((scores, world.accuracies),)),
            Comparison("params", ((world.size, world.accuracies),)),
        ]
        agreement = agreements(comparisons, world.size, "band", repetition, _RESAMPLES)[0]
        rows.append([(agreement.low, agreement.high), (agreement.more_low, agreement.more_high)])
    ends = np.array(rows, dtype=np.float64)
    coverages = []
    for index, measure in enumerate(("tau", "more")):
        low, high = ends[:, index].T
        held, held_many = (
            float(np.mean((low <= truth[index]) & (truth[index] <= high))) for truth in (same, many)
        )
        error = float(np.sqrt(max(held * (1 - held), 1e-4) / repetitions))
        width = float(np.mean(high - low))
        coverages.append(Coverage(measure, same[index], many[index], held, held_many, error, width))
    return coverages


def _truth(seeds: int, draws: int, noise: float, shared: float) -> tuple[float, float]:
    """tau and its difference to ``params``, over many designs and other draws."""
    taus = []
    for number in range(_WORLDS):
        rng = np.random.default_rng([number, draws])
        world = draw_world(rng, _MANY_DESIGNS, seeds, draws, noise, shared)
        score = rankdata(world.scores, axis=1).mean(axis=0)
        taus.append([kendalltau(x, world.accuracies).statistic for x in (score, world.size)])
    tau, size = np.mean(taus, axis=0)
    return float(tau), float(tau - size)


CELLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("8 draws", {}),
    ("8 draws, designs resampled alone", {"resample_draws": False}),
    ("8 draws, no noise of sites", {"shared": 0.0, "noise": 1.0}),
    ("24 draws", {"draws": 24}),
    ("3 draws", {"draws": 3}),
    ("1 draw", {"draws": 1}),
)


def rows(divide: int = 1) -> Iterator[Row]:
    """Coverage of tau and of its difference to ``params``, averaged over as many draws."""
    repetitions = max(400 // divide, 2)
    for name, options in CELLS:
        for cell in audit_cell(repetitions=repetitions, **options):
            measure = "tau" if cell.measure == "tau" else "difference to params"
            yield Row(f"audit, {name}: {measure}: coverage", cell.held, cell.error, repetitions)


def main() -> None:
    """Print a table."""
    for name, options in CELLS:
        for cell in audit_cell(**options):
            print(
                f"{name:34} {cell.measure:5} truth {cell.truth:.3f} (many draws {cell.many:.3f})"
                f"  coverage {cell.held:.3f}, {cell.held_many:.3f} ± {cell.error:.3f}"
                f"  width {cell.width:.3f}"
            )


if __name__ == "__main__":
    main()
