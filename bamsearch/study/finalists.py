"""Measures the latency of the best designs, because predictions can be wrong."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING

from bamsearch.records import Design, RunRecord
from bamsearch.records.runs import Finalist

if TYPE_CHECKING:
    from torch import nn

FINALISTS = 3
"""Number of designs within the budget after which timing stops."""

_MOST = 8

_log = logging.getLogger(__name__)


def time_finalists(record: RunRecord, module: nn.Module | None = None) -> list[Finalist]:
    """Time designs from the best down, paired with the base.

    It stops after three designs within the budget, or after eight designs. The paper default is
    timed too if it is feasible, because the report compares with it.

    Returns:
        The timed designs. A design is kept if the upper end of its 95% interval is within the
        budget.

    Raises:
        DeviceError: as :func:`bamsearch.profiling.timing.time_pair`.
    """
    from bamsearch.graph.bams import fork_rng
    from bamsearch.graph.base import Base
    from bamsearch.graph.models import build_model
    from bamsearch.profiling.timing import time_pair

    run = record.run
    conditions = run.latency or {}
    budget = next(budget for budget in run.budgets if budget.quantity == "ms")
    if module is None:
        with fork_rng(run.seed):
            module = build_model(run.model, run.summary.input_shape, num_classes=run.num_classes)
    base = Base(module, run.summary.input_shape, known_sites=run.summary.sites)
    network = base.network

    _log.info("timing the best designs on %s, to check the budget in milliseconds", run.device)

    def timed(design: Design) -> Finalist:
        inserted = base.insert(design).module
        pair = time_pair(
            network.module,
            inserted.get_submodule(network.path),
            network.input_shape,
            samples=conditions["samples"],
            seed=run.seed,
            device=run.device,
            batch_size=conditions["batch_size"],
            dtype=conditions["dtype"],
            mode=conditions["mode"],
            threads=conditions["threads"],
        )
        low, ms, high = (pair.a.median * ratio for ratio in (pair.low, pair.ratio, pair.high))
        return Finalist(design, ms, low, high, budget.admits(high * 1e6), pair.a.median)

    finalists: list[Finalist] = []
    for trial in islice(record.ranking(), _MOST):
        finalists.append(timed(trial.design))
        if sum(finalist.kept for finalist in finalists) == FINALISTS:
            break
    paper = record.baseline("paper")
    if paper is not None and all(finalist.design != paper.design for finalist in finalists):
        finalists.append(timed(paper.design))
    return finalists
