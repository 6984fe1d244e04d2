"""Analysis of a search's trainings: effects, the ranking of designs, and the gain over the base.

The ranking is that of :mod:`~bamsearch.sampler.training_model`: a design borrows strength from
similar ones, so one lucky training does not rank it first. Joint posterior draws of all designs
give the intervals and each design's probability of being the best.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite

import numpy as np

from bamsearch.records import AccuracyEstimate, Gain, Insertion, RunRecord, TrainingAnalysis, Trial
from bamsearch.sampler.codes import Floats
from bamsearch.sampler.effects import effects
from bamsearch.sampler.training_model import Observation, TrainingModel
from bamsearch.space.choices import SearchSpace
from bamsearch.space.feasible import Feasible

CONFIDENCE = 0.95

FEWEST = 4
"""Number of trainings before anything is reported."""

_DRAWS = 4_000
# Untrained designs that may be the best, for the expected regret: more than the sets of 4 sites.
_OTHERS = 64


def analyse_trainings(record: RunRecord, feasible: Feasible) -> TrainingAnalysis | None:
    """Analyse the trainings of a run; None with fewer than four.

    Args:
        record: run with score ``train``.
        feasible: the feasible set.
    """
    space, trainings = feasible.space, trainings_of(record)
    observed = observed_of(space, trainings)
    if len(observed) < FEWEST:
        return None
    model = TrainingModel(feasible, observed)
    draws = model.draw(_DRAWS, record.run.seed)
    chances = np.bincount(draws.argmax(axis=1), minlength=len(model.encodings)) / len(draws)
    # The model does not know that accuracies end at 100%.
    low, high = np.clip(_interval(draws), 0.0, 100.0)
    ranking = [
        AccuracyEstimate(
            space.insertions(encoding),
            mean=round(float(model.mean[column]), 4),
            low=round(float(low[column]), 4),
            high=round(float(high[column]), 4),
            trainings=sum(design == encoding for design, _, _ in observed),
            chance=round(float(chances[column]), 4),
        )
        for column, encoding in enumerate(model.encodings)
    ]
    regret = None
    if record.run.until is not None:
        expected = expected_regret(feasible, observed, record.run.seed)
        regret = round(expected, 4) if isfinite(expected) else None
    failed = [observed[index] for index in model.outliers]
    # A predicted final accuracy is not a measurement, so stopped trainings have no part in effects.
    ended = [
        (insertions, value)
        for insertions, value, seed in trainings_of(record, ended=True)
        if (space.encoding(insertions), value, seed) not in failed
    ]
    return TrainingAnalysis(
        trainings=len(trainings),
        noise=round(model.noise, 4),
        shared=round(model.shared, 4),
        confidence=CONFIDENCE,
        effects=effects(record.run.summary.sites, ended),
        ranking=tuple(sorted(ranking, key=lambda estimate: -estimate.mean)),
        gain=_gain(model, draws, space.encoding(())),
        remarks=_remarks(failed, regret),
        regret=regret,
    )


def expected_regret(feasible: Feasible, trainings: Sequence[Observation], seed: int) -> float:
    """The expected regret of stopping now, in points of accuracy; infinite below four trainings.

    With f the accuracies of the trained designs and of 64 designs drawn uniformly, and x* the
    trained design with the greatest mean, it is E[max_x f(x) - f(x*)] over joint posterior draws.
    Further seeds of the base are left out: they are trained after the search has stopped, and must
    not restart it.

    Args:
        feasible: the feasible set.
        trainings: trainings of the search.
        seed: random seed of the draws.
    """
    first = [t for t in trainings if not (feasible.space.inserts_nothing(t[0]) and t[2])]
    if len(first) < FEWEST:
        return inf
    untrained = feasible.sample(np.random.default_rng(seed), _OTHERS).tolist()
    model = TrainingModel(feasible, first, [tuple(row) for row in untrained])
    draws = model.draw(_DRAWS, seed)
    trained = len({encoding for encoding, _, _ in first})
    recommended = int(np.argmax(model.mean[:trained]))
    return float((draws.max(axis=1) - draws[:, recommended]).mean())


def observed_of(
    space: SearchSpace, trainings: Sequence[tuple[tuple[Insertion, ...], float, int]]
) -> list[Observation]:
    """The trainings of designs in the space, with their encodings."""
    return [
        (encoding, value, seed)
        for insertions, value, seed in trainings
        if (encoding := space.encoding(insertions)) is not None
    ]


def _interval(draws: Floats) -> Floats:
    """Ends of the central interval over draws, the first axis: (2, …)."""
    ends: Floats = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return ends


def _gain(model: TrainingModel, draws: Floats, base: tuple[int, ...] | None) -> Gain | None:
    """The gain of the best design over the base; None if the base was not trained, or is the best.

    Draws are joint and the model has seed effects, so trainings with one seed count as pairs.
    """
    if base not in model.encodings or model.encodings[model.best] == base:
        return None
    column = model.encodings.index(base)
    low, high = _interval(draws[:, model.best] - draws[:, column])
    points = model.mean[model.best] - model.mean[column]
    return Gain(*(round(float(value), 4) for value in (points, low, high)))


def _remarks(failed: Sequence[Observation], regret: float | None) -> tuple[str, ...]:
    remarks = []
    if failed:
        values = ", ".join(f"{value:.2f}" for _, value, _ in failed)
        remarks.append(
            f"Far below all other trainings, so used for their own designs only: {values}%."
        )
    if regret is not None:
        remarks.append(f"Expected regret of stopping here: {regret:.2f} points.")
    return tuple(remarks)


def trainings_of(
    record: RunRecord, *, ended: bool = False
) -> list[tuple[tuple[Insertion, ...], float, int]]:
    """Insertions, accuracy and seed of each training of a run; stopped ones with the prediction.

    Baselines come first. A baseline that is also a trial is one training.

    Args:
        record: the run.
        ended: leave out trainings that were stopped early.
    """
    values: dict[tuple[tuple[Insertion, ...], int], float] = {}
    trials: list[Trial] = [*(trial for _, trial in record.baselines), *record.trials]
    for trial in trials:
        value = trial.expected if trial.score is None and not ended else trial.score
        if value is not None:
            values.setdefault((trial.design.insertions, trial.seed or 0), value)
    return [(insertions, value, seed) for (insertions, seed), value in values.items()]
