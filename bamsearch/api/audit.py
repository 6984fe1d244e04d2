"""The public function ``audit``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bamsearch.records.arguments import checked

if TYPE_CHECKING:
    from bamsearch.records import Audit


@checked
def audit(
    model: str | os.PathLike[str],
    data: str | None = None,
    *,
    output: str | os.PathLike[str],
    jobs: int = 1,
    **options: Any,
) -> Audit:
    """Train a sample of designs, and measure which scores rank them as training does.

    Args:
        model: a MODEL; or the name or folder of a run, which sets model, space and budgets.
        data: name of the data; None is that of the run.
        output: folder of the audit; the same call continues an interrupted audit in it.
        jobs: number of training processes.
        options: fields of :class:`bamsearch.evidence.audit.request.AuditRequest`, such as designs,
            seeds, scores, space, epochs and ``budgets={"gflops": "8"}``.

    Raises:
        BamsearchError: see :func:`bamsearch.evidence.audit.request.plan_audit`.
    """
    from bamsearch.evidence.audit.folder import AuditFolder
    from bamsearch.evidence.audit.request import AuditRequest, plan_audit
    from bamsearch.evidence.audit.run import run_audit

    request = checked(AuditRequest)(os.fspath(model), data, command="bamsearch.audit", **options)
    return run_audit(plan_audit(request), AuditFolder(Path(output)), jobs=jobs)
