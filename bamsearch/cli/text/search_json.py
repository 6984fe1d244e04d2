"""JSON output of ``bamsearch search`` and ``bamsearch runs``."""

from __future__ import annotations

from typing import Any

from bamsearch.records import Run, RunRecord
from bamsearch.reporting.as_json import trial_json
from bamsearch.reporting.comparison import LABELS
from bamsearch.reporting.run_statistics import over_budget, size_correlation
from bamsearch.text import json_count


def search_result_json(record: RunRecord) -> dict[str, Any]:
    """The output of ``search --json``; the README explains its keys."""
    run, best = record.run, record.best
    return {
        "run": run.name,
        "model": run.model,
        "budget": result_budgets(run),
        "designs": json_count(run.designs),
        "feasible_designs": json_count(run.feasible_designs),
        "exact": run.exact,
        "score": run.score,
        "trials": len(record.complete),
        "failed": sum(trial.state == "failed" for trial in record.trials),
        "stopped": sum(trial.state == "stopped" for trial in record.trials),
        "infeasible_scored": over_budget(record),
        "best": None if best is None else trial_json(best),
        "references": {
            kind: trial_json(trial_of_kind)
            for kind in LABELS
            if (trial_of_kind := record.baseline(kind)) is not None
        },
        "pareto": [trial_json(trial) for trial in record.pareto()],
        "size_correlation": {
            "params": (sizes := size_correlation(record)).params,
            "macs": sizes.macs,
            "bams": sizes.bams,
            "designs": sizes.designs,
        },
    }


def result_budgets(run: Run) -> dict[str, int]:
    """Budgets as JSON, in multiply-adds, parameters, bytes and nanoseconds."""
    return {budget.quantity: budget.limit for budget in run.budgets}
