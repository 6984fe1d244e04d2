"""What keeps the budgets, against a look at every design; and what is said when nothing does."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import pytest
from scipy.stats import chisquare

from bamsearch.errors import NothingFitsError, SpaceError
from bamsearch.profiling.costs import DesignCosts
from bamsearch.profiling.summary import summarise
from bamsearch.records import Cost, Insertion, ModelSummary, Site
from bamsearch.space.budget import parse_budget
from bamsearch.space.choices import Option, SearchSpace, make_choice, with_costs
from bamsearch.space.feasible import Counted, Listed, feasible
from bamsearch.space.space import read_space, search_space

CASES = [(seed, seed % 4, seed % 3 == 0) for seed in range(60)]
NAMED = re.compile(r"`budget_(\w+)` (\S+)")
STEP = {"gflops": Decimal("0.0001"), "params": 1, "memory": 1, "ms": Decimal("0.01")}


@pytest.mark.parametrize(("seed", "number", "required"), CASES)
def test_against_every_design(toys, seed, number, required) -> None:
    space = toys.random_space(seed, required=required)
    budgets = toys.random_budgets(seed, space, number)
    fitting = toys.brute_force(space, budgets)
    if not any(not space.inserts_nothing(encoding) for encoding in fitting):
        with pytest.raises(NothingFitsError):
            feasible(space, budgets)
        return
    feasible_set = feasible(space, budgets)
    assert isinstance(feasible_set, Listed)
    assert (feasible_set.count, feasible_set.exact) == (len(fitting), True)
    assert [tuple(row) for row in feasible_set.table.tolist()] == fitting
    most = max(space.added(encoding, "params") for encoding in fitting)
    assert feasible_set.largest() in fitting
    assert space.added(feasible_set.largest(), "params") == most
    everything = toys.brute_force(space, [])
    admitted = set(fitting)
    expected = [encoding in admitted for encoding in everything]
    assert feasible_set.which_fit(np.array(everything, dtype=np.int8)).tolist() == expected
    assert [feasible_set.fits(encoding) for encoding in everything] == expected


def test_the_cases_are_worth_it(toys) -> None:
    counts = []
    for seed, number, required in CASES:
        space = toys.random_space(seed, required=required)
        fitting = toys.brute_force(space, toys.random_budgets(seed, space, number))
        counts.append((len(fitting), space.designs))
    assert sum(count == 0 for count, _ in counts) >= 3
    assert sum(1 < count < designs for count, designs in counts) >= 20


@pytest.mark.parametrize(
    ("model", "gflops", "fitting"), [("resnet50", "4.2", 741), ("resnet101", "8", 1701)]
)
def test_known_numbers(model, gflops, fitting) -> None:
    """DESIGN section 7 has the first, by enumeration with fvcore's numbers; of 17^3 designs."""
    summary = summarise(model)
    space = search_space(read_space("bottlenecks"), summary)
    budgets = [parse_budget("gflops", gflops, summary.base.macs)]
    feasible_set = feasible(space, budgets)
    assert (feasible_set.designs, feasible_set.count) == (4913, fitting)
    assert Counted(space, budgets).count == fitting
    largest = space.insertions(feasible_set.largest())
    assert {insertion.dilation for insertion in largest} == {4}


def test_too_many_to_list_are_counted(toys) -> None:
    space = toys.space([[Option(), Option(1, 1, 1)]] * 5)
    budgets = [toys.budget("params", 2)]  # 1 + 5 + 10 designs
    assert isinstance(feasible(space, budgets, listed=16), Listed)
    counted = feasible(space, budgets, listed=15)
    assert isinstance(counted, Counted)
    assert counted.count == 16


def test_sampling_is_uniform(toys) -> None:
    space = toys.random_space(3)
    feasible_set = feasible(space, [])
    rows, counts = np.unique(
        feasible_set.sample(np.random.default_rng(1), 200 * feasible_set.count),
        axis=0,
        return_counts=True,
    )
    assert len(rows) == feasible_set.count
    assert chisquare(counts).pvalue > 1e-3
    assert feasible_set.sample(np.random.default_rng(1), 0).shape == (0, len(space.choices))


