"""The best designs under a budget of time, timed against the base: a prediction is no proof."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING

from bamsearch.records import Design, RunRecord
from bamsearch.records.runs import Finalist

if TYPE_CHECKING:
    from torch import nn

WANTED = 3
"""How many designs that keep the budget are looked for."""

_MOST = 8

_log = logging.getLogger(__name__)


def time_finalists(record: RunRecord, module: nn.Module | None = None) -> list[Finalist]:
    """Time designs from the best on, until three keep the budget, or eight were timed.

    The paper default is timed too, where it fits: a report compares with it.

    Args:
        record: of a run with a budget of time; all its trials finished.
        module: the base; None builds the run's model.

    Returns:
        Those that were timed. One is kept if the upper end of its 95 % interval keeps the budget.

    Raises:
        DeviceError: as :func:`bamsearch.profile.timing.time_pair`.
    """
    import torch

    from bamsearch.graph.insertion import insert
    from bamsearch.graph.models import build_model
    from bamsearch.graph.network import find_network
    from bamsearch.profile.timing import time_pair

    run = record.run
    about = run.latency or {}
    limit = next(budget.limit for budget in run.budgets if budget.quantity == "ms") / 1e6
    if module is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            module = build_model(run.model, run.summary.input_shape, num_classes=run.num_classes)
    network = find_network(module, run.summary.input_shape)

    _log.info("timing the best designs on %s: do they keep the budget in milliseconds?", run.device)

    def timed(design: Design) -> Finalist:
        inserted = insert(module, network, run.summary.sites, design)
        pair = time_pair(
            network.module,
            inserted.get_submodule(network.path),
            network.input_shape,
            samples=about["samples"],
            seed=run.seed,
            device=run.device,
            batch_size=about["batch_size"],
            dtype=about["dtype"],
            mode=about["mode"],
            threads=about["threads"],
        )
        low, ms, high = (pair.a.median * ratio for ratio in (pair.low, pair.ratio, pair.high))
        return Finalist(design, ms, low, high, high <= limit, pair.a.median)

    found: list[Finalist] = []
    for trial in islice(record.ranking(), _MOST):
        found.append(timed(trial.design))
        if sum(one.kept for one in found) == WANTED:
            break
    paper = record.reference("paper")
    if paper is not None and all(one.design != paper.design for one in found):
        found.append(timed(paper.design))
    return found
