"""How often an audit's interval holds what it is about, on audits whose truth is known.

``audit_cell`` simulates audits: designs have a true accuracy, a sum of effects of sites, r and d;
each training adds noise; a score is the truth's signal, an error that is the same in all draws, and
what a draw of initial weights adds, with new draws in each audit. Intervals are those of the
product's own ``agreements``. The truth is tau of the same score over many designs and other draws:
averaged over as many draws as the audit has, and over many.

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
"""Points of accuracy, as the committed audit has of BAM at each site and of each doubling of r."""

# Each site has BAM with a chance of 1/2, at an even level from 0 to 3: mean 1.5, variance 5/4.
_MEANS = SITE_EFFECTS - 1.5 * LEVEL_EFFECT
TRUTH_SD = float(np.sqrt((_MEANS**2 / 4 + LEVEL_EFFECT**2 * 1.25 / 2).sum()))

TRAIN_NOISE = 0.96
"""Of one training, in standard deviations of designs: 1.17 of 1.22 points there."""

_MANY_DESIGNS, _MANY_DRAWS, _WORLDS = 2_000, 200, 8
_RESAMPLES = 1_000


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth.

    Attributes:
        what: ``tau``, or ``more``, the difference to ``params``.
        truth: tau with the ranks averaged over as many draws as the audit has.
        many: the same over many draws.
        held: share of the intervals that hold ``truth``.
        held_many: share of them that hold ``many``.
        error: standard error of these shares, by Monte Carlo.
        width: mean width of the intervals.
    """

    what: str
    truth: float
    many: float
    held: float
    held_many: float
    error: float
    width: float


@dataclass(frozen=True)
class World:
    """One audit's designs: (draws, designs) scores, (designs,) mean accuracies and sizes."""

    scores: Values
    accuracies: Values
    size: Values


def draw_world(
    rng: np.random.Generator, designs: int, seeds: int, draws: int, noise: float, shared: float
) -> World:
    """Designs drawn evenly, trained with seeds and scored with draws.

    Args:
        rng: of everything.
        designs: how many.
        seeds: trainings of each.
        draws: of the score.
        noise: standard deviation that a draw adds to each design by itself.
        shared: standard deviation of what a draw adds to each site's BAM: alike in all designs with
            it, as two designs that share a site share its weights.
    """
    has = rng.integers(2, size=(designs, SITES)).astype(np.float64)
    level = rng.integers(LEVELS, size=(designs, SITES)) * has
    size = (has * (LEVELS - level)) @ np.arange(1, SITES + 1) + 1e-3 * rng.normal(size=designs)
    truth = (has @ SITE_EFFECTS - LEVEL_EFFECT * level.sum(axis=1)) / TRUTH_SD
    lasting = np.sqrt(0.5) * (truth + rng.normal(size=designs))
    of_sites = rng.normal(0, shared, (draws, SITES)) @ (has - 0.5).T
    scores = lasting + of_sites + rng.normal(0, noise, (draws, designs))
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
        designs: in each audit.
        seeds: trainings of each design.
        draws: of the score.
        noise: see :func:`draw_world`.
        shared: see :func:`draw_world`.
        repetitions: audits.
        resample_draws: False resamples designs alone, as before there were several draws.
    """
    how = (seeds, draws, noise, shared)
    same, many = _truth(*how), _truth(seeds, _MANY_DRAWS, noise, shared)
    rows = []
    for repetition in range(repetitions):
        world = draw_world(np.random.default_rng([repetition, 1]), designs, *how)
        scores = world.scores if resample_draws else rankdata(world.scores, axis=1).mean(axis=0)
        given = [
            Comparison("score", ((scores, world.accuracies),)),
            Comparison("params", ((world.size, world.accuracies),)),
        ]
        one = agreements(given, world.size, "band", repetition, _RESAMPLES)[0]
        rows.append([(one.low, one.high), (one.more_low, one.more_high)])
    ends = np.array(rows, dtype=np.float64)
    found = []
    for index, what in enumerate(("tau", "more")):
        low, high = ends[:, index].T
        held, held_many = (
            float(np.mean((low <= truth[index]) & (truth[index] <= high))) for truth in (same, many)
        )
        error = float(np.sqrt(max(held * (1 - held), 1e-4) / repetitions))
        width = float(np.mean(high - low))
        found.append(Coverage(what, same[index], many[index], held, held_many, error, width))
    return found


def _truth(seeds: int, draws: int, noise: float, shared: float) -> tuple[float, float]:
    """tau and its difference to ``params`` over many designs, mean over other draws."""
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
        for one in audit_cell(repetitions=repetitions, **options):
            what = "tau" if one.what == "tau" else "difference to params"
            yield Row(f"audit, {name}: {what}: coverage", one.held, one.error, repetitions)


def main() -> None:
    """Print a table."""
    for name, options in CELLS:
        for one in audit_cell(**options):
            print(
                f"{name:34} {one.what:5} truth {one.truth:.3f} (many draws {one.many:.3f})  held "
                f"{one.held:.3f}, {one.held_many:.3f} ± {one.error:.3f}  width {one.width:.3f}"
            )


if __name__ == "__main__":
    main()
