"""Duration of an audit, estimated from timed steps of a small, a medium and a large design."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bamsearch.evidence.audit.folder import AuditFolder
from bamsearch.evidence.audit.request import AuditPlan
from bamsearch.evidence.audit.trainings import missing
from bamsearch.training.initial_model import build_initial_model
from bamsearch.training.timing import step_seconds, training_seconds


@dataclass(frozen=True, slots=True)
class AuditEstimate:
    """Estimate made before the trainings.

    Attributes:
        trainings: number of trainings in total.
        done: number of finished trainings.
        seconds: duration of the remaining trainings in one process.
    """

    trainings: int
    done: int
    seconds: float


def estimate_audit(
    planned: AuditPlan,
    folder: AuditFolder,
    *,
    force: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> AuditEstimate:
    """Count finished trainings and estimate the duration of the others; writes nothing.

    The duration of a step is interpolated between the timed designs by their multiply-adds.

    Args:
        planned: the plan of the audit.
        folder: folder of the audit, which may not exist yet.
        force: ignore finished trainings.
        clock: clock in seconds.
    """
    audit = planned.audit
    trainings = len(audit.designs) * len(audit.seeds)
    remaining = sorted(missing(audit, None if force else folder), key=lambda job: job.audited.macs)
    if not remaining:
        return AuditEstimate(trainings, trainings, 0.0)
    step_times: dict[int, float] = {}
    for job in (remaining[0], remaining[len(remaining) // 2], remaining[-1]):
        if job.audited.macs not in step_times:
            initial = build_initial_model(
                audit.design(job.audited.insertions), planned.data, seed=audit.seeds[0]
            )
            step_times[job.audited.macs] = step_seconds(
                initial,
                planned.data,
                planned.recipe,
                device=audit.device,
                threads=audit.threads,
                clock=clock,
            )
    macs = [job.audited.macs for job in remaining]
    steps = np.interp(macs, list(step_times), list(step_times.values()))
    seconds = sum(training_seconds(step, planned.data, planned.recipe) for step in steps.tolist())
    return AuditEstimate(trainings, trainings - len(remaining), seconds)
