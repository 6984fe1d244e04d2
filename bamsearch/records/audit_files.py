"""The files of an audit, read without torch.

::

    audits/NAME/
      audit.json        what is asked and, at the end, what was found
      trainings.jsonl   a line for each finished training
      scores.json       score → its value for each design of the sample; with several draws, a list
                        per score seed
      train/            checkpoints of the trainings at work
      report.*          the report
      lock              held by the audit at work
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bamsearch.errors import RunError
from bamsearch.records.audits import Audit
from bamsearch.records.designs import Insertion
from bamsearch.records.run_files import readable_lines
from bamsearch.records.runs import Run

AUDIT_FILE = "audit.json"
TRAININGS_FILE = "trainings.jsonl"
SCORES_FILE = "scores.json"
TRAIN_FOLDER = "train"

AUDITS = Path("audits")
"""Where audits are, below the current folder."""


@dataclass(frozen=True, slots=True)
class Training:
    """A finished training: a line of ``trainings.jsonl``.

    Attributes:
        insertions: of the design.
        seed: of everything random.
        right: validation images that are classified right at its end; None if it diverged.
        images: validation images; None if it diverged.
        curve: per cent of them that were right after each epoch.
        seconds: that its epochs took.
    """

    insertions: tuple[Insertion, ...]
    seed: int
    right: int | None = None
    images: int | None = None
    curve: tuple[float, ...] = ()
    seconds: float | None = None

    @property
    def per_cent(self) -> float | None:
        """The accuracy; None if it diverged."""
        if self.right is None or not self.images:
            return None
        return 100 * self.right / self.images

    def to_line(self) -> str:
        """As a line of the file."""
        content: dict[str, Any] = {
            "design": [[one.site, one.reduction, one.dilation] for one in self.insertions],
            "seed": self.seed,
        }
        if self.right is None:
            content["diverged"] = True
        else:
            content |= {"right": self.right, "images": self.images}
            content |= {"curve": list(self.curve), "seconds": self.seconds}
        return json.dumps(content, allow_nan=False) + "\n"

    @classmethod
    def from_line(cls, line: str | bytes) -> Training:
        """Read a line; any error is a ValueError, KeyError or TypeError."""
        content = json.loads(line)
        insertions = tuple(Insertion(*one) for one in content.pop("design"))
        if content.pop("diverged", False):
            return cls(insertions, content["seed"])
        found = cls(insertions, **(content | {"curve": tuple(content.get("curve", ()))}))
        if found.right is None or not found.images or not 0 <= found.right <= found.images:
            raise ValueError("right must be in 0..images, and images above 0")
        return found


def read_trainings(folder: Path) -> tuple[list[Training], int]:
    """The finished trainings of an audit.

    Args:
        folder: of the audit.

    Returns:
        The trainings, and how many bytes of the file are whole lines: a power cut can spoil what
        follows, which is to be cut off before another line is added.

    Raises:
        RunError: a line that is no training, with whole lines after it.
    """
    path = folder / TRAININGS_FILE
    content = path.read_bytes() if path.exists() else b""
    lines = readable_lines(content)
    whole = len(b"".join(lines))
    number = len(lines) + 1
    if readable_lines(content[whole:].partition(b"\n")[2]):
        raise RunError(f"{path}, line {number} is no training: mend or remove that line")
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(Training.from_line(line))
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path}, line {number} is no training ({error}): mend or remove that line"
            ) from error
    return found, whole


def find_audit(audit: str) -> Path | None:
    """The folder of an audit by its name or its path; None if there is none."""
    places = (AUDITS / audit, Path(audit)) if audit else ()
    return next((place for place in places if (place / AUDIT_FILE).is_file()), None)


def read_audit(folder: Path) -> Audit:
    """The record of an audit, as far as it has come.

    Raises:
        RunError: no audit there, not readable, or from a newer bamsearch.
    """
    path = folder / AUDIT_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"no audit at {folder}: 'bamsearch audit MODEL' makes one") from error
    return Audit.from_json(text, str(path))


def audits_of(asked: Run | Audit, parent: Path = AUDITS) -> list[Audit]:
    """The finished audits of a network and space, oldest first; unreadable ones are left out.

    Args:
        asked: whose network, space and BAM: another with the network's name, input and number of
            parameters is the same.
        parent: of their folders.
    """
    found = []
    for path in sorted(parent.glob(f"*/{AUDIT_FILE}")):
        try:
            audit = read_audit(path.parent)
            if audit.finished and _key(audit) == _key(asked):
                found.append(audit)
        except (RunError, AttributeError, KeyError, TypeError, ValueError):
            continue
    return sorted(found, key=lambda audit: str(audit.created))


def _key(asked: Run | Audit) -> tuple[object, ...]:
    network = asked.summary.model, asked.summary.input_shape, asked.summary.base.params
    # As JSON: what was read has lists where what is asked has tuples.
    return *network, asked.variant, asked.init, json.dumps(dict(asked.space)), asked.with_stem
