"""Build, save and load designs.

A design folder holds ``design.json`` and optionally ``model.safetensors``. Modules are never
pickled: a design is rebuilt from its model's name, and its weights are loaded strictly.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from bamsearch.errors import (
    DesignError,
    InvalidValueError,
    ModelError,
    OutputError,
    WeightsError,
    first_line,
)
from bamsearch.files import draft_folder, sync_files, sync_folder, whole_folder, written
from bamsearch.graph.bams import Bams, fork_rng, is_attached
from bamsearch.graph.base import Base, Inserted, base_to_examine, build_base
from bamsearch.graph.checkpoints import check_finite, load_all
from bamsearch.graph.models import base_model, model_names, split_model
from bamsearch.records import Design
from bamsearch.records.arguments import checked
from bamsearch.records.hints import shown
from bamsearch.records.run_files import RUN_FILE, find_run, read_record, read_run

_log = logging.getLogger(__name__)

DESIGN_FILE = "design.json"
WEIGHTS_FILE = "model.safetensors"


@checked
def build(design: Design) -> nn.Module:
    """Build the network of a design with random weights, in train mode, on the CPU.

    If the design's ``how`` is ``auto``, the network is checked as in :func:`bamsearch.insert_bam`.

    Raises:
        ModelError: the model cannot be built or traced.
        InvalidValueError: the model lacks a site of the design.
    """
    return _build(design, initialise=True)


def insert_checked(design: Design, base: Base | None = None) -> Inserted:
    """Insert the BAMs of a design into its base and check the result by running it.

    Without a base, it is built with random weights. torch's random state is preserved.
    """
    if base is None:
        base = base_to_examine(design)
    with fork_rng():
        return base.insert(design, check=True)


def _build(design: Design, *, initialise: bool) -> nn.Module:
    base = build_base(design, initialise=initialise)
    return base.insert(design, check=design.how == "auto" and initialise).module


@checked
def load(
    design: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None
) -> nn.Module:
    """Build the network of a design on disk, in train mode, on the CPU.

    Weights come from ``model.safetensors`` next to the design, loaded strictly; without this file
    they are random. A search stores no weights, even if it trained: ``bamsearch train RUN -o DIR``
    and :func:`save` write them, and ``bamsearch verify`` writes those of each training below
    ``RUN/verify``.

    Args:
        design: see :func:`find_design`.
        weights: another file with all weights of the network with BAM, as a ``state_dict``.

    Raises:
        DesignError: the design is missing, unreadable or from a newer bamsearch.
        WeightsError: the weights do not match the design, or are NaN or infinite.
        ModelError, InvalidValueError: as :func:`build`.
    """
    return load_network(design, weights)[0]


def load_network(
    design: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None
) -> tuple[nn.Module, Design, Path | None]:
    """As :func:`load`; also return the design, and the file of its weights, None if random."""
    record, beside = find_design(design)
    if weights is not None:
        network = build(record)
        load_all(network, Path(weights), os.fspath(design))
        return network, record, Path(weights)
    if beside is None:
        run, _ = _run_and_rank(os.fspath(design))
        if run is not None and read_run(run).trained:
            _log.warning("run %s stores no weights: those of its design are random", run.name)
        return build(record), record, None
    network = _build(record, initialise=False)
    try:
        load_model(network, beside, strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise WeightsError(
            f"{beside} does not hold the weights of {design}: {first_line(error)}"
        ) from error
    check_finite(network.state_dict(), str(beside))
    return network, record, beside


def find_design(design: str | os.PathLike[str]) -> tuple[Design, Path | None]:
    """Resolve a DESIGN argument to the design, and its weight file if it has one.

    Args:
        design: a ``design.json``, a folder with one, a search run (its best design), or ``RUN@K``
            (its K-th best); a run is given by its folder, or by its name in ``runs/``.

    Raises:
        DesignError: the design is missing, unreadable or from a newer bamsearch.
        RunError: the run is unreadable.
    """
    text = os.fspath(design)
    try:
        run, rank = _run_and_rank(text)
        if run is not None:
            return _ranked(run, rank), None
        path = Path(design) / DESIGN_FILE if Path(design).is_dir() else Path(design)
        if not path.is_file():
            raise DesignError(
                f"no design at {Path(design)}: give a design.json or a folder with one, "
                "as written by 'bamsearch insert MODEL -o DIR', or a search run"
            )
        weights, record = path.parent / WEIGHTS_FILE, Design.read(path)
    except OSError as error:
        raise DesignError(f"{shown(text)} cannot be read: {error.strerror}") from error
    for parent in path.absolute().parents[1:3]:  # RUN/best and RUN/verify/TRAINING
        if (parent / RUN_FILE).is_file():
            record = replace(record, model=read_run(parent).model)
    return record, weights if weights.exists() else None


def is_design(text: str) -> bool:
    """Whether an argument names a design or an existing run rather than a MODEL."""
    path = Path(text)
    try:
        is_file = path.name == DESIGN_FILE or (path / DESIGN_FILE).exists()
        return is_file or _run_and_rank(text)[0] is not None
    except OSError:  # such as a name that is too long
        return False


def _run_and_rank(text: str) -> tuple[Path | None, int]:
    """The folder of ``RUN@K`` and K, or of ``RUN`` and 1; None if the run does not exist."""
    name, _, rank = text.rpartition("@")
    run = find_run(name) if rank.isdecimal() and len(rank) < 10 else None
    return (find_run(text), 1) if run is None else (run, int(rank))


def _ranked(run: Path, rank: int) -> Design:
    ranking = read_record(run).ranking()
    if not 1 <= rank <= len(ranking):
        reason = f"it has {len(ranking)}" if ranking else "none of its trials has a score yet"
        raise DesignError(f"run {run.name} has no design {rank}: {reason}")
    return ranking[rank - 1].design


@checked
def save(
    design: Design | nn.Module,
    folder: str | os.PathLike[str],
    module: nn.Module | None = None,
    *,
    force: bool = False,
) -> list[Path]:
    """Write a design, with the weights of its network, for :func:`load`.

    ``save(model, folder)`` writes a network with BAM: its design and its weights. ``save(design,
    folder)`` writes a design without weights.

    If the module has attached BAMs, ``how`` is written as ``attach`` instead of ``auto``.

    Args:
        design: the design to write to ``design.json``, or a network with BAM that :func:`load`,
            :func:`build` or :func:`bamsearch.insert_bam` made: from a MODEL, a design, or a module
            that torchvision or a class without arguments builds.
        folder: created if it does not exist.
        module: the network of a design, whose weights go to ``model.safetensors``.
        force: replace existing files.

    Returns:
        The files written.

    Raises:
        DesignError: the network has no BAM, or no MODEL is known that builds it.
        InvalidValueError: a network and module.
        OutputError: the files exist and force is False, or the folder is not writable.
    """
    folder = Path(folder)
    if isinstance(design, nn.Module):
        if module is not None:
            raise InvalidValueError("save takes a network alone, or a Design and module")
        module = design
        design = design_of(module)
    if module is not None and design.how == "auto" and is_attached(module):
        design = replace(design, how="attach")
    target, weights = folder / DESIGN_FILE, folder / WEIGHTS_FILE
    taken = [path for path in (target, weights) if path.exists()]
    if taken and not force:
        raise OutputError(f"{taken[0]} exists already: choose another folder, or force it")
    with written(folder, "", SafetensorError):
        if not folder.exists():
            with whole_folder(folder) as draft:
                _write(design, module, draft)
        else:
            # Written to a draft, then renamed: a full disk or a kill keeps the previous files, and
            # a folder with a design is always complete.
            with draft_folder(target) as draft:
                _write(design, module, draft)
                sync_files(draft)
                _replace_all(draft, folder)
                sync_folder(folder)
    return [target] if module is None else [target, weights]


def _write(design: Design, module: nn.Module | None, folder: Path) -> None:
    (folder / DESIGN_FILE).write_text(design.to_json(), encoding="utf-8")
    if module is not None:
        save_model(module, str(folder / WEIGHTS_FILE))
        # safetensors makes the file readable by its owner only
        shutil.copymode(folder / DESIGN_FILE, folder / WEIGHTS_FILE)


def _replace_all(draft: Path, folder: Path) -> None:
    """Rename the files of draft into folder, or restore the previous ones on failure.

    The design is removed first and added last: a kill in between leaves weights without a design,
    never weights next to another design.
    """
    old = draft / "old"
    old.mkdir()
    renamed: list[Path] = []
    try:
        for name in (DESIGN_FILE, WEIGHTS_FILE):
            if (folder / name).exists():
                os.replace(folder / name, old / name)
        for name in (WEIGHTS_FILE, DESIGN_FILE):
            if (draft / name).exists():
                # Appended first: an interrupt may come just after the renaming.
                renamed.append(folder / name)
                os.replace(draft / name, folder / name)
    except BaseException:
        for path in renamed:
            path.unlink(missing_ok=True)
        for path in old.iterdir():
            os.replace(path, folder / path.name)
        raise


def design_of(network: nn.Module) -> Design:
    """The design that was inserted into a network, with the MODEL that rebuilds the network.

    A torchvision module is named after the function that builds an equal one: all functions of its
    file are tried, and their networks compared in layers, settings and shapes of weights.

    Raises:
        DesignError: the network has no BAM from :func:`bamsearch.insert_bam`, or no MODEL builds an
            equal network.
    """
    name = type(network).__name__
    design = next((bams.design for bams in network.modules() if isinstance(bams, Bams)), None)
    if design is None:
        raise DesignError(
            f"{name} has no BAM from insert_bam: save its design, save(design, folder, module)"
        )
    home, _ = split_model(design.model)
    builders = {model: torchvision.models.get_model_builder(model) for model in model_names()}
    family = [model for model, builder in builders.items() if builder.__module__ == home]
    for model in family or [design.model]:
        with suppress(ModelError):
            equal = _equal(replace(design, model=model), network)
            if equal is not None and home != "__main__":
                return equal
    raise DesignError(
        f"no MODEL is known that builds this {name}: insert BAM by name, "
        "insert_bam('FILE.py:FUNCTION'), or name it in a design, save(design, folder, module)"
    )


def _equal(design: Design, network: nn.Module) -> Design | None:
    """The design, with the classes of the network's head, if its base equals the network's."""
    base = base_model(design, initialise=False)
    ours, theirs = _shapes_without_bam(network), _shapes_without_bam(base)
    if ours.keys() != theirs.keys():
        return None
    other = [shape[0] for key, shape in ours.items() if shape != theirs[key] and shape]
    if other and design.num_classes is None:
        return _equal(replace(design, num_classes=min(other)), network)
    equal = ours == theirs and _settings(base).items() <= _settings(network).items()
    return design if equal else None


def _shapes_without_bam(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of all weights except BAM's."""
    bams = [f"{path}." for path, part in network.named_modules() if isinstance(part, Bams)]
    state = network.state_dict().items()
    return {key: tuple(v.shape) for key, v in state if not key.startswith(tuple(bams))}


def _settings(network: nn.Module) -> dict[tuple[str, str], Any]:
    """Class and plain attributes of each module, and all options of each layer."""
    settings: dict[tuple[str, str], Any] = {}
    for path, part in network.named_modules():
        has_parts = next(part.children(), None) is not None
        settings[path, "class"] = type(part).__name__ if has_parts else repr(part)
        settings |= {
            (path, key): value
            for key, value in vars(part).items()
            if isinstance(value, int | float | str) and key != "training" and key[0] != "_"
        }
    return settings
