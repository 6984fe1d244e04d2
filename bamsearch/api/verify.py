"""The public function ``verify``."""

from __future__ import annotations

import os

from bamsearch.evidence.verify.request import VerifyRequest, plan_verify
from bamsearch.evidence.verify.run import empty_evidence, run_verify
from bamsearch.evidence.verify.trainings import estimate_verify
from bamsearch.records import Evidence
from bamsearch.records.arguments import parameters_of
from bamsearch.training.progress import SILENT


@parameters_of(VerifyRequest)
def verify(request: VerifyRequest) -> Evidence:
    """Train the best design of a run and its baselines in pairs, and test whether it helps.

    The evidence is written into the folder of the run; the same call continues after an
    interruption, and repeats nothing once it is finished.

    Raises:
        InvalidValueError: a result without a folder, or an option out of range.
        KeyboardInterrupt: Ctrl-C.
        BamsearchError: see :func:`bamsearch.evidence.verify.request.plan_verify` and
            :func:`bamsearch.evidence.verify.run.run_verify`.
    """
    view = request.follower
    with view.work(f"loading {os.fspath(request.run)} and its data"):
        plan = plan_verify(request)
    if view is not SILENT:
        with view.work("timing a few steps of each network"):
            estimate = estimate_verify(plan)
        view.plan(plan, estimate)
    return empty_evidence(plan) if request.dry_run else run_verify(plan, view)