def test_the_largest_has_the_usual_dilation(toys) -> None:
    options = [Option(), *(Option(8, d, 5, 100) for d in (1, 2, 4, 6))]
    space = toys.space([options, [Option(), Option(8, 1, 5, 200)]])
    feasible_set = feasible(space, [toys.budget("gflops", 350)])
    assert space.insertions(feasible_set.largest()) == (
        Insertion("s0", 8, 4),
        Insertion("s1", 8, 1),
    )


def named_budgets(message: str, budgets: list) -> dict:
    """The budgets of the message's last part, as typed."""
    bases = {budget.quantity: budget.base for budget in budgets}
    would_do = message.partition("the smallest feasible budget is ")[2]
    named = dict(NAMED.findall(would_do))
    assert named, message
    assert set(named) <= set(bases)
    return named


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_nothing_fits_names_the_smallest_that_would(toys, number, required) -> None:
    refused = 0
    for seed in range(60):
        space = toys.random_space(seed, required=required)
        quantities = np.random.default_rng(seed).permutation(["params", "gflops", "memory", "ms"])
        # Costs are 1 to 9, and a step of what is typed is one of them: 10^5 and 10^4.
        unit = {"params": 1, "gflops": 10**5, "memory": 1, "ms": 10**4}
        space = with_costs(
            space,
            {
                (choice.name, option.label): (option.memory, option.ns * 10**4)
                for choice in space.choices
                for option in choice.options
            },
        )
        slacks = np.random.default_rng(seed).integers(-2, 8, size=4).tolist()
        budgets = [
            toys.budget(str(quantity), slack * unit[str(quantity)])
            for quantity, slack in zip(quantities[:number], slacks, strict=False)
        ]

        def fits(limits, space=space) -> bool:
            fitting = toys.brute_force(space, limits)
            return any(not space.inserts_nothing(encoding) for encoding in fitting)

        if fits(budgets):
            feasible(space, budgets)
            continue
        refused += 1
        with pytest.raises(NothingFitsError) as failure:
            feasible(space, budgets)
        named = named_budgets(str(failure.value), budgets)

        def typed(changed, budgets=budgets):
            return [
                parse_budget(budget.quantity, changed[budget.quantity], budget.base)
                if budget.quantity in changed
                else budget
                for budget in budgets
            ]

        assert fits(typed(named)), failure.value
        for quantity, text in named.items():
            less = named | {quantity: str(Decimal(text) - STEP[quantity])}
            assert not fits(typed(less)), failure.value
    assert refused > 8


def test_what_nothing_fits_says(toys) -> None:
    space = toys.space([[Option(), Option(8, 4, 30, 2 * 10**6)], [Option(), Option(8, 4, 20, 10)]])
    with pytest.raises(NothingFitsError) as failure:
        feasible(space, [parse_budget("params", "1.01k", 1000)])
    assert str(failure.value) == (
        "no design of net in space toy is within `budget_params` 1.01k: the base alone takes "
        "0.0010 M params; the smallest feasible budget is `budget_params` 1020"
    )
    # Fewer than the base has.
    with pytest.raises(NothingFitsError, match=r"feasible budget is `budget_gflops` 1\.0001$"):
        feasible(space, [parse_budget("gflops", "0.5", 10**9)])


def test_one_budget_too_small_and_two_ways_out(toys) -> None:
    """Each option keeps one of the budgets: it takes one larger budget, not two."""
    options = [Option(), Option(1, 1, params=1, memory=100), Option(2, 1, params=90, memory=1)]
    with pytest.raises(NothingFitsError) as failure:
        feasible(toys.space([options]), [toys.budget("params", 5), toys.budget("memory", 5)])
    assert str(failure.value).endswith("the smallest feasible budget is `budget_params` 1090")


