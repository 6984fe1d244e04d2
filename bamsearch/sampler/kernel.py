"""The covariance between designs, as a weighted sum of components.

Notation: x, x' are designs of c choices; x_i is the option of x at choice i; phi_a(o) the features
of an option for kind a; L a link matrix between choices, (c, c). A component is a pair of a kind
and a link::

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

Through the links, a score at one choice informs the others, as far as the data support it. Two
further components compare size: K(x, x') = exp(-(u - u')^2 / (2 * 8^2)) with u the added
multiply-adds, or parameters, on a scale of 40 levels.

Each component is a sum over choices, so it models main effects only. A kernel sample h weights the
components K_m and adds interactions, products of the covariances at single choices
B_i(x, x') = sum_a b_a phi_a(x_i) . phi_a(x'_i)::

    k_h(x, x') = sum_m w_m K_m  +  p (2 / (c (c - 1))) sum_{i<j} B_i B_j
                                +  q exp(l (sum_i B_i / c - 1))

    p     interactions of pairs of choices: an additive Gaussian process of order 2 (Duvenaud,
          Nickisch and Rasmussen, Additive Gaussian Processes, 2011)
    q, l  interactions of all choices, and how quickly they decay as designs differ
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bamsearch.records import Quantity
from bamsearch.space.choices import Choice, SearchSpace
from bamsearch.space.feasible import Feasible, Rows, looked_up

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
"""Designs: (n, choices + 2), an index of (kind, r, d) per choice, and a level per size."""

# The shipped spaces have 2 to 3 octaves of r and of d: an effect is nearly linear in log2 over
# them, or has one maximum.
_OCTAVES = 2.0  # length scale of the effects of r and d, in octaves (doublings)
_NEAR = 2.0  # length scale of the link ``near``, in choices
_SIZES: tuple[Quantity, ...] = ("gflops", "params")
_LEVELS, _LEVEL_LENGTH = 40, 8.0  # levels of size: few enough for a table; their length scale
_KEPT = 1e-3  # eigenvalues per level below which an eigenvector is dropped
_DRAWN = 256  # designs from which the largest size is estimated


class Component(NamedTuple):
    """A component of the kernel: a kind, or a size with link ``own``."""

    kind: str
    link: str


@dataclass(frozen=True, slots=True)
class KernelSample:
    """A covariance between designs, of variance about 1; see the module's docstring.

    Attributes:
        components: w, one weight per component of the kernel.
        options: b, one weight per kind.
        pairs: p.
        joint: q.
        reach: l; near 0 the joint term is additive in the choices.
        noise: variance of the noise.
    """

    components: Floats
    options: Floats
    pairs: float
    joint: float
    reach: float
    noise: float


class Kernel:
    """The components of the kernel over a feasible set.

    Attributes:
        choices: number of choices, c.
        components: components, in the order of their weights.
        kinds: kinds, in the order of their weights.
    """

    def __init__(self, feasible: Feasible) -> None:
        self._feasible = feasible
        self.choices = len(feasible.space.choices)
        self._known, self._indices = known_options(feasible.space)
        self._scales = {quantity: largest_added(feasible, quantity) for quantity in _SIZES}
        self._features = _option_features(self._known)
        self._links = _links(feasible.space.choices)
        smooth = [kind for kind in self._features if kind != "cell"]
        self.kinds = tuple(self._features)
        self.components = [
            *(Component(kind, link) for kind in smooth for link in self._links),
            Component("cell", "own"),
            *(Component(size, "own") for size in _SIZES),
        ]
        # phi_a(o) . phi_a(o') for all options, (kinds, options, options); roots for variances.
        self._alike = np.array([phi @ phi.T for phi in self._features.values()])
        self._roots = {name: _root(link) for name, link in self._links.items()}
        level = np.arange(_LEVELS + 1)
        apart = (level[:, None] - level[None, :]) / _LEVEL_LENGTH
        self._size: Floats = np.exp(-0.5 * apart**2)

    def codes(self, table: Rows) -> Codes:
        """Codes of designs: (n, choices) to (n, choices + sizes)."""
        columns = [index[table[:, i]] for i, index in enumerate(self._indices)]
        for quantity, scale in self._scales.items():
            share = np.minimum(self._feasible.added(table, quantity) / scale, 1.0)
            columns.append(np.rint(_LEVELS * share).astype(np.int64))
        return np.column_stack(columns)

    def grams(self, codes: Codes) -> Floats:
        """Gram matrices of the components between n designs, unweighted: (components, n, n)."""
        n = len(codes)
        grams = np.empty((len(self.components), n, n))
        options = codes[:, : self.choices]
        for index, (kind, link) in enumerate(self.components):
            if kind in self._features:
                features = self._features[kind][options]
                linked = np.einsum("ij,njq->niq", self._links[link], features)
                grams[index] = linked.reshape(n, -1) @ features.reshape(n, -1).T
            else:
                level = self._level(codes, kind)
                grams[index] = self.choices * self._size[np.ix_(level, level)]
        return grams / self.choices

    def own_grams(self, codes: Codes) -> Floats:
        """Covariances of each kind at each choice between n designs: (kinds, choices, n, n)."""
        options = codes[:, : self.choices].T
        return self._alike[:, options[:, :, None], options[:, None, :]]

    def covariances(self, samples: Sequence[KernelSample], codes: Codes) -> Floats:
        """k_h of n designs under each kernel sample: (samples, n, n)."""
        n, choices = len(codes), self.choices
        by_choice = self.own_grams(codes).reshape(len(self.kinds), choices, -1)
        total = by_choice.sum(axis=1)
        options = np.array([h.options for h in samples])
        flat = np.array([h.components for h in samples]) @ self.grams(codes).reshape(-1, n * n)
        # 2 sum_{i<j} B_i B_j = (sum_i B_i)^2 - sum_i B_i^2, and B_i is linear in the kinds: the sum
        # over pairs of kinds serves all samples at once.
        pairs = np.array([h.pairs for h in samples]) / max(choices * (choices - 1), 1)
        for a, b in combinations_with_replacement(range(len(by_choice)), 2):
            product = total[a] * total[b] - (by_choice[a] * by_choice[b]).sum(axis=0)
            weight = pairs * options[:, a] * options[:, b] * (1 if a == b else 2)
            flat += weight[:, None] * product
        joint = np.array([[h.joint] for h in samples])
        reach = np.array([[h.reach] for h in samples])
        flat += joint * np.exp(reach * (options @ total / choices - 1))
        covariances: Floats = flat.reshape(-1, n, n)
        return covariances

    def diagonals(self, codes: Codes) -> Floats:
        """Variances of the components at n designs: (components, n)."""
        options = codes[:, : self.choices].T
        variances = np.ones((len(self.components), len(codes)))
        smooth = {
            kind: phi[options].reshape(self.choices, -1)
            for kind, phi in self._features.items()
            if kind != "cell"
        }
        for index, (kind, link) in enumerate(self.components):
            if kind in smooth:
                # With L = R' R, sum_ij L_ij phi_i . phi_j = |R phi|^2; ``own`` has R = 1.
                linked = smooth[kind] if link == "own" else self._roots[link] @ smooth[kind]
                squares = (linked**2).sum(axis=0).reshape(len(codes), -1)
                variances[index] = squares.sum(axis=1) / self.choices
        return variances

    def tables(self, codes: Codes, weights: Floats) -> list[Floats]:
        """Tables of sum_m w_m K_m between any design and n designs.

        Args:
            codes: n designs.
            weights: w.

        Returns:
            One table per column of codes, (codes of the column, n). The covariance of a design is
            the sum over columns of the rows at its codes.
        """
        options = codes[:, : self.choices]
        links = {kind: np.zeros((self.choices, self.choices)) for kind in self.kinds}
        sizes = []
        for (kind, link), weight in zip(self.components, weights, strict=True):
            if kind in links:
                links[kind] += weight * self._links[link]
            else:
                sizes.append(weight * self._size[:, self._level(codes, kind)])
        tables = [np.zeros((len(self._known), len(codes))) for _ in range(self.choices)]
        for kind, mixed in links.items():
            features = self._features[kind]
            linked = np.einsum("ij,njq->inq", mixed / self.choices, features[options])
            for table, at_choice in zip(tables, linked, strict=True):
                table += features @ at_choice.T
        return tables + sizes

    def option_covariance(self, weights: Floats) -> Floats:
        """B_i between all pairs of options, (options, options): the same at each choice i."""
        covariance: Floats = np.tensordot(weights, self._alike, axes=1)
        return covariance

    def _level(self, codes: Codes, size: str) -> Codes:
        return codes[:, self.choices + [str(quantity) for quantity in _SIZES].index(size)]


class CrossCovariance:
    """k_h between any design and n scored ones.

    A component is a sum over the choices of the new design, so its covariance with the scored
    designs is a sum of table rows: predicting costs no matrix product per candidate.

    Args:
        kernel: kernel over the feasible set.
        sample: kernel sample h.
        codes: codes of the scored designs.
    """

    def __init__(self, kernel: Kernel, sample: KernelSample, codes: Codes) -> None:
        self._sample, self._choices = sample, kernel.choices
        self._tables = kernel.tables(codes, sample.components)
        self._options = kernel.option_covariance(sample.options)
        self._option_tables = [self._options[:, column] for column in codes[:, : kernel.choices].T]

    def __call__(self, codes: Codes) -> Floats:
        """Covariances of m designs with the scored ones: (m, n)."""
        covariance = looked_up(self._tables, codes)
        if self._sample.pairs or self._sample.joint:
            options = codes[:, : self._choices]
            squares = looked_up([table**2 for table in self._option_tables], options)
            covariance += self._interactions(looked_up(self._option_tables, options), squares)
        return covariance

    def variances(self, codes: Codes, diagonals: Floats) -> Floats:
        """Variances of m designs, with the ``diagonals`` of the kernel there: (m,)."""
        options = np.diag(self._options)[codes[:, : self._choices]]
        variances: Floats = self._sample.components @ diagonals
        return variances + self._interactions(options.sum(axis=1), (options**2).sum(axis=1))

    def _interactions(self, total: Floats, squares: Floats) -> Floats:
        """The interaction terms of k_h, from sum_i B_i and sum_i B_i^2."""
        h, choices = self._sample, self._choices
        pairs: Floats = h.pairs / max(choices * (choices - 1), 1) * (total**2 - squares)
        return pairs + h.joint * np.exp(h.reach * (total / choices - 1))


def known_options(space: SearchSpace) -> tuple[list[tuple[str, int, int]], list[Codes]]:
    """All (kind, r, d) of a space, ("", 0, 0) for off, and the indices of each choice's options."""
    keys = [[(o.kind, o.reduction, o.dilation) for o in c.options] for c in space.choices]
    distinct = sorted({key for each in keys for key in each})
    return distinct, [np.array([distinct.index(key) for key in each]) for each in keys]


def largest_added(feasible: Feasible, quantity: Quantity) -> float:
    """An added cost that few designs exceed: that of the largest and of a sample, >= 1."""
    rows = feasible.sample(np.random.default_rng(0), _DRAWN)
    table = np.concatenate([np.array([feasible.largest()], dtype=np.int8), rows])
    return max(float(feasible.added(table, quantity).max()), 1.0)


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
