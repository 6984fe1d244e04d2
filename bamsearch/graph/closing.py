"""Closed BAMs, which return their input, for checking a network with BAM against its base."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.attention.bam import BAM
from bamsearch.errors import ModelError
from bamsearch.graph.tracing.observing import ObservedRun


class Closed(nn.Module):
    """Placeholder for a BAM that returns its input and counts its calls.

    Args:
        bam: the BAM, which determines the channels and layout.
        mark: return a copy with the parameter ``mark`` in its autograd history, like a BAM's
            output.
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
    """Replace every BAM in a network by a placeholder.

    Args:
        network: modified.
        mark: see :class:`Closed`.

    Returns:
        The placeholders by path.
    """
    bams = [(path, bam) for path, bam in network.named_modules() if isinstance(bam, BAM)]
    closed = {path: Closed(bam, mark) for path, bam in bams}
    for path, module in closed.items():
        parent, _, name = path.rpartition(".")
        network.get_submodule(parent)._modules[name] = module
    return closed


def calls_failure(
    closed: dict[str, Closed], ours: ObservedRun, training: bool, *, once: bool
) -> ModelError | None:
    """Error for the first BAM that did not run, or ran more than once."""
    for path, bam in closed.items():
        # A checkpointed region runs again in the backward pass.
        if bam.calls == 0 or (once and bam.calls > 1 and not ours.checkpoints):
            mode = "train" if training else "eval"
            times = "never runs" if bam.calls == 0 else f"runs {bam.calls} times"
            return ModelError(f"BAM at {path.rpartition('.')[2]} {times} in {mode} mode")
    return None


def learning_failure(closed: dict[str, Closed], ours: ObservedRun) -> ModelError | None:
    """Error for the first BAM that no gradient reaches."""
    for path in closed:
        if ours.gradients is not None and f"{path}.mark" not in ours.gradients:
            return ModelError(
                f"BAM at {path.rpartition('.')[2]} would never learn, no gradient reaches it "
                "(no_grad, inference_mode or detach in forward): choose other sites"
            )
    return None
