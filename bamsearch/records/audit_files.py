"""The files of an audit, read without torch.

::

    audits/NAME/
      audit.json        options and, at the end, results
      trainings.jsonl   one line per finished training
      scores.json       score → its value for each design of the sample; with several draws, a list
                        per score seed
      train/            checkpoints of running trainings
      report.*          the report
      lock              held by the running audit
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from bamsearch.errors import RunError
from bamsearch.records.audits import Audit
from bamsearch.records.codec import decode, encode
from bamsearch.records.designs import Insertions
from bamsearch.records.formats import Format, parse_json
from bamsearch.records.hints import Key, Misfit, Natural, Percent
from bamsearch.records.run_files import AUDITS, find_named, read_lines
from bamsearch.records.runs import Run

AUDIT_FILE = "audit.json"
TRAININGS_FILE = "trainings.jsonl"
SCORES_FILE = "scores.json"
TRAIN_FOLDER = "train"


@dataclass(frozen=True, slots=True)
class AuditTraining:
    """A finished training: a line of ``trainings.jsonl``.

    Attributes:
        insertions: insertions of the design.
        seed: random seed.
        right: correctly classified validation images at the end; None if it diverged.
        images: validation images; None if it diverged.
        curve: validation accuracy in percent after each epoch.
        seconds: duration of all epochs.
    """

    insertions: Annotated[Insertions, Key("design")]
    seed: int
    right: Natural | None = None
    images: Natural | None = None
    curve: tuple[Percent, ...] = ()
    seconds: float | None = None

    @property
    def percent(self) -> float | None:
        """Validation accuracy in percent; None if it diverged."""
        if self.right is None or not self.images:
            return None
        return 100 * self.right / self.images

    def to_line(self) -> str:
        """The training as a line of the file."""
        content = encode(AuditTraining, self)
        if self.right is None:
            content = {key: content[key] for key in ("design", "seed")} | {"diverged": True}
        return json.dumps(content, allow_nan=False) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes, source: str = "the line") -> AuditTraining:
        """Read a line.

        Raises:
            RunError: the line is not a training.
        """
        with _TRAINING.refusing(source):
            content = parse_json(line)
            if isinstance(content, dict) and content.get("diverged") is True:
                content = {key: content[key] for key in ("design", "seed") if key in content}
                return _TRAINING.value(content, source)
            training: AuditTraining = decode(AuditTraining, content)
            if training.right is None or not training.images or training.right > training.images:
                raise Misfit("needs right in 0..images, and images above 0")
            return training


_TRAINING: Format[AuditTraining] = Format(
    AuditTraining, "training", RunError, "fix or remove that line"
)


def read_trainings(folder: Path) -> tuple[list[AuditTraining], int]:
    """The finished trainings of an audit.

    Returns:
        The trainings, and the number of bytes in complete lines. A power cut can corrupt what
        follows, which must be cut off before another line is added.

    Raises:
        RunError: a line is not a training, and complete lines follow it.
    """
    path = folder / TRAININGS_FILE
    lines = read_lines(path, "training", _TRAINING.remedy)
    trainings = [
        AuditTraining.from_line(line, f"{path}, line {number}")
        for number, line in enumerate(lines, start=1)
    ]
    return trainings, sum(map(len, lines))


def find_audit(audit: str) -> Path | None:
    """The folder of an audit, by its name or path; None if it does not exist."""
    return find_named(audit, AUDITS, AUDIT_FILE)


def read_audit(folder: Path) -> Audit:
    """The record of an audit, finished or not.

    Raises:
        RunError: there is no audit, or it cannot be read or is from a newer bamsearch.
    """
    try:
        return Audit.read(folder / AUDIT_FILE)
    except OSError as error:
        raise RunError(f"no audit at {folder}: 'bamsearch audit MODEL' makes one") from error


def audits_of(record: Run | Audit, parent: Path = AUDITS) -> list[Audit]:
    """The finished audits of a network and space, oldest first; unreadable ones are left out.

    Args:
        record: run or audit with the network, space and BAM. Networks with the same name, input and
            number of parameters count as the same.
        parent: folder of the audits.
    """
    audits = []
    for path in sorted(parent.glob(f"[!.]*/{AUDIT_FILE}")):
        try:
            audit = read_audit(path.parent)
            if audit.finished and _key(audit) == _key(record):
                audits.append(audit)
        except RunError:
            continue
    return sorted(audits, key=lambda audit: audit.created)


def _key(record: Run | Audit) -> tuple[object, ...]:
    network = record.summary.model, record.summary.input_shape, record.summary.base.params
    # As JSON: records from a file have lists where new ones have tuples.
    return *network, record.variant, record.init, json.dumps(dict(record.space)), record.with_stem
