"""The folder of a training: every file in it is whole at any moment, whatever ends the process.

=====================  ====================================================================
``train.json``         recipe, data, seed, weights, versions, device, command
``design.json``        the design, so that the folder is a DESIGN
``checkpoint.pt``      all that going on needs; read with ``weights_only=True``
``metrics.csv``        a row an epoch
``model.safetensors``  the weights after the last epoch
=====================  ====================================================================
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import torch
from filelock import FileLock, Timeout
from safetensors.torch import save_model
from torch import nn

from bamsearch.errors import InvalidValueError, OutputError, TrainingError
from bamsearch.graph.designs import DESIGN_FILE, WEIGHTS_FILE, save
from bamsearch.records import Design
from bamsearch.records.disk import (
    DRAFT,
    disk_error,
    refuse_links,
    remove_drafts,
    remove_files,
    whole_file,
)
from bamsearch.records.hints import shown
from bamsearch.records.run_files import TRAINING_FILES
from bamsearch.training.about import CHECKPOINT, FACTS_FILE, Checkpoint
from bamsearch.training.progress import Row

CHECKPOINT_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.csv"
EVENTS = "tensorboard"
FILES = (FACTS_FILE, DESIGN_FILE, CHECKPOINT_FILE, METRICS_FILE, WEIGHTS_FILE)
_LOCK_FILE = ".lock"

CHECKPOINT_VERSION = 1
"""Format of ``checkpoint.pt``."""


@dataclass(frozen=True, slots=True)
class TrainingFolder:
    """Where a training is kept.

    Attributes:
        path: of the folder; made if it is not there.
        minutes: a checkpoint is written after every epoch, and when the last is that old.
        tensorboard: also write the epochs as TensorBoard's events.
        force: a new training may take the place of one that is there.
        command: what was typed, for ``train.json``.
    """

    path: Path
    minutes: float = 10.0
    tensorboard: bool = False
    force: bool = False
    command: str = ""

    @property
    def unbegun(self) -> bool:
        """Whether nothing is there but what a kill left before the first checkpoint."""
        if (self.path / CHECKPOINT_FILE).exists():
            return False
        names = [path.name for path in self.path.glob("*")]
        ours = FACTS_FILE in names or _LOCK_FILE in names or not names
        return ours and all(n in TRAINING_FILES or n.startswith(DRAFT) for n in names)

    def remove(self) -> None:
        """Remove what a training wrote, and the folder where nothing else is in it."""
        with suppress(OSError):
            remove_drafts(self.path)
            remove_files(self.path, TRAINING_FILES)
            self.path.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in the folder.

        Raises:
            TrainingError: another one does.
            OutputError: the folder cannot be made, or has links.
        """
        with _written(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        refuse_links(self.path, (*FILES, EVENTS, _LOCK_FILE))
        lock = FileLock(self.path / _LOCK_FILE)
        with _written(self.path / _LOCK_FILE):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise TrainingError(f"another process trains in {self.path}: wait for it") from None
        try:
            remove_drafts(self.path)
            yield
        finally:
            lock.release()

    def begin(self, about: Mapping[str, Any], design: Design | None) -> None:
        """Write what the training is.

        Raises:
            OutputError: there is another one, without force.
        """
        if (self.path / CHECKPOINT_FILE).exists() and not self.force:
            raise taken(self.path)
        with _written(self.path):
            remove_files(self.path, FILES)
        if design is not None:
            save(design, self.path)
        text = json.dumps(about, indent=2) + "\n"
        self._replace(FACTS_FILE, lambda file: file.write(text.encode()))

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint by a newer one."""
        content = {"bamsearch_checkpoint": CHECKPOINT_VERSION, **state}
        self._replace(CHECKPOINT_FILE, lambda file: torch.save(content, file))

    def read_checkpoint(self) -> Checkpoint:
        """What :meth:`write_checkpoint` wrote last.

        Raises:
            TrainingError: there is none, it is not readable, or what it says does not fit.
        """
        path = self.path / CHECKPOINT_FILE
        if not path.is_file():
            raise TrainingError(
                f"no checkpoint in {self.path}: 'bamsearch train DESIGN --data NAME -o DIR' "
                "makes one from the start on"
            )
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            version = content["bamsearch_checkpoint"]
        except Exception as error:  # torch.load raises what its parts do.
            if disk_error(error) is not None:
                raise
            raise TrainingError(
                f"{path} is no checkpoint of a training ({type(error).__name__}): start anew"
            ) from error
        if type(version) is not int or version != CHECKPOINT_VERSION:
            raise TrainingError(
                f"{path} has format {shown(version)}, this bamsearch reads {CHECKPOINT_VERSION}: "
                "go on with the bamsearch that wrote it"
            )
        checkpoint = CHECKPOINT.value(content, str(path))
        if checkpoint["progress"].contradicts_itself:
            raise TrainingError(f"{path} has steps, images and rows that contradict: start anew")
        return checkpoint

    @property
    def readable(self) -> bool:
        """Whether a checkpoint is there and whole."""
        try:
            self.read_checkpoint()
        except TrainingError:
            return False
        return True

    def write_metrics(self, rows: Sequence[Row]) -> None:
        """Write ``metrics.csv``; all of it, so that a row is never there twice."""
        text = io.StringIO()
        table = csv.DictWriter(text, [f.name for f in fields(Row)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rows)
        self._replace(METRICS_FILE, lambda file: file.write(text.getvalue().encode()))

    def finish(self, module: nn.Module, design: Design | None) -> None:
        """Write the weights after the last epoch."""
        if design is not None:
            save(design, self.path, module, force=True)
            return
        path = self.path / WEIGHTS_FILE
        with _written(path), whole_file(path) as file:
            save_model(module, file.name)

    def _replace(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        path = self.path / name
        with _written(path), whole_file(path) as file:
            write(file)


def taken(path: Path) -> OutputError:
    """The error for a folder that holds another training, or one that has ended."""
    return OutputError(
        f"{path} is a training already: go on with --resume {path}, choose another folder, "
        "or add --force to start it anew"
    )


def check_tensorboard() -> None:
    """Raise InvalidValueError where TensorBoard's events cannot be written."""
    if find_spec("tensorboard") is None:
        raise InvalidValueError(
            "tensorboard is not installed: pip install tensorboard, or leave --tensorboard out"
        )


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Raise OutputError where it cannot be written; of a full disk torch.save says RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OutputError(
            f"{path} cannot be written ({reason}): what was there before is as it was"
        ) from error