def test_required_sites_that_no_single_quantity_fits(toys) -> None:
    """The only option that keeps both budgets is cheapest in neither."""
    options = [
        Option(1, 1, params=1, memory=9),
        Option(2, 1, params=9, memory=1),
        Option(3, 1, params=5, memory=5),
    ]
    budgets = [toys.budget("params", 10), toys.budget("memory", 10)]
    feasible_set = feasible(toys.space([options, options]), budgets)
    assert sorted(map(tuple, feasible_set.table.tolist())) == [(0, 1), (1, 0), (2, 2)]


SITES = (
    Site("wide", 64, 56, 40, 4, "NCHW", "bottleneck", "next"),
    Site("small", 64, 4, 4, 32, "NCHW", "block"),
    Site("thin", 7, 4, 9, 32, "NCHW", "block"),
)
COSTS = DesignCosts(ModelSummary("net", (3, 9, 9), "", (3, 9, 9), SITES, Cost(5, 5, 5)))
GRID = [(r, d) for r in (4, 8, 16, 32) for d in (1, 2, 4, 6)]


def labels(*sites: Site, pairs=GRID, optional: bool = True) -> list[str]:
    return [option.label for option in make_choice(sites, pairs, COSTS, optional=optional).options]


def test_each_function_is_an_option_once() -> None:
    assert labels(SITES[0]) == ["off", *(f"r{r} d{d}" for r, d in GRID)]
    # On a 4 x 4 map d = 6 is d = 4.
    assert labels(SITES[1]) == ["off", *(f"r{r} d{d}" for r, d in GRID if d < 6)]
    # Of 7 channels r = 4, 8, … all leave one: shown with the smallest.
    assert labels(SITES[2], optional=False) == ["r4 d1", "r4 d2", "r4 d4", "r4 d6"]
    assert labels(SITES[1], pairs=[(70, 9), (65, 6), (65, 8), (80, 5)]) == ["off", "r65 d6"]
    # Together: as soon as one of the sites computes something else.
    assert len(labels(SITES[0], SITES[1])) == 17
    assert len(labels(SITES[1], SITES[2])) == 1 + 4 * 4


def test_what_an_option_costs() -> None:
    (_, option) = make_choice(SITES[:2], [(16, 4)], COSTS, optional=True).options
    # 3Ch + 18h^2 + 5h + 3C + 3 with C = 64 and h = 4, twice
    assert option.params == 2 * (3 * 64 * 4 + 18 * 16 + 5 * 4 + 3 * 64 + 3)
    assert option.macs == sum(
        p * (64 * 4 + 18 * 16 + 4) + 2 * 64 * 4 + 64 * p + 2 * 64 + 2 * p for p in (56 * 40, 16)
    )


def test_more_options_than_a_byte_can_number() -> None:
    site = Site("wide", 512, 500, 500, 4, "NCHW", "block")
    costs = DesignCosts(ModelSummary("net", (3, 9, 9), "", (3, 9, 9), (site,), Cost(5, 5, 5)))
    pairs = [(1, d) for d in range(1, 129)]
    assert len(make_choice([site], pairs[:126], costs, optional=True).options) == 127
    with pytest.raises(
        SpaceError, match="wide has 128 different options, but a search supports at most 127"
    ):
        make_choice([site], pairs, costs, optional=False)


def test_picks_and_insertions() -> None:
    choices = tuple(make_choice([site], GRID, COSTS, optional=True) for site in SITES)
    space = SearchSpace("toy", COSTS.summary, choices)
    assert space.designs == 17 * 13 * 5
    encoding = (5, 0, 2)
    inserted = (Insertion("wide", 8, 1), Insertion("thin", 4, 2))
    assert space.insertions(encoding) == inserted
    assert space.encoding(inserted) == encoding
    # The same functions by other names.
    assert space.encoding([Insertion("thin", 32, 2), Insertion("wide", 8, 1)]) == encoding
    assert space.encoding([Insertion("small", 4, 50)]) == (0, 3, 0)
    assert space.encoding([Insertion("wide", 3, 1)]) is None
    assert space.encoding([Insertion("elsewhere", 4, 1)]) is None
    assert space.encoding([]) == (0, 0, 0)
    cost = COSTS.cost(inserted)
    assert space.added(encoding, "params") == cost.params - 5
    assert space.added(encoding, "gflops") == cost.macs - 5
