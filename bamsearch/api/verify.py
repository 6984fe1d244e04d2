"""The public function ``verify``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from bamsearch.api.result import SearchResult
from bamsearch.records.arguments import checked

if TYPE_CHECKING:
    from bamsearch.data.datasets import Datasets
    from bamsearch.records import Evidence
else:
    Datasets = Any  # checked when the data are opened, so that this module does not load torch


@checked
def verify(
    run: str | os.PathLike[str], data: str | Datasets | None = None, **options: Any
) -> Evidence:
    """Train the best design of a run and its baselines in pairs, and test whether it helps.

    The evidence is written into the folder of the run; the same call continues after an
    interruption, and repeats nothing once it is finished.

    Args:
        run: name or folder of a run, or a result with a folder; that of a module must be a result,
            whose module gives all networks their weights.
        data: the data, as in :func:`search`; None is that of the run, if it has a name.
        options: fields of :class:`bamsearch.evidence.verify.request.VerifyRequest`, such as seeds,
            looks, recipe, epochs, weights, device, margin and over.

    Raises:
        InvalidValueError: a result without a folder, or an option out of range.
        BamsearchError: see :func:`bamsearch.evidence.verify.request.plan_verify`.
    """
    from bamsearch.evidence.verify.request import VerifyRequest, plan_verify
    from bamsearch.evidence.verify.run import run_verify

    options["module"] = run.module if isinstance(run, SearchResult) else None
    request = checked(VerifyRequest)(os.fspath(run), data, command="bamsearch.verify", **options)
    return run_verify(plan_verify(request))
