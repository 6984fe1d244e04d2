"""The folder of a running audit, see :mod:`bamsearch.records.audit_files`, and its choice."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import get_args

from bamsearch import files
from bamsearch.errors import RunError
from bamsearch.records import ANOTHER_SEED, TRAIN, Audit, Insertion, Quantity
from bamsearch.records.audit_files import (
    AUDIT_FILE,
    SCORES_FILE,
    TRAIN_FOLDER,
    TRAININGS_FILE,
    AuditTraining,
    read_audit,
    read_trainings,
)
from bamsearch.records.comparison import FieldDifference, first_difference
from bamsearch.records.formats import Format
from bamsearch.records.run_files import AUDITS, TRAINING_FILES
from bamsearch.study.folder import check_name
from bamsearch.text import size_text

ScoreDraws = Sequence[Sequence[float | None]]
"""Draw → design of the sample → value; None if the score failed."""

Scores = Mapping[str, ScoreDraws]
"""Score → its draws, one per score seed."""

_LOCK_FILE = "lock"
_TRAIN_FILES = tuple(f"{TRAIN_FOLDER}/*/{name}" for name in TRAINING_FILES)
_REMEDY = "fix this, then run the same audit again to continue"


class AuditFolder:
    """An audit's folder, whose name is that of the audit."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The audit's name."""
        return self.path.absolute().name

    @property
    def started(self) -> bool:
        """Whether ``audit.json`` exists."""
        return (self.path / AUDIT_FILE).exists()

    @property
    def is_audit(self) -> bool:
        """Whether files of an audit exist; finished trainings are enough to resume."""
        names = (AUDIT_FILE, TRAININGS_FILE)
        return any((self.path / name).exists() for name in names)

    @property
    def train(self) -> Path:
        """Folder of the checkpoints of running trainings."""
        return self.path / TRAIN_FOLDER

    def create(self, audit: Audit) -> None:
        """Create the folder with its ``audit.json``, both at once.

        Raises:
            OutputError: it has files already, or cannot be created.
        """
        with files.written(self.path, _REMEDY), files.whole_folder(self.path) as draft:
            text = replace(audit, name=self.name).to_json()
            (draft / AUDIT_FILE).write_text(text, encoding="utf-8", newline="\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the audit while the block runs.

        Raises:
            RunError: another process holds the lock.
            OutputError: the lock cannot be written, or the folder has symbolic links.
        """
        busy = RunError(
            f"another audit is running in {self.path}: wait for it, or choose another `name`"
        )
        names = (AUDIT_FILE, TRAININGS_FILE, SCORES_FILE, TRAIN_FOLDER)
        with files.locked(self.path, _LOCK_FILE, names, busy):
            yield

    def opened(self, requested: Audit) -> Audit:
        """The stored audit if there is one, otherwise the requested one with the folder's name.

        More score seeds than before add draws; fewer keep the existing ones.

        Raises:
            RunError: the folder has another audit, or trainings of other designs or seeds.
        """
        if self.started:
            stored = read_audit(self.path)
            difference = audit_difference(stored, requested)
            if difference is not None:
                option, before, now = difference
                raise RunError(
                    f"{self.path} was made with {option} {before}, not {now}: use the same "
                    "options, choose another `name`, or add `force` to start again"
                )
            if requested.score_seeds > stored.score_seeds:
                stored = replace(
                    stored, score_seeds=requested.score_seeds, command=requested.command
                )
            requested = stored
        else:
            requested = replace(requested, name=self.name)
        self.trainings(requested)
        return requested

    def trainings(self, audit: Audit) -> dict[tuple[tuple[Insertion, ...], int], AuditTraining]:
        """The finished trainings: (insertions, seed) → training.

        Raises:
            RunError: a line is not a training, or has a design or a seed that was not requested.
        """
        wanted = {training.insertions for training in audit.designs}
        trainings = {}
        for number, training in enumerate(read_trainings(self.path)[0], start=1):
            if training.insertions not in wanted or training.seed not in audit.seeds:
                odd = f"seed {training.seed}" if training.seed not in audit.seeds else "a design"
                path = self.path / TRAININGS_FILE
                raise RunError(
                    f"{path}, line {number} has {odd} that was not requested: "
                    "use the options that it was made with, or choose another `name`"
                )
            trainings[training.insertions, training.seed] = training
        return trainings

    def clear(self) -> None:
        """Remove the results of an earlier audit; ``audit.json`` and other files stay."""
        with files.written(self.path, _REMEDY):
            files.remove_files(self.path, (TRAININGS_FILE, SCORES_FILE, *_TRAIN_FILES))

    def remove_trainings(self) -> None:
        """Remove the checkpoints of all trainings."""
        with suppress(OSError):
            files.remove_files(self.path, _TRAIN_FILES)

    def repair(self) -> None:
        """Remove files and lines that a kill or a power cut left half-written."""
        files.remove_drafts(self.path)
        path = self.path / TRAININGS_FILE
        whole = read_trainings(self.path)[1]
        if path.exists() and whole < path.stat().st_size:
            os.truncate(path, whole)

    def append(self, training: AuditTraining) -> None:
        """Append a finished training; it is on the disk when the call returns."""
        path = self.path / TRAININGS_FILE
        with files.written(path, _REMEDY):
            files.append(path, training.to_line())

    def read_scores(self, audit: Audit) -> dict[str, list[list[float | None]]]:
        """The scores in ``scores.json``: name to draws. A list of numbers is one draw.

        Raises:
            RunError: the file is not a table of scores, or is for another sample.
        """
        path = self.path / SCORES_FILE
        if not path.exists():
            return {}
        try:
            content = _SCORES.read(path)
        except OSError as error:
            raise RunError(f"{path} cannot be read ({error.strerror}): {_REMEDY}") from error
        scores = {name: _draws(values) for name, values in content.items()}
        for name, values in ((name, draw) for name, draws in scores.items() for draw in draws):
            if len(values) != len(audit.designs) or name in (TRAIN, ANOTHER_SEED):
                raise RunError(
                    f"{path}, {name}: {len(values)} values, but the audit has "
                    f"{len(audit.designs)} designs, and {TRAIN} is computed here: {_REMEDY}"
                )
        return scores

    def write_scores(self, scores: Scores) -> None:
        """Write ``scores.json``: one draw as a list of numbers, several as a list of lists."""
        plain = {name: draws[0] if len(draws) == 1 else draws for name, draws in scores.items()}
        self._write(SCORES_FILE, json.dumps(plain, indent=1, allow_nan=False) + "\n")

    def write_audit(self, audit: Audit) -> None:
        """Write ``audit.json``."""
        self._write(AUDIT_FILE, audit.to_json())

    def _write(self, name: str, text: str) -> None:
        files.write_whole(self.path / name, text.encode(), _REMEDY)


