"""Designs on disk and as modules: build, save, load.

A folder holds ``design.json`` and, where weights matter, ``model.safetensors``. Modules are never
pickled: a design is rebuilt from its model's name, and its weights are loaded strictly.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from bamsearch.errors import DesignError, OutputError, WeightsError
from bamsearch.graph.attach import is_attached
from bamsearch.graph.checking import Check, is_too_large
from bamsearch.graph.checkpoints import check_finite
from bamsearch.graph.initial import undisturbed
from bamsearch.graph.insertion import Inserted, insert_by
from bamsearch.graph.models import build_model
from bamsearch.graph.network import find_network
from bamsearch.graph.sites import sites_of
from bamsearch.records import Design
from bamsearch.records.designs import DESIGN
from bamsearch.records.disk import draft_folder, sync_files, sync_folder, whole_folder
from bamsearch.records.hints import shown
from bamsearch.records.run_files import find_run, read_record

DESIGN_FILE = "design.json"
WEIGHTS_FILE = "model.safetensors"


def build(design: Design) -> nn.Module:
    """Build the network of a design with random weights, in train mode, on the CPU.

    Where the design leaves ``how`` to bamsearch, the network is checked as
    :func:`bamsearch.insert_bam` does.

    Raises:
        ModelError: the model cannot be built or traced.
        InvalidValueError: a site that the model does not have.
    """
    return _build(design, initialise=True)


def load(design: str | os.PathLike[str]) -> nn.Module:
    """Build the network of a design on disk, in train mode, on the CPU.

    With ``model.safetensors`` beside the design its weights are loaded strictly; without, they are
    random.

    Args:
        design: see :func:`find_design`.

    Raises:
        DesignError: no design there, not readable, or from a newer bamsearch.
        WeightsError: weights that are not those of the design, or NaN or infinite ones.
        ModelError, InvalidValueError: as :func:`build`.
    """
    found, weights = find_design(design)
    if weights is None:
        return build(found)
    module = _build(found, initialise=False)
    try:
        load_model(module, weights, strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise WeightsError(f"{weights} is not the weights of {design}: {reason}") from error
    check_finite(module.state_dict(), str(weights))
    return module


def save(
    design: Design,
    folder: str | os.PathLike[str],
    module: nn.Module | None = None,
    *,
    force: bool = False,
) -> list[Path]:
    """Write a design, and its weights if a module is given, so that :func:`load` finds them.

    Where the module has attached BAMs, ``how`` is written as ``attach`` instead of ``auto``.

    Args:
        design: what to write to ``design.json``.
        folder: made if it is not there.
        module: the network of the design, whose weights go to ``model.safetensors``.
        force: replace what is there.

    Returns:
        The files written.

    Raises:
        OutputError: files that are there already without force, or a folder that cannot be written.
    """
    folder = Path(folder)
    if module is not None and design.how == "auto" and is_attached(module):
        design = replace(design, how="attach")
    target, weights = folder / DESIGN_FILE, folder / WEIGHTS_FILE
    taken = [path for path in (target, weights) if path.exists()]
    if taken and not force:
        raise OutputError(f"{taken[0]} exists already: choose another folder, or force it")
    try:
        if not folder.exists():
            with whole_folder(folder) as draft:
                _write(design, module, draft)
        else:
            # All is written beside its place, then renamed: a full disk or a kill leaves what was
            # there, and a folder with a design is always a whole one.
            with draft_folder(target) as draft:
                _write(design, module, draft)
                sync_files(draft)
                _replace_all(draft, folder)
                sync_folder(folder)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{folder} cannot be written: {error}") from error
    return [target] if module is None else [target, weights]


def _write(design: Design, module: nn.Module | None, folder: Path) -> None:
    (folder / DESIGN_FILE).write_text(design.to_json(), encoding="utf-8")
    if module is not None:
        save_model(module, str(folder / WEIGHTS_FILE))
        # safetensors writes for the owner alone
        shutil.copymode(folder / DESIGN_FILE, folder / WEIGHTS_FILE)


def _replace_all(draft: Path, folder: Path) -> None:
    """Rename the files of draft into folder, or leave there what was there.

    The design goes first and comes last: a kill in between leaves weights without a design, never
    beside another's.
    """
    old = draft / "old"
    old.mkdir()
    placed: list[Path] = []
    try:
        for name in (DESIGN_FILE, WEIGHTS_FILE):
            if (folder / name).exists():
                os.replace(folder / name, old / name)
        for name in (WEIGHTS_FILE, DESIGN_FILE):
            if (draft / name).exists():
                # Noted first: an interrupt may come just after the renaming.
                placed.append(folder / name)
                os.replace(draft / name, folder / name)
    except BaseException:
        for path in placed:
            path.unlink(missing_ok=True)
        for path in old.iterdir():
            os.replace(path, folder / path.name)
        raise


def find_design(design: str | os.PathLike[str]) -> tuple[Design, Path | None]:
    """What a DESIGN argument means, and its weights where there are some.

    Args:
        design: a ``design.json``, a folder with one, a search's run (its best design), or
            ``RUN@K`` (its K-th); a run is given by its folder, or by its name below ``runs/``.

    Raises:
        DesignError: none of these, not readable, or from a newer bamsearch.
        RunError: a run that is not readable.
    """
    text = os.fspath(design)
    try:
        run, rank = _run_and_rank(text)
        if run is not None:
            return _ranked(run, rank), None
        path = design_file(design)
    except OSError as error:
        raise DesignError(f"{shown(text)} cannot be read: {error.strerror}") from error
    weights = path.parent / WEIGHTS_FILE
    return read_design(path), weights if weights.exists() else None


def is_design(text: str) -> bool:
    """Whether a word means a design or a run that is there, rather than a MODEL."""
    path = Path(text)
    try:
        there = path.name == DESIGN_FILE or (path / DESIGN_FILE).exists()
        return there or _run_and_rank(text)[0] is not None
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
        there = f"it has {len(ranking)}" if ranking else "nothing in it has a score yet"
        raise DesignError(f"run {run.name} has no design {rank}: {there}")
    return ranking[rank - 1].design


def design_file(design: str | os.PathLike[str]) -> Path:
    """The ``design.json`` that a DESIGN argument means.

    Raises:
        DesignError: there is none.
    """
    path = Path(design)
    found = path / DESIGN_FILE if path.is_dir() else path
    if not found.is_file():
        raise DesignError(
            f"no design at {path}: give a design.json or a folder with one, "
            "as 'bamsearch insert MODEL -o DIR' writes it, or a run of a search"
        )
    return found


def read_design(path: Path) -> Design:
    """Read a design from a file.

    Raises:
        DesignError: not readable, cut short, or from a newer bamsearch.
    """
    try:
        return DESIGN.read(path)
    except OSError as error:
        raise DesignError(f"{path} cannot be read: {error}") from error


def insert_checked(design: Design, module: nn.Module | None = None) -> Inserted:
    """Insert the BAMs of a design into its base and check the result by running it.

    Args:
        design: what goes where.
        module: the base; None builds it with random weights. torch's random numbers stay as they
            are.

    Raises:
        ModelError, InvalidValueError: as :func:`bamsearch.insert_bam`.
    """
    with undisturbed():
        if module is None:
            # Without values first: the largest networks are checked by shapes alone.
            module = _base(design, initialise=False)
            if not is_too_large(module):
                module = _base(design, initialise=True)
        network = find_network(module, design.input_shape)
        sites = sites_of(network)
        check = Check(module, network, sites, design.input_shape)
        return insert_by(module, network, sites, design, check)


def _build(design: Design, *, initialise: bool) -> nn.Module:
    module = _base(design, initialise=initialise)
    network = find_network(module, design.input_shape)
    sites = sites_of(network)
    check = None
    if design.how == "auto" and initialise:
        check = Check(module, network, sites, design.input_shape)
    return insert_by(module, network, sites, design, check).module


def _base(design: Design, *, initialise: bool) -> nn.Module:
    return build_model(
        design.model,
        design.input_shape,
        num_classes=design.num_classes,
        weights=design.weights,
        initialise=initialise,
    )
