"""Spaces too large to list: counted, drawn and the largest found, against other ways to do it."""

from __future__ import annotations

import random
from collections import Counter
from math import comb

import numpy as np
import pytest
from scipy.stats import chisquare

from bamsearch.space import counting, draws
from bamsearch.space.choices import Option
from bamsearch.space.counting import count_designs, groups_of, list_halves
from bamsearch.space.feasible import Counted, Listed, feasible

CASES = [(seed, seed % 4, seed % 3 == 0) for seed in range(60)]


def by_sums(space, budgets) -> int:
    """How many designs fit: how many have each sum of costs, one choice after another."""
    sums = Counter({(0,) * len(budgets): 1})
    for choice in space.choices:
        added = Counter(tuple(o.cost(b.quantity) for b in budgets) for o in choice.options)
        after: Counter[tuple[int, ...]] = Counter()
        for total, ways in sums.items():
            for cost, times in added.items():
                costs = tuple(a + b for a, b in zip(total, cost, strict=True))
                after[costs] += ways * times
        sums = after
    slacks = [budget.limit - budget.base for budget in budgets]
    return sum(
        ways
        for total, ways in sums.items()
        if all(cost <= slack for cost, slack in zip(total, slacks, strict=True))
    )


def stages(toys, generator: random.Random, sizes: tuple[int, ...]):
    """Like a network: stages of equal sites, at each off or one of four r and four d."""
    choices = []
    for size in sizes:
        costs = sorted(generator.randint(20, 400) for _ in range(8))
        options = [
            Option(2 ** (5 - n), d, costs[n], costs[n + 4], costs[n] + costs[n + 4])
            for n in reversed(range(4))
            for d in (1, 2, 4, 6)
        ]
        choices += [[Option(), *options]] * size
    return toys.space(choices)


@pytest.mark.parametrize(("seed", "number", "required"), CASES)
def test_against_every_design(toys, seed, number, required) -> None:
    space = toys.random_space(seed, required=required)
    budgets = toys.random_budgets(seed, space, number)
    fitting = toys.brute_force(space, budgets)
    if not fitting:
        return  # feasible() says so
    counted = Counted(space, budgets)
    assert (counted.count, counted.exact, counted.designs) == (len(fitting), True, space.designs)
    drawn = counted.sample(np.random.default_rng(seed), 300)
    assert (drawn.shape, drawn.dtype) == ((300, len(space.choices)), np.int8)
    assert {tuple(row) for row in drawn.tolist()} <= set(fitting)
    largest = counted.largest()
    assert largest in fitting
    most = max(space.added(encoding, "params") for encoding in fitting)
    assert space.added(largest, "params") == most


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_against_sums(toys, seed, number) -> None:
    """Millions of designs and more, of which all sums of costs can still be held."""
    generator = random.Random(seed)
    space = stages(toys, generator, (4, 3) if number == 3 else (5, 4, 2))
    quantities = ["gflops", "memory", "params"][:number]
    budgets = [
        toys.budget(
            quantity,
            int(
                generator.uniform(0.1, 0.6)
                * sum(c.options[1].cost(quantity) for c in space.choices)
            ),
        )
        for quantity in quantities
    ]
    counted = Counted(space, budgets)
    assert counted.exact
    assert counted.count == by_sums(space, budgets)
    assert counted.which_fit(counted.sample(np.random.default_rng(0), 500)).all()


def test_more_designs_than_64_bits_by_hand(toys) -> None:
    """Of 60 equal sites, 16 options each, all of one cost: as many BAMs as the budget pays."""
    options = [Option(), *(Option(r, d, 100) for r in (4, 8, 16, 32) for d in (1, 2, 4, 6))]
    space = toys.space([options] * 60)
    for paid, slack in [(0, 99), (1, 100), (3, 399), (30, 3000), (59, 5999)]:
        counted = Counted(space, [toys.budget("params", slack)])
        assert counted.count == sum(comb(60, k) * 16**k for k in range(paid + 1))
        assert counted.exact
        inserted = (counted.sample(np.random.default_rng(0), 50) > 0).sum(axis=1)
        assert inserted.max() == paid
        assert sum(n > 0 for n in counted.largest()) == paid
    for budgets in ([], [toys.budget("params", 6000)]):
        counted = Counted(space, budgets)
        assert counted.count == counted.designs == 17**60
        assert space.added(counted.largest(), "params") == 6000


def test_two_budgets_by_hand(toys) -> None:
    """30 sites where BAM takes parameters, 30 others where it takes memory."""
    first = [Option(), Option(1, 1, params=1), Option(1, 2, params=1)]
    second = [Option(), Option(1, 1, memory=1)]
    space = toys.space([first, second] * 30)
    counted = Counted(space, [toys.budget("params", 10), toys.budget("memory", 20)])
    by_params = sum(comb(30, k) * 2**k for k in range(11))
    assert counted.count == by_params * sum(comb(30, k) for k in range(21))


def test_a_group_too_large_for_a_half_is_split(toys) -> None:
    space = stages(toys, random.Random(7), (12,))
    costs = [np.array([[o.params, o.macs] for o in c.options]) for c in space.choices]
    groups = groups_of(costs)
    assert [group.multisets for group in groups] == [comb(12 + 4, 4)]
    slacks = np.array([1200, 1500])
    expected = by_sums(space, [toys.budget("params", 1200), toys.budget("gflops", 1500)])
    # 6 and 6 choices have C(10, 4) = 210 multisets each.
    for most in (10**6, 210):
        halves = list_halves(groups, slacks, most)
        assert halves is not None
        assert count_designs(halves, slacks) == expected
    assert [len(half.groups) for half in halves] == [1, 1]
    assert list_halves(groups, slacks, most=20) is None


