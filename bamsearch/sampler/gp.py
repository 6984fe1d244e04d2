"""The default sampler: Gaussian processes over the feasible designs.

Notation: D = {(x_n, y_n)} are the observed designs and their standardised scores
(:func:`~bamsearch.sampler.posterior.standardise`), y* is the best of them, X the feasible set,
and h a kernel sample drawn from a prior (:mod:`~bamsearch.sampler.posterior`). A proposal takes
three steps::

    1. p(h | D)           posterior weights of the drawn kernels; the best 2 to 8 are kept
    2. f(x) | D           their mixture of Gaussian processes, pending designs set to their mean
    3. argmax over x in X of   log sum_h p(h | D) E[max(f(x) - y*, 0) | D, h]

The maximum is searched among all designs of a small feasible set, else by a local search. With
several objectives, step 3 maximises the augmented Chebyshev scalarisation of the score's upper
confidence bound and the exact costs, for weights drawn for each proposal.

A proposal is a function of the feasible set, the seed, and the observed and excluded designs alone,
so an interrupted search continues as if it had not been interrupted. State kept between proposals
is a cache.

Up to :data:`ONE_BY_ONE` scores, the model is refitted for every proposal. After that it is refitted
whenever their number has grown by a sixteenth, and proposals in between take the next best designs
of that model: the time per proposal stays constant.

Expected improvement can get stuck where many designs score the same. While the search does not
improve, every third proposal therefore replaces y* by y* + 1: it looks for much better designs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bamsearch.records import Objective
from bamsearch.sampler.basic_samplers import Observed, RandomSampler
from bamsearch.sampler.kernel import Floats, Kernel, KernelSample, largest_added
from bamsearch.sampler.posterior import (
    ModelAverage,
    draw_kernel_samples,
    draw_noisy_kernel_samples,
    posterior_weights,
    standardise,
)
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible, Listed, Rows

ONE_BY_ONE = 100
"""Number of scores up to which the model is refitted for every proposal."""

# benchmarks/sampler_regret.md has the regret with these values; the limits on sizes bound the time
# per proposal (benchmarks/search_overhead.md).
_BATCH_GROWTH = 1 / 16  # growth of the data that triggers a refit beyond ONE_BY_ONE
_WEIGH_EACH, _WEIGH_GROWTH = 20, 1 / 8  # the same for p(h | D), which costs most
_DRAWN_FIRST = 4  # uniformly drawn designs before the first model
# After 6 proposals without an improvement, every 3rd must beat y* by 1 (a standard deviation).
_PATIENCE, _EACH_FAR, _FAR = 6, 3, 1.0
_WEIGHED = 150  # most scores that p(h | D) is computed from
# Kernels kept: fewer where a design has many choices, because predictions then take longer.
_LEAST_KEPT, _MOST_KEPT, _KEPT_CHOICES = 2, 8, 32
_CONDITIONED = 500  # most scores that f is conditioned on
_PENDING = 32  # most pending designs
_STARTS = 8  # best observed designs from which the local search starts
_RANKED = 4_000  # designs kept in a ranking
_TRADES = 4  # trade-offs between objectives that share one model
# Acquisition values are rounded before ranking, so that every machine breaks ties alike.
_DECIMALS = 9
# The search for the maximum.
_ALL = 6_000  # listed designs up to which the acquisition is evaluated at all of them
_DRAWN = 1_000  # uniform draws that the local search starts with
_CENTRES = 6  # designs whose neighbours are evaluated in the first round; half as many later
_ROUNDS = 12
_PAIRS = 200  # random neighbours that differ in two choices, of each kind
_AUGMENTED = 0.05  # rho of the Chebyshev scalarisation, as in ParEGO


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Designs by decreasing acquisition, one table per trade-off between objectives."""

    observed: Observed
    pending: list[Encoding]
    tables: list[Rows]


