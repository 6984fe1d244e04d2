"""The quick version of benchmarks/coverage.py: intervals hold what they say, on known truths.

All draws are seeded: the same numbers each time, whatever the machine does.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark_module(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == BENCHMARKS:
            del sys.modules[name]


def low(rows):
    """Rows of coverage below 0.93 by more than three Monte Carlo errors."""
    return [r for r in rows if "coverage" in r.name and r.value + 3 * max(r.error, 0.01) < 0.93]


def test_verify_holds_with_fresh_seeds_and_over_looks(benchmark_module):
    verify = benchmark_module("coverage_verify")
    fresh = [row for row in verify.fresh_seeds(1_000) if "fresh" in row.name]
    looks = verify.sequential(400)
    assert not low([*fresh, *looks])
    bias = next(row for row in fresh if "bias" in row.name)
    assert abs(bias.value) < 3 * bias.error + 0.01
    for row in looks:
        if "false answers" in row.name:
            assert row.value < 0.05 + 3 * row.error, row


def test_audits_hold_where_scores_are_drawn_again(benchmark_module):
    audit = benchmark_module("coverage_audit")
    held = {cell.measure: cell for cell in audit.audit_cell(repetitions=60)}
    assert all(cell.held > 0.93 - 3 * 0.03 for cell in held.values())


def test_searches_hold_what_their_ranking_says(benchmark_module):
    search = benchmark_module("coverage_search")
    simulator, held = search.Simulator(), search.Held()
    for seed, kind in enumerate(search.KINDS):
        cell = search.Cell(kind, 1.0, "failed")
        simulator.look(cell, 2 * seed, held)
    assert held.held.keys() >= {"all designs", "base", "recommended", "gain", "effects"}
    # Of some sixty intervals of 95%, two in three hold with all but certainty.
    values = [value for each in held.held.values() for value in each]
    assert sum(values) / len(values) > 2 / 3
