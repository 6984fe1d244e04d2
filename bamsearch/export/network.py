"""Public API: export a network, or a design with its weights, to a file."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

from torch import nn

from bamsearch.errors import InvalidValueError
from bamsearch.export.attempts import ExportJob, attempt
from bamsearch.export.exported import Exported, ExportFormat
from bamsearch.export.files import drafted, keep, refuse_taken
from bamsearch.export.formats import check_format
from bamsearch.export.one_input import with_one_input
from bamsearch.graph.checkpoints import load_all
from bamsearch.graph.designs import build, find_design, load
from bamsearch.graph.models import DEFAULT_INPUT
from bamsearch.graph.tracing.copying import copy_model
from bamsearch.records import Design, InputShape, check_input_shape, check_positive
from bamsearch.records.arguments import checked


@checked
def export_network(
    source: nn.Module | Design | str | os.PathLike[str],
    path: str | os.PathLike[str] | None,
    format: ExportFormat = "onnx",
    *,
    design: Design | None = None,
    input_shape: InputShape | None = None,
    batch: int | None = None,
    force: bool = False,
) -> Exported:
    """Write a network, in eval mode and float32, to a file that runs without bamsearch.

    The file contains ``bamsearch_version`` and, for a design, ``bamsearch_design`` (the text of
    ``design.json``) in ONNX's ``metadata_props`` or pt2's ``extra_files``. It is loaded again, by
    onnxruntime on the CPU or torch.export.load, and compared with the network on fixed random
    inputs, at batches 1 and 2 or at the fixed batch.

    Args:
        source: a network, with or without BAM, which is not changed; a :class:`bamsearch.Design`,
            with random weights; or a design on disk as for :func:`bamsearch.load`.
        path: the file to write; missing folders are created. None writes nothing (dry run).
        format: ``onnx`` or ``pt2``.
        design: the design of a network, to be stored in the file, if source is a network.
        input_shape: shape of one input, see :func:`bamsearch.find_sites`. None is the design's,
            else (3, 224, 224).
        batch: fixed batch size of the file; None is dynamic. If a network cannot be exported with a
            dynamic batch, it is fixed to 1 and ``note`` gives the reason.
        force: replace existing files.

    Raises:
        ExportError: the exporter refuses the network, or the results differ.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        OutputError: a file exists and force is False, or cannot be written.
        InvalidValueError: an unknown format, an invalid batch or input_shape, or two designs.
        DesignError, WeightsError, ModelError: as :func:`bamsearch.load`.
    """
    check_format(format)
    if batch is not None:
        check_positive("batch", batch)
    target = None if path is None else Path(path)
    if target is not None:
        refuse_taken([target], force)
    network, design = _network(source, design)
    default = design.input_shape if design else DEFAULT_INPUT
    shape = check_input_shape(default if input_shape is None else input_shape)
    network = with_one_input(network, shape)
    metadata = {"bamsearch_version": version("bamsearch")}
    if design is not None:
        metadata["bamsearch_design"] = design.to_json()
    with drafted(target, format) as draft:
        exported = attempt(ExportJob(network, shape, format, draft, metadata), batch)
        return exported if target is None else keep(exported, target, force)


def load_network(
    design: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None
) -> tuple[nn.Module, Design, Path | None]:
    """Load the network of a design on disk with its weights.

    Args:
        design: a DESIGN, see :func:`bamsearch.graph.designs.find_design`.
        weights: a file with all weights of the network with BAM, see
            :func:`bamsearch.graph.checkpoints.read_checkpoint`; None uses ``model.safetensors``
            next to the design.

    Returns:
        The network, its design, and the file of its weights, None if they are random.

    Raises:
        DesignError, WeightsError, ModelError: as :func:`bamsearch.load`.
    """
    record, beside = find_design(design)
    if weights is None:
        return load(design), record, beside
    network = build(record)
    load_all(network, Path(weights), os.fspath(design))
    return network, record, Path(weights)


def _network(
    source: nn.Module | Design | str | os.PathLike[str], design: Design | None
) -> tuple[nn.Module, Design | None]:
    """A network that may be modified, and its design."""
    if isinstance(source, nn.Module):
        return copy_model(source).cpu(), design
    if design is not None:
        raise InvalidValueError("design is for a network, but source is a design: omit one of them")
    if isinstance(source, Design):
        return build(source), source
    network, design, _ = load_network(source)
    return network, design
