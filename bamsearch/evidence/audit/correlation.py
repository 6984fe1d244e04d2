"""Rank correlations in many bootstrap samples at once.

A sample is stored as counts of each design. Copies of a design tie in both orders, so they
contribute nothing to Kendall's tau-b, exactly as in the expanded sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Counts = NDArray[np.float64]
"""(samples, designs) counts of each design in each sample."""

Correlation = Callable[[Values, Values, Counts], Values]

_TINY = 1e-12
# Samples per chunk, so that arrays of (samples, designs, designs) fit the processor's cache.
_CHUNK = 256


def tau_b(x: Values, y: Values, counts: Counts) -> Values:
    """Kendall's tau-b in each sample; nan if all designs in it tie.

    Args:
        x: (designs,), or (samples, designs) with separate values for each sample.
        y: (designs,).
        counts: see :data:`Counts`.
    """
    order = np.sign(y[:, None] - y[None, :])
    agree, x_untied = np.empty(len(counts)), np.empty(len(counts))
    for rows, by_x in _orders(x, counts):
        agree[rows] = _pairs(by_x * order, counts[rows])
        x_untied[rows] = _pairs(np.abs(by_x), counts[rows])
    return _ratio(agree, x_untied * _pairs(np.abs(order), counts))


def spearman(x: Values, y: Values, counts: Counts) -> Values:
    """Spearman's rho in each sample; nan if all designs in it tie. Arguments: :func:`tau_b`."""
    ranks = [_centred(_ranks(v, counts), counts) for v in (x, y)]

    def products(a: Values, b: Values) -> Values:
        sums: Values = (counts * a * b).sum(axis=1)
        return sums

    squares = products(ranks[0], ranks[0]) * products(ranks[1], ranks[1])
    return _ratio(products(*ranks), squares)


def partial(xy: Values, xz: Values, yz: Values) -> Values:
    """Partial correlation of x and y given z, from pairwise ones; nan if z determines x or y.

    For Spearman's rho it is the correlation of the residuals of the ranks after a linear fit on
    those of z; for tau it is Kendall's definition.
    """
    unexplained = (1 - xz**2) * (1 - yz**2)
    return np.where(unexplained > _TINY, _ratio(xy - xz * yz, unexplained), np.nan)


def averaged_ranks(draws: Values, counts: Counts, weights: Counts) -> Values:
    """Sum over draws of each design's rank in each sample, (samples, designs).

    Ranks are multiples of 1/2 and weights are integers, so tied sums are exactly equal.

    Args:
        draws: (draws, designs) values of a score.
        counts: see :data:`Counts`.
        weights: (samples, draws) counts of each draw in each sample.
    """
    total = np.zeros(counts.shape)
    for values, weight in zip(draws, weights.T, strict=True):
        total += weight[:, None] * _ranks(values, counts)
    return total


def _orders(x: Values, counts: Counts) -> Iterator[tuple[slice, Values]]:
    """Slices of samples, and the sign of x_i - x_j in them, (samples, designs, designs)."""
    if x.ndim == 1:
        yield slice(None), np.sign(x[:, None] - x[None, :])
        return
    for start in range(0, len(counts), _CHUNK):
        rows = slice(start, start + _CHUNK)
        yield rows, np.sign(x[rows, :, None] - x[rows, None, :])


def _pairs(matrix: Values, counts: Counts) -> Values:
    """Sum of a pairwise matrix over all pairs in each sample."""
    sums = counts @ matrix if matrix.ndim == 2 else np.matmul(counts[:, None, :], matrix)[:, 0]
    totals: Values = (sums * counts).sum(axis=1)
    return totals


def _ranks(x: Values, counts: Counts) -> Values:
    """Mid-ranks of each design among the copies in each sample, (samples, designs)."""
    if x.ndim == 1:
        below = counts @ (x[:, None] < x[None, :]).astype(np.float64)
        equal = counts @ (x[:, None] == x[None, :]).astype(np.float64)
        ranks: Values = below + (equal + 1) / 2
        return ranks
    ranks = np.empty(counts.shape)
    for rows, order in _orders(x, counts):
        # Copies below less copies above, by antisymmetry.
        more = -np.matmul(counts[rows, None, :], order)[:, 0]
        ranks[rows] = (more + counts[rows].sum(axis=1, keepdims=True) + 1) / 2
    return ranks


def _centred(ranks: Values, counts: Counts) -> Values:
    # A sample may contain none of the designs that have a score.
    mean = (counts * ranks).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    centred: Values = ranks - mean[:, None]
    return centred


def _ratio(products: Values, squares: Values) -> Values:
    """``products / sqrt(squares)``; nan for 0 / 0."""
    defined = squares > 0
    root = np.sqrt(np.where(defined, squares, 1.0))
    return np.where(defined, products / root, np.nan)
