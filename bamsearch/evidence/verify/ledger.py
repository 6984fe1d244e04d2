"""The plans and openings in ``evidence.json``: every look appends to them, none is ever removed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from bamsearch.evidence.verify.request import VerifyPlan
from bamsearch.evidence.verify.statistics import CONFIDENCE
from bamsearch.evidence.verify.summary import concluded_text
from bamsearch.records import AnalysisPlan, Evidence, Opening


class LookLedger:
    """Looks at the test split, each recorded before it starts and concluded afterwards.

    An interrupted look is resumed under its first entry.

    Args:
        planned: the verification, whose run is locked.
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
        """Record that the test split is about to be read.

        Args:
            seeds: largest number of pairs of a comparison so far.
        """
        self._enter(seeds)
        self._write(self._before or self._empty())

    def conclude(self, seeds: int, evidence: Evidence, *, last: bool) -> Evidence:
        """Write the evidence of a look if the look is new or the last one.

        Args:
            seeds: largest number of pairs of a comparison so far.
            evidence: evidence as of this look.
            last: whether no look follows.

        Returns:
            The evidence with all plans and openings.
        """
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

    def _empty(self) -> Evidence:
        facts, request = self._planned.data.facts, self._planned.request
        designs = {role: design.insertions for role, design in self._planned.chosen.designs.items()}
        return Evidence(
            facts.name,
            facts.hash,
            CONFIDENCE,
            {},
            (),
            command=request.command,
            margin=request.margin,
            designs=designs,
            seeds=tuple(self._planned.seeds),
            over=request.over,
        )


def _unrecorded(evidence: Evidence) -> Opening:
    """The opening of an older bamsearch, which recorded only the results."""
    seeds = max((difference.seeds for difference in evidence.differences), default=0)
    return Opening("", evidence.command, None, seeds, None, concluded_text(evidence))
