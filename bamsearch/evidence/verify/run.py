"""``verify``: look by look, train and test the undecided networks, and compare them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from bamsearch.errors import DivergedError, TrainingError
from bamsearch.evidence.verify.ledger import LookLedger
from bamsearch.evidence.verify.networks import ComparedNetwork
from bamsearch.evidence.verify.request import VerifyPlan
from bamsearch.evidence.verify.summary import evidence_of, has_base, undecided_networks
from bamsearch.evidence.verify.trainings import (
    HeldOutResult,
    evaluate_one,
    stored_result,
    train_one,
)
from bamsearch.files import remove_drafts
from bamsearch.records import Evidence
from bamsearch.training.progress import Progress

Watch = Callable[[Progress], None]
Follow = Callable[[str], AbstractContextManager[Watch | None]]
"""Title of a training → context that gives a callback for its progress, or None."""


def run_verify(planned: VerifyPlan, follow: Follow = lambda title: nullcontext()) -> Evidence:
    """Train and test one group of seeds after another until all comparisons are decided.

    Writes ``evidence.json``. Each look at the test split is recorded before an image is read, and
    concluded afterwards. Interrupted trainings are resumed, finished ones are not repeated.
    Decisions depend on the results alone, so on a CPU with one thread the numbers are bit for bit
    those of an uninterrupted verification.

    Args:
        planned: the verification.
        follow: see :data:`Follow`.

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
            trained = _train(planned, pending, len(results), follow)
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


def _train(planned: VerifyPlan, pending: Pending, before: int, follow: Follow) -> Pending:
    """Train; return the trainings that did not diverge."""
    trained = []
    for number, (seed, network) in enumerate(pending, start=before + 1):
        most = len(planned.trainings)
        title = f"training {number} of at most {most}: {network.label}, seed {seed}"
        try:
            with follow(title) as watch:
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
