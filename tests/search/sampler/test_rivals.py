"""The rivals of benchmarks/train_rivals.py: each recommends as well as its rule allows."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
if not BENCHMARKS.is_dir():
    pytest.skip("the benchmarks are not in the source distribution", allow_module_level=True)


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == BENCHMARKS:
            del sys.modules[name]


@pytest.fixture(scope="module")
def table(bench):
    """Every second design has two seeds instead of three."""
    simulator = bench("coverage_search").Simulator()
    cell = bench("coverage_search").Cell("additive", 0.5)
    planted = bench("noisy_search").planted_table(simulator, cell, 0)
    accuracies = [row[: 2 + index % 2] for index, row in enumerate(planted.accuracies)]
    return replace(planted, accuracies=accuracies)


def names(bench):
    rivals = bench("noisy_rivals")
    only_nb201 = [name for name, only in rivals.ONLY.items() if only == "nb201"]
    return sorted({*rivals.METHODS, "halving"} - {*only_nb201, "gp, BoTorch"})


def test_each_method_keeps_to_the_seeds_that_the_table_has(bench, table, monkeypatch):
    rivals = bench("noisy_rivals")
    monkeypatch.setattr(rivals, "AFTER", (6, 14))
    for name in names(bench):
        regrets = rivals.regrets(table, name, 1000)
        assert len(regrets) == 2, name
        assert min(regrets) >= 0, name


def test_halving_may_recommend_a_design_that_has_no_third_seed(bench, table):
    accuracies = [np.full(2 + index % 2, 50.0) for index in range(len(table.worth))]
    worth = np.full(len(accuracies), 50.0)
    search = bench("noisy_search").Search(replace(table, accuracies=accuracies, worth=worth), 7)
    drawn = search.rng.permutation(len(accuracies))[:5].tolist()
    best = next(row for row in drawn if row % 2 == 0)
    accuracies[best][:], worth[best] = 60.0, 60.0
    recommended = bench("noisy_rivals").halving(
        bench("noisy_search").Search(replace(table, accuracies=accuracies, worth=worth), 7)
    )
    assert recommended == [best] * 3


def test_the_gaussian_process_recommends_by_the_last_training_too(bench, table):
    accuracies = [np.full(2, 50.0) for _ in table.worth]
    last = int(np.flatnonzero((table.feasible.table > 0).all(axis=1))[0])
    accuracies[last][:] = 60.0
    search = bench("noisy_search").Search(replace(table, accuracies=accuracies), 0)
    for row in [*np.random.default_rng(0).choice(last, 9, replace=False).tolist(), last]:
        search.train(row)
    assert bench("noisy_rivals").by_expectation(search) == last


def test_ratios_resample_a_search_with_all_of_its_tables(bench):
    """Tables with the same regrets say no more than one of them."""
    cells = bench("train_rivals")._cells
    rng = np.random.default_rng(0)
    mine, theirs = rng.random((2, 1, 20, 3)) + 0.5
    assert cells(mine, theirs, "rival") == cells(
        np.repeat(mine, 3, axis=0), np.repeat(theirs, 3, axis=0), "rival"
    )
