"""What a search is compared with: the base, the paper's default, the largest, a random search."""

from dataclasses import replace

import pytest

from bamsearch.records import Insertion
from bamsearch.space.feasible import feasible
from bamsearch.study.baselines import first_designs, list_baselines, paper_default


@pytest.fixture(scope="module")
def plan(engine):
    return engine.planned()


def budgeted(plan, gflops=None, params=None):
    """The same space with budgets that leave so much."""
    base = plan.space.summary.base
    budgets = []
    if gflops is not None:
        budgets.append(replace(plan.run.budgets[0], limit=base.macs + gflops))
    if params is not None:
        budgets.append(
            replace(
                plan.run.budgets[0], quantity="params", base=base.params, limit=base.params + params
            )
        )
    return feasible(plan.space, budgets)


def test_the_paper_default_is_its_sites_with_r_16_and_d_4(plan):
    assert paper_default(plan.feasible) == tuple(Insertion(f"layer{n}", 16, 4) for n in (1, 2, 3))


def test_it_is_left_out_where_it_is_over_a_budget(plan):
    encoding = plan.space.encoding(tuple(Insertion(f"layer{n}", 16, 4) for n in (1, 2, 3)))
    needed = plan.space.added(encoding, "gflops")
    assert paper_default(budgeted(plan, needed)) is not None
    assert paper_default(budgeted(plan, needed - 1)) is None
    kinds = [kind for kind, _ in list_baselines(budgeted(plan, needed - 1), seed=0, random=0)]
    assert kinds == ["base", "largest"]


def test_it_may_be_outside_of_the_space(engine):
    """The mobile space of resnet18 has no such r at these sites; costs are exact all the same."""
    feasible_set = engine.planned(space="paper").feasible
    without = tuple(
        replace(choice, options=tuple(o for o in choice.options if o.off or o.reduction != 16))
        for choice in feasible_set.space.choices
    )
    space = replace(feasible_set.space, choices=without)
    assert space.encoding(tuple(Insertion(f"layer{n}", 16, 4) for n in (1, 2, 3))) is None
    design = paper_default(feasible(space, feasible_set.budgets))
    assert design == tuple(Insertion(f"layer{n}", 16, 4) for n in (1, 2, 3))
    assert first_designs(feasible(space, feasible_set.budgets), "gp") == [
        feasible(space, feasible_set.budgets).largest()
    ]


def test_the_largest_has_most_parameters_of_all_that_fit(plan, toys):
    for gflops, params in ((10**5, None), (10**6, None), (None, 5000), (2 * 10**6, 20_000)):
        feasible_set = budgeted(plan, gflops, params)
        (largest,) = [
            sites
            for kind, sites in list_baselines(feasible_set, seed=0, random=0)
            if kind == "largest"
        ]
        fitting = toys.brute_force(plan.space, feasible_set.budgets)
        most = max(plan.space.added(encoding, "params") for encoding in fitting)
        encoding = plan.space.encoding(largest)
        assert encoding in fitting
        assert plan.space.added(encoding, "params") == most


def test_designs_tried_before_any_suggestion(plan):
    feasible_set = plan.feasible
    paper = plan.space.encoding(paper_default(feasible_set))
    for sampler in ("gp", "tpe", "nsga2"):
        assert first_designs(feasible_set, sampler) == [feasible_set.largest(), paper]
        assert all(feasible_set.fits(encoding) for encoding in first_designs(feasible_set, sampler))
    assert first_designs(feasible_set, "random") == first_designs(feasible_set, "exhaustive") == []


def test_a_random_search_is_another_one_than_the_sampler_of_its_seed(plan):
    from itertools import islice

    from bamsearch.sampler.basic_samplers import RandomSampler

    def drawn(seed, number):
        listed = list_baselines(plan.feasible, seed=seed, random=number)
        return [plan.space.encoding(sites) for kind, sites in listed if kind == "random"]

    ten = drawn(3, 10)
    assert len(set(ten)) == 10
    assert all(plan.feasible.fits(encoding) for encoding in ten)
    assert drawn(3, 20)[:10] == ten
    assert drawn(4, 10) != ten
    assert list(islice(RandomSampler(plan.feasible, 3).order(), 10)) != ten
    assert drawn(3, 10**6).__len__() == plan.feasible.count - 1
