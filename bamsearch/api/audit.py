"""The public function ``audit``."""

from __future__ import annotations

from bamsearch.evidence.audit.request import AuditRequest, plan_audit
from bamsearch.evidence.audit.run import run_audit
from bamsearch.evidence.audit.trainings import estimate_audit
from bamsearch.records import Audit
from bamsearch.records.arguments import parameters_of
from bamsearch.training.progress import SILENT


@parameters_of(AuditRequest)
def audit(request: AuditRequest) -> Audit:
    """Train a sample of designs, and measure which scores rank them as training does.

    The same call continues after an interruption.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        BamsearchError: see :func:`bamsearch.evidence.audit.request.plan_audit` and
            :func:`bamsearch.evidence.audit.run.run_audit`.
    """
    view = request.follower
    with view.work(f"determining the feasible designs of {request.target}"):
        plan = plan_audit(request)
    if view is not SILENT:
        with view.work("timing a few steps"):
            estimate = estimate_audit(plan)
        view.plan(plan, estimate)
    return plan.audit if request.dry_run else run_audit(plan, view)
