"""Count parameters and multiply-adds of a network for one input.

The unit is fvcore's: a multiply-add (MAC) counts 1, as in torchvision's ``weights.meta["_ops"]``.
Not counted, and listed in ``Cost.uncounted``: biases, activations, additions of maps, max and
average pooling with a fixed window, softmax. In eval mode, normalisation costs 2 per element
(BatchNorm) or 5 (LayerNorm, GroupNorm), and adaptive average pooling 1 per input element, as in
fvcore's ``jit_handles.py``.

Two counters give the same integers. fvcore traces a real forward pass with zeros: on one core
resnet101 takes 0.4 s, vit_h_14 at 518 takes 23 s. The meta device would not help: there, as under
any dispatch mode, the tracer records other operators, and no convolutions. The other counter,
:mod:`bamsearch.profiling.meta_counting`, runs on the meta device: 0.3 s for the same vit_h_14.

The cost of a detector depends on the number of detected boxes: fvcore counts those for an image of
zeros, the same each time; the other counter cannot run detectors.

With fvcore, recurrent layers (``aten::lstm``), deformable convolution and custom autograd functions
are in ``uncounted``: check it before trusting the total of an unusual network.
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

from bamsearch.errors import ModelError, first_line
from bamsearch.graph.models import named_module
from bamsearch.graph.tracing.copying import copy_model
from bamsearch.profiling.meta_counting import Counts, count_on_meta
from bamsearch.records import Cost, InputShape, check_input_shape
from bamsearch.records.arguments import checked

Counter = Literal["auto", "fvcore", "FlopCounterMode"]
Handle = Callable[[list[Any], list[Any]], int]


@checked
def count(
    model: nn.Module | str, input_shape: InputShape | None = None, counter: Counter = "auto"
) -> Cost:
    """Count parameters and multiply-adds of model for one input, in eval mode.

    A copy is counted: the model's mode, BatchNorm statistics and hooks are not changed. Forward
    hooks run on the copy, because they may be part of the computation. The copy's parameters are
    zeros that take no memory, so the values in model do not matter.

    Args:
        model: any module that takes one tensor, or a MODEL such as ``"resnet18"``; it runs with the
            device and dtype of its first parameter.
        input_shape: shape of one input, see :func:`bamsearch.find_sites`.
        counter: ``fvcore``, ``FlopCounterMode`` (see :mod:`bamsearch.profiling.meta_counting`), or
            ``auto``: fvcore, or the other if fvcore is missing or cannot trace the model. The
            result's ``counter`` is the one used.

    Returns:
        The cost of one input; shared parameters count once.

    Raises:
        InvalidValueError: an invalid input_shape or an unknown counter.
        ModelError: the model does not run with this input, or has lazy parameters.
    """
    _, model, shape = named_module(model, input_shape)
    name = type(model).__name__
    if any(nn.parameter.is_lazy(tensor) for tensor in model.parameters()):
        raise ModelError(f"{name} has lazy parameters: run it once on an input before counting")
    params = sum(parameter.numel() for parameter in model.parameters())
    failures = []
    with _every_operator_visible():
        for name_of_counter in COUNTERS if counter == "auto" else (counter,):
            try:
                counts, device = COUNTERS[name_of_counter]
                copied = _copy(model, device)
                return Cost(params, *counts(copied, _zeros(copied, shape)), name_of_counter)
            except Exception as error:  # A user's forward can raise any exception.
                failures.append(error)
    failure = next((e for e in failures if not isinstance(e, ImportError)), failures[-1])
    raise ModelError(
        f"{name} cannot be counted with an input of {shape}: {first_line(failure).rstrip('.')}. "
        "Use an input shape that the model supports: is this too small, or are channels wrong?"
    ) from failure


def count_activations(
    model: nn.Module, input_shape: Sequence[int] = (3, 224, 224)
) -> dict[str, int]:
    """Count the output elements of convolutions and matrix products for one input, by module.

    This is the activation count of arXiv 2003.13678 (section 3), as implemented by fvcore: it
    predicts latency on a GPU better than MACs do. Norms, ReLUs and fused attention do not count.

    Args:
        model: as for :func:`count`; counted on a copy.
        input_shape: as for :func:`count`.

    Returns:
        Number of elements by dotted path; "" is the total.

    Raises:
        InvalidValueError: an invalid input_shape.
        ModelError: fvcore cannot trace the model.
    """
    copied = _copy(model)
    zeros = _zeros(copied, check_input_shape(input_shape))
    try:
        with _every_operator_visible():
            return dict(_analysis("ActivationCountAnalysis", copied, zeros).by_module())
    except Exception as error:
        name = type(model).__name__
        raise ModelError(f"activations of {name} cannot be counted: {first_line(error)}") from error


def _count_with_fvcore(model: nn.Module, inputs: torch.Tensor) -> Counts:
    """Count in a traced forward pass; see :func:`.count_on_meta` for arguments and result."""
    analysis = _analysis("FlopCountAnalysis", model, inputs)
    analysis.set_op_handle(**EXTRA_HANDLES)
    by_operator = analysis.by_operator()
    products = sum(by_operator[name] for name in MATRIX_PRODUCTS)
    uncounted = dict(analysis.unsupported_ops())
    return analysis.total(), products, dict(analysis.by_module()), uncounted


def _analysis(name: str, model: nn.Module, inputs: torch.Tensor) -> Any:
    """An analysis of fvcore that warns of nothing: uncounted operators are in the result."""
    with warnings.catch_warnings():
        # fvcore scripts two losses when imported; TorchScript is deprecated.
        warnings.filterwarnings("ignore", r"`torch\.jit\.", FutureWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        import fvcore.nn

    analysis = getattr(fvcore.nn, name)(model, inputs)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    # Tracer warnings concern running the trace, which is not done.
    return analysis.tracer_warnings("none")


def _copy(model: nn.Module, device: torch.device | None = None) -> nn.Module:
    """Copy a model in eval mode, with parameters that are zeros and take no memory.

    Args:
        model: the model to copy; not modified.
        device: device for all tensors of the copy; None keeps theirs.
    """
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        zero = torch.zeros((), dtype=parameter.dtype, device=device or parameter.device)
        memo[id(parameter)] = nn.Parameter(zero.expand(parameter.shape), requires_grad=False)
    for module in model.modules():
        # Plain attributes too: nn.utils.weight_norm stores its weight there, which is not a leaf
        # and cannot be deep-copied. Buffers keep their values, because some are indices.
        for tensor in (*module.buffers(recurse=False), *vars(module).values()):
            if isinstance(tensor, torch.Tensor) and id(tensor) not in memo:
                detached = tensor.detach()
                memo[id(tensor)] = detached.to(device) if device else detached.clone()
    return copy_model(model, memo).eval()


def _zeros(model: nn.Module, shape: tuple[int, ...]) -> torch.Tensor:
    """A batch of one input of zeros, with the device and floating-point dtype of model."""
    tensors = (*model.parameters(), *model.buffers(), torch.zeros(()))
    first = next(tensor for tensor in tensors if tensor.is_floating_point())
    return torch.zeros(1, *shape, device=first.device, dtype=first.dtype)


@contextlib.contextmanager
def _every_operator_visible() -> Iterator[None]:
    """Disable gradients, inference mode and the fused attention path, which hide operators.

    ``torch.backends.mha`` is global: other threads also get the slow attention path meanwhile.
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