class GPSampler:
    """Proposes the feasible design with the greatest expected improvement.

    With several objectives, it proposes the best design for a trade-off that changes with every
    proposal. Costs are known exactly; only the score is modelled.

    Args:
        feasible: the feasible set.
        objectives: the score is maximised, all others are minimised.
        seed: random seed.
        noisy: whether scores are of one training each.
    """

    def __init__(
        self,
        feasible: Feasible,
        objectives: Sequence[Objective] = ("score",),
        *,
        seed: int = 0,
        noisy: bool = False,
    ) -> None:
        self._feasible = feasible
        self._seed = seed
        self._kernel = Kernel(feasible)
        self._scales = {q: largest_added(feasible, q) for q in objectives if q != "score"}
        self._ranking = _Ranking([], [], [])
        draw = draw_noisy_kernel_samples if noisy else draw_kernel_samples
        self._kernel_samples = draw(self._kernel)
        self._most_kernels = min(
            max(_KEPT_CHOICES // self._kernel.choices, _LEAST_KEPT), _MOST_KEPT
        )
        # The scores that the posterior weights come from, and the weights.
        self._weighed: tuple[Observed, list[tuple[KernelSample, float]]] = [], []

    def suggest(self, observed: Observed, excluded: AbstractSet[Encoding]) -> Encoding | None:
        """Propose the next design: feasible, not excluded, and never the base.

        Args:
            observed: designs and their scores in the order in which they finished; scores are
                finite, higher is better.
            excluded: designs that must not be proposed: scored, being scored, or failed.

        Returns:
            The design, or None if none remains.
        """
        if len(observed) < _DRAWN_FIRST:
            return self._any(len(observed), excluded)
        one_by_one = len(observed) <= ONE_BY_ONE
        used = len(observed) if one_by_one else _last(len(observed), ONE_BY_ONE, _BATCH_GROWTH)
        fitted, pending = list(observed[:used]), list[Encoding]()
        if one_by_one:
            pending = sorted(excluded - {encoding for encoding, _ in observed})[:_PENDING]
        if self._ranking.observed != fitted or self._ranking.pending != pending:
            self._ranking = _Ranking(fitted, pending, self._rank(fitted, pending))
        tables = self._ranking.tables
        for row in tables[(len(observed) - used) % len(tables)]:
            encoding = tuple(row.tolist())
            if encoding not in excluded and not self._feasible.space.inserts_nothing(encoding):
                return encoding
        return self._any(len(observed), excluded)

    def _any(self, number: int, excluded: AbstractSet[Encoding]) -> Encoding | None:
        """A uniform draw from the remaining designs."""
        return RandomSampler(self._feasible, [self._seed, number, len(excluded)]).suggest(
            (), excluded
        )

    def _rank(self, observed: Observed, pending: Sequence[Encoding]) -> list[Rows]:
        """Candidates by decreasing acquisition, one table per trade-off."""
        table = np.array([encoding for encoding, _ in observed], dtype=np.int8)
        scores = standardise(np.array([score for _, score in observed]))
        used = _conditioned(scores)
        table, scores = table[used], scores[used]
        codes = self._kernel.codes(table)
        best = float(scores.max()) + (_FAR if _stalls(observed) else 0.0)
        model = ModelAverage(self._kernel, self._likely(observed), codes, scores)
        expected = model.predict(codes).mean
        if pending:
            # Pending designs count as scored at their mean: this lowers the variance around them
            # and keeps parallel workers apart (the "kriging believer", Ginsbourger et al. 2010).
            coming = self._kernel.codes(np.array(pending, dtype=np.int8))
            scores = np.concatenate([scores, model.predict(coming).mean])
            codes = np.concatenate([codes, coming])
            model = ModelAverage(self._kernel, self._likely(observed), codes, scores)
        order = np.argsort(-expected, kind="stable")
        starts = table[order[self._feasible.which_fit(table[order])][:_STARTS]]
        rng = np.random.default_rng([self._seed, len(observed), len(pending)])
        tables = []
        for _ in range(_TRADES if self._scales and len(observed) >= ONE_BY_ONE else 1):
            value = self._acquisition(rng, model, expected, best)
            rows, values = candidates(self._feasible, rng, starts, value)
            ranks = np.argsort(-np.round(values, _DECIMALS), kind="stable")
            tables.append(rows[ranks[:_RANKED]])
        return tables

    def _acquisition(
        self, rng: np.random.Generator, model: ModelAverage, expected: Floats, best: float
    ) -> Callable[[Rows], Floats]:
        """The acquisition function; with several objectives, for a random trade-off."""
        low, high = float(expected.min()), float(expected.max())
        shares = rng.dirichlet(np.ones(1 + len(self._scales)))

        def improvement(rows: Rows) -> Floats:
            # Over the best score, not the best mean: a search reports the best score.
            return model.predict(self._kernel.codes(rows)).log_improvement(best)

        def trade(rows: Rows) -> Floats:
            prediction = model.predict(self._kernel.codes(rows))
            # An upper confidence bound, so that uncertain designs are explored.
            bound = prediction.mean + np.sqrt(prediction.variance)
            gains = [(bound - low) / max(high - low, 1e-9)]
            # Costs are exact: 1 for the base, about 0 for the largest design.
            gains += [
                1 - self._feasible.added(rows, q) / scale for q, scale in self._scales.items()
            ]
            return chebyshev(np.column_stack(gains), shares)

        return trade if self._scales else improvement

    def _likely(self, observed: Observed) -> list[tuple[KernelSample, float]]:
        """p(h | D) of the best kernels, recomputed whenever the data have grown by an eighth."""
        data = list(observed[: _last(len(observed), _WEIGH_EACH, _WEIGH_GROWTH)])
        if self._weighed[0] != data:
            table = np.array([encoding for encoding, _ in data], dtype=np.int8)
            scores = standardise(np.array([score for _, score in data]))
            subset = np.unique(np.linspace(0, len(data) - 1, _WEIGHED).astype(int))
            codes = self._kernel.codes(table[subset])
            weights = posterior_weights(
                self._kernel, self._kernel_samples, codes, scores[subset], self._most_kernels
            )
            self._weighed = data, weights
        return self._weighed[1]


def _stalls(observed: Observed) -> bool:
    """Whether this proposal must look for much better designs; see the module's docstring."""
    scores = [score for _, score in observed]
    return len(scores) - scores.index(max(scores)) > _PATIENCE and len(scores) % _EACH_FAR == 0


def _last(number: int, first: int, growth: float) -> int:
    """The last refit at or before number: at every score up to first, then at relative growth."""
    step = min(number, first)
    while (following := step + max(int(step * growth), 1)) <= number:
        step = following
    return step


def _conditioned(scores: Floats) -> NDArray[np.int64]:
    """Indices of the scores that f is conditioned on: all, or the 250 best and 250 of the rest."""
    if len(scores) <= _CONDITIONED:
        return np.arange(len(scores))
    order = np.argsort(-scores, kind="stable")
    best, rest = order[: _CONDITIONED // 2], np.sort(order[_CONDITIONED // 2 :])
    spaced = np.linspace(0, len(rest) - 1, _CONDITIONED - len(best)).astype(int)
    return np.sort(np.concatenate([best, rest[spaced]]))


def chebyshev(gains: Floats, shares: Floats) -> Floats:
    """The augmented Chebyshev scalarisation, (n,): its maximum is on the Pareto front.

    Knowles, ParEGO (2006)::

        -max_j w_j (1 - g_j) - rho sum_j w_j (1 - g_j)

    Args:
        gains: g, (n, objectives), 1 for the best value and 0 for the worst.
        shares: w, (objectives,), with sum 1.
    """
    loss = shares * (1 - gains)
    scalarised: Floats = -loss.max(axis=1) - _AUGMENTED * loss.sum(axis=1)
    return scalarised


def candidates(
    feasible: Feasible,
    rng: np.random.Generator,
    starts: Rows,
    value: Callable[[Rows], Floats],
) -> tuple[Rows, Floats]:
    """Candidates for the maximum of an acquisition function, and their values.

    A small set is evaluated whole. In a larger one, a local search starts from the best of the
    starts and of uniform draws, changes one or two choices at a time, and ends when a round does
    not improve.

    Args:
        feasible: the feasible set.
        rng: random generator.
        starts: feasible designs, (n, choices).
        value: acquisition function, (n, choices) to (n,).

    Returns:
        Designs, (m, choices), and their values, (m,).
    """
    if isinstance(feasible, Listed) and feasible.count <= _ALL:
        return feasible.table, value(feasible.table)
    rows = _each_once(np.concatenate([starts, feasible.sample(rng, _DRAWN)]))
    values = value(rows)
    centres = rows[np.argsort(-values, kind="stable")[:_CENTRES]]
    for _ in range(_ROUNDS):
        best = values.max()
        new = np.concatenate([_around(feasible, rng, centre) for centre in centres])
        new = new[feasible.which_fit(new)]
        new = _each_once(new[~np.isin(_keys(new), _keys(rows))])
        if not len(new):
            break
        new_values = value(new)
        rows, values = np.concatenate([rows, new]), np.concatenate([values, new_values])
        if new_values.max() <= best:
            break
        centres = new[np.argsort(-new_values, kind="stable")[: _CENTRES // 2]]
    return rows, values


def _around(feasible: Feasible, rng: np.random.Generator, row: Rows) -> Rows:
    """Neighbours: all changes of one choice, and random swaps and changes of two choices."""
    options = np.array([len(choice.options) for choice in feasible.space.choices])
    choice = np.repeat(np.arange(len(options)), options)
    single = np.repeat(row[None, :], len(choice), axis=0)
    single[np.arange(len(choice)), choice] = np.concatenate([np.arange(n) for n in options])
    first, second = rng.integers(len(options), size=(2, _PAIRS))
    each = np.arange(_PAIRS)
    swapped = np.repeat(row[None, :], _PAIRS, axis=0)
    swapped[each, first], swapped[each, second] = row[second], row[first]
    swapped = swapped[(swapped < options).all(axis=1)]
    both = np.repeat(row[None, :], _PAIRS, axis=0)
    both[each, first] = rng.integers(options[first])
    # Half of them free budget: the second choice gets its first option, which is usually off.
    both[each, second] = rng.integers(options[second]) * rng.integers(2, size=_PAIRS)
    return np.concatenate([single, swapped, both])


def _each_once(rows: Rows) -> Rows:
    """Distinct rows, in order of first occurrence."""
    _, index = np.unique(_keys(rows), return_index=True)
    return rows[np.sort(index)]


def _keys(rows: Rows) -> NDArray[np.int64]:
    """A 64-bit hash of each row, with fixed random odd factors."""
    factors = np.random.default_rng(0).integers(2**62, size=rows.shape[1]) | 1
    keys: NDArray[np.int64] = rows.astype(np.int64) @ factors
    return keys
