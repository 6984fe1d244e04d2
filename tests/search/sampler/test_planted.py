"""The optimum of a planted objective is what looking at every design finds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from bamsearch.records import Budget, Cost, ModelSummary, Site
from bamsearch.space.feasible import Feasible, Listed, feasible
from bamsearch.space.space import parse_space, search_space

PATH = Path(__file__).parents[3] / "benchmarks" / "planted.py"
if not PATH.exists():
    pytest.skip("the benchmarks are not in the source distribution", allow_module_level=True)
_spec = importlib.util.spec_from_file_location("planted", PATH)
assert _spec is not None
assert _spec.loader is not None
planted = sys.modules["planted"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(planted)


def designs(limit: int, listed: int = 500_000) -> Feasible:
    maps = {"a": (64, 28), "b": (64, 28), "c": (128, 14), "d": (128, 14)}
    sites = tuple(
        Site(name, channels, side, side, 224 // side, "NCHW", "block")
        for name, (channels, side) in maps.items()
    )
    summary = ModelSummary(
        "toy", (3, 224, 224), "", (3, 224, 224), sites, Cost(10**6, 10**8, 10**8)
    )
    content = {"name": "toy", "sites": ["?"], "reductions": [4, 8, 16], "dilations": [1, 2]}
    space = search_space(parse_space(content, "toy"), summary)
    return feasible(space, [Budget("gflops", "toy", limit, 100_000_000)], listed)


@pytest.mark.parametrize("family", ["additive", "rough", "sharing", "chain"])
@pytest.mark.parametrize("limit", [101_500_000, 104_000_000])
@pytest.mark.parametrize("seed", range(5))
def test_the_linear_program_finds_the_best_design(family, limit, seed) -> None:
    space = designs(limit)
    assert isinstance(space, Listed)
    assert space.count < space.designs
    objective = planted.BLOCKS[family](space, np.random.default_rng(seed))
    values = objective(space.table[space.table.any(axis=1)])
    encoding = planted.best_linear(space, objective)
    assert space.fits(encoding)
    assert any(encoding)
    assert objective(np.array([encoding], dtype=np.int8))[0] == pytest.approx(
        values.max(), abs=1e-9
    )


def test_nothing_that_is_better_alone_is_needed() -> None:
    """Where every BAM does harm, the best design is the least harmful one, not the base."""
    space = designs(110_000_000)
    effects = [np.array([0.0, *(-1.0 - n for n in range(6))]) for _ in range(4)]
    objective = planted.Linear(effects, np.zeros(3))
    assert space.fits([1, 0, 0, 0])
    assert sorted(planted.best_linear(space, objective)) == [0, 0, 0, 1]


@pytest.mark.parametrize("family", ["additive", "interacting", "rough", "pair tables", "largest"])
def test_regret_is_between_best_and_average(family) -> None:
    space = designs(104_000_000)
    assert isinstance(space, Listed)
    objective = planted.planted(space, family, 0)
    values = objective.value(space.table[space.table.any(axis=1)])
    regrets = [objective.regret(value) for value in values]
    assert min(regrets) == pytest.approx(0)
    assert np.mean(regrets) == pytest.approx(1)


def test_another_seed_and_family_is_another_objective() -> None:
    space = designs(104_000_000)
    rows = space.sample(np.random.default_rng(0), 50)
    drawn = [
        planted.planted(space, family, seed).value(rows)
        for family in planted.LISTED
        for seed in (0, 1)
    ]
    again = planted.planted(space, "additive", 0).value(rows)
    assert np.array_equal(drawn[0], again)
    for index, objective in enumerate(drawn):
        assert not any(np.allclose(objective, other) for other in drawn[index + 1 :])


def test_a_pair_counts_where_both_have_bam() -> None:
    objective = planted.Linear([np.array([0.0, 1.0, 2.0])] * 3, np.array([10.0, 100.0]))
    rows = np.array([[1, 0, 2], [1, 2, 0], [0, 1, 1], [1, 1, 1]], dtype=np.int8)
    assert objective(rows).tolist() == [3.0, 13.0, 102.0, 113.0]
