"""What a network costs for one input: parameters and multiply-adds, counted from shapes alone.

The unit is fvcore's: one multiply-add (MAC) is 1; torchvision publishes the same unit in
``weights.meta["_ops"]``. Not counted: biases, activations, additions of maps, max and average
pooling with a fixed window, softmax; ``Cost.uncounted`` names them. A normalisation layer in eval
mode costs 2 an element (BatchNorm) or 5 (LayerNorm, GroupNorm), adaptive average pooling 1 an
input element, as in fvcore's ``jit_handles.py``.

Two counters give the same integers. fvcore traces a real forward pass with zeros: on one core
resnet101 takes 0.4 s, vit_h_14 at 518 takes 23 s. That cannot be had for less: on the meta device,
as under any dispatch mode, the tracer records other operators, and convolution not at all. The
other, :mod:`bamsearch.profile.meta_counting`, runs on the meta device: 0.3 s for the same vit_h_14.

A detector's work depends on the boxes that it finds: with fvcore it is what zeros find, the same
each time; the other counter cannot run it.

Recurrent layers (``aten::lstm``), deformable convolution and custom autograd functions are in
``uncounted`` with fvcore; look there before you trust the total of an unusual network.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bamsearch.errors import ModelError
from bamsearch.graph.copying import copy_model
from bamsearch.profile.meta_counting import count_on_meta
from bamsearch.records import Cost, check_choice, check_input_shape

Counter = Literal["auto", "fvcore", "FlopCounterMode"]
Handle = Callable[[list[Any], list[Any]], int]


def count(
    model: nn.Module, input_shape: Sequence[int] = (3, 224, 224), counter: Counter = "auto"
) -> Cost:
    """Count parameters and multiply-adds of model for one input, in eval mode.

    A copy is counted: model, its mode, its BatchNorm statistics and its hooks stay as they are
    (forward hooks do run, on the copy: they can be part of what it computes). The copy's
    parameters are zeros that take no memory, so that the values in model never matter.

    Args:
        model: any module that takes one tensor; it runs on the device and in the dtype of its
            first parameter.
        input_shape: shape of one input without the batch: (C, H, W) or (C, T, H, W).
        counter: ``fvcore``, ``FlopCounterMode`` (see :mod:`bamsearch.profile.meta_counting`), or
            ``auto``: fvcore, and the other where fvcore is missing or cannot trace the model.
            The result's ``counter`` says which it was.

    Returns:
        The cost of one input; a shared parameter counts once.

    Raises:
        InvalidValueError: an impossible input_shape or an unknown counter.
        ModelError: the model does not run with this input, or has lazy parameters.
    """
    shape = check_input_shape(input_shape)
    check_choice("counter", counter, ("auto", *COUNTERS))
    name = type(model).__name__
    if any(nn.parameter.is_lazy(tensor) for tensor in model.parameters()):
        raise ModelError(f"{name} has lazy parameters: run it once on an input before counting")
    failures = []
    with _every_operator_visible():
        for one in COUNTERS if counter == "auto" else (counter,):
            try:
                return COUNTERS[one](model, shape)
            except Exception as error:  # A user's forward can raise anything at all.
                failures.append(error)
    failure = next((e for e in failures if not isinstance(e, ImportError)), failures[-1])
    reason = (str(failure).strip() or type(failure).__name__).splitlines()[0].rstrip(".")
    raise ModelError(
        f"{name} cannot be counted with an input of {shape}: {reason}. "
        "Give the input shape that the model is made for: too small, or other channels?"
    ) from failure


def count_activations(
    model: nn.Module, input_shape: Sequence[int] = (3, 224, 224)
) -> dict[str, int]:
    """Elements that convolutions and matrix products put out for one input, by module.

    The activation count of arXiv 2003.13678 (section 3), as fvcore has it: it follows the time on
    a GPU better than MACs do. Norms, rectifiers and fused attention put out none of their own.

    Args:
        model: as :func:`count`; counted on a copy.
        input_shape: as :func:`count`.

    Returns:
        Dotted path to elements; "" is the whole.

    Raises:
        InvalidValueError: an impossible input_shape.
        ModelError: fvcore cannot trace the model.
    """
    copied = _copy(model)
    zeros = _zeros(copied, check_input_shape(input_shape))
    try:
        with _every_operator_visible():
            analysis = _quiet(_fvcore().ActivationCountAnalysis(copied, zeros))
            return dict(analysis.by_module())
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        name = type(model).__name__
        raise ModelError(f"activations of {name} cannot be counted: {reason}") from error


def _count_with_torch(model: nn.Module, shape: tuple[int, ...]) -> Cost:
    """Count with FlopCounterMode on a copy on the meta device."""
    copied = _copy(model, torch.device("meta"))
    macs, by_module, uncounted = count_on_meta(copied, _zeros(copied, shape))
    return Cost(
        params=_parameters(model),
        macs=by_module[""],
        conv_linear_macs=macs,
        by_module=by_module,
        uncounted=uncounted,
        counter="FlopCounterMode",
    )


def _count_with_fvcore(model: nn.Module, shape: tuple[int, ...]) -> Cost:
    """Count with fvcore: a traced forward pass of a copy on the model's device."""
    copied = _copy(model)
    analysis = _quiet(_fvcore().FlopCountAnalysis(copied, _zeros(copied, shape)))
    analysis.set_op_handle(**EXTRA_HANDLES)
    by_operator = analysis.by_operator()
    return Cost(
        params=_parameters(model),
        macs=analysis.total(),
        conv_linear_macs=sum(by_operator[name] for name in MATRIX_PRODUCTS),
        by_module=dict(analysis.by_module()),
        uncounted=dict(analysis.unsupported_ops()),
        counter="fvcore",
    )


