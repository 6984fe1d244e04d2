"""What to score next: expected improvement, and where it is greatest among feasible designs.

Expected improvement over the best posterior mean rather than the best score, which noise may have
lifted (Jones, Schonlau and Welch, Efficient Global Optimization, 1998).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from bamsearch.search.feasible import Feasible, Listed
from bamsearch.search.kernel import Floats

Rows = NDArray[np.int8]

ALL = 6_000
"""Up to so many feasible designs are all looked at."""

DRAWN = 2_000
_STARTS = 6
_ROUNDS = 8
_SWAPS = 60


def log_expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Its logarithm, of a normal belief over a known value."""
    z = (mean - best) / deviation
    # phi(z) + z Phi(z), without cancellation far below the best.
    density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    ratio = np.exp(log_ndtr(z) - density)
    gain = np.where(z > -25, 1 + z * ratio, 1 / (1 + z**2))
    found: Floats = np.log(deviation) + density + np.log(np.maximum(gain, 1e-300))
    return found


def candidates(
    feasible: Feasible,
    rng: np.random.Generator,
    starts: Rows,
    value: Callable[[Rows], Floats],
) -> tuple[Rows, Floats]:
    """Feasible designs that are worth a look, and their values.

    All of them where they are few; else some drawn uniformly, and what is found from the best of
    those and of the starts by changing one choice, or exchanging two, as long as it gets better.

    Args:
        feasible: the feasible set.
        rng: for what is drawn.
        starts: feasible designs, (n, choices).
        value: of feasible designs: (n, choices) to (n,).
    """
    if isinstance(feasible, Listed) and feasible.count <= ALL:
        return feasible.table, value(feasible.table)
    rows = np.unique(np.concatenate([starts, feasible.sample(rng, DRAWN)]), axis=0)
    values = value(rows)
    centres = rows[np.argsort(-values, kind="stable")[:_STARTS]]
    for _ in range(_ROUNDS):
        best = values.max()
        new = _only_new(np.concatenate([_around(feasible, rng, one) for one in centres]), rows)
        new = new[feasible.which_fit(new)]
        if not len(new):
            break
        found = value(new)
        rows, values = np.concatenate([rows, new]), np.concatenate([values, found])
        if found.max() <= best:
            break
        centres = new[np.argsort(-found, kind="stable")[: max(_STARTS // 2, 1)]]
    return rows, values


def _around(feasible: Feasible, rng: np.random.Generator, row: Rows) -> Rows:
    """All changes of one choice, and some exchanges of the options of two choices."""
    options = [len(choice.options) for choice in feasible.space.choices]
    places = np.repeat(np.arange(len(options)), options)
    changed = np.repeat(row[None, :], len(places), axis=0)
    changed[np.arange(len(places)), places] = np.concatenate([np.arange(n) for n in options])
    if len(options) == 1:
        return changed
    pairs = rng.integers(len(options), size=(_SWAPS, 2))
    swapped = np.repeat(row[None, :], _SWAPS, axis=0)
    each = np.arange(_SWAPS)
    swapped[each, pairs[:, 0]] = row[pairs[:, 1]]
    swapped[each, pairs[:, 1]] = row[pairs[:, 0]]
    there = (swapped < np.array(options)).all(axis=1)
    return np.concatenate([changed, swapped[there]])


def _only_new(rows: Rows, known: Rows) -> Rows:
    """Rows that are not known, each once."""
    seen = {one.tobytes() for one in known}
    return np.unique(
        np.array([one for one in rows if one.tobytes() not in seen], dtype=np.int8).reshape(
            -1, known.shape[1]
        ),
        axis=0,
    )
