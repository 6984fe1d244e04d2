"""Acquisition functions, and their maximisation over the feasible designs.

Notation: f(x) ~ N(mu, sigma^2) is the posterior at a design x, y* the value to improve on,
z = (mu - y*) / sigma, and phi and Phi the density and the distribution function of N(0, 1)::

    EI(x)     = E[max(f(x) - y*, 0)] = sigma (phi(z) + z Phi(z))
    log EI(x) = log sigma + log phi(z) + log(1 + z Phi(z) / phi(z))
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from bamsearch.sampler.codes import Floats, Rows
from bamsearch.space.feasible import Feasible, Listed

# Sizes that bound the time per proposal (benchmarks/search_overhead.md).
_ALL = 6_000  # listed designs up to which the acquisition is evaluated at all of them
_DRAWN = 1_000  # uniform draws that the local search starts with
_CENTRES = 6  # designs whose neighbours are evaluated in the first round; half as many later
_ROUNDS = 12
_PAIRS = 200  # random neighbours that differ in two choices, of each kind
_AUGMENTED = 0.05  # rho of the Chebyshev scalarisation, as in ParEGO


def log_expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """The logarithm of the expected improvement over a known value: (n,).

    Jones, Schonlau and Welch, Efficient Global Optimization (1998). EI underflows far below the
    best value; its logarithm still ranks designs there (Ament et al., Unexpected Improvements,
    2023).
    """
    z = (mean - best) / deviation
    density = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
    # Below z = -25, 1 + z Phi(z) / phi(z) cancels: its asymptotic expansion is 1 / z^2. Above
    # z = 25, phi(z) underflows, and EI is mu - y*.
    near = np.clip(z, -25.0, 25.0)
    gain = 1 + near * np.exp(log_ndtr(near) + 0.5 * near**2 + 0.5 * np.log(2 * np.pi))
    gain = np.where(z > -25.0, gain, 1 / np.maximum(z**2, 1.0))
    log_ei = np.log(deviation) + density + np.log(np.maximum(gain, 1e-300))
    return np.where(z < 25.0, log_ei, np.log(np.maximum(mean - best, 1e-300)))


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
