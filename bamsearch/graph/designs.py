"""Designs on disk and as modules: build, save, load.

A folder holds ``design.json`` and, where weights matter, ``model.safetensors``. Modules are never
pickled: a design is rebuilt from its model's name, and its weights are loaded strictly.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from bamsearch.errors import DesignError, OutputError, WeightsError
from bamsearch.graph.models import build_model
from bamsearch.graph.network import find_network
from bamsearch.graph.rewrite import insert
from bamsearch.graph.sites import sites_of
from bamsearch.records import Design

DESIGN_FILE = "design.json"
WEIGHTS_FILE = "model.safetensors"


def build(design: Design) -> nn.Module:
    """Build the network of a design with random weights, in train mode, on the CPU.

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
        design: a ``design.json``, or a folder with one.

    Raises:
        DesignError: no design there, not readable, or from a newer bamsearch.
        WeightsError: weights that are not those of the design.
        ModelError, InvalidValueError: as :func:`build`.
    """
    path = design_file(design)
    weights = path.parent / WEIGHTS_FILE
    if not weights.exists():
        return build(read_design(path))
    module = _build(read_design(path), initialise=False)
    try:
        load_model(module, weights, strict=True)
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0]
        raise WeightsError(f"{weights} is not the weights of {path}: {reason}") from error
    return module


def save(
    design: Design,
    folder: str | os.PathLike[str],
    module: nn.Module | None = None,
    *,
    force: bool = False,
) -> list[Path]:
    """Write a design, and its weights if a module is given, so that :func:`load` finds them.

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
    target, weights = folder / DESIGN_FILE, folder / WEIGHTS_FILE
    taken = [path for path in (target, weights) if path.exists()]
    if taken and not force:
        raise OutputError(f"{taken[0]} exists already: choose another folder, or force it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # All is written beside its place, then renamed: a full disk or a kill leaves what was
        # there, and a folder with a design is always a whole one.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as name:
            draft = Path(name)
            (draft / DESIGN_FILE).write_text(design.to_json(), encoding="utf-8")
            if module is not None:
                save_model(module, str(draft / WEIGHTS_FILE))
                # safetensors writes for the owner alone
                shutil.copymode(draft / DESIGN_FILE, draft / WEIGHTS_FILE)
            _replace_all(draft, folder)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{folder} cannot be written: {error}") from error
    return [target] if module is None else [target, weights]


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
                os.replace(draft / name, folder / name)
                placed.append(folder / name)
    except BaseException:
        for path in placed:
            path.unlink()
        for path in old.iterdir():
            os.replace(path, folder / path.name)
        raise


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
            "as 'bamsearch insert MODEL -o DIR' writes it"
        )
    return found


def read_design(path: Path) -> Design:
    """Read a design from a file.

    Raises:
        DesignError: not readable, cut short, or from a newer bamsearch.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DesignError(f"{path} cannot be read: {error}") from error
    return Design.from_json(text, str(path))


def _build(design: Design, *, initialise: bool) -> nn.Module:
    module = build_model(
        design.model,
        design.input_shape,
        num_classes=design.num_classes,
        weights=design.weights,
        initialise=initialise,
    )
    network = find_network(module, design.input_shape)
    return insert(module, network, sites_of(network), design)
