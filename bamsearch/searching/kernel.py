"""How alike two designs are: Gram matrices that a model of the score is built from.

A design is a row of codes: one a choice, for its option, and one for each of its sizes (the
multiply-adds and the parameters that it adds, on a scale of levels). A component is a choice of
*what* is compared at two choices, and of *which* choices are compared:

=======  =====================================================================================
what     ``on`` (BAM or not), ``r`` and ``d`` (on a log2 scale, smooth, without their mean),
         ``rd`` (their product), ``cell`` (the same option or not: effects without any pattern)
which    ``own`` (a choice with itself), ``stage`` (all with maps of one shape), ``near`` (falling
         with the distance in depth), ``all``
=======  =====================================================================================

so that what was seen at one choice says something of others, as far as the data have it. The sum
of all components over all pairs of choices is additive in the choices; its powers interact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bamsearch.searching.choices import Choice
from bamsearch.searching.feasible import Feasible

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

_OCTAVES = 2.0
"""Length over which effects of r and of d change."""

_NEAR = 2.0
"""Distance in choices over which neighbours lose their likeness."""

_LEVELS = 40
_LEVEL_LENGTH = 8.0
_KEPT = 1e-3


@dataclass(frozen=True, slots=True)
class Component:
    """One term of the sum.

    Attributes:
        what: is compared; ``macs`` or ``params`` for a size.
        which: choices; ``own`` for a size.
        prior: its weight before anything is seen.
    """

    what: str
    which: str
    prior: float


_WHAT = {"on": 0.4, "r": 0.2, "d": 0.2, "rd": 0.1}
_WHICH = {"own": 0.5, "stage": 0.3, "near": 0.3, "all": 0.2}
_CELL = 0.3
_SIZE = 0.1
_DRAWN = 256


class Kernel:
    """The components over the designs of a feasible set.

    Attributes:
        components: in the order of all weights.
        columns: codes of a design: its choices, and its sizes.
    """

    def __init__(self, feasible: Feasible) -> None:
        choices = feasible.space.choices
        self._choices = len(choices)
        self._code = _Coder(feasible)
        self.columns = self._choices + len(self._code.sizes)
        self._features = _option_features(self._code.known)
        self._links = _links(choices)
        self.components = [
            *(
                Component(what, which, a * b)
                for what, a in _WHAT.items()
                for which, b in _WHICH.items()
                if what in self._features and which in self._links
            ),
            Component("cell", "own", _CELL),
            *(Component(size, "own", _SIZE) for size in self._code.sizes),
        ]
        on = np.array([float(r > 0) for r, _ in self._code.known])
        self._cell = np.diag(on)
        level = np.arange(_LEVELS + 1)
        apart = (level[:, None] - level[None, :]) / _LEVEL_LENGTH
        self._size: Floats = np.exp(-0.5 * apart**2)

    def codes(self, table: NDArray[np.int8]) -> Codes:
        """Rows of picks, (n, choices), as codes: (n, columns)."""
        return self._code(table)

    def grams(self, codes: Codes) -> Floats:
        """Each component between n designs: (components, n, n); at weight 1 and mean diagonal 1."""
        n = len(codes)
        found = np.empty((len(self.components), n, n))
        at = codes[:, : self._choices]
        for index, component in enumerate(self.components):
            if component.what in self._features:
                features = self._features[component.what][at]
                linked = np.einsum("ij,njq->niq", self._links[component.which], features)
                found[index] = linked.reshape(n, -1) @ features.reshape(n, -1).T
            elif component.what == "cell":
                found[index] = sum(
                    self._cell[np.ix_(at[:, i], at[:, i])] for i in range(self._choices)
                )
            else:
                column = codes[:, self._choices + self._code.sizes.index(component.what)]
                found[index] = self._choices * self._size[np.ix_(column, column)]
        return found / self._choices

    def tables(self, codes: Codes, weights: Floats) -> list[Floats]:
        """The weighted sum of all components between any design and n given ones, by columns.

        Returns:
            a table for each column, (its codes, n): the sum for a design is the sum over columns
            of the rows at its codes.
        """
        at = codes[:, : self._choices]
        found = [np.zeros((len(self._code.known), len(codes))) for _ in range(self._choices)]
        for what, link in self._linked(weights).items():
            features = self._features[what]
            linked = np.einsum("ij,njq->inq", link, features[at])
            for table, one in zip(found, linked, strict=True):
                table += features @ one.T
        cell = self._weight(weights, "cell")
        for index, table in enumerate(found):
            table += cell * self._cell[:, at[:, index]]
        for index, size in enumerate(self._code.sizes):
            column = codes[:, self._choices + index]
            found.append(self._choices * self._weight(weights, size) * self._size[:, column])
        return [table / self._choices for table in found]

    def diagonal(self, codes: Codes, weights: Floats) -> Floats:
        """The weighted sum of all components of n designs with themselves: (n,)."""
        at = codes[:, : self._choices]
        found = np.full(len(codes), 0.0)
        for what, link in self._linked(weights).items():
            features = self._features[what][at.T]
            root = np.linalg.cholesky(link + 1e-12 * np.eye(self._choices))
            linked = root.T @ features.reshape(self._choices, -1)
            found += (linked**2).sum(axis=0).reshape(len(codes), -1).sum(axis=1)
        found += self._weight(weights, "cell") * np.diag(self._cell)[at].sum(axis=1)
        sizes = sum(self._weight(weights, size) for size in self._code.sizes)
        return found / self._choices + sizes

    def _linked(self, weights: Floats) -> dict[str, Floats]:
        """What is compared, and the weights between choices: (choices, choices)."""
        found = {what: np.zeros((self._choices, self._choices)) for what in self._features}
        for component, weight in zip(self.components, weights, strict=True):
            if component.what in found:
                found[component.what] += weight * self._links[component.which]
        return found

    def _weight(self, weights: Floats, what: str) -> float:
        index = next(i for i, one in enumerate(self.components) if one.what == what)
        return float(weights[index])


class _Coder:
    """Picks to codes."""

    def __init__(self, feasible: Feasible) -> None:
        choices = feasible.space.choices
        self.known = sorted({(o.reduction, o.dilation) for c in choices for o in c.options})
        self._options = [
            np.array([self.known.index((o.reduction, o.dilation)) for o in c.options])
            for c in choices
        ]
        self.sizes = ("macs", "params")
        self._amounts = [
            [np.array([float(getattr(o, size)) for o in c.options]) for c in choices]
            for size in self.sizes
        ]
        self._scales = [largest_total(feasible, amounts) for amounts in self._amounts]

    def __call__(self, table: NDArray[np.int8]) -> Codes:
        columns = [codes[table[:, i]] for i, codes in enumerate(self._options)]
        for amounts, scale in zip(self._amounts, self._scales, strict=True):
            level = np.rint(_LEVELS * np.minimum(total(amounts, table) / scale, 1.0))
            columns.append(level.astype(np.int64))
        return np.column_stack(columns).astype(np.int64)


def largest_total(feasible: Feasible, amounts: Sequence[Floats]) -> float:
    """An amount that few designs exceed: of the largest design, and of some drawn; at least 1.

    Args:
        feasible: the feasible set.
        amounts: what each option of each choice adds.
    """
    rows = feasible.sample(np.random.default_rng(0), _DRAWN)
    table = np.concatenate([np.array([feasible.largest()], dtype=np.int8), rows])
    return max(float(total(amounts, table).max()), 1.0)


def total(amounts: Sequence[Floats], table: NDArray[np.int8]) -> Floats:
    """What designs add together: rows of picks, (n, choices), to (n,)."""
    found = np.zeros(len(table))
    for column, amount in enumerate(amounts):
        found += amount[table[:, column]]
    return found


def _option_features(known: Sequence[tuple[int, int]]) -> dict[str, Floats]:
    """Features of every (r, d), (0, 0) for off: what is compared to (options, features)."""
    on = np.array([r > 0 for r, _ in known])
    found = {"on": np.where(on, 1.0, -1.0)[:, None]}
    for index, what in enumerate(("r", "d")):
        values = np.array([one[index] for one in known])
        levels = np.unique(values[on])
        by_level = _smooth(np.log2(levels))
        features = np.zeros((len(known), by_level.shape[1]))
        features[on] = by_level[np.searchsorted(levels, values[on])]
        found[what] = features
    product = found["r"][:, :, None] * found["d"][:, None, :]
    found["rd"] = product.reshape(len(known), -1)
    return {what: one for what, one in found.items() if one.shape[1]}


def _smooth(places: Floats) -> Floats:
    """Features whose products are smooth in the places, without mean and of mean square 1."""
    apart = (places[:, None] - places[None, :]) / _OCTAVES
    centre = np.eye(len(places)) - 1 / len(places)
    gram = centre @ np.exp(-0.5 * apart**2) @ centre
    values, vectors = np.linalg.eigh(gram)
    kept = values > _KEPT * len(places)
    if not kept.any():
        return np.zeros((len(places), 0))
    features: Floats = vectors[:, kept] * np.sqrt(values[kept] * len(places) / values[kept].sum())
    return features


def _links(choices: Sequence[Choice]) -> dict[str, Floats]:
    """Which choices are compared, without those that say the same."""
    number = len(choices)
    shapes = [(s.channels, s.height, s.width) for s in (c.sites[0] for c in choices)]
    depth = np.arange(number)
    every = {
        "own": np.eye(number),
        "stage": np.array([[float(a == b) for b in shapes] for a in shapes]),
        "near": np.exp(-np.abs(depth[:, None] - depth[None, :]) / _NEAR),
        "all": np.ones((number, number)),
    }
    found: dict[str, Floats] = {}
    for which, link in every.items():
        if not any(np.array_equal(link, other) for other in found.values()):
            found[which] = link
    return found
