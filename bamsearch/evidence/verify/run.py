"""``verify``: look by look, train and test the undecided networks, and compare them.

Every look appends its plan and opening to ``evidence.json``, and none is ever removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from bamsearch.errors import DivergedError, TrainingError
from bamsearch.evidence.verify.networks import ComparedNetwork
from bamsearch.evidence.verify.request import VerifyPlan
from bamsearch.evidence.verify.statistics import CONFIDENCE
from bamsearch.evidence.verify.summary import (
    concluded_text,
    evidence_of,
    has_base,
    undecided_networks,
)
from bamsearch.evidence.verify.trainings import (
    HeldOutResult,
    evaluate_one,
    stored_result,
    train_one,
)
from bamsearch.files import remove_drafts
from bamsearch.records import AnalysisPlan, Evidence, Opening
from bamsearch.training.progress import SILENT, TrainingView


def run_verify(planned: VerifyPlan, view: TrainingView = SILENT) -> Evidence:
    """Train and test one group of seeds after another until all comparisons are decided.

    Writes ``evidence.json``. Each look at the test split is recorded before an image is read, and
    concluded afterwards. Interrupted trainings are resumed, finished ones are not repeated.
    Decisions depend on the results alone, so on a CPU with one thread the numbers are bit for bit
    those of an uninterrupted verification.

    Args:
        planned: the verification.
        view: follows the trainings.

    Raises:
        RunError: a search or another verify holds the run.
        TrainingError: so many trainings diverged that nothing can be compared with the base, or
            the folder has a different training.
        KeyboardInterrupt: interrupted; the same call resumes.
    """
    with planned.folder.locked():
        remove_drafts(planned.folder.path)
        planned.folder.log(f"verify: {planned.request.command}")
        ledger = LookLedger(planned)
        results: dict[tuple[str, int], HeldOutResult | None] = {}
        networks = planned.chosen.networks
        for look, size in enumerate(planned.plan.looks, start=1):
            pending = [
                (seed, network)
                for seed in planned.seeds[:size]
                for network in networks
                if (network.name, seed) not in results
            ]
            trained = _train(planned, pending, len(results), view)
            results |= dict.fromkeys((network.name, seed) for seed, network in pending)
            results |= _test(planned, trained, partial(ledger.open, size))
            networks = undecided_networks(planned, results, look)
            last = not networks or size == planned.plan.seeds
            evidence = evidence_of(planned, results, look)
            if has_base(evidence):
                evidence = ledger.conclude(size, evidence, last=last)
            else:
                ledger.close(size, "too few pairs")
            if last:
                break
        if not has_base(evidence):
            raise TrainingError(
                f"{list(results.values()).count(None)} of {len(results)} trainings diverged, and "
                "fewer than two pairs with the base remain: choose another `recipe`, or "
                "`precision=32`"
            )
        planned.folder.log("verify: evidence.json is written")
    return evidence


Pending = list[tuple[int, ComparedNetwork]]
"""Trainings as (seed, network), seed by seed, so that an interruption leaves complete pairs."""


def _train(planned: VerifyPlan, pending: Pending, before: int, view: TrainingView) -> Pending:
    """Train; return the trainings that did not diverge."""
    trained = []
    for number, (seed, network) in enumerate(pending, start=before + 1):
        most = len(planned.trainings)
        title = f"training {number} of at most {most}: {network.label}, seed {seed}"
        try:
            with view.train(title, planned.recipe) as watch:
                train_one(planned, seed, network, watch)
            trained.append((seed, network))
        except DivergedError as error:
            planned.folder.log(f"verify: {network.name}, seed {seed}: {error}")
    return trained


def _test(
    planned: VerifyPlan, trained: Pending, opened: Callable[[], None]
) -> dict[tuple[str, int], HeldOutResult]:
    """Results of trainings; the test split is read only if one is not stored yet."""
    results = {
        (network.name, seed): result
        for seed, network in trained
        if (result := stored_result(planned, seed, network)) is not None
    }
    missing = [(seed, network) for seed, network in trained if (network.name, seed) not in results]
    if missing:
        opened()
        images = planned.data.test()
        for seed, network in missing:
            results[network.name, seed] = evaluate_one(planned, seed, network, images)
    return results


class LookLedger:
    """Looks at the test split, each recorded before it starts and concluded afterwards.

    The run is locked. An interrupted look is resumed under its first entry. ``seeds`` is the
    largest number of pairs of a comparison so far.
    """

    def __init__(self, planned: VerifyPlan) -> None:
        self._planned = planned
        self._before = planned.folder.read_record().evidence
        evidence = self._before
        self._plans: tuple[AnalysisPlan, ...] = () if evidence is None else evidence.plans
        self._openings: tuple[Opening, ...] = () if evidence is None else evidence.openings
        if evidence is not None and not self._openings:
            self._openings = (_unrecorded(evidence),)

    def open(self, seeds: int) -> None:
        """Record that the test split is about to be read."""
        self._enter(seeds)
        self._write(self._before or empty_evidence(self._planned))

    def conclude(self, seeds: int, evidence: Evidence, *, last: bool) -> Evidence:
        """The evidence with all plans and openings, written if the look is new or the last one."""
        new = self.close(seeds, concluded_text(evidence))
        if last and not any((o.plan, o.seeds) == (self._index(), seeds) for o in self._openings):
            # All results were stored: this still is a look, under a plan of its own.
            self._enter(seeds)
            self.close(seeds, concluded_text(evidence))
        return self._write(evidence) if new or last else evidence

    def close(self, seeds: int, concluded: str) -> bool:
        """Conclude the current look; False if there is none, as all its results were stored."""
        if not self._at_work(seeds):
            return False
        self._openings = (*self._openings[:-1], replace(self._openings[-1], concluded=concluded))
        return True

    def _enter(self, seeds: int) -> None:
        """Append an opening unless this look was interrupted before."""
        if self._at_work(seeds):
            return
        date = datetime.now(UTC).isoformat(timespec="seconds")
        images, command = self._planned.data.facts.test, self._planned.request.command
        index = self._index()
        if index == len(self._plans):
            self._plans += (self._planned.plan,)
        self._openings += (Opening(date, command, index, seeds, images),)

    def _at_work(self, seeds: int) -> bool:
        """Whether the last opening is this look and not yet concluded."""
        last = self._openings[-1] if self._openings else None
        return (
            last is not None
            and not last.concluded
            and (last.plan, last.seeds) == (self._index(), seeds)
        )

    def _write(self, evidence: Evidence) -> Evidence:
        self._before = replace(evidence, plans=self._plans, openings=self._openings)
        self._planned.folder.write_evidence(self._before)
        return self._before

    def _index(self) -> int:
        """Index of the plan in the list, or the next index if it is new."""
        plan, number = self._planned.plan, len(self._plans)
        same = (
            index
            for index, earlier in enumerate(self._plans)
            if earlier.data_hash == plan.data_hash and not earlier.changes(plan)
        )
        return next(same, number)


def empty_evidence(planned: VerifyPlan) -> Evidence:
    """The evidence before any result."""
    facts, request = planned.data.facts, planned.request
    return Evidence(
        facts.name,
        facts.hash,
        CONFIDENCE,
        {},
        (),
        command=request.command,
        margin=request.margin,
        designs={role: design.insertions for role, design in planned.chosen.designs.items()},
        seeds=tuple(planned.seeds),
        over=request.over,
    )


def _unrecorded(evidence: Evidence) -> Opening:
    """The opening of an older bamsearch, which recorded only the results."""
    seeds = max((difference.seeds for difference in evidence.differences), default=0)
    return Opening("", evidence.command, None, seeds, None, concluded_text(evidence))
