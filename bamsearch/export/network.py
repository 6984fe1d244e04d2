"""Public API: export a network, or a design with its weights, to a file."""

from __future__ import annotations

import inspect
import os
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from torch import nn

from bamsearch.errors import ExportError, InvalidValueError
from bamsearch.export.attempts import Exported, ExportJob, attempt, drafted, keep
from bamsearch.export.formats import ExportFormat, check_format
from bamsearch.files import check_output_file
from bamsearch.graph.bams import fork_rng
from bamsearch.graph.designs import build, load_network
from bamsearch.graph.models import DEFAULT_INPUT
from bamsearch.graph.tracing.copying import copy_model
from bamsearch.records import Design, InputShape, check_input_shape, check_positive
from bamsearch.records.arguments import checked


@checked
def export_network(  # noqa: PLR0913
    source: nn.Module | Design | str | os.PathLike[str],
    path: str | os.PathLike[str] | None,
    format: ExportFormat | None = None,
    *,
    design: Design | None = None,
    weights: str | os.PathLike[str] | None = None,
    input_shape: InputShape | None = None,
    batch: int | None = None,
    seed: int | None = None,
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
        format: ``onnx`` or ``pt2``; None is pt2 for a path ending in ``.pt2``, else onnx.
        design: the design of a network, to be stored in the file, if source is a network.
        weights: file with all weights of a design on disk, see :func:`bamsearch.load`.
        input_shape: shape of one input, see :func:`bamsearch.find_sites`. None is the design's,
            else (3, 224, 224).
        batch: fixed batch size of the file; None is dynamic. If a network cannot be exported with a
            dynamic batch, it is fixed to 1 and ``note`` gives the reason.
        seed: random seed of weights that are not stored; None uses torch's random state.
        force: replace existing files.

    Raises:
        ExportError: the exporter refuses the network, or the results differ.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        OutputError: a file exists and force is False, or cannot be written.
        InvalidValueError: an unknown format, an invalid batch or input_shape, two designs, or
            weights for a source that is not on disk.
        DesignError, WeightsError, ModelError: as :func:`bamsearch.load`.
    """
    target = None if path is None else Path(path)
    format = format or ("pt2" if target and target.suffix == ".pt2" else "onnx")
    check_format(format)
    if batch is not None:
        check_positive("batch", batch)
    check_output_file(target, force=force)
    with nullcontext() if seed is None else fork_rng(seed):
        network, design, file = _network(source, design, weights)
    default = design.input_shape if design else DEFAULT_INPUT
    shape = check_input_shape(default if input_shape is None else input_shape)
    name = "image" if len(shape) == 3 else "clip"
    network = _with_one_input(network, name)
    metadata = {"bamsearch_version": version("bamsearch")}
    if design is not None:
        metadata["bamsearch_design"] = design.to_json()
    with drafted(target, format) as draft:
        exported = attempt(ExportJob(network, name, shape, format, draft, metadata), batch)
        exported = replace(exported, design=design, weights=file)
        return exported if target is None else keep(exported, target, force)


def _network(
    source: nn.Module | Design | str | os.PathLike[str],
    design: Design | None,
    weights: str | os.PathLike[str] | None,
) -> tuple[nn.Module, Design | None, Path | None]:
    """A network that may be modified, its design, and the file of its weights."""
    on_disk = not isinstance(source, nn.Module | Design)
    if weights is not None and not on_disk:
        raise InvalidValueError("weights is for a design on disk: load them into the network")
    if isinstance(source, nn.Module):
        return copy_model(source).cpu(), design, None
    if design is not None:
        raise InvalidValueError("design is for a network, but source is a design: omit one of them")
    if isinstance(source, Design):
        return build(source), source, None
    return load_network(source, weights)


def _with_one_input(network: nn.Module, name: str) -> nn.Module:
    """Set eval mode, and replace forward by a function with one argument, named as in the file."""
    _refuse_other_inputs(network)
    _refuse_other_dtypes(network)
    network.eval().requires_grad_(False)
    # after eval(), which may switch the graph of a network with BAM
    inner = type(network).forward

    # Set on the instance: a wrapper would prefix every key of the state_dict.
    def image_forward(self: nn.Module, image: torch.Tensor) -> Any:
        return inner(self, image)

    def clip_forward(self: nn.Module, clip: torch.Tensor) -> Any:
        return inner(self, clip)

    forward = image_forward if name == "image" else clip_forward
    network.forward = MethodType(forward, network)  # type: ignore[assignment,method-assign,unused-ignore]
    return network


def _refuse_other_inputs(network: nn.Module) -> None:
    """Raise ExportError for networks that are not a function of a single tensor.

    Detectors take lists of images, resize them, and return a varying number of boxes, which has no
    static graph. Optical flow takes two images.
    """
    kind = type(network).__name__
    parameters = inspect.signature(network.forward).parameters
    # parts of a detector, such as its backbone, have no targets argument
    if ".models.detection." in type(network).__module__ and "targets" in parameters:
        raise ExportError(
            f"{kind} is a detector: the number of boxes depends on the image, so there is no "
            "static graph; its backbone can be exported from Python: "
            "bamsearch.export_network(bamsearch.load(DESIGN).backbone, PATH, input_shape=(3, H, W))"
        )
    required = [
        parameter.name
        for parameter in parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) != 1:
        raise ExportError(
            f"{kind} takes {len(required)} inputs ({', '.join(required)}), but export supports "
            "only a single image or clip: export the part that takes one"
        )


def _refuse_other_dtypes(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise InvalidValueError(
                f"export supports only float32, but {name} is {kind}: call .float()"
            )
