"""synflow: how much the weights let through, without any data."""

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
    2101.08134. The network is made linear: all parameters are replaced by their absolute values,
    norms and ReLU6's ceiling are left out, attention averages over its positions. The input is one
    image of ones, R is the sum of all outputs (dense maps averaged over their positions)::

        synflow = log Σ_w |w| ∂R/∂|w|     over weights of convolutions and linear layers

    The logarithm keeps the order; the flow itself grows about a thousandfold with every block of a
    ResNet, which is why all is in float64.

    Batch: one image's shape, its numbers are not looked at. Cost: 1 forward and 1 backward of one
    image in float64. Known failure: at BAM the flow is so large that the sigmoid is 1 to the last
    bit and its gradient 0: F' = 2F, whatever r and d. Designs with the same sites then tie, and
    every further site adds log 2. Likewise a tanh on the way (MaxViT's head) stops all flow.

    Args:
        module: the network; it is put into eval mode.
        batch: as above.

    Returns:
        The logarithm; -inf where nothing flows, inf or nan where float64 overflows.

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
    flow = torch.stack([one.sum() for one in logits_of(output, 1)]).sum()
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
    """What makes a frozen norm, which is plain arithmetic, let its input through."""
    values = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - eps}
    names = {prefix + name: value for name, value in values.items()}
    return {name: torch.full_like(tensors[name], value) for name, value in names.items()}


class _Linear(TorchFunctionMode):
    """Keeps the flow linear and positive.

    Norms would undo it, ReLU6 cap it at 6: both let it through. Attention's logits are squares of
    it: it weighs all positions alike. What is left of the activations lets positive numbers through
    as they are, or nearly.
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
