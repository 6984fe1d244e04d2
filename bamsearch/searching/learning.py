"""What the trainings of a search say together: the effects, and the ranking of designs.

The ranking is that of the models that the search proposes by
(:mod:`~bamsearch.searching.posterior`): a design borrows strength from those like it, so that one
lucky training does not make it the first. Draws of all designs together give the intervals, and
the chance of each to be the best.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bamsearch.records import Estimate, Gain, Insertion, Learned, RunRecord, Trial
from bamsearch.searching.choices import Picks
from bamsearch.searching.codes import Codes, Floats
from bamsearch.searching.effects import effects
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.hypotheses import KEPT_NOISY, noisy_hypotheses
from bamsearch.searching.kernel import Kernel
from bamsearch.searching.posterior import Mixture, believed, spread_of

CONFIDENCE = 0.95

FEWEST = 4
"""Trainings from which on anything is said."""

_DRAWS = 4_000
# How far below the median, in spreads, a result counts: how bad a failure is says nothing more.
_LOWEST = 3.0


class Posterior:
    """What is expected of designs after trainings; a function of its arguments alone.

    Args:
        kernel: over the feasible set.
        observed: designs and the accuracy of one training each, at least two.

    Attributes:
        picks: the designs trained, each once, in the order of their first training.
        mean: expected accuracy of each, (designs,).
        noise: standard deviation of one training.
    """

    def __init__(self, kernel: Kernel, observed: Sequence[tuple[Picks, float]]) -> None:
        values = np.array([value for _, value in observed])
        self._centre = float(np.median(values))
        self._spread = spread_of(values - self._centre) or 1.0
        scores = np.maximum((values - self._centre) / self._spread, -_LOWEST)
        self._kernel = kernel
        codes = self._codes([picks for picks, _ in observed])
        likely = believed(kernel, noisy_hypotheses(kernel), codes, scores, KEPT_NOISY)
        self._model = Mixture(kernel, likely, codes, scores)
        first = {picks: place for place, (picks, _) in reversed(list(enumerate(observed)))}
        self.picks = tuple(sorted(first, key=first.__getitem__))
        self._which = np.array([first[picks] for picks in self.picks], dtype=np.int64)
        self.mean = self.expected(self.picks)
        self.noise = self._spread * self._model.noise

    @property
    def best(self) -> int:
        """Which of the designs trained is expected to be the best."""
        return int(np.argmax(self.mean))

    def expected(self, designs: Sequence[Picks]) -> Floats:
        """Expected accuracy of any designs of the space: (designs,)."""
        mean, _ = self._model.predict(self._codes(designs))
        return self._centre + self._spread * mean

    def draw(self, number: int, seed: int) -> Floats:
        """Draws of what the designs trained are worth, together: (about number, designs)."""
        drawn = self._model.draw(self._which, np.random.default_rng(seed), number)
        return self._centre + self._spread * drawn

    def _codes(self, designs: Sequence[Picks]) -> Codes:
        return self._kernel.codes(np.array(designs, dtype=np.int8))


def learn(record: RunRecord, feasible: Feasible) -> Learned | None:
    """What the trainings of a run say; None before there are a few.

    Args:
        record: of a run with score ``train``.
        feasible: what fits.
    """
    trainings = trainings_of(record)
    observed = [
        (picks, value)
        for insertions, value in trainings
        if (picks := feasible.space.picks(insertions)) is not None
    ]
    if len(observed) < FEWEST:
        return None
    found = Posterior(Kernel(feasible), observed)
    draws = found.draw(_DRAWS, record.run.seed)
    best = np.bincount(draws.argmax(axis=1), minlength=len(found.picks))
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    ranking = [
        Estimate(
            feasible.space.insertions(picks),
            mean=round(float(found.mean[place]), 4),
            low=round(float(low[place]), 4),
            high=round(float(high[place]), 4),
            trainings=sum(one == picks for one, _ in observed),
            chance=round(float(best[place] / len(draws)), 4),
        )
        for place, picks in enumerate(found.picks)
    ]
    first = found.best
    nothing = feasible.space.picks(())
    gain = None
    if nothing in found.picks and found.picks[first] != nothing:
        gain = _gain(draws[:, first] - draws[:, found.picks.index(nothing)])
    return Learned(
        trainings=len(trainings),
        noise=round(found.noise, 4),
        confidence=CONFIDENCE,
        # A prediction of where a training would have ended is no measurement of an effect.
        effects=effects(record.run.summary.sites, trainings_of(record, ended=True)),
        ranking=tuple(sorted(ranking, key=lambda one: -one.mean)),
        gain=gain,
    )


def _gain(draws: Floats) -> Gain:
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Gain(*(round(float(value), 4) for value in (draws.mean(), low, high)))


def trainings_of(
    record: RunRecord, *, ended: bool = False
) -> list[tuple[tuple[Insertion, ...], float]]:
    """Designs and accuracies of a run's trainings, each once, stopped ones as they were expected.

    References come first, as the base does; what was a trial too is the same training.

    Args:
        record: of the run.
        ended: leave out those that were stopped.
    """
    found: dict[tuple[tuple[Insertion, ...], int | None], float] = {}
    everything: list[Trial] = [*(trial for _, trial in record.references), *record.trials]
    for trial in everything:
        value = trial.expected if trial.score is None and not ended else trial.score
        if value is not None:
            found.setdefault((trial.design.insertions, trial.seed), value)
    return [(insertions, value) for (insertions, _), value in found.items()]
