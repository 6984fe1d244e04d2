"""Computes the audited scores of the designs in the sample."""

from __future__ import annotations

from collections.abc import Callable

import torch

from bamsearch.errors import ScoreError
from bamsearch.evidence.audit.folder import AuditFolder, Scores
from bamsearch.profiling.conditions import preserve_torch_state
from bamsearch.records import Audit
from bamsearch.score.scorer import make_scorer
from bamsearch.score.table import is_drawn


def score_missing(
    audit: Audit, folder: AuditFolder, done: Callable[[], None] = lambda: None
) -> Scores:
    """The draws of each score over all designs; those in ``scores.json`` are not computed again.

    A draw is a score seed: initial weights, images and labels. ``params`` and ``macs`` have one.
    Other scores in the file, such as those of a supernet, are audited too.

    Args:
        audit: the audit.
        folder: folder of ``scores.json``.
        done: called after each score.

    Raises:
        ScoreError: unknown score.
    """
    scores = folder.read_scores(audit)
    for name in audit.scores:
        draws = scores.setdefault(name, [])
        first = audit.seeds[0]
        wanted = audit.score_seeds if is_drawn(name) else 1
        for seed in range(first + len(draws), first + wanted):
            draws.append(_values(audit, name, seed))
            folder.write_scores(scores)
        done()
    return scores


def _values(audit: Audit, name: str, seed: int) -> list[float | None]:
    values: list[float | None] = []
    with preserve_torch_state(torch.device(audit.device), audit.threads):
        scorer = make_scorer(
            name,
            audit.summary,
            seed=seed,
            num_classes=audit.num_classes,
            device=audit.device,
        )
        for design in audit.designs:
            try:
                values.append(scorer(audit.design(design.insertions)))
            except ScoreError:
                values.append(None)
    return values
