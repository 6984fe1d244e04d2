"""synflow: the synaptic flow through the weights, without data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torchvision.ops.misc import FrozenBatchNorm2d

from bamsearch.score.batch import Batch, logits_of
from bamsearch.score.weights import call, weight_names


def synflow(module: nn.Module, batch: Batch) -> float:
    """The natural logarithm of the synaptic flow.

    Tanaka et al. 2020, arXiv 2006.05467; for architectures Abdelfattah et al. 2021, arXiv
    2101.08134. The network is made linear: parameters are replaced by their absolute values, norms
    and the ceiling of ReLU6 are skipped, and attention averages over its positions. The input is
    one image of ones; R is the sum of all outputs (dense maps are averaged over positions)::

        synflow = log Σ_w |w| ∂R/∂|w|     over weights of convolutions and linear layers

    The logarithm preserves the order. The flow itself grows about a thousandfold with every block
    of a ResNet, so float64 is used.

    Batch: 1 image, of which only the shape is used. Cost: 1 forward and 1 backward of one image in
    float64. Known failure: at BAM the flow is so large that the sigmoid is exactly 1 and its
    gradient 0, so F' = 2F for any r and d. Designs with the same sites then tie, and every further
    site adds log 2. Likewise, a tanh (MaxViT's head) stops all flow.

    Args:
        module: network; it is put into eval mode.
        batch: images, of which only the shape is used.

    Returns:
        The logarithm; -inf if nothing flows, inf or nan if float64 overflows.

    Raises:
        ScoreError: no weights, or no output with a channel axis.
    """
    module.eval()
    chosen = weight_names(module)
    tensors = dict(_absolute(module.named_parameters()))
    tensors |= dict(_absolute(module.named_buffers()))
    for path, layer in module.named_modules():
        if isinstance(layer, FrozenBatchNorm2d):
            tensors |= _identity(f"{path}." if path else "", layer.eps, tensors)
    for name in chosen:
        tensors[name].requires_grad_()
    ones = torch.ones_like(batch.images[:1], dtype=torch.float64)
    with _Linear():
        output = call(module, tensors, ones)
    flow = torch.stack([logits.sum() for logits in logits_of(output, 1)]).sum()
    weights = [tensors[name] for name in chosen]
    gradients = torch.autograd.grad(flow, weights, allow_unused=True)
    total = flow.new_zeros(())
    for weight, gradient in zip(weights, gradients, strict=True):
        if gradient is not None:
            total += (weight.detach() * gradient).sum()
    return float(total.log())


def _absolute(named: Iterable[tuple[str, Tensor]]) -> Iterable[tuple[str, Tensor]]:
    for name, value in named:
        value = value.detach()
        yield name, value.double().abs() if value.is_floating_point() else value.clone()


def _identity(prefix: str, eps: float, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Buffers that make a frozen norm, which is plain arithmetic, the identity."""
    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - eps}
    names = {prefix + name: value for name, value in values.items()}
    return {name: torch.full_like(tensors[name], value) for name, value in names.items()}


class _Linear(TorchFunctionMode):
    """Keeps the flow linear and positive.

    Norms would normalise it and ReLU6 would cap it at 6, so both become the identity. Attention
    logits are quadratic in it, so attention weights all positions equally. The other activations
    are the identity for positive inputs, or nearly so.
    """

    _LEFT_OUT: frozenset[Callable[..., Any]] = frozenset(
        (
            *(F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm, F.rms_norm),
            *(F.relu6, F.hardtanh),
        )
    )
    _SOFTMAX: frozenset[Callable[..., Any]] = frozenset((F.softmax, torch.softmax, Tensor.softmax))

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._LEFT_OUT:
            return args[0] if args else kwargs["input"]
        if func in self._SOFTMAX:
            dim = args[1] if len(args) > 1 else kwargs["dim"]
            return torch.full_like(args[0], 1 / args[0].shape[dim])
        if func is F.scaled_dot_product_attention:
            query, _, value = args[:3]
            mean = value.mean(-2, keepdim=True)
            return mean.expand(*query.shape[:-1], value.shape[-1])
        return func(*args, **kwargs)
