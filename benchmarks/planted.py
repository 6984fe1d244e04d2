"""Random objectives with a known optimum over a feasible set.

A family maps (feasible set, seed) to an objective. In a listed space the optimum is found by
enumeration. Spaces with dozens of sites have families whose optimum is a 0-1 linear program:
``best`` is then found by scipy's branch and bound and checked in integers.

The families, as sums of random effects of options at sites:

===============  ==============================================================================
additive         sum of effects that are smooth in log2 r and log2 d
interacting      additive, plus effects of all pairs of sites with BAM
rough            sum of independent effects of all options, without structure
pair tables      rough, plus a table of random effects for each pair of sites
largest          the largest effect, plus a fifth of the sum of all effects
cliff            additive, minus 2 standard deviations beyond a number of multiply-adds
network          a random network of 32 tanh units on (on, log2 r, log2 d) of all sites
sharing          additive, with correlated effects of sites close in depth or in one stage
chain            additive, plus effects of neighbouring sites that both have BAM
===============  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Feasible, Listed

Floats = NDArray[np.float64]
Rows = NDArray[np.int8]
SAMPLED = 20_000


@dataclass(frozen=True)
class Planted:
    """An objective over a feasible set.

    Attributes:
        value: maps encoded designs to values, (n,).
        best: largest value of a feasible design.
        mean: mean over the feasible designs.
        deviation: standard deviation over the feasible designs.
    """

    value: Callable[[Rows], Floats]
    best: float
    mean: float
    deviation: float

    def regret(self, value: float) -> float:
        """0 for the best design, 1 for an average one."""
        return (self.best - value) / (self.best - self.mean)


@dataclass(frozen=True)
class Linear:
    """Effects of options, and of neighbouring choices that both have BAM: (choices - 1,)."""

    effects: list[Floats]
    joint: Floats

    def __call__(self, rows: Rows) -> Floats:
        on = rows > 0
        both = (on[:, 1:] & on[:, :-1]) @ self.joint
        total: Floats = sum_of(self.effects, rows) + both
        return total


def sum_of(effects: list[Floats], rows: Rows) -> Floats:
    total: Floats = np.sum([effect[rows[:, i]] for i, effect in enumerate(effects)], axis=0)
    return total


def places(feasible: Feasible) -> list[tuple[Floats, Floats, Floats]]:
    """(on, r, d) of every option of every site; centred log2 r and log2 d, 0 for off."""
    tables = []
    for choice in feasible.space.choices:
        on = np.array([float(not option.off) for option in choice.options])
        r = np.array(
            [
                np.log2(option.reduction) - 3.5 if o else 0.0
                for o, option in zip(on, choice.options, strict=True)
            ]
        )
        d = np.array(
            [
                np.log2(option.dilation) - 1.5 if o else 0.0
                for o, option in zip(on, choice.options, strict=True)
            ]
        )
        tables.append((on, r, d))
    return tables


def smooth_effects(feasible: Feasible, drawn: Floats) -> list[Floats]:
    """Effects from six random numbers per site: on, slopes, curvatures, interaction of r and d."""
    effects = []
    for (on, r, d), (a, b, c, e, f, g) in zip(places(feasible), drawn, strict=True):
        effects.append(
            on
            * (a + 0.5 * b * r + 0.5 * c * d - 0.25 * e * r**2 - 0.25 * f * d**2 + 0.25 * g * r * d)
        )
    return effects


def additive(feasible: Feasible, rng: np.random.Generator) -> Callable[[Rows], Floats]:
    drawn = rng.normal(size=(len(feasible.space.choices), 6))
    return Linear(smooth_effects(feasible, drawn), np.zeros(len(drawn) - 1))


def interacting(feasible: Feasible, rng: np.random.Generator) -> Callable[[Rows], Floats]:
    alone = additive(feasible, rng)
    number = len(feasible.space.choices)
    on, r, d = ([column[i] for column in places(feasible)] for i in range(3))
    joint = rng.normal(size=(number, number, 3)) * np.array([0.8, 0.4, 0.4])

    def value(rows: Rows) -> Floats:
        total = alone(rows)
        at = [[values[rows[:, i]] for i, values in enumerate(column)] for column in (on, r, d)]
        for i in range(number):
            for j in range(i):
                for a, column in zip(joint[i, j], at, strict=True):
                    total = total + a * column[i] * column[j]
        return total

    return value


def rough(feasible: Feasible, rng: np.random.Generator) -> Callable[[Rows], Floats]:
    effects = [rng.normal(size=len(choice.options)) for choice in feasible.space.choices]
    return Linear(effects, np.zeros(len(effects) - 1))


def pair_tables(feasible: Feasible, rng: np.random.Generator) -> Callable[[Rows], Floats]:
    alone = rough(feasible, rng)
    options = [len(choice.options) for choice in feasible.space.choices]
    tables = {
        (i, j): 0.7 * rng.normal(size=(options[i], options[j]))
        for i in range(len(options))
        for j in range(i)
    }

    def value(rows: Rows) -> Floats:
        pairs = [table[rows[:, i], rows[:, j]] for (i, j), table in tables.items()]
        return alone(rows) + np.sum(pairs, axis=0)

    return value


def largest(feasible: Feasible, rng: np.random.Generator) -> Callable[[Rows], Floats]:
    effects = smooth_effects(feasible, rng.normal(size=(len(feasible.space.choices), 6)))

    def value(rows: Rows) -> Floats:
        each = np.array([effect[rows[:, i]] for i, effect in enumerate(effects)])
        total: Floats = each.max(axis=0) + 0.2 * each.sum(axis=0)
        return total

    return value


def cliff(feasible: Feasible, rng: np.random.Generator) -> Callable[[Rows], Floats]:
    alone = additive(feasible, rng)
    rows = feasible.table if isinstance(feasible, Listed) else feasible.sample(rng, SAMPLED)
    macs = [np.array([float(o.macs) for o in c.options]) for c in feasible.space.choices]
    edge = np.quantile(sum_of(macs, rows), rng.uniform(0.4, 0.9))
    fall = 2 * alone(rows).std()

    def value(rows: Rows) -> Floats:
        return alone(rows) - fall * (sum_of(macs, rows) > edge)

    return value


def network(feasible: Feasible, rng: np.random.Generator) -> Callable[[Rows], Floats]:
    at = places(feasible)
    inputs = 3 * len(at)
    first, offset = rng.normal(size=(inputs, 32)) * 2 / np.sqrt(inputs), rng.normal(size=32)
    last = rng.normal(size=32)

    def value(rows: Rows) -> Floats:
        columns = [column[rows[:, i]] for i, each in enumerate(at) for column in each]
        total: Floats = np.tanh(np.column_stack(columns) @ first + offset) @ last
        return total

    return value


def sharing(feasible: Feasible, rng: np.random.Generator) -> Callable[[Rows], Floats]:
    choices = feasible.space.choices
    depth = np.arange(len(choices))
    stage = np.array([choice.sites[0].height for choice in choices])
    alike = np.exp(-0.5 * ((depth[:, None] - depth) / 3) ** 2)
    alike = 0.5 * alike + 0.4 * (stage[:, None] == stage) + 0.1 * np.eye(len(choices))
    drawn = np.linalg.cholesky(alike) @ rng.normal(size=(len(choices), 6))
    return Linear(smooth_effects(feasible, drawn), np.zeros(len(choices) - 1))


def chain(feasible: Feasible, rng: np.random.Generator) -> Callable[[Rows], Floats]:
    drawn = rng.normal(size=(len(feasible.space.choices), 6))
    return Linear(smooth_effects(feasible, drawn), rng.normal(size=len(drawn) - 1))


LISTED = {
    "additive": additive,
    "interacting": interacting,
    "rough": rough,
    "pair tables": pair_tables,
    "largest": largest,
    "cliff": cliff,
    "network": network,
}
BLOCKS = {"additive": additive, "rough": rough, "sharing": sharing, "chain": chain}


def planted(feasible: Feasible, family: str, seed: int) -> Planted:
    """Draw an objective of a family.

    Args:
        feasible: the feasible set.
        family: name in LISTED if the set is listed, else in BLOCKS.
        seed: random seed, combined with the name of the family.
    """
    key = [seed, *family.encode()]
    rng = np.random.default_rng(key)
    if isinstance(feasible, Listed):
        value = LISTED[family](feasible, rng)
        # The base is excluded: a search proposes designs with BAM.
        values = value(feasible.table[feasible.table.any(axis=1)])
        return Planted(value, float(values.max()), float(values.mean()), float(values.std()))
    linear = BLOCKS[family](feasible, rng)
    values = linear(feasible.sample(rng, SAMPLED))
    best = linear(np.array([best_linear(feasible, linear)], dtype=np.int8))[0]
    return Planted(linear, float(best), float(values.mean()), float(values.std()))


def best_linear(feasible: Feasible, objective: Linear) -> Encoding:
    """The best feasible design: a multiple-choice knapsack with effects of neighbours.

    Raises:
        RuntimeError: no proven optimum, or its integers are inconsistent.
    """
    options = [len(effect) for effect in objective.effects]
    starts = np.cumsum([0, *options])
    picked, pairs = int(starts[-1]), len(objective.joint)
    gain = np.concatenate([*objective.effects, objective.joint])
    rows = np.zeros((len(options) + 3 * pairs + 1, picked + pairs))
    low, high = np.full(len(rows), -np.inf), np.zeros(len(rows))
    for i in range(len(options)):
        rows[i, starts[i] : starts[i + 1]] = 1
        low[i] = high[i] = 1
    # A pair counts as both on: z <= 1 - off_i, z <= 1 - off_j, z >= 1 - off_i - off_j.
    for pair in range(pairs):
        at, z = len(options) + 3 * pair, picked + pair
        for row, offs in ((at, (pair,)), (at + 1, (pair + 1,)), (at + 2, (pair, pair + 1))):
            rows[row, z] = 1
            rows[row, [starts[i] for i in offs]] = 1
        high[at] = high[at + 1] = 1
        low[at + 2], high[at + 2] = 1, np.inf
    # At least one site has BAM.
    rows[-1, starts[:-1]], high[-1] = 1, len(options) - 1
    budgets = np.concatenate([*feasible.costs, np.zeros((pairs, len(feasible.budgets)))]).T
    # In units of the slack: the solver's tolerances are absolute.
    limits = [
        LinearConstraint(b / max(s, 1), -np.inf, 1.0)
        for b, s in zip(budgets, feasible.slacks.astype(float), strict=True)
    ]
    solution = milp(
        -gain,
        constraints=[LinearConstraint(rows, low, high), *limits],
        integrality=np.ones(len(gain)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0.0},
    )
    if solution.status != 0:
        raise RuntimeError(f"no proven optimum: {solution.message}")
    encoding = tuple(
        int(np.argmax(solution.x[starts[i] : starts[i + 1]])) for i in range(len(options))
    )
    value = objective(np.array([encoding], dtype=np.int8))[0]
    if not feasible.fits(encoding) or abs(value + solution.fun) > 1e-6 * max(1.0, abs(value)):
        raise RuntimeError(
            f"the optimum {solution.fun} differs from the value of its design, {value}"
        )
    return encoding
