"""The components of the kernel between designs, as Gram matrices.

Notation: x_i is the option of design x at choice i, of c choices; phi_a the features of an option
for kind a; L the link matrix between choices, (c, c). A component is a pair of a kind and a link::

    K_{a,L}(x, x') = (1 / c) sum_{i,j} L_ij phi_a(x_i) . phi_a(x'_j)

    kind a   on     BAM or not, +1 or -1
             r, d   smooth in log2 r, log2 d, centred; 0 where there is no BAM
             rd     the product of the two
             kind   operations without order
             cell   the same option or not: effects without any pattern
    link L   own    i = j: each choice has an effect of its own
             stage  choices whose feature maps have one shape share the effect
             near   exp(-|i - j| / 2): neighbours in depth have similar effects
             all    all choices share the effect

Through the links, a score at one choice informs the others, as far as the data support it. Each
component is a sum over choices, so it models main effects only. Interactions are built from the
per-choice covariances phi_a(x_i) . phi_a(x'_i), which ``own_grams`` returns one by one.

Two further components compare size: K(x, x') = exp(-(u - u')^2 / (2 * 8^2)) with u the added
multiply-adds, or parameters, on a scale of 40 levels (:mod:`~bamsearch.sampler.codes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bamsearch.sampler.codes import LEVELS, Coder, Codes, Floats, Rows
from bamsearch.space.choices import Choice
from bamsearch.space.feasible import Feasible

# The shipped spaces have 2 to 3 octaves of r and of d: an effect is nearly linear in log2 over
# them, or has one maximum.
_OCTAVES = 2.0
"""Length scale of the effects of r and d, in octaves (doublings)."""

_NEAR = 2.0
"""Length scale of the link ``near``, in choices."""

_LEVEL_LENGTH = 8.0
"""Length scale of the effect of size, in levels of 40."""

_KEPT = 1e-3
"""Eigenvalues per level below which an eigenvector is dropped."""


@dataclass(frozen=True, slots=True)
class Component:
    """One component of the kernel.

    Attributes:
        what: kind of the comparison; ``macs`` or ``params`` for a size.
        which: link between choices; ``own`` for ``cell`` and for a size.
    """

    what: str
    which: str


class Kernel:
    """The components of the kernel over a feasible set.

    Attributes:
        choices: number of choices, c.
        components: components, in the order of their weights.
        kinds: kinds of comparison, in the order of their weights.
    """

    def __init__(self, feasible: Feasible) -> None:
        self.choices = len(feasible.space.choices)
        self._code = Coder(feasible)
        self._features = _option_features(self._code.known)
        self._links = _links(feasible.space.choices)
        smooth = [kind for kind in self._features if kind != "cell"]
        self.kinds = tuple(self._features)
        self.components = [
            *(Component(kind, which) for kind in smooth for which in self._links),
            Component("cell", "own"),
            *(Component(size, "own") for size in self._code.sizes),
        ]
        # phi_a(o) . phi_a(o') for all options, (kinds, options, options); roots for variances.
        self._alike = np.array([phi @ phi.T for phi in self._features.values()])
        self._roots = {which: _root(link) for which, link in self._links.items()}
        level = np.arange(LEVELS + 1)
        apart = (level[:, None] - level[None, :]) / _LEVEL_LENGTH
        self._size: Floats = np.exp(-0.5 * apart**2)

    def codes(self, table: Rows) -> Codes:
        """Codes of rows of encodings: (n, choices) to (n, columns)."""
        return self._code(table)

    def grams(self, codes: Codes) -> Floats:
        """Gram matrices of the components between n designs, unweighted: (components, n, n)."""
        n = len(codes)
        grams = np.empty((len(self.components), n, n))
        options = codes[:, : self.choices]
        for index, component in enumerate(self.components):
            if component.what in self._features:
                features = self._features[component.what][options]
                linked = np.einsum("ij,njq->niq", self._links[component.which], features)
                grams[index] = linked.reshape(n, -1) @ features.reshape(n, -1).T
            else:
                level = self._level(codes, component.what)
                grams[index] = self.choices * self._size[np.ix_(level, level)]
        return grams / self.choices

    def own_grams(self, codes: Codes) -> Floats:
        """Covariances of each kind at each choice between n designs: (kinds, choices, n, n)."""
        options = codes[:, : self.choices].T
        return self._alike[:, options[:, :, None], options[:, None, :]]

    def tables(self, codes: Codes, weights: Floats) -> list[Floats]:
        """Lookup tables of the weighted sum of all components between any design and n designs.

        A component is a sum over the choices of the new design, so its covariance with n observed
        designs is a sum of table rows: predicting costs no matrix product per candidate.

        Args:
            codes: n designs.
            weights: weights of the components.

        Returns:
            One table per column of codes, (codes of the column, n). The covariance of a design is
            the sum over columns of the rows at its codes.
        """
        options = codes[:, : self.choices]
        links = {kind: np.zeros((self.choices, self.choices)) for kind in self._features}
        sizes = []
        for component, weight in zip(self.components, weights, strict=True):
            if component.what in links:
                links[component.what] += weight * self._links[component.which]
            else:
                level = self._level(codes, component.what)
                sizes.append(weight * self._size[:, level])
        tables = [np.zeros((len(self._code.known), len(codes))) for _ in range(self.choices)]
        for kind, link in links.items():
            features = self._features[kind]
            linked = np.einsum("ij,njq->inq", link / self.choices, features[options])
            for table, at_choice in zip(tables, linked, strict=True):
                table += features @ at_choice.T
        return tables + sizes

    def own_tables(self, codes: Codes, weights: Floats) -> list[Floats]:
        """Lookup tables of B_i, the weighted sum of all kinds at choice i, against n designs.

        Returns:
            One table per choice, (codes of the options, n).
        """
        alike = np.tensordot(weights, self._alike, axes=1)
        return [alike[:, codes[:, choice]] for choice in range(self.choices)]

    def diagonals(self, codes: Codes) -> Floats:
        """Prior variances of the components at n designs: (components, n)."""
        options = codes[:, : self.choices].T
        variances = np.ones((len(self.components), len(codes)))
        smooth = {kind: phi[options] for kind, phi in self._features.items() if kind != "cell"}
        for index, component in enumerate(self.components):
            if component.what in smooth:
                features = smooth[component.what].reshape(self.choices, -1)
                # With L = R' R, sum_ij L_ij phi_i . phi_j = |R phi|^2; ``own`` has R = 1.
                unlinked = component.which == "own"
                linked = features if unlinked else self._roots[component.which] @ features
                squares = (linked**2).sum(axis=0).reshape(len(codes), -1)
                variances[index] = squares.sum(axis=1) / self.choices
        return variances

    def own_diagonals(self, codes: Codes, weights: Floats) -> Floats:
        """Prior variances B_i at n designs: (n, choices)."""
        alike: Floats = weights @ np.diagonal(self._alike, axis1=1, axis2=2)
        return alike[codes[:, : self.choices]]

    def _level(self, codes: Codes, size: str) -> Codes:
        return codes[:, self.choices + self._code.sizes.index(size)]


def _root(link: Floats) -> Floats:
    """R with R' R = link, (rank, choices)."""
    values, vectors = np.linalg.eigh(link)
    positive = values > 1e-12 * values[-1]
    root: Floats = (vectors[:, positive] * np.sqrt(values[positive])).T
    return root


