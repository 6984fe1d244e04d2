"""The folder of a training; files are replaced atomically, so that a kill never corrupts them.

=====================  ====================================================================
``train.json``         recipe, data, seed, weights, versions, device, command
``design.json``        the design, so that the folder is a DESIGN
``checkpoint.pt``      everything needed to resume; read with ``weights_only=True``
``metrics.csv``        one row per epoch
``model.safetensors``  the weights after the last epoch
=====================  ====================================================================
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import torch
from safetensors.torch import save_model
from torch import nn

from bamsearch import files
from bamsearch.errors import InvalidValueError, OutputError, TrainingError
from bamsearch.graph.designs import DESIGN_FILE, WEIGHTS_FILE, save
from bamsearch.records import Design
from bamsearch.records.hints import shown
from bamsearch.records.run_files import TRAINING_FILES
from bamsearch.training.metadata import CHECKPOINT, FACTS_FILE, Checkpoint
from bamsearch.training.progress import EpochMetrics

CHECKPOINT_FILE = "checkpoint.pt"
METRICS_FILE = "metrics.csv"
EVENTS = "tensorboard"
FILES = (FACTS_FILE, DESIGN_FILE, CHECKPOINT_FILE, METRICS_FILE, WEIGHTS_FILE)
_LOCK_FILE = ".lock"
_UNCHANGED = "existing files are unchanged"

CHECKPOINT_VERSION = 1
"""Format of ``checkpoint.pt``."""


@dataclass(frozen=True, slots=True)
class TrainingFolder:
    """Folder of a training.

    Attributes:
        path: path of the folder; created if it does not exist.
        minutes: maximum age of the last checkpoint before another is written within an epoch, in
            minutes; one is also written after every epoch.
        tensorboard: also write metrics as TensorBoard events.
        force: allow a new training to replace an existing one.
        command: command line, for ``train.json``.
    """

    path: Path
    minutes: float = 10.0
    tensorboard: bool = False
    force: bool = False
    command: str = ""

    @property
    def is_new(self) -> bool:
        """Whether the folder is missing or empty."""
        return not any(self.path.glob("*"))

    def remove(self) -> None:
        """Remove the files of a training, and the folder if it is empty then."""
        with suppress(OSError):
            files.remove_drafts(self.path)
            files.remove_files(self.path, TRAINING_FILES)
            self.path.rmdir()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against training by other processes.

        Raises:
            TrainingError: another process trains in the folder.
            OutputError: the lock cannot be written, or the folder contains links.
        """
        busy = TrainingError(f"another process trains in {self.path}: wait until it ends")
        with files.locked(self.path, _LOCK_FILE, (*FILES, EVENTS), busy):
            files.remove_drafts(self.path)
            yield

    def begin(
        self, metadata: Mapping[str, Any], design: Design | None, state: Mapping[str, Any]
    ) -> None:
        """Write the metadata and the first checkpoint of a new training.

        A new folder appears with all of them at once; an existing one is locked by the caller.

        Raises:
            OutputError: the folder has another training, and force is False.
        """
        if not self.is_new:
            if (self.path / CHECKPOINT_FILE).exists() and not self.force:
                raise taken(self.path)
            with files.written(self.path, _UNCHANGED, RuntimeError):
                files.remove_files(self.path, FILES)
            self._write_first(metadata, design, state)
            return
        try:
            with (
                files.written(self.path, _UNCHANGED, RuntimeError),
                files.whole_folder(self.path) as draft,
            ):
                replace(self, path=draft)._write_first(metadata, design, state)
        except OutputError as error:
            if not self.is_new:  # another training was faster
                raise taken(self.path) from error
            raise

    def _write_first(
        self, metadata: Mapping[str, Any], design: Design | None, state: Mapping[str, Any]
    ) -> None:
        if design is not None:
            save(design, self.path)
        text = json.dumps(metadata, indent=2) + "\n"
        self._replace(FACTS_FILE, lambda file: file.write(text.encode()))
        self.write_metrics(())
        self.write_checkpoint(state)

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint."""
        content = {"bamsearch_checkpoint": CHECKPOINT_VERSION, **state}
        self._replace(CHECKPOINT_FILE, lambda file: torch.save(content, file))

    def read_checkpoint(self) -> Checkpoint:
        """Read the last checkpoint.

        Raises:
            TrainingError: the checkpoint is missing, unreadable or inconsistent.
        """
        path = self.path / CHECKPOINT_FILE
        if not path.is_file():
            raise TrainingError(
                f"no checkpoint in {self.path}: start a training with "
                "'bamsearch train DESIGN --data NAME -o DIR'"
            )
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            version = content["bamsearch_checkpoint"]
        except Exception as error:  # torch.load can raise any exception of its parts
            if files.disk_error(error) is not None:
                raise
            raise TrainingError(
                f"{path} is not a training checkpoint ({type(error).__name__}): start again"
            ) from error
        if type(version) is not int or version != CHECKPOINT_VERSION:
            raise TrainingError(
                f"{path} has format {shown(version)}, but this bamsearch reads "
                f"{CHECKPOINT_VERSION}: resume with the bamsearch that wrote it"
            )
        checkpoint = CHECKPOINT.value(content, str(path))
        if checkpoint["progress"].contradicts_itself:
            raise TrainingError(f"{path} has inconsistent steps, images and rows: start again")
        return checkpoint

    @property
    def readable(self) -> bool:
        """Whether the folder has a valid checkpoint."""
        try:
            self.read_checkpoint()
        except TrainingError:
            return False
        return True

    def write_metrics(self, rows: Sequence[EpochMetrics]) -> None:
        """Write the whole ``metrics.csv``, so that no row is duplicated."""
        text = io.StringIO()
        table = csv.DictWriter(text, [f.name for f in fields(EpochMetrics)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(row) for row in rows)
        self._replace(METRICS_FILE, lambda file: file.write(text.getvalue().encode()))

    def finish(self, module: nn.Module, design: Design | None) -> None:
        """Write the weights after the last epoch."""
        if design is not None:
            save(design, self.path, module, force=True)
            return
        path = self.path / WEIGHTS_FILE
        with files.written(path, _UNCHANGED, RuntimeError), files.whole_file(path) as file:
            save_model(module, file.name)

    def _replace(self, name: str, write: Callable[[IO[bytes]], object]) -> None:
        path = self.path / name
        with files.written(path, _UNCHANGED, RuntimeError), files.whole_file(path) as file:
            write(file)


def taken(path: Path) -> OutputError:
    """Error for a folder with another training, or a finished one."""
    return OutputError(
        f"{path} already has a training: continue with `resume={path}`, choose another folder, "
        "or add `force` to replace it"
    )


def check_tensorboard() -> None:
    """Raise InvalidValueError if TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise InvalidValueError(
            "tensorboard is not installed: run pip install tensorboard, or omit `tensorboard`"
        )
