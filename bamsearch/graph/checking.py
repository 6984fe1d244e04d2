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

from bamsearch.attention.bam import BAM, bams_of
from bamsearch.errors import ModelError, first_line
from bamsearch.graph.network import FeatureNetwork
from bamsearch.graph.tracing.copying import copy_model, meta_copy, remove_hooks, unwrapped
from bamsearch.graph.tracing.example import Example, example_from, example_of, tensors_in
from bamsearch.graph.tracing.observing import ObservedRun, difference, observe
from bamsearch.records import Site

ComparedBy = Literal["values", "shapes", "nothing"]

_BATCH = 2
# Above, networks run on the meta device; and copies to run share parameters with the original.
LARGEST_RUN = 300_000_000
_MOST_COPIED = 20_000_000


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """A run of the module at path (the model or its feature network) in one mode.

    once: whether each BAM must run exactly once; a model may call its feature network repeatedly.
    """

    path: str
    example: Example
    training: bool
    once: bool

    @property
    def mode(self) -> str:
        return "train" if self.training else "eval"


class Check:
    """Compares networks with the model that they were derived from."""

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
        examples = _examples(self._model, network, sites, input_shape, example_inputs)
        self._trials = [
            [_Trial(path, example, training, once=number == 0) for example in inputs]
            for number, (path, inputs) in enumerate(examples.items())
            for training in (False, True)
        ]
        self._base: dict[_Trial, ObservedRun | None] = {}

    def compare(self, result: nn.Module) -> ComparedBy:
        """Compare a network with its base.

        Returns:
            ``values``; ``shapes`` for networks too large to run; ``nothing`` if the base itself
            cannot run.

        Raises:
            ModelError: the network behaves differently from its base, or a BAM is not called
                exactly once, gets a map of an unexpected shape, or cannot learn.
        """
        ran = [self._compare(trials, result) for trials in self._trials]
        if not any(ran):
            return "nothing"
        return "shapes" if self._on_meta else "values"

    def _compare(self, trials: Sequence[_Trial], result: nn.Module) -> bool:
        """Whether the base ran in any trial; the last, real size decides.

        Smaller inputs may take other paths through forward.
        """
        ran, failure = False, None
        for trial in trials:
            base = self._observed(trial)
            if base is not None:
                ran = True
                failure = self._failure(trial, base, result)
                if failure is None:
                    break
        if failure is not None:
            raise failure
        return ran

    def _observed(self, trial: _Trial) -> ObservedRun | None:
        """The base's behaviour; None if it cannot run."""
        if trial not in self._base:
            network = self._copy(self._model, trial)
            try:
                self._base[trial] = self._run(network, trial)
            except Exception:
                self._base[trial] = None
        return self._base[trial]

    def _run(self, network: nn.Module, trial: _Trial) -> ObservedRun:
        example = trial.example
        if self._on_meta:
            example = example.at(example.image.shape, "meta")
        return observe(network, example, training=trial.training)

    def _copy(self, model: nn.Module, trial: _Trial) -> nn.Module:
        module = model.get_submodule(trial.path)
        if self._on_meta:
            return meta_copy(module)
        memo: dict[int, Any] = {}
        if _size(module) > _MOST_COPIED:
            memo = {id(p): nn.Parameter(p.detach(), p.requires_grad) for p in module.parameters()}
        copied = copy_model(module, memo)
        # User hooks have side effects; torch's hooks compute weights, as in weight_norm.
        remove_hooks(copied, keep=("bamsearch", "torch"))
        return copied

    def _failure(self, trial: _Trial, base: ObservedRun, result: nn.Module) -> ModelError | None:
        """Describe how the result differs from the base, if it does."""
        # A closed BAM returns its input; a marked one returns a copy, which shows that it learns.
        for mark in (True, False) if trial.training and base.gradients else (False,):
            network = self._copy(result, trial)
            closed = close(network, mark=mark)
            try:
                ours = self._run(network, trial)
            except ModelError as error:
                return error
            except Exception as error:
                return ModelError(
                    f"the result fails in {trial.mode} mode with {type(error).__name__}: "
                    f"{first_line(error)[:150]}"
                )
            failure = _wrong_calls(closed, ours, trial)
            where = _first_difference(base, ours)
            if failure is None and where is None:
                return _not_learning(closed, ours) if mark else None
            if failure is not None:
                return failure
        again = self._run(self._copy(self._model, trial), trial)
        if _first_difference(base, again) is not None:
            return None  # the base itself is not reproducible
        return ModelError(f"{where} in {trial.mode} mode{self._first_module(trial, result)}")

    def _first_module(self, trial: _Trial, result: nn.Module) -> str:
        """Message part that names the first module with a different output."""
        base, inserted = self._copy(self._model, trial), self._copy(result, trial)
        close(inserted)
        theirs = _outputs(base, lambda: self._run(base, trial))
        ours = _outputs(inserted, lambda: self._run(inserted, trial))
        for call, output in theirs.items():
            if call in ours and difference(output, ours[call]) is not None:
                return f"; the first module that differs is {call[0]}"
        return ""


