"""Where an acquisition function is greatest among feasible designs, and two such functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from bamsearch.searching.codes import Floats, Rows
from bamsearch.searching.feasible import Feasible, Listed

_ALL = 6_000
_DRAWN = 1_000
_CENTRES = 6
_ROUNDS = 12
_PAIRS = 200
_AUGMENTED = 0.05


def log_expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """The logarithm of the expected improvement over a known value.

    Jones, Schonlau and Welch, Efficient Global Optimization (1998); in logarithms, so that designs
    far below the best are still told apart (Ament et al., Unexpected Improvements, 2023).
    """
    z = (mean - best) / deviation
    density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    # Below, 1 + z Phi(z) / phi(z) cancels; 1 / z^2 is its expansion. Above, phi(z) vanishes.
    near = np.clip(z, -25.0, 25.0)
    gain = 1 + near * np.exp(log_ndtr(near) + 0.5 * near**2 + 0.5 * np.log(2 * np.pi))
    gain = np.where(z > -25.0, gain, 1 / np.maximum(z**2, 1.0))
    found = np.log(deviation) + density + np.log(np.maximum(gain, 1e-300))
    return np.where(z < 25.0, found, np.log(np.maximum(mean - best, 1e-300)))


def chebyshev(gains: Floats, shares: Floats) -> Floats:
    """The augmented Chebyshev scalarisation: greatest at a point of the Pareto front.

    Knowles, ParEGO (2006).

    Args:
        gains: (n, objectives), 1 the best there is and 0 the worst.
        shares: (objectives,) of each objective, with sum 1.
    """
    missing = shares * (1 - gains)
    found: Floats = -missing.max(axis=1) - _AUGMENTED * missing.sum(axis=1)
    return found


def candidates(
    feasible: Feasible,
    rng: np.random.Generator,
    starts: Rows,
    value: Callable[[Rows], Floats],
) -> tuple[Rows, Floats]:
    """Feasible designs worth a look, and their values.

    All of them where they are few; else some drawn uniformly, and what is found from the best of
    those and of the starts by changing one choice or two, as long as it gets better.

    Args:
        feasible: the feasible set.
        rng: for what is drawn.
        starts: feasible designs.
        value: of feasible designs: (n, choices) to (n,).
    """
    if isinstance(feasible, Listed) and feasible.count <= _ALL:
        return feasible.table, value(feasible.table)
    rows = _each_once(np.concatenate([starts, feasible.sample(rng, _DRAWN)]))
    values = value(rows)
    centres = rows[np.argsort(-values, kind="stable")[:_CENTRES]]
    for _ in range(_ROUNDS):
        best = values.max()
        new = np.concatenate([_around(feasible, rng, one) for one in centres])
        new = new[feasible.which_fit(new)]
        new = _each_once(new[~np.isin(_keys(new), _keys(rows))])
        if not len(new):
            break
        found = value(new)
        rows, values = np.concatenate([rows, new]), np.concatenate([values, found])
        if found.max() <= best:
            break
        centres = new[np.argsort(-found, kind="stable")[: _CENTRES // 2]]
    return rows, values


def _around(feasible: Feasible, rng: np.random.Generator, row: Rows) -> Rows:
    """All changes of one choice, and some of two: exchanges, and any others."""
    options = np.array([len(choice.options) for choice in feasible.space.choices])
    places = np.repeat(np.arange(len(options)), options)
    changed = np.repeat(row[None, :], len(places), axis=0)
    changed[np.arange(len(places)), places] = np.concatenate([np.arange(n) for n in options])
    first, second = rng.integers(len(options), size=(2, _PAIRS))
    each = np.arange(_PAIRS)
    swapped = np.repeat(row[None, :], _PAIRS, axis=0)
    swapped[each, first], swapped[each, second] = row[second], row[first]
    swapped = swapped[(swapped < options).all(axis=1)]
    both = np.repeat(row[None, :], _PAIRS, axis=0)
    both[each, first] = rng.integers(options[first])
    # Half of them make room: the other choice gets its first option, which is mostly off.
    both[each, second] = rng.integers(options[second]) * rng.integers(2, size=_PAIRS)
    return np.concatenate([changed, swapped, both])


def _each_once(rows: Rows) -> Rows:
    """Rows without repetitions, in their order."""
    _, index = np.unique(_keys(rows), return_index=True)
    return rows[np.sort(index)]


def _keys(rows: Rows) -> NDArray[np.int64]:
    """A number for each row, by which equal rows are known."""
    factors = np.random.default_rng(0).integers(2**62, size=rows.shape[1]) | 1
    keys: NDArray[np.int64] = rows.astype(np.int64) @ factors
    return keys