def _fvcore() -> Any:
    with warnings.catch_warnings():
        # fvcore scripts two losses when imported; TorchScript is deprecated.
        warnings.filterwarnings("ignore", r"`torch\.jit\.", FutureWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        import fvcore.nn

    return fvcore.nn


def _quiet(analysis: Any) -> Any:
    """The analysis without its warnings: what it did not count is a result, not a remark."""
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    # What it warns of is the trace, which nobody will run.
    return analysis.tracer_warnings("none")


def _copy(model: nn.Module, device: torch.device | None = None) -> nn.Module:
    """A copy of model in eval mode whose parameters are zeros without memory of their own.

    Args:
        model: what to copy; not changed.
        device: where all tensors of the copy go; None keeps each on its own.
    """
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        zero = torch.zeros((), dtype=parameter.dtype, device=device or parameter.device)
        memo[id(parameter)] = nn.Parameter(zero.expand(parameter.shape), requires_grad=False)
    for module in model.modules():
        # Plain attributes too: nn.utils.weight_norm keeps its weight in one, and as it is no leaf
        # it cannot be copied otherwise. Buffers keep their values: some are indices.
        for tensor in (*module.buffers(recurse=False), *vars(module).values()):
            if isinstance(tensor, torch.Tensor) and id(tensor) not in memo:
                here = tensor.detach()
                memo[id(tensor)] = here.to(device) if device else here.clone()
    return copy_model(model, memo).eval()


def _zeros(model: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """A batch of one input of zeros, on the device and in the floating dtype of model."""
    tensors = (*model.parameters(), *model.buffers(), torch.zeros(()))
    first = next(tensor for tensor in tensors if tensor.is_floating_point())
    return torch.zeros(1, *shape, device=first.device, dtype=first.dtype)


def _parameters(model: nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


@contextlib.contextmanager
def _every_operator_visible() -> Iterator[None]:
    """No gradients, and neither inference mode nor attention's fused path, which hide operators.

    ``torch.backends.mha`` is global: threads that run attention meanwhile get the slow path too.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _shape(value: Any) -> list[int]:
    """Shape of a value in a traced graph."""
    sizes: list[int] = value.type().sizes()
    return sizes


def _matrix_product(left: int) -> Handle:
    """Output elements times the length summed over: the last axis of operand number left."""
    return lambda inputs, outputs: prod(_shape(outputs[0])) * _shape(inputs[left])[-1]


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Queries (..., L, E) times keys (..., S, E), then weights times values (..., S, V).

    Masks are not looked at: a causal one costs the same.
    """
    query, key, value = (_shape(tensor) for tensor in inputs[:3])
    heads_and_queries = prod(_shape(outputs[0])[:-1])
    return heads_and_queries * key[-2] * (query[-1] + value[-1])


def _convolution_mode(inputs: list[Any], outputs: list[Any]) -> int:
    """A convolution with ``padding="same"`` or ``"valid"``: weights times output positions."""
    batch, _, *positions = _shape(outputs[0])
    return batch * prod(_shape(inputs[1])) * prod(positions)


def _einsum(inputs: list[Any], outputs: list[Any]) -> int:
    """The batched matrix products that torch makes of an einsum."""
    operands = [torch.empty(_shape(v), device="meta") for v in inputs[1].node().inputs()]
    with FlopCounterMode(display=False) as flops:
        torch.einsum(inputs[0].toIValue(), *operands)
    return int(flops.get_total_flops()) // 2


def _input_elements(inputs: list[Any], outputs: list[Any]) -> int:
    """One an input element, as fvcore has it for adaptive_avg_pool2d."""
    return prod(_shape(inputs[0]))


EXTRA_HANDLES: Mapping[str, Handle] = {
    # Missing from fvcore.
    "aten::scaled_dot_product_attention": _attention,
    "aten::_convolution_mode": _convolution_mode,
    "aten::baddbmm": _matrix_product(1),
    "aten::addmv": _matrix_product(1),
    "aten::mv": _matrix_product(0),
    "aten::dot": _matrix_product(0),
    "aten::adaptive_avg_pool1d": _input_elements,
    "aten::adaptive_avg_pool3d": _input_elements,
    # fvcore's own fails on a vector and forgets a batch that only the second operand has.
    "aten::matmul": _matrix_product(0),
    # fvcore's own reads NumPy's printed estimate: four digits.
    "aten::einsum": _einsum,
}
"""What fvcore lacks or gets wrong: operator of the traced graph to its multiply-adds."""

MATRIX_PRODUCTS = frozenset(
    {"conv", "_convolution_mode", "linear", "addmm", "addmv", "mm", "mv", "dot", "matmul", "bmm"}
    | {"baddbmm", "einsum", "scaled_dot_product_attention"}
)
"""Operators, by fvcore's names, whose sum is ``conv_linear_macs``."""

COUNTERS: Mapping[str, Callable[[nn.Module, tuple[int, ...]], Cost]] = {
    "fvcore": _count_with_fvcore,
    "FlopCounterMode": _count_with_torch,
}
"""The counters, in the order in which ``auto`` tries them."""
