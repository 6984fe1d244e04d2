"""Proposals where a score is noisy: a design may be trained again, with another seed.

The same Gaussian processes as without noise, over the same designs, with three differences. Noise
may be larger than all differences between designs. Improvement counts over what is *expected* of
the best design, not over its best score, which may be luck. And a training is worth less where more
of the same say little: the augmented expected improvement (Huang, Allen, Notz and Zeng, Global
Optimization of Stochastic Black-Box Systems, 2006)::

    E[max(f - f*, 0)] · (1 - noise / sqrt(variance of f + noise²))

So a contender is trained again while its mean is uncertain, and a lucky design is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice

import numpy as np

from bamsearch.records import Objective
from bamsearch.searching.choices import Picks
from bamsearch.searching.codes import Floats, Rows
from bamsearch.searching.feasible import Feasible
from bamsearch.searching.gp import GPProposer, Observed
from bamsearch.searching.hypotheses import KEPT_NOISY, noisy_hypotheses
from bamsearch.searching.posterior import Mixture
from bamsearch.searching.strata import evenly, many_sets

FIRST = 3
"""Designs that are trained before any model is asked, the base and the largest among them."""


class NoisyProposer(GPProposer):
    """Proposes designs, new ones and others again.

    Args:
        feasible: the feasible set.
        objectives: the score is to be greatest, all others least.
        seed: of all that is drawn.
    """

    def __init__(
        self, feasible: Feasible, objectives: Sequence[Objective] = ("score",), *, seed: int = 0
    ) -> None:
        super().__init__(feasible, objectives, seed=seed, drawn=noisy_hypotheses)
        self._kept = KEPT_NOISY
        rng = np.random.default_rng(seed)
        designs = evenly(feasible, many_sets(feasible, rng), rng)
        some = (picks for picks in designs if not feasible.space.inserts_nothing(picks))
        self._first = list(islice(some, FIRST))

    def propose(self, observed: Observed, excluded: AbstractSet[Picks]) -> Picks | None:
        """The next design, which may be one that was observed already.

        Args:
            observed: designs and their scores, as they finished; one design may be there often.
            excluded: designs that must not be proposed: being scored right now, or failed.

        Returns:
            None if nothing is left.
        """
        seen = {picks for picks, _ in observed} | excluded
        unseen = [picks for picks in self._first if picks not in seen]
        # The first designs that were asked for, such as the largest, are some of them.
        if unseen and len(seen) < FIRST:
            return unseen[0]
        return super().propose(observed, excluded)

    def _acquisition(
        self, rng: np.random.Generator, model: Mixture, expected: Floats, best: float
    ) -> Callable[[Rows], Floats]:
        if self._costs:
            return super()._acquisition(rng, model, expected, best)
        incumbent, noise = float(expected.max()), model.noise

        def worth(rows: Rows) -> Floats:
            codes = self._kernel.codes(rows)
            _, deviation = model.predict(codes)
            share = 1 - noise / np.sqrt(deviation**2 + noise**2)
            found: Floats = model.log_improvement(codes, incumbent) + np.log(share)
            return found

        return worth