def test_an_estimate_where_the_halves_are_too_large(toys, monkeypatch) -> None:
    space = stages(toys, random.Random(5), (6, 5, 3))
    budgets = [toys.budget("params", 900), toys.budget("gflops", 2000)]
    truth = Counted(space, budgets)
    monkeypatch.setattr(counting, "list_multisets", lambda *_: None)
    counted = Counted(space, budgets)
    assert truth.exact
    assert not counted.exact
    assert counted.count == pytest.approx(truth.count, rel=0.03)
    assert counted.count == Counted(space, budgets).count
    assert Counted(space, []).count == 17**14


@pytest.mark.parametrize("cells", [draws._CELLS, 9])
@pytest.mark.parametrize(
    ("seed", "number", "required"), [(1, 1, False), (2, 2, False), (4, 2, True), (7, 3, False)]
)
def test_sampling_is_uniform(toys, monkeypatch, cells, seed, number, required) -> None:
    """Also where the grid is so coarse that much of what is drawn is thrown away."""
    monkeypatch.setattr(draws, "_CELLS", cells)
    generator = random.Random(seed)
    kinds = []
    for _ in range(2):
        first = Option(1, 1, *(generator.randint(1, 9) for _ in range(3)))
        second = Option(2, 1, *(generator.randint(1, 9) for _ in range(3)))
        twin = Option(2, 2, second.params, second.macs, second.memory)
        kinds.append([*([] if required else [Option()]), second, first, twin])
    space = toys.space([kinds[0], kinds[1], kinds[0], kinds[0], kinds[1]])
    budgets = [
        toys.budget(
            quantity,
            int(
                (0.8 if required else 0.6)
                * sum(max(o.cost(quantity) for o in c.options) for c in space.choices)
            ),
        )
        for quantity in ["params", "gflops", "memory"][:number]
    ]
    fitting = toys.brute_force(space, budgets)
    assert 20 < len(fitting) < space.designs
    counted = Counted(space, budgets)
    drawn = counted.sample(np.random.default_rng(seed), 100 * len(fitting))
    rows, counts = np.unique(drawn, axis=0, return_counts=True)
    assert [tuple(row) for row in rows.tolist()] == fitting
    assert chisquare(counts).pvalue > 1e-3


def test_sampling_follows_the_generator(toys) -> None:
    counted = Counted(stages(toys, random.Random(2), (8, 4)), [toys.budget("params", 700)])
    first, same, other = (counted.sample(np.random.default_rng(seed), 40) for seed in (1, 1, 2))
    assert (first == same).all()
    assert (first != other).any()
    assert counted.sample(np.random.default_rng(0), 0).shape == (0, 12)


def test_budgets_so_small_that_few_designs_fit(toys) -> None:
    """One in 10^40: drawing from all of them would never end."""
    space = stages(toys, random.Random(4), (22, 15))
    cheapest = min(o.params for c in space.choices for o in c.options if not o.off)
    counted = Counted(space, [toys.budget("params", cheapest)])
    assert counted.count < 1000
    drawn = counted.sample(np.random.default_rng(0), 2000)
    assert len(np.unique(drawn, axis=0)) == pytest.approx(counted.count, rel=0.1)


@pytest.mark.parametrize("halves", [True, False])
def test_largest_as_listed(toys, monkeypatch, halves) -> None:
    """By halves, and by an integer programme."""
    if not halves:
        monkeypatch.setattr(counting, "list_multisets", lambda *_: None)
    for seed in range(20):
        generator = random.Random(seed)
        space = stages(toys, generator, (2, 2))
        first, second = generator.sample(["params", "gflops", "memory"], 2)
        budgets = [toys.budget(q, generator.randint(500, 1200)) for q in (first, second)]
        listed, counted = feasible(space, budgets), Counted(space, budgets)
        assert isinstance(listed, Listed)
        best = space.added(listed.largest(), "params")
        assert space.added(counted.largest(), "params") == best
        assert counted.fits(counted.largest())
        assert {insertion.dilation for insertion in space.insertions(counted.largest())} <= {4}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_largest_by_halves_as_by_programme(toys, monkeypatch, number) -> None:
    for seed in range(5):
        space = stages(toys, random.Random(seed), (7, 5, 3))
        quantities = ["gflops", "memory", "params"][:number]
        budgets = [toys.budget(quantity, 1500 + 100 * seed) for quantity in quantities]
        halves = Counted(space, budgets)
        with monkeypatch.context() as patch:
            patch.setattr(counting, "list_multisets", lambda *_: None)
            programme = Counted(space, budgets).largest()
        assert halves.fits(programme)
        assert halves.fits(halves.largest())
        assert space.added(programme, "params") == space.added(halves.largest(), "params")


def test_a_solvers_answer_that_does_not_fit_is_not_taken(toys, monkeypatch) -> None:
    space = stages(toys, random.Random(3), (9, 5))
    budgets = [toys.budget("gflops", 1111)]
    expected = Counted(space, budgets).largest()
    real, answers = counting.milp, []

    def tolerant(c, *, constraints, **options):
        """At first takes the budget for larger than it is."""
        rules = list(constraints)
        if len(answers) < 3:
            rules[1] = counting.LinearConstraint(rules[1].A, rules[1].lb, rules[1].ub + 300)
        solution = real(c, constraints=rules, **options)
        answers.append(tuple(np.rint(solution.x[: len(c) if not answers else len(answers[0])])))
        return solution

    monkeypatch.setattr(counting, "milp", tolerant)
    monkeypatch.setattr(counting, "list_multisets", lambda *_: None)
    counted = Counted(space, budgets)
    largest = counted.largest()
    assert len(set(answers)) == len(answers) == 4
    assert counted.fits(largest)
    assert space.added(largest, "params") == space.added(expected, "params")
