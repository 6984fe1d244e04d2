"""Readers of an audit's folder: to go on, for a search that cites it, and for its report."""

import shutil
from collections.abc import Callable
from pathlib import Path

from bamsearch.evidence.audit.folder import AuditFolder, first_difference
from bamsearch.records.audit_files import audits_of, read_audit, read_trainings
from bamsearch.reporting.documents import AuditDocument

from .reader import AUDIT, Reader, in_place_of


def audit_readers(folder: Path) -> dict[str, Reader]:
    """Readers by name; folder is for files."""
    place = folder / "audits" / "one"
    shutil.copytree(AUDIT, place, ignore=shutil.ignore_patterns("*.svg", "report.*"))
    whole = read_audit(place)

    def report() -> object:
        made = AuditDocument(read_audit(place), place, "one")
        return [made.text(one) for one in ("json", "csv", "md", "html")]

    def compare() -> object:
        return audits_of(whole, place.parent), first_difference(whole, read_audit(place))

    def trainings() -> object:
        return read_trainings(place), AuditFolder(place).trainings(whole)

    def reader(name: str, use: Callable[[], object]) -> Reader:
        return Reader(((AUDIT / name).read_bytes(),), in_place_of(place / name, use), True)

    return {
        "audit: audit.json": reader("audit.json", compare),
        "report: audit.json": reader("audit.json", report),
        "audit: trainings.jsonl": reader("trainings.jsonl", trainings),
        "audit: scores.json": reader("scores.json", lambda: AuditFolder(place).read_scores(whole)),
    }