class Closed(nn.Module):
    """Placeholder for a BAM that returns its input and counts its calls.

    With mark, it returns a copy that depends on the parameter ``mark``, as a BAM's output does.
    """

    def __init__(self, bam: BAM, mark: bool) -> None:
        super().__init__()
        self.channels = bam.channels
        self.layout = bam.layout
        self.calls = 0
        self.mark = nn.Parameter(torch.zeros(())) if mark else None

    def forward(self, x: Tensor) -> Tensor:
        """Return x; raise ModelError if the BAM does not accept it."""
        self.calls += 1
        if not isinstance(x, Tensor):
            raise ModelError(f"a BAM gets a {type(x).__name__}, not a feature map")
        fits = x.dim() == len(self.layout) and x.shape[self.layout.index("C")] == self.channels
        if not fits:
            raise ModelError(
                f"a BAM for {self.channels} channels, {self.layout}, gets a map of shape "
                f"{tuple(x.shape)}"
            )
        marked: Tensor = x if self.mark is None else GradientMark.apply(x, self.mark)
        return marked


class GradientMark(torch.autograd.Function):
    """Copies a map and depends on a parameter, as a BAM does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mark: Tensor) -> Tensor:
        """A copy of x."""
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of x, and its sum for the parameter."""
        return gradients[0], gradients[0].sum()


def close(network: nn.Module, *, mark: bool = False) -> dict[str, Closed]:
    """Replace every BAM in a network by a placeholder."""
    closed = {path: Closed(bam, mark) for path, bam in bams_of(network).items()}
    for path, module in closed.items():
        network.set_submodule(path, module)
    return closed


def _wrong_calls(closed: dict[str, Closed], ours: ObservedRun, trial: _Trial) -> ModelError | None:
    """Error for the first BAM that did not run, or ran more than once."""
    for path, bam in closed.items():
        # A checkpointed region runs again in the backward pass.
        if bam.calls == 0 or (trial.once and bam.calls > 1 and not ours.checkpoints):
            times = "never runs" if bam.calls == 0 else f"runs {bam.calls} times"
            name = path.rpartition(".")[2]
            return ModelError(f"BAM at {name} {times} in {trial.mode} mode")
    return None


def _not_learning(closed: dict[str, Closed], ours: ObservedRun) -> ModelError | None:
    """Error for the first BAM that no gradient reaches."""
    for path in closed:
        if ours.gradients is not None and f"{path}.mark" not in ours.gradients:
            return ModelError(
                f"BAM at {path.rpartition('.')[2]} would never learn, no gradient reaches it "
                "(no_grad, inference_mode or detach in forward): choose other sites"
            )
    return None


def _first_difference(base: ObservedRun, ours: ObservedRun) -> str | None:
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
            outputs[path, number] = [tensor.detach().clone() for tensor in tensors_in(output)]

        return hook

    for path, module in network.named_modules():
        if path:
            # Prepended: the hook of an attached BAM must run later.
            module.register_forward_hook(note(path), prepend=True)
    with suppress(Exception):
        run()
    return outputs


def _examples(
    model: nn.Module,
    network: FeatureNetwork,
    sites: Sequence[Site],
    input_shape: tuple[int, ...],
    example_inputs: Any,
) -> dict[str, list[Example]]:
    """Inputs for the feature network and the model, if it is only a part of it, by path."""
    if example_inputs is not None:
        return {"": [example_from(model, example_inputs, input_shape)]}
    stride = max((site.stride for site in sites), default=1)
    inputs = {network.path: _random_images(network.module, network.input_shape, stride, _BATCH)}
    if network.path:
        # Detectors resize every image to a large one: a batch of one is enough.
        inputs[""] = _random_images(model, input_shape, stride, 1)
    return inputs


def _random_images(
    module: nn.Module, shape: tuple[int, ...], stride: int, batch: int
) -> list[Example]:
    """Random inputs of two and four times the largest stride, then of the full shape.

    Each required argument of ``forward`` gets an image.
    """
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    sizes = [(*shape[:-2], *(min(size, times * stride) for size in shape[-2:])) for times in (2, 4)]
    example = example_of(module, shape)
    return [example.at((batch, *s), str(like.device)) for s in dict.fromkeys([*sizes, shape])]


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