def _matrix_product(operand: int) -> Handle:
    """Output elements times the contracted length: the last axis of the operand."""
    return lambda inputs, outputs: prod(_shape(outputs[0])) * _shape(inputs[operand])[-1]


def _attention(inputs: list[Any], outputs: list[Any]) -> int:
    """Queries (..., L, E) times keys (..., S, E), then weights times values (..., S, V).

    Masks are ignored: causal attention costs the same.
    """
    query, key, value = (_shape(tensor) for tensor in inputs[:3])
    heads_and_queries = prod(_shape(outputs[0])[:-1])
    return heads_and_queries * key[-2] * (query[-1] + value[-1])


def _convolution_mode(inputs: list[Any], outputs: list[Any]) -> int:
    """A convolution with ``padding="same"`` or ``"valid"``: weights times output positions."""
    batch, _, *positions = _shape(outputs[0])
    return batch * prod(_shape(inputs[1])) * prod(positions)


def _einsum(inputs: list[Any], outputs: list[Any]) -> int:
    """Multiply-adds of the batched matrix products into which torch converts an einsum."""
    operands = [torch.empty(_shape(v), device="meta") for v in inputs[1].node().inputs()]
    with FlopCounterMode(display=False) as flops:
        torch.einsum(inputs[0].toIValue(), *operands)
    return int(flops.get_total_flops()) // 2


def _input_elements(inputs: list[Any], outputs: list[Any]) -> int:
    """One per input element, as fvcore counts adaptive_avg_pool2d."""
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
    # fvcore's handle fails on vectors, and ignores batch axes of the second operand alone.
    "aten::matmul": _matrix_product(0),
    # fvcore's handle parses NumPy's printed estimate, which has four digits.
    "aten::einsum": _einsum,
}
"""Multiply-adds of operators that fvcore lacks or counts wrongly."""

MATRIX_PRODUCTS = frozenset(
    {"conv", "_convolution_mode", "linear", "addmm", "addmv", "mm", "mv", "dot", "matmul", "bmm"}
    | {"baddbmm", "einsum", "scaled_dot_product_attention"}
)
"""Operators, by fvcore's names, whose sum is ``conv_linear_macs``."""

COUNTERS: Mapping[str, tuple[Callable[[nn.Module, torch.Tensor], Counts], torch.device | None]] = {
    "fvcore": (_count_with_fvcore, None),
    "FlopCounterMode": (count_on_meta, torch.device("meta")),
}
"""The counters, and the devices of the copies that they run, in the order that ``auto`` tries."""
