"""Check an insertion by running it: with every BAM closed, a network must behave like its base.

Copies of base and result run on the same small random batch in eval and train mode; the caller's
model, buffers, gradients and random state are not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bamsearch.errors import ModelError
from bamsearch.graph.closing import calls_failure, close, learning_failure
from bamsearch.graph.network import FeatureNetwork
from bamsearch.graph.tracing.copying import copy_model, meta_copy, remove_hooks, unwrapped
from bamsearch.graph.tracing.example import example_from, example_of
from bamsearch.graph.tracing.observing import ObservedRun, difference, observe, output_tensors
from bamsearch.records import Site

ComparedBy = Literal["values", "shapes", "nothing"]
Inputs = tuple[tuple[Any, ...], dict[str, Any]]

_BATCH = 2
# Above, networks run on the meta device; and copies to run share parameters with the original.
LARGEST_RUN = 300_000_000
_MOST_COPIED = 20_000_000


@dataclass(frozen=True, slots=True)
class _Subject:
    """A module to run (the model or its feature network), and the inputs to try."""

    path: str
    trials: tuple[Inputs, ...]


class Check:
    """Compares networks with the model that they were derived from.

    Args:
        model: the model without BAM.
        network: its feature network.
        sites: its sites; their strides determine the size of the first input.
        input_shape: shape of one image for the model, without the batch.
        example_inputs: inputs to call the model with, see
            :func:`bamsearch.graph.tracing.example.example_from`; None for images alone.
    """

    def __init__(
        self,
        model: nn.Module,
        network: FeatureNetwork,
        sites: Sequence[Site],
        input_shape: tuple[int, ...],
        example_inputs: Any = None,
    ) -> None:
        self._model = unwrapped(model)
        self._on_meta = _size(model) > LARGEST_RUN
        self._subjects = _subjects(self._model, network, sites, input_shape, example_inputs)
        self._base: dict[tuple[str, int, bool], ObservedRun | None] = {}

    def compare(self, result: nn.Module) -> ComparedBy:
        """Compare a network with its base.

        Returns:
            ``values``; ``shapes`` for networks too large to run; ``nothing`` if the base itself
            cannot run.

        Raises:
            ModelError: the network behaves differently from its base, or a BAM is not called
                exactly once, gets a map of an unexpected shape, or cannot learn.
        """
        ran = [self._compare(subject, result) for subject in self._subjects]
        if not any(ran):
            return "nothing"
        return "shapes" if self._on_meta else "values"

    def _compare(self, subject: _Subject, result: nn.Module) -> bool:
        """Whether the base ran in any mode."""
        ran = False
        for training in (False, True):
            failure = None
            for number in range(len(subject.trials)):
                base = self._observed(subject, number, training)
                if base is None:
                    continue
                ran = True
                failure = self._failure(subject, number, training, base, result)
                if failure is None:
                    break
            # The last, real size decides: smaller inputs may take other paths through forward.
            if failure is not None:
                raise failure
        return ran

    def _observed(self, subject: _Subject, number: int, training: bool) -> ObservedRun | None:
        """The base's behaviour; None if it cannot run."""
        key = (subject.path, number, training)
        if key not in self._base:
            network = self._copy(self._model.get_submodule(subject.path))
            try:
                self._base[key] = self._run(network, subject.trials[number], training)
            except Exception:
                self._base[key] = None
        return self._base[key]

    def _run(self, network: nn.Module, inputs: Inputs, training: bool) -> ObservedRun:
        if self._on_meta:
            args, kwargs = inputs
            inputs = tuple(map(_to_meta, args)), {k: _to_meta(v) for k, v in kwargs.items()}
        return observe(network, inputs, training=training)

    def _copy(self, module: nn.Module) -> nn.Module:
        if self._on_meta:
            return meta_copy(module)
        memo: dict[int, Any] = {}
        if _size(module) > _MOST_COPIED:
            memo = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in module.parameters()}
        copied = copy_model(module, memo)
        # User hooks have side effects; torch's hooks compute weights, as in weight_norm.
        remove_hooks(copied, keep=("bamsearch", "torch"))
        return copied

    def _failure(
        self, subject: _Subject, number: int, training: bool, base: ObservedRun, result: nn.Module
    ) -> ModelError | None:
        """Describe how the result differs from the base, if it does."""
        part = result.get_submodule(subject.path)
        # A model may call its feature network several times.
        once = subject is self._subjects[0]
        inputs = subject.trials[number]
        # A closed BAM returns its input; a marked one returns a copy, which shows that it learns.
        for mark in (True, False) if training and base.gradients else (False,):
            network = self._copy(part)
            closed = close(network, mark=mark)
            try:
                ours = self._run(network, inputs, training)
            except Exception as error:
                return _as_failure(error, training)
            failure = calls_failure(closed, ours, training, once=once)
            where = _parts_at(base, ours)
            if failure is None and where is None:
                return learning_failure(closed, ours) if mark else None
            if failure is not None:
                return failure
        if not self._repeats(subject, number, training, base):
            return None
        first = self._first_module(subject, inputs, part, training)
        return ModelError(f"{where} in {'train' if training else 'eval'} mode{first}")

    def _repeats(self, subject: _Subject, number: int, training: bool, base: ObservedRun) -> bool:
        """Whether a second run of the base gives the same result."""
        network = self._copy(self._model.get_submodule(subject.path))
        return _parts_at(base, self._run(network, subject.trials[number], training)) is None

    def _first_module(
        self, subject: _Subject, inputs: Inputs, part: nn.Module, training: bool
    ) -> str:
        """Message part that names the first module with a different output."""
        base = self._copy(self._model.get_submodule(subject.path))
        result = self._copy(part)
        close(result)
        theirs = _outputs(base, lambda: self._run(base, inputs, training))
        ours = _outputs(result, lambda: self._run(result, inputs, training))
        for call, output in theirs.items():
            if call in ours and difference(output, ours[call]) is not None:
                return f"; the first module that differs is {call[0]}"
        return ""