def _option_features(options: Sequence[tuple[str, int, int]]) -> dict[str, Floats]:
    """phi_a of every (kind, r, d), ("", 0, 0) for off, by kind of comparison: (options, features).

    Operations are the corners of a simplex: any two are equally different, and their effects sum
    to 0.
    """
    kinds = sorted({kind for kind, _, _ in options} - {""})
    on = np.array([r > 0 for _, r, _ in options])
    phi = {"on": np.where(on, 1.0, -1.0)[:, None]} if on.any() else {}
    if len(kinds) > 1:
        simplex = (np.eye(len(kinds)) - 1 / len(kinds)) * np.sqrt(len(kinds) / (len(kinds) - 1))
        phi["kind"] = np.array(
            [simplex[kinds.index(kind)] if kind else np.zeros(len(kinds)) for kind, _, _ in options]
        )
    for index, name in enumerate(("r", "d") if on.any() else (), start=1):
        values = np.array([option[index] for option in options])
        levels = np.unique(values[on])
        by_level = _smooth(np.log2(levels))
        features = np.zeros((len(options), by_level.shape[1]))
        features[on] = by_level[np.searchsorted(levels, values[on])]
        phi[name] = features
    if on.any():
        product = phi["r"][:, :, None] * phi["d"][:, None, :]
        phi["rd"] = product.reshape(len(options), -1)
    phi["cell"] = np.eye(len(options))
    return {name: features for name, features in phi.items() if features.shape[1]}


def _smooth(logs: Floats) -> Floats:
    """Features of a centred squared-exponential kernel over log2 values, with mean square 1.

    Centring removes the constant, so that an effect of r is not one of having BAM.
    """
    n, apart = len(logs), (logs[:, None] - logs[None, :]) / _OCTAVES
    centre = np.eye(n) - 1 / n
    gram = centre @ np.exp(-0.5 * apart**2) @ centre
    values, vectors = np.linalg.eigh(gram)
    used = values > _KEPT * n
    if not used.any():
        return np.zeros((n, 0))
    features: Floats = vectors[:, used] * np.sqrt(values[used] * n / values[used].sum())
    return features


def _links(choices: Sequence[Choice]) -> dict[str, Floats]:
    """The link matrices by name, each (choices, choices); of equal matrices the first only."""
    number = len(choices)
    shapes = [(s.channels, s.height, s.width) for s in (c.sites[0] for c in choices)]
    depth = np.arange(number)
    candidates = {
        "own": np.eye(number),
        "stage": np.array([[float(a == b) for b in shapes] for a in shapes]),
        "near": np.exp(-np.abs(depth[:, None] - depth[None, :]) / _NEAR),
        "all": np.ones((number, number)),
    }
    links: dict[str, Floats] = {}
    for which, link in candidates.items():
        if not any(np.array_equal(link, other) for other in links.values()):
            links[which] = link
    return links
