"""A network with BAM as one file that runs without bamsearch: ONNX, or PyTorch's own pt2.

A file is written beside its place, loaded again, and run on the same input as the network that it
came from. Only when both agree is it renamed to where it was asked for, so that what is there
always computes what PyTorch does.
"""

from __future__ import annotations

import copy
import importlib.util
import inspect
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MethodType
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bamsearch.errors import (
    ExportError,
    InvalidValueError,
    MissingExtraError,
    OutputError,
    WeightsError,
)
from bamsearch.graph.designs import WEIGHTS_FILE, build, design_file, load, read_design
from bamsearch.graph.weights import read_weights
from bamsearch.records import Design, check_choice, check_input_shape, check_positive

Format = Literal["onnx", "pt2"]

TOLERANCE = 1e-4
"""Largest difference allowed, as a part of the largest value of the same output.

Sound exports in float32 differ by 1e-7 to 1e-5 of it; a lost or changed layer by far more. Absolute
limits say nothing here: an untrained network can return values around 1e-8.
"""

_REQUIRED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "pt2": ()}

Run = Callable[[Tensor], dict[str, Tensor]]
"""Runs a network on a batch: outputs by name."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how near it is to PyTorch.

    Attributes:
        path: the file; None where nothing was to be kept.
        format: ``onnx`` or ``pt2``.
        files: all files, the first of them path: ONNX above 1.5 GB has its weights in another.
        size: bytes of all files together.
        input_name: what the input is called: ``image``, or ``clip`` for video.
        input_shape: one input without the batch.
        outputs: name to shape without the batch.
        batch: the only batch that the file takes; None takes any.
        note: why the batch is fixed although any was asked for; else None.
        opset: version of ONNX's operators; None for pt2.
        compared_at: the batches at which file and network were compared.
        max_abs_diff: largest absolute difference of an output's value, in its own unit.
        max_rel_diff: the largest difference of an output over that output's largest absolute value;
            at most :data:`TOLERANCE`.
    """

    path: Path | None
    format: Format
    files: tuple[Path, ...]
    size: int
    input_name: str
    input_shape: tuple[int, ...]
    outputs: Mapping[str, tuple[int, ...]]
    batch: int | None
    note: str | None
    opset: int | None
    compared_at: tuple[int, ...]
    max_abs_diff: float
    max_rel_diff: float

    @property
    def dynamic_batch(self) -> bool:
        """Whether the file takes any batch."""
        return self.batch is None


def export(
    source: nn.Module | Design | str | os.PathLike[str],
    path: str | os.PathLike[str] | None,
    format: Format = "onnx",
    *,
    design: Design | None = None,
    input_shape: Sequence[int] | None = None,
    batch: int | None = None,
    force: bool = False,
) -> Exported:
    """Write a network, in eval mode and float32, to a file that runs without bamsearch.

    The file says what it is: ``bamsearch_version`` and, where there is one, ``bamsearch_design``
    (the text of ``design.json``) are in ONNX's ``metadata_props`` and in pt2's ``extra_files``.
    Before it counts as done it is loaded again, by onnxruntime on the CPU or torch.export.load, and
    compared with the network on fixed random inputs, at batches 1 and 2 or at the fixed batch.

    Args:
        source: a network, with or without BAM, which is not changed; a :class:`bamsearch.Design`,
            whose weights are then random; or a design on disk as for :func:`bamsearch.load`.
        path: the file to write; missing folders are made. None keeps nothing: a trial.
        format: ``onnx`` or ``pt2``.
        design: what a network was built from, to be named in the file.
        input_shape: one input without the batch: (C, H, W), or (C, T, H, W) for video. The default
            is the design's, else (3, 224, 224).
        batch: the only batch that the file will take; None is any. Where a network does not export
            with a free batch, it is fixed at 1 and ``note`` says why.
        force: replace what is there.

    Raises:
        ExportError: the exporter refuses the network, or the file computes something else.
        MissingExtraError: onnx, onnxscript or onnxruntime is not installed.
        OutputError: a file that is there already without force, or one that cannot be written.
        InvalidValueError: an unknown format, an impossible batch or input_shape.
        DesignError, WeightsError, ModelError: as :func:`bamsearch.load`.
    """
    check_format(format)
    if batch is not None:
        check_positive("batch", batch)
    target = None if path is None else Path(path)
    if target is not None:
        _refuse_taken([target], force)
    network, design = _network(source, design)
    shape = check_input_shape(input_shape or (design.input_shape if design else (3, 224, 224)))
    named = _named(network, shape)
    metadata = {"bamsearch_version": version("bamsearch")}
    if design is not None:
        metadata["bamsearch_design"] = design.to_json()
    with _draft(target, format) as draft:
        exported = _export_any(named, shape, draft, format, batch, metadata)
        return exported if target is None else _keep(exported, target, force)


