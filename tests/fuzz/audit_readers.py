"""Readers of an audit's folder: to resume it, to cite it in a search, and for its report."""

import shutil
from collections.abc import Callable
from pathlib import Path

from bamsearch.evidence.audit.folder import AuditFolder, first_difference
from bamsearch.records.audit_files import audits_of, read_audit, read_trainings
from bamsearch.reporting.documents import AuditDocument

from .reader import AUDIT, Reader, in_place_of


def audit_readers(folder: Path) -> dict[str, Reader]:
    """Readers by name; folder is for files."""
    audit_folder = folder / "audits" / "one"
    shutil.copytree(AUDIT, audit_folder, ignore=shutil.ignore_patterns("*.svg", "report.*"))
    whole = read_audit(audit_folder)

    def report() -> object:
        document = AuditDocument(read_audit(audit_folder), audit_folder, "one")
        return [document.text(format) for format in ("json", "csv", "md", "html")]

    def compare() -> object:
        return audits_of(whole, audit_folder.parent), first_difference(
            whole, read_audit(audit_folder)
        )

    def trainings() -> object:
        return read_trainings(audit_folder), AuditFolder(audit_folder).trainings(whole)

    def reader(name: str, use: Callable[[], object]) -> Reader:
        return Reader(((AUDIT / name).read_bytes(),), in_place_of(audit_folder / name, use), True)

    return {
        "audit: audit.json": reader("audit.json", compare),
        "report: audit.json": reader("audit.json", report),
        "audit: trainings.jsonl": reader("trainings.jsonl", trainings),
        "audit: scores.json": reader(
            "scores.json", lambda: AuditFolder(audit_folder).read_scores(whole)
        ),
    }
