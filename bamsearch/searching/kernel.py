"""How alike two designs are: Gram matrices that a model of the score is built from.

A component is a choice of *what* is compared at two choices, and of *which* choices are compared:

=======  =====================================================================================
what     ``on`` (BAM or not), ``r`` and ``d`` (on a log2 scale, smooth, without their mean),
         ``rd`` (their product), ``kind`` (without order), ``cell`` (the same option or not:
         effects without any pattern)
which    ``own`` (a choice with itself), ``stage`` (all with maps of one shape), ``near`` (falling
         with the distance in depth), ``all``
=======  =====================================================================================

so that what was seen at one choice says something of others, as far as the data have it. The sum
of a component over all pairs of choices is additive in the choices. What interacts is made of the
``own`` likenesses of the choices, one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bamsearch.searching.choices import Choice
from bamsearch.searching.codes import LEVELS, Coder, Codes, Floats, Rows
from bamsearch.searching.feasible import Feasible

_OCTAVES = 2.0
"""Length over which effects of r and of d change."""

_NEAR = 2.0
"""Distance in choices over which neighbours lose their likeness."""

_LEVEL_LENGTH = 8.0
_KEPT = 1e-3


@dataclass(frozen=True, slots=True)
class Component:
    """One term of the sum.

    Attributes:
        what: is compared; ``macs`` or ``params`` for a size.
        which: choices; ``own`` for ``cell`` and for a size.
    """

    what: str
    which: str


class Kernel:
    """The components over the designs of a feasible set.

    Attributes:
        choices: how many there are.
        components: in the order of all their weights.
        kinds: what is compared at a choice, in the order of their weights.
    """

    def __init__(self, feasible: Feasible) -> None:
        self.choices = len(feasible.space.choices)
        self._code = Coder(feasible)
        self._features = _option_features(self._code.known)
        self._links = _links(feasible.space.choices)
        smooth = [what for what in self._features if what != "cell"]
        self.kinds = tuple(self._features)
        self.components = [
            *(Component(what, which) for what in smooth for which in self._links),
            Component("cell", "own"),
            *(Component(size, "own") for size in self._code.sizes),
        ]
        # Of each what, between any two options; and a root of each link, for variances.
        self._alike = np.array([one @ one.T for one in self._features.values()])
        self._roots = {which: _root(link) for which, link in self._links.items()}
        level = np.arange(LEVELS + 1)
        apart = (level[:, None] - level[None, :]) / _LEVEL_LENGTH
        self._size: Floats = np.exp(-0.5 * apart**2)

    def codes(self, table: Rows) -> Codes:
        """Rows of picks, (n, choices), as codes: (n, columns)."""
        return self._code(table)

    def grams(self, codes: Codes) -> Floats:
        """Each component between n designs: (components, n, n); at weight 1 and mean diagonal 1."""
        n = len(codes)
        found = np.empty((len(self.components), n, n))
        at = codes[:, : self.choices]
        for index, component in enumerate(self.components):
            if component.what in self._features:
                features = self._features[component.what][at]
                linked = np.einsum("ij,njq->niq", self._links[component.which], features)
                found[index] = linked.reshape(n, -1) @ features.reshape(n, -1).T
            else:
                column = self._level(codes, component.what)
                found[index] = self.choices * self._size[np.ix_(column, column)]
        return found / self.choices

    def own_grams(self, codes: Codes) -> Floats:
        """Each kind at each choice between n designs: (kinds, choices, n, n)."""
        at = codes[:, : self.choices].T
        return self._alike[:, at[:, :, None], at[:, None, :]]

    def tables(self, codes: Codes, weights: Floats) -> list[Floats]:
        """The weighted sum of all components between any design and n given ones, by columns.

        Returns:
            a table for each column, (its codes, n): the sum for a design is the sum over columns
            of the rows at its codes.
        """
        at = codes[:, : self.choices]
        links = {what: np.zeros((self.choices, self.choices)) for what in self._features}
        sizes = []
        for component, weight in zip(self.components, weights, strict=True):
            if component.what in links:
                links[component.what] += weight * self._links[component.which]
            else:
                column = self._level(codes, component.what)
                sizes.append(weight * self._size[:, column])
        found = [np.zeros((len(self._code.known), len(codes))) for _ in range(self.choices)]
        for what, link in links.items():
            features = self._features[what]
            linked = np.einsum("ij,njq->inq", link / self.choices, features[at])
            for table, one in zip(found, linked, strict=True):
                table += features @ one.T
        return found + sizes

    def own_tables(self, codes: Codes, weights: Floats) -> list[Floats]:
        """The weighted sum of all kinds, at each choice, between any option and n designs.

        Returns:
            a table for each choice: (options' codes, n).
        """
        alike = np.tensordot(weights, self._alike, axes=1)
        return [alike[:, codes[:, choice]] for choice in range(self.choices)]

    def diagonals(self, codes: Codes) -> Floats:
        """Each component of n designs with themselves: (components, n)."""
        at = codes[:, : self.choices].T
        found = np.ones((len(self.components), len(codes)))
        smooth = {what: one[at] for what, one in self._features.items() if what != "cell"}
        for index, component in enumerate(self.components):
            if component.what in smooth:
                features = smooth[component.what].reshape(self.choices, -1)
                own = component.which == "own"
                linked = features if own else self._roots[component.which] @ features
                each = (linked**2).sum(axis=0).reshape(len(codes), -1)
                found[index] = each.sum(axis=1) / self.choices
        return found

    def own_diagonals(self, codes: Codes, weights: Floats) -> Floats:
        """The weighted sum of all kinds, at each choice, of n designs: (n, choices)."""
        alike: Floats = weights @ np.diagonal(self._alike, axis1=1, axis2=2)
        return alike[codes[:, : self.choices]]

    def _level(self, codes: Codes, size: str) -> Codes:
        return codes[:, self.choices + self._code.sizes.index(size)]


def _root(link: Floats) -> Floats:
    """R with R^T R = link, of as many rows as its rank."""
    values, vectors = np.linalg.eigh(link)
    kept = values > 1e-12 * values[-1]
    root: Floats = (vectors[:, kept] * np.sqrt(values[kept])).T
    return root


def _option_features(known: Sequence[tuple[str, int, int]]) -> dict[str, Floats]:
    """Features of every (kind, r, d), ("", 0, 0) for off: what is compared to (options, features).

    Kinds are a simplex: any two are equally unlike, and their effects sum to 0.
    """
    kinds = sorted({kind for kind, _, _ in known} - {""})
    on = np.array([r > 0 for _, r, _ in known])
    found = {"on": np.where(on, 1.0, -1.0)[:, None]} if on.any() else {}
    if len(kinds) > 1:
        simplex = (np.eye(len(kinds)) - 1 / len(kinds)) * np.sqrt(len(kinds) / (len(kinds) - 1))
        found["kind"] = np.array(
            [simplex[kinds.index(kind)] if kind else np.zeros(len(kinds)) for kind, _, _ in known]
        )
    for index, what in enumerate(("r", "d") if on.any() else (), start=1):
        values = np.array([one[index] for one in known])
        levels = np.unique(values[on])
        by_level = _smooth(np.log2(levels))
        features = np.zeros((len(known), by_level.shape[1]))
        features[on] = by_level[np.searchsorted(levels, values[on])]
        found[what] = features
    if on.any():
        product = found["r"][:, :, None] * found["d"][:, None, :]
        found["rd"] = product.reshape(len(known), -1)
    found["cell"] = np.eye(len(known))
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