def load_network(
    design: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None
) -> tuple[nn.Module, Design, Path | None]:
    """The network of a design on disk with its weights.

    Args:
        design: a ``design.json``, or a folder with one.
        weights: a file with a ``state_dict`` of the network with BAM, ``.safetensors`` or one that
            ``torch.load(weights_only=True)`` reads; None takes ``model.safetensors`` beside the
            design.

    Returns:
        The network, its design, and where its weights are from: None when they are random.

    Raises:
        DesignError, WeightsError, ModelError: as :func:`bamsearch.load`.
    """
    file = design_file(design)
    found = read_design(file)
    if weights is None:
        beside = file.parent / WEIGHTS_FILE
        return load(file), found, beside if beside.exists() else None
    state = read_weights(Path(weights))
    network = build(found)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split()).partition(": ")[2]
        reason = reason if len(reason) <= 200 else f"{reason[:200]}…"
        raise WeightsError(f"{weights} is not the weights of {file}: {reason}") from error
    return network, found, Path(weights)


def check_format(format: str) -> None:
    """Raise unless files of this format can be made and checked here.

    Raises:
        InvalidValueError: no such format.
        MissingExtraError: a package that it needs is not installed.
    """
    check_choice("format", format, get_args(Format))
    for package in _REQUIRED[format]:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "export")