def _as_failure(error: Exception, training: bool) -> ModelError:
    if isinstance(error, ModelError):
        return error
    reason = (str(error).splitlines() or [""])[0][:150]
    mode = "train" if training else "eval"
    return ModelError(f"the result fails in {mode} mode with {type(error).__name__}: {reason}")


def _parts_at(base: ObservedRun, ours: ObservedRun) -> str | None:
    """Describe where two runs differ."""
    if base.checkpoints != ours.checkpoints:
        return f"gradient checkpoints are {ours.checkpoints}, not {base.checkpoints}"
    where = difference(base.output, ours.output)
    if where is not None:
        return f"the output{where}"
    if base.gradients is not None and ours.gradients is not None:
        for name in sorted(base.gradients ^ ours.gradients):
            if ".bam." not in f".{name}":
                gets = "no" if name in base.gradients else "a"
                return f"{name} gets {gets} gradient"
    for name, value in base.buffers.items():
        if difference(value, ours.buffers.get(name)) is not None:
            return f"the buffer {name} differs"
    for path, name in {**base.stored, **ours.stored}:
        missing = object()
        values = (seen.stored.get((path, name), missing) for seen in (base, ours))
        if ".bam." not in f".{path}." and difference(*values) is not None:
            return f"the attribute {'.'.join(filter(None, (path, name)))} differs"
    return None


def _outputs(network: nn.Module, run: Callable[[], object]) -> dict[tuple[str, int], list[Tensor]]:
    """Outputs of all module calls by path and call number, in the order in which they returned."""
    outputs: dict[tuple[str, int], list[Tensor]] = {}

    def note(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            number = sum(call[0] == path for call in outputs)
            outputs[path, number] = [tensor.detach().clone() for tensor in output_tensors(output)]

        return hook

    for path, module in network.named_modules():
        if path:
            # Prepended: the hook of an attached BAM must run later.
            module.register_forward_hook(note(path), prepend=True)
    with suppress(Exception):
        run()
    return outputs


def _subjects(
    model: nn.Module,
    network: FeatureNetwork,
    sites: Sequence[Site],
    input_shape: tuple[int, ...],
    example_inputs: Any,
) -> tuple[_Subject, ...]:
    """Modules to run: the model, and its feature network if that is only a part of it."""
    if example_inputs is not None:
        example = example_from(model, example_inputs, input_shape)
        return (_Subject("", ((example.args, example.kwargs),)),)
    stride = max((site.stride for site in sites), default=1)
    alone = _Subject(network.path, _trials(network.module, network.input_shape, stride, _BATCH))
    if not network.path:
        return (alone,)
    # Detectors resize every image to a large one: a batch of one is enough.
    return (alone, _Subject("", _trials(model, input_shape, stride, 1)))


def _trials(
    module: nn.Module, shape: tuple[int, ...], stride: int, batch: int
) -> tuple[Inputs, ...]:
    """Random inputs of two and four times the largest stride, then of the full shape.

    Each required argument of ``forward`` gets an image.
    """
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    sizes = [(*shape[:-2], *(min(size, times * stride) for size in shape[-2:])) for times in (2, 4)]
    example = example_of(module, shape)
    calls = [
        example.at((batch, *size), str(like.device)) for size in dict.fromkeys([*sizes, shape])
    ]
    return tuple((call.args, call.kwargs) for call in calls)


def _to_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) else value


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
