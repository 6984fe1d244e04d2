"""naswot: whether different images activate different units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bamsearch.errors import ScoreError
from bamsearch.score.batch import Batch
from bamsearch.score.weights import call, use_batch_statistics

_EXACT_IN_FLOAT32 = 2**24


def naswot(module: nn.Module, batch: Batch) -> float:
    """The log-determinant of the kernel of binary activation codes.

    Mellor et al. 2021, arXiv 2006.04647: c_n is the code of image n, one bit per activation, set if
    its input is positive; with A activations and the Hamming distance d_H::

        K_mn   = A - d_H(c_m, c_n)
        naswot = log |det K|

    The paper's networks have ReLUs. Here ReLU6, GELU, SiLU, hard swish and similar activations
    count too, because they pass positive inputs and suppress negative ones. So do the hidden ReLUs
    of BAM.

    Batch: 8 images. Cost: 1 forward. Known failure: K sums over all activations, so the score grows
    with their number.

    Args:
        module: network; it is put into eval mode with batch norms on batch statistics.
        batch: images; the labels are not used.

    Returns:
        The score; -inf if two images have the same code.

    Raises:
        ScoreError: no such activation in the network.
    """
    use_batch_statistics(module)
    tensors = {name: value.detach() for name, value in module.named_parameters()}
    with torch.no_grad(), _Codes(len(batch.images)) as codes:
        call(module, tensors, batch.images)
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

    _ACTIVATIONS: frozenset[Callable[..., Any]] = frozenset(
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
