"""``audit``: train a sample of designs, and compare scores with the trained accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from bamsearch.errors import ScoreError
from bamsearch.evidence.audit.agreement import Comparison, agreements, ceiling
from bamsearch.evidence.audit.correlation import Values
from bamsearch.evidence.audit.folder import AuditFolder, Scores
from bamsearch.evidence.audit.request import AuditPlan
from bamsearch.evidence.audit.trainings import train_missing
from bamsearch.evidence.audit.verdict import (
    default_score,
    draw_sentences,
    trained_sentences,
    verdict,
)
from bamsearch.profiling.conditions import preserve_torch_state
from bamsearch.records import ANOTHER_SEED, TRAIN, Agreement, Audit, Audited, Ceiling, Effect
from bamsearch.records.audits import Setting
from bamsearch.sampler.effects import EffectObservation, effects
from bamsearch.score.scorer import make_scorer
from bamsearch.score.table import is_drawn
from bamsearch.training.progress import SILENT, TrainingView


def run_audit(planned: AuditPlan, view: TrainingView = SILENT) -> Audit:
    """Run the missing trainings, score the sample, and write ``audit.json``.

    Interrupted trainings are resumed, finished ones are not repeated. On a CPU the numbers are bit
    for bit those of an uninterrupted audit.

    Args:
        planned: the plan; with ``force``, the files of an earlier audit are removed first.
        view: follows the trainings.

    Raises:
        RunError: the folder has another audit, or one is running in it.
        KeyboardInterrupt: interrupted; the same call resumes.
    """
    folder = planned.folder
    if not folder.is_audit:
        folder.create(planned.audit)
    with folder.locked():
        if planned.request.force:
            folder.clear()
            folder.write_audit(replace(planned.audit, name=folder.name))
        audit = folder.opened(planned.audit)
        folder.repair()
        if not folder.started:
            folder.write_audit(audit)
        train_missing(replace(planned, audit=audit), view)
        scores = score_missing(audit, folder)
        audit = with_results(audit, folder, scores)
        audit = with_analysis(audit, effects(audit.summary.sites, _trainings(audit)))
        folder.write_audit(audit)
    return audit


def with_results(audit: Audit, folder: AuditFolder, scores: Scores) -> Audit:
    """The audit with the accuracies in its folder, and a value of each draw for every design."""
    trained = folder.trainings(audit)
    designs = []
    for index, design in enumerate(audit.designs):
        reached = tuple(trained[design.insertions, seed].percent for seed in audit.seeds)
        values = {name: tuple(draw[index] for draw in draws) for name, draws in scores.items()}
        designs.append(replace(design, accuracies=reached, scores=values))
    return replace(audit, designs=tuple(designs))


def _trainings(audit: Audit) -> list[EffectObservation]:
    """(insertions, accuracy) of each training that did not diverge."""
    return [
        (design.insertions, accuracy)
        for design in audit.designs
        for accuracy in design.accuracies
        if accuracy is not None
    ]


def with_analysis(audit: Audit, effects: Sequence[Effect] = ()) -> Audit:
    """The audit with its results: agreements, ceilings, effects, verdict and remarks.

    The base is excluded from all correlations: a zero-cost score grows with the network and cannot
    show whether a network should have BAM at all. Designs with a diverged training are excluded
    too.

    Args:
        audit: audit with accuracies and scores.
        effects: effects of sites, r and d, if known.
    """
    complete = [design for design in audit.designs if design.insertions and design.mean is not None]
    band = [design for design in complete if design.in_band]
    settings: list[tuple[Setting, list[Audited]]] = [
        ("band", band),
        ("space", complete),
        ("size", complete),
    ]
    correlations: list[Agreement] = []
    ceilings: list[Ceiling] = []
    for setting, designs in settings:
        correlations += _agreements(audit, designs, setting)
        noise = ceiling(_accuracies(designs, len(audit.seeds)), setting)
        if noise is not None and setting != "size":
            ceilings.append(noise)
    audit = replace(
        audit,
        agreements=tuple(correlations),
        ceilings=tuple(ceilings),
        effects=tuple(effects),
    )
    remarks = [*draw_sentences(audit), *trained_sentences(audit)]
    remarks += _remarks(audit, len(complete), len(band))
    return replace(
        audit, default=default_score(audit), verdict=verdict(audit), remarks=tuple(remarks)
    )


def _agreements(audit: Audit, designs: Sequence[Audited], setting: Setting) -> list[Agreement]:
    accuracies = _accuracies(designs, len(audit.seeds))
    size = np.array([float(design.params) for design in designs])
    truth = accuracies.mean(axis=1)
    names = dict.fromkeys(name for design in audit.designs for name in design.scores)
    comparisons = [
        Comparison(name, ((_draws([design.scores[name] for design in designs]), truth),))
        for name in names
    ]
    seeds = range(len(audit.seeds))
    # Each seed is compared with the mean of the others: a mean that includes it agrees too well.
    other_seeds = [np.delete(accuracies, seed, axis=1).mean(axis=1) for seed in seeds]
    alone = tuple((accuracies[:, seed], other_seeds[seed]) for seed in seeds)
    pairs = tuple((accuracies[:, i], accuracies[:, j]) for i in seeds for j in seeds if i < j)
    comparisons += [Comparison(TRAIN, alone), Comparison(ANOTHER_SEED, pairs)]
    return agreements(comparisons, size, setting, audit.seeds[0])


def _accuracies(designs: Sequence[Audited], seeds: int) -> NDArray[np.float64]:
    """(designs, seeds) accuracies of designs without missing ones."""
    rows = [design.accuracies for design in designs]
    return np.array(rows, dtype=np.float64).reshape(len(designs), seeds)


def _draws(values: Sequence[tuple[float | None, ...]]) -> Values:
    """(draws, designs) scores; nan if a draw failed."""
    return np.array(values, dtype=np.float64).T


def _remarks(audit: Audit, complete: int, band: int) -> list[str]:
    """Remarks on the sample, one sentence each."""
    images = audit.data.validation
    remarks = [
        f"Accuracy is the mean over {len(audit.seeds)} seeds on {images:,} validation images; the "
        "test split was not read.",
        f"{complete} designs with BAM are compared, {band} of them in the band, the most expensive "
        "quarter of the feasible designs. The base is trained too but excluded from correlations.",
    ]
    with_bam = sum(bool(design.insertions) for design in audit.designs)
    if complete < with_bam:
        remarks.append(f"{with_bam - complete} left out: a training of theirs diverged.")
    if len(audit.designs) < audit.number:
        remarks.append(f"{audit.number} designs were requested; fewer are feasible.")
    return remarks


def score_missing(audit: Audit, folder: AuditFolder) -> Scores:
    """The draws of each score over all designs; those in ``scores.json`` are not computed again.

    A draw is a score seed: initial weights, images and labels. ``params`` and ``macs`` have one.
    Other scores in the file, such as those of a supernet, are audited too.
    """
    scores = folder.read_scores(audit)
    for name in audit.scores:
        draws = scores.setdefault(name, [])
        first = audit.seeds[0]
        wanted = audit.score_seeds if is_drawn(name) else 1
        for seed in range(first + len(draws), first + wanted):
            draws.append(_values(audit, name, seed))
            folder.write_scores(scores)
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