_Draw = list[float | None]
_SCORES: Format[dict[str, _Draw | list[_Draw]]] = Format(
    dict[str, list[_Draw] | _Draw], "table of scores", RunError, _REMEDY, indent=1
)


def _draws(values: _Draw | list[_Draw]) -> list[_Draw]:
    """The draws of a score in ``scores.json``."""
    several = [value for value in values if isinstance(value, list)]
    return several or [[value for value in values if not isinstance(value, list)]]


def audit_difference(stored: Audit, requested: Audit) -> FieldDifference | None:
    """The first option in which two audits differ; None if they agree."""
    # Imported here because it loads torch.
    from bamsearch.data.loading import same_data

    if same_data(requested.data, stored.data):
        requested = replace(requested, data=replace(requested.data, hash=stored.data.hash))
    if stored.source is None:
        # Older versions did not record it.
        requested = replace(requested, source=None)
    return first_difference(_options(stored), _options(requested))


def _options(audit: Audit) -> dict[str, object]:
    """Everything that determines an audit's numbers, by the option that sets it."""
    facts, recipe = audit.data, audit.recipe
    texts = {budget.quantity: budget.text for budget in audit.budgets}
    return {
        "MODEL": audit.model,
        "the content of MODEL": audit.source,
        "`data`": f"{facts.name.partition(':')[0]} of hash {facts.hash}",
        "`input_size`": size_text(audit.summary.input_shape),
        **{f"`budget_{quantity}`": texts.get(quantity) for quantity in get_args(Quantity)},
        "`space`": audit.space.get("name"),
        "the content of `space`": json.dumps(audit.space, sort_keys=True),
        "`with_stem`": audit.with_stem,
        "`variant`": audit.variant,
        "`init`": audit.init,
        "`designs`": audit.number,
        "`seeds`": len(audit.seeds),
        "`seed`": audit.seeds[0],
        "`recipe`": recipe["name"],
        "`epochs`": recipe["epochs"],
        "`precision`": recipe["precision"],
        "the content of `recipe`": json.dumps(recipe, sort_keys=True),
        "`scores`": audit.scores,
        "`device`": audit.device,
        "`threads`": audit.threads,
    }


def folder_of(
    name: str | None, output: str | os.PathLike[str] | None, requested: Audit
) -> AuditFolder:
    """The folder of an audit; unnamed, the ``audits/MODEL-DATA-NNN`` of the same options.

    Raises:
        InvalidValueError: the name is not a plain word.
    """
    if output is not None:
        return AuditFolder(Path(output))
    if name is not None:
        check_name("an audit", name)
        return AuditFolder(AUDITS / name)
    words = (requested.model.rpartition(":")[2], requested.data.name.partition(":")[0])
    stem = "-".join(re.sub(r"[^\w.+-]+", "-", word).strip("-.+").lower() for word in words)
    for number in count(1):
        folder = AuditFolder(AUDITS / f"{stem}-{number:03d}")
        if not folder.path.exists():
            break
        with suppress(RunError):
            if audit_difference(read_audit(folder.path), requested) is None:
                break
    return folder
