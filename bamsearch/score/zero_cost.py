"""The zero-cost scores: functions of a network and a random batch; higher is better.

:mod:`.table` lists their papers, batches, costs and known failures. The network is put into eval
mode, with batch norms on batch statistics except in synflow; its weights are not modified. The loss
L is the cross-entropy with random labels. Each raises ScoreError for a network without the weights,
outputs or activations that it needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torchvision.ops.misc import FrozenBatchNorm2d

from bamsearch.errors import ScoreError
from bamsearch.score.batch import (
    Batch,
    call,
    gradients_of,
    total_of,
    use_batch_statistics,
    weight_gradients,
    weight_names,
)

_K = 1e-5
_EXACT_IN_FLOAT32 = 2**24

Functions = frozenset[Callable[..., Any]]


def grad_norm(module: nn.Module, batch: Batch) -> float:
    """The sum over layers of the Euclidean norms of the weight gradients, arXiv 2101.08134.

    ::

        grad_norm = Σ_l ‖∂L/∂W_l‖_2     over convolutions and linear layers
    """
    norms = (
        torch.linalg.vector_norm(gradient, dtype=torch.float64)
        for _, gradient in weight_gradients(module, batch)
    )
    return sum(map(float, norms))


def snip(module: nn.Module, batch: Batch) -> float:
    """The sum over weights of the first-order change of the loss when the weight is removed.

    arXiv 1810.02340; as a score of architectures arXiv 2101.08134::

        snip = Σ_w |w · ∂L/∂w|     over weights of convolutions and linear layers
    """
    removed = (
        (weight * gradient).abs().sum(dtype=torch.float64)
        for weight, gradient in weight_gradients(module, batch)
    )
    return sum(map(float, removed))


def zico(module: nn.Module, batch: Batch) -> float:
    """The inverse coefficient of variation of the gradients, arXiv 2301.11300.

    Mean and standard deviation are over mini-batches, here the halves of the batch::

        zico = Σ_l log Σ_{w in W_l} mean|∂L/∂w| / std|∂L/∂w|     over convolutions, linear layers

    Weights whose deviation is 0 are left out. (The authors' code uses the deviation of the signed
    gradients; this is the formula of the paper.)

    Raises:
        ScoreError: the gradients do not differ between the mini-batches.
    """
    runs = [weight_gradients(module, half) for half in batch.halves()]
    layers = [_variation(first, second) for (_, first), (_, second) in zip(*runs, strict=True)]
    varying = [layer for layer in layers if layer > 0]
    if not varying:
        raise ScoreError(
            f"the gradients of {type(module).__name__} are the same for every mini-batch: "
            "zico has nothing to compare, choose another score"
        )
    return sum(map(math.log, varying))


def _variation(first: Tensor, second: Tensor) -> float:
    """The sum over a layer's weights of mean over deviation of two absolute gradients.

    The mean of two numbers is half their sum, their deviation half their distance.
    """
    a, b = first.abs(), second.abs()
    ratio = (a + b) / (a - b).abs()
    return float(ratio.masked_fill_(a == b, 0.0).sum(dtype=torch.float64))


def jacob_cov(module: nn.Module, batch: Batch) -> float:
    """A score that is high if the output gradients at different images are uncorrelated.

    arXiv 2006.04647v1 (the published version has another score, :func:`naswot`), as in arXiv
    2101.08134. Row n of J is the gradient of the sum of all outputs with respect to image n; λ are
    the eigenvalues of the correlation matrix of the rows::

        jacob_cov = -Σ_n (log(λ_n + k) + 1 / (λ_n + k)),     k = 1e-5

    Returns:
        The score, at most -N; nan if the sum of the outputs does not depend on an image.
    """
    use_batch_statistics(module)
    images = batch.images.detach().clone().requires_grad_()
    (jacobian,) = torch.autograd.grad(total_of(call(module, images), len(images)), images)
    correlation = torch.corrcoef(jacobian.flatten(1).double())
    if not correlation.isfinite().all():
        return float("nan")
    shifted = torch.linalg.eigvalsh(correlation) + _K
    return -float((shifted.log() + 1 / shifted).sum())


def naswot(module: nn.Module, batch: Batch) -> float:
    """The log-determinant of the kernel of binary activation codes, arXiv 2006.04647.

    c_n is the code of image n, one bit per activation, set if its input is positive; with A
    activations and the Hamming distance d_H::

        K_mn   = A - d_H(c_m, c_n)
        naswot = log |det K|

    The paper's networks have ReLUs. Here ReLU6, GELU, SiLU, hard swish and similar activations
    count too, because they pass positive inputs and suppress negative ones. So do the hidden ReLUs
    of BAM.

    Returns:
        The score; -inf if two images have the same code.
    """
    use_batch_statistics(module)
    with torch.no_grad(), _Codes(len(batch.images)) as codes:
        call(module, batch.images)
    if codes.kernel is None:
        raise ScoreError(
            f"{type(module).__name__} has no ReLU-like activation, which naswot needs: "
            "choose another score"
        )
    return float(torch.linalg.slogdet(codes.kernel).logabsdet)


class _Codes(TorchFunctionMode):
    """Accumulates the kernel while a network runs.

    A function mode sees both nn.ReLU, whose forward calls F.relu, and the F.relu calls of BAM,
    DenseNet and Inception; hooks would see modules only.
    """

    _ACTIVATIONS: Functions = frozenset(
        (
            *(F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_),
            *(F.relu6, F.hardtanh, F.leaky_relu, F.elu, F.celu, F.selu, torch.prelu),
            *(F.gelu, F.silu, F.mish, F.hardswish),
        )
    )

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count
        self.kernel: Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._ACTIVATIONS:
            # Before the call, which may be in place.
            self._add(args[0] if args else kwargs["input"])
        return func(*args, **kwargs)

    def _add(self, inputs: Tensor) -> None:
        # Frames and windows follow their image in the first axis. Inputs without images there, such
        # as Swin V2's position table, are the same for all images.
        if inputs.dim() == 0 or len(inputs) % self._count:
            return
        on = inputs.reshape(self._count, -1) > 0
        # Products of ±1 sum to agreements less disagreements: integers, exact in float32 too.
        dtype = torch.float32 if on.shape[1] <= _EXACT_IN_FLOAT32 else torch.float64
        signs = torch.where(on, on.new_ones((), dtype=dtype), -on.new_ones((), dtype=dtype))
        agreements = (on.shape[1] + (signs @ signs.T).double()) / 2
        self.kernel = agreements if self.kernel is None else self.kernel + agreements


def synflow(module: nn.Module, batch: Batch) -> float:
    """The natural logarithm of the synaptic flow.

    arXiv 2006.05467; as a score of architectures arXiv 2101.08134. The network is made linear:
    parameters are replaced by their absolute values, norms and the ceiling of ReLU6 are skipped,
    and attention averages over its positions. The input is one image of ones, of which the batch
    gives the shape; R is the sum of all outputs (dense maps are averaged over positions)::

        synflow = log Σ_w |w| ∂R/∂|w|     over weights of convolutions and linear layers

    The logarithm preserves the order. The flow itself grows about a thousandfold with every block
    of a ResNet, so float64 is used. At BAM the flow is so large that the sigmoid is exactly 1 and
    its gradient 0, so F' = 2F, and every further site adds log 2. Likewise, a tanh (MaxViT's head)
    stops all flow.

    Returns:
        The logarithm; -inf if nothing flows, inf or nan if float64 overflows.
    """
    module.eval()
    tensors = dict(_absolute(module.named_parameters()))
    tensors |= dict(_absolute(module.named_buffers()))
    for path, layer in module.named_modules():
        if isinstance(layer, FrozenBatchNorm2d):
            tensors |= _identity(f"{path}." if path else "", layer.eps, tensors)
    weights = [tensors[name].requires_grad_() for name in weight_names(module)]
    with _Linear():
        output = call(module, torch.ones_like(batch.images[:1], dtype=torch.float64), tensors)
    flow = total_of(output, 1)
    products = ((weight * gradient).sum() for weight, gradient in gradients_of(flow, weights))
    return float(sum(products, flow.new_zeros(())).log())


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

    _LEFT_OUT: Functions = frozenset(
        (
            *(F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm, F.rms_norm),
            *(F.relu6, F.hardtanh),
        )
    )
    _SOFTMAX: Functions = frozenset((F.softmax, torch.softmax, Tensor.softmax))

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