def refuse_detector(network: nn.Module) -> None:
    """Raise ExportError for networks that are no function of one tensor.

    Detectors take lists of images, resize them, and return as many boxes as they find: there is no
    graph of that. Optical flow takes two images.
    """
    kind = type(network).__name__
    if ".models.detection." in type(network).__module__:
        raise ExportError(
            f"{kind} is a detector: it returns as many boxes as it finds, which is no fixed graph; "
            "its feature network can be exported from Python: "
            "bamsearch.export.export(bamsearch.load(DESIGN).backbone, PATH, input_shape=(3, H, W))"
        )
    parameters = inspect.signature(network.forward).parameters.values()
    required = [
        parameter.name
        for parameter in parameters
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if len(required) != 1:
        raise ExportError(
            f"{kind} takes {len(required)} inputs ({', '.join(required)}), and export is for "
            "networks of one image or clip: export the part of it that takes one"
        )


def _network(
    source: nn.Module | Design | str | os.PathLike[str], design: Design | None
) -> tuple[nn.Module, Design | None]:
    """The network, ours to change, and what it was built from."""
    if isinstance(source, nn.Module):
        return copy.deepcopy(source).cpu(), design
    if isinstance(source, Design):
        return build(source), source
    network, design, _ = load_network(source)
    return network, design


def _named(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The network in eval mode with one argument, whose name is the input's in the file."""
    refuse_detector(network)
    for name, parameter in network.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise InvalidValueError(f"export is for float32, and {name} is {kind}: call .float()")
    inner = type(network).forward

    # On the instance rather than in a wrapper, which would prefix every key of the state_dict.
    def image_forward(self: nn.Module, image: Tensor) -> Any:
        return inner(self, image)

    def clip_forward(self: nn.Module, clip: Tensor) -> Any:
        return inner(self, clip)

    network.eval().requires_grad_(False)
    forward = MethodType(image_forward if len(shape) == 3 else clip_forward, network)
    network.forward = forward  # type: ignore[assignment,method-assign,unused-ignore]
    return network


def _export_any(
    network: nn.Module,
    shape: tuple[int, ...],
    draft: Path,
    format: Format,
    batch: int | None,
    metadata: dict[str, str],
) -> Exported:
    """Export with a free batch if none is asked for, else, or where that fails, a fixed one."""
    if batch is not None:
        return _export_at(network, shape, draft, format, batch, metadata)
    try:
        return _export_at(network, shape, draft, format, None, metadata)
    except _Unsupported as error:
        try:
            return _export_at(network, shape, draft, format, 1, metadata, note=str(error))
        except _Unsupported:
            # the first reason is about the network, the second often about the first one's traces
            raise error from None


class _Unsupported(ExportError):
    """The exporter, or what runs the file, does not take the network this way; another may do."""


def _export_at(
    network: nn.Module,
    shape: tuple[int, ...],
    draft: Path,
    format: Format,
    batch: int | None,
    metadata: dict[str, str],
    note: str | None = None,
) -> Exported:
    """Write the draft and compare it, with one batch or (None) any."""
    batches = (1, 2) if batch is None else (batch,)
    # Of 2: a batch of 1 would be taken for a constant.
    inputs = torch.randn(max(batches), *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        try:
            expected = {n: _flat(network(inputs[:n])) for n in batches}
        except RuntimeError as error:
            raise ExportError(
                f"{type(network).__name__} does not take {tuple(shape)}: {_reason(error)}"
            ) from error
        with _quietly(), _failures(format):
            program = _program(network, inputs, dynamic=batch is None)
            names = [*expected[batches[0]]]
            write, reopen = (_write_onnx, _onnx_run) if format == "onnx" else (_write_pt2, _pt2_run)
            opset = write(program, draft, names, metadata)
            run = reopen(draft)
            got = {n: run(inputs[:n]) for n in batches}
    absolute, relative = _differences(expected, got, format)
    files = tuple(sorted(draft.parent.iterdir(), key=lambda file: len(file.name)))
    return Exported(
        path=None,
        format=format,
        files=files,
        size=sum(file.stat().st_size for file in files),
        input_name=_input_name(shape),
        input_shape=tuple(shape),
        outputs={name: tuple(value.shape[1:]) for name, value in expected[batches[0]].items()},
        batch=batch,
        note=note,
        opset=opset,
        compared_at=batches,
        max_abs_diff=absolute,
        max_rel_diff=relative,
    )


def _program(network: nn.Module, inputs: Tensor, *, dynamic: bool) -> torch.export.ExportedProgram:
    free = torch.export.Dim("batch", min=1)
    shapes = ({0: free},) if dynamic else None
    return torch.export.export(network, (inputs,), dynamic_shapes=shapes, strict=False)


def _write_onnx(
    program: torch.export.ExportedProgram,
    draft: Path,
    names: Sequence[str],
    metadata: dict[str, str],
) -> int:
    """Write ONNX and return the version of its operators."""
    (input_name,) = program.graph_signature.user_inputs
    made = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=[str(input_name)],
        output_names=list(names),
        # a name for the axis; whether it is free is in the program
        dynamic_shapes=({0: "batch"},),
    )
    if made is None:
        raise _Unsupported("torch.onnx.export returned no program")
    made.model.metadata_props.update(metadata)
    made.save(draft)
    return int(made.model.opset_imports[""])


def _onnx_run(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised as well
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]

    def run(images: Tensor) -> dict[str, Tensor]:
        values = session.run(names, {given.name: images.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}

    return run


def _write_pt2(
    program: torch.export.ExportedProgram,
    draft: Path,
    names: Sequence[str],
    metadata: dict[str, str],
) -> None:
    torch.export.save(program, draft, extra_files=metadata)


def _pt2_run(path: Path) -> Run:
    module = torch.export.load(path).module()
    return lambda images: _flat(module(images))


def _flat(outputs: Any, name: str = "") -> dict[str, Tensor]:
    """Tensors by name: ``output`` for a single one, a dict's keys, ``output_0`` in a list."""
    if isinstance(outputs, Tensor):
        return {name or "output": outputs}
    if isinstance(outputs, Mapping):
        # a pyramid's maps are called "0", "1", …: no names on their own
        prefix = name or ("output" if any(str(key).isdigit() for key in outputs) else "")
        items = [(f"{prefix}_{key}" if prefix else str(key), part) for key, part in outputs.items()]
    elif isinstance(outputs, (list, tuple)):
        items = [(f"{name or 'output'}_{i}", value) for i, value in enumerate(outputs)]
    else:
        raise ExportError(f"a network that returns {type(outputs).__name__} cannot be exported")
    return {key: value for inner, part in items for key, value in _flat(part, inner).items()}


def _differences(
    expected: dict[int, dict[str, Tensor]], got: dict[int, dict[str, Tensor]], format: Format
) -> tuple[float, float]:
    """The largest absolute and relative difference over all batches and outputs.

    Raises:
        ExportError: they differ by more than :data:`TOLERANCE`, or in names or shapes.
    """
    absolute = relative = 0.0
    for batch, outputs in expected.items():
        shapes = {name: tuple(value.shape) for name, value in outputs.items()}
        shapes_got = {name: tuple(value.shape) for name, value in got[batch].items()}
        if shapes != shapes_got:
            raise ExportError(
                f"the {format} file returns {shapes_got} at batch {batch}, PyTorch {shapes}: "
                "nothing is written"
            )
        for name, value in outputs.items():
            apart, part = _difference(value, got[batch][name])
            # "not <=" holds for NaN too
            if not part <= TOLERANCE:
                raise ExportError(
                    f"the {format} file computes something else than PyTorch: {name} differs by "
                    f"{apart:.3g}, {part:.3g} of its largest value, at batch {batch} "
                    f"({TOLERANCE:g} allowed): nothing is written; try another format"
                )
            absolute, relative = max(absolute, apart), max(relative, part)
    return absolute, relative


def _difference(expected: Tensor, got: Tensor) -> tuple[float, float]:
    # in float64: integers and booleans can be outputs too, and float32 rounds once more
    expected, got = expected.double(), got.double()
    if not torch.isfinite(expected).all():
        raise ExportError(
            "the network returns infinite values or NaN for a random input, so that nothing can be "
            "compared: give trained weights, or build the design with init identity"
        )
    apart = (expected - got).abs().max().item()
    largest = expected.abs().max().item()
    return apart, apart / largest if largest else apart


@contextmanager
def _draft(target: Path | None, format: Format) -> Iterator[Path]:
    """A file to write first, in a folder of its own on the target's disk, gone afterwards."""
    place = None
    if target is not None:
        place = next(above for above in target.absolute().parents if above.exists())
    name = target.name if target else f"trial.{format}"
    try:
        folder = tempfile.TemporaryDirectory(dir=place, prefix=".writing-")
    except OSError as error:
        raise OutputError(f"{target or 'a trial'} cannot be written: {error}") from error
    with folder as draft:
        yield Path(draft) / name


def _keep(exported: Exported, target: Path, force: bool) -> Exported:
    """Rename the drafts to their places."""
    places = tuple(target.with_name(file.name) for file in exported.files)
    _refuse_taken(places, force)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # the file itself last: a whole one is never without its weights
        for draft, place in reversed([*zip(exported.files, places, strict=True)]):
            os.replace(draft, place)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error}") from error
    values = {name: getattr(exported, name) for name in Exported.__slots__}
    return Exported(**values | {"path": target, "files": places})


def _refuse_taken(places: Sequence[Path], force: bool) -> None:
    for place in places:
        if place.is_dir():
            raise OutputError(f"{place} is a folder, and a file is needed: choose another path")
        if place.exists() and not force:
            raise OutputError(f"{place} exists already: choose another path, or force it")


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep to ourselves what torch and onnx have to say about their own insides.

    What they warn of, such as functions of theirs that are to go, differs by version and is
    nothing that a user can act on. What matters, whether the file is right, is measured.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(torch|onnx|copyreg|bamsearch\.export)")
        yield


@contextmanager
def _failures(format: Format) -> Iterator[None]:
    """Exporters raise what they like: one line instead, with the reason."""
    try:
        yield
    except ExportError:
        raise
    except OSError as error:
        raise OutputError(f"the {format} file cannot be written: {error}") from error
    except Exception as error:
        raise _Unsupported(f"{format} export failed: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The first line of the innermost cause: torch.onnx wraps the reason in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _input_name(shape: tuple[int, ...]) -> str:
    return "image" if len(shape) == 3 else "clip"
