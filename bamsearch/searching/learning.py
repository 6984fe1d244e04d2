"""What the trainings of a search say together: effects, and the ranking of designs.

The ranking is that of :mod:`~bamsearch.searching.training_model`: a design borrows strength from
those like it, so that one lucky training does not rank it first. Joint draws of all designs give
the intervals, and the chance of each to be the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite

import numpy as np

from bamsearch.records import Estimate, Gain, Insertion, Learned, RunRecord, Trial
from bamsearch.searching.choices import SearchSpace
from bamsearch.searching.codes import Floats
from bamsearch.searching.effects import effects
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.training_model import Training, TrainingModel

CONFIDENCE = 0.95

FEWEST = 4
"""Trainings from which on anything is said."""

_DRAWS = 4_000
# Designs without a training that may turn out the best: enough for all sets of four sites.
_OTHERS = 64


def learn(record: RunRecord, feasible: Feasible) -> Learned | None:
    """What the trainings of a run say; None before there are a few.

    Args:
        record: of a run with score ``train``.
        feasible: the feasible set.
    """
    space, trainings = feasible.space, trainings_of(record)
    observed = observed_of(space, trainings)
    if len(observed) < FEWEST:
        return None
    model = TrainingModel(feasible, observed)
    draws = model.draw(_DRAWS, record.run.seed)
    chances = np.bincount(draws.argmax(axis=1), minlength=len(model.picks)) / len(draws)
    # The model does not know that accuracies end at 100%.
    low, high = np.clip(_interval(draws), 0.0, 100.0)
    ranking = [
        Estimate(
            space.insertions(picks),
            mean=round(float(model.mean[column]), 4),
            low=round(float(low[column]), 4),
            high=round(float(high[column]), 4),
            trainings=sum(design == picks for design, _, _ in observed),
            chance=round(float(chances[column]), 4),
        )
        for column, picks in enumerate(model.picks)
    ]
    regret = None
    if record.run.until is not None:
        expected = expected_regret(feasible, observed, record.run.seed)
        regret = round(expected, 4) if isfinite(expected) else None
    failed = [observed[index] for index in model.outliers]
    # The prediction of where a training would have ended is not a measurement of an effect.
    ended = [
        (insertions, value)
        for insertions, value, seed in trainings_of(record, ended=True)
        if (space.picks(insertions), value, seed) not in failed
    ]
    return Learned(
        trainings=len(trainings),
        noise=round(model.noise, 4),
        shared=round(model.shared, 4),
        confidence=CONFIDENCE,
        effects=effects(record.run.summary.sites, ended),
        ranking=tuple(sorted(ranking, key=lambda estimate: -estimate.mean)),
        gain=_gain(model, draws, space.picks(())),
        remarks=_remarks(failed, regret),
        regret=regret,
    )


def expected_regret(feasible: Feasible, trainings: Sequence[Training], seed: int) -> float:
    """What stopping now is expected to cost, in points of accuracy.

    The expected worth of the best design less that of the recommended one, over joint draws of the
    designs trained and of designs drawn uniformly. Trainings of the base with further seeds are
    left out: they come after the search has stopped, and must not start it again.

    Args:
        feasible: the feasible set.
        trainings: of the search.
        seed: random seed of the draws.
    """
    first = [t for t in trainings if not (feasible.space.inserts_nothing(t[0]) and t[2])]
    if len(first) < FEWEST:
        return inf
    others = feasible.sample(np.random.default_rng(seed), _OTHERS).tolist()
    model = TrainingModel(feasible, first, [tuple(row) for row in others])
    draws = model.draw(_DRAWS, seed)
    trained = len({picks for picks, _, _ in first})
    recommended = int(np.argmax(model.mean[:trained]))
    return float((draws.max(axis=1) - draws[:, recommended]).mean())


def observed_of(
    space: SearchSpace, trainings: Sequence[tuple[tuple[Insertion, ...], float, int]]
) -> list[Training]:
    """Trainings of designs of the space, by their picks."""
    return [
        (picks, value, seed)
        for insertions, value, seed in trainings
        if (picks := space.picks(insertions)) is not None
    ]


def _interval(draws: Floats) -> Floats:
    """Lower and upper ends over draws, the first axis."""
    ends: Floats = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return ends


def _gain(model: TrainingModel, draws: Floats, base: tuple[int, ...] | None) -> Gain | None:
    """What the best design is worth more than the base; None where that was not trained, or is it.

    Draws are joint, and seeds have effects of their own: trainings with one seed count as pairs.
    """
    if base not in model.picks or model.picks[model.best] == base:
        return None
    column = model.picks.index(base)
    low, high = _interval(draws[:, model.best] - draws[:, column])
    points = model.mean[model.best] - model.mean[column]
    return Gain(*(round(float(value), 4) for value in (points, low, high)))


def _remarks(failed: Sequence[Training], regret: float | None) -> tuple[str, ...]:
    remarks = []
    if failed:
        values = ", ".join(f"{value:.2f}" for _, value, _ in failed)
        remarks.append(
            f"Far below all other trainings, and counted for their own designs only: {values}%."
        )
    if regret is not None:
        remarks.append(f"Expected regret of stopping here: {regret:.2f} points.")
    return tuple(remarks)


def trainings_of(
    record: RunRecord, *, ended: bool = False
) -> list[tuple[tuple[Insertion, ...], float, int]]:
    """Designs, accuracies and seeds of a run's trainings, each once, stopped ones as expected.

    References come first, as the base does; a training that is a trial too counts once.

    Args:
        record: of the run.
        ended: leave out those that were stopped.
    """
    values: dict[tuple[tuple[Insertion, ...], int], float] = {}
    everything: list[Trial] = [*(trial for _, trial in record.references), *record.trials]
    for trial in everything:
        value = trial.expected if trial.score is None and not ended else trial.score
        if value is not None:
            values.setdefault((trial.design.insertions, trial.seed or 0), value)
    return [(insertions, value, seed) for (insertions, seed), value in values.items()]
