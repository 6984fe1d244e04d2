"""The attention maps that a network computes for a batch of images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.attention.bam import BAM
from bamsearch.errors import BamsearchError, InvalidValueError, ModelError, NothingToDoError


@dataclass(frozen=True, slots=True, eq=False)
class AttentionMap:
    """What one BAM computes for a batch of N images, on the CPU, channels first.

    Attributes:
        path: the BAM's dotted path in the network, such as ``bam.layer1``.
        call: 1, or 2 for the second call of a BAM that is called twice, and so on.
        m_c: (N, C), M_c before the sigmoid: which channels matter.
        m_s: (N, H, W), M_s before the sigmoid: which positions matter; (N, T, H, W) for clips.
        m: (N, C, H, W), M in 0..1, what the map is multiplied by; (N, C, T, H, W) for clips. The
            gate is not in it.
        gate: of ``init="identity"``: at 0 the maps are computed and change nothing; else None.
        reduction: r of this BAM.
        dilation: d of this BAM.
    """

    path: str
    call: int
    m_c: Tensor
    m_s: Tensor
    m: Tensor
    gate: float | None
    reduction: int
    dilation: int


def attention_maps(model: nn.Module, images: Tensor) -> list[AttentionMap]:
    """Run a network and return the attention maps of every BAM in it.

    It runs in eval mode and without gradients; modes and hooks are then as before.

    Args:
        model: a network with BAM: from :func:`bamsearch.insert_bam` or :func:`bamsearch.load`, or
            any module with a :class:`bamsearch.BAM` inside. A detector gets the batch too, and
            does its own resizing.
        images: (N, C, H, W), normalised as the network was trained; (N, C, T, H, W) for clips.
            Moved to the network's device and dtype.

    Returns:
        One for each call of a BAM, in the order of the calls. Half precision is made float32.

    Raises:
        NothingToDoError: the network has no BAM.
        ModelError: it does not take these images, or it calls no BAM.
        InvalidValueError: the images are no batch of floating-point values.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps; hooks need it bare
    bams = {path: module for path, module in model.named_modules() if isinstance(module, BAM)}
    if not bams:
        raise NothingToDoError(
            f"{type(model).__name__} has no BAM, so no attention: bamsearch.insert_bam puts it in"
        )
    if images.dim() not in (4, 5) or 0 in images.shape or not images.is_floating_point():
        raise InvalidValueError(
            f"images must be a floating-point batch (N, C, H, W), not {images.dtype} of shape "
            f"{tuple(images.shape)}"
        )
    found: list[AttentionMap] = []
    calls = dict.fromkeys(bams, 0)
    with ExitStack() as stack:
        for path, bam in bams.items():

            def note(module: BAM, args: Any, kwargs: Any, _: Any, path: str = path) -> None:
                calls[path] += 1
                found.append(_map_of(module, path, calls[path], *args, **kwargs))

            handle = bam.register_forward_hook(note, with_kwargs=True)
            stack.callback(handle.remove)
        stack.enter_context(_evaluating(model))
        _run(model, images, next(iter(bams.values())).spatial.reduce.weight)
    if not found:
        raise ModelError(f"{type(model).__name__} has BAM at {next(iter(bams))} and calls none")
    return found


def _map_of(bam: BAM, path: str, call: int, x: Tensor) -> AttentionMap:
    m_c, m_s, m = (_channels_first(values, bam) for values in bam.attention(x))
    gate = None if bam.gate is None else bam.gate.item()
    return AttentionMap(
        path, call, m_c.flatten(1), m_s.squeeze(1), m, gate, bam.reduction, bam.dilation
    )


def _channels_first(values: Tensor, bam: BAM) -> Tensor:
    values = values.movedim(bam.layout.index("C"), 1)
    return values.to("cpu", torch.promote_types(values.dtype, torch.float32)).contiguous()


@torch.no_grad()
def _run(model: nn.Module, images: Tensor, like: Tensor) -> None:
    try:
        model(images.to(like.device, like.dtype))
    except (BamsearchError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if "can't allocate memory" in str(error):  # the CPU's allocator has no class of its own
            raise
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        shape = tuple(images.shape)
        raise ModelError(
            f"{type(model).__name__} does not take images of shape {shape}: {reason}"
        ) from error


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode for the block, then each module's own mode again.

    By ``train()``, not by the attribute: a network whose graph differs by mode changes it there.
    """
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, was_training in before:  # outer ones first: each then has its own last word
            if module.training != was_training:
                module.train(was_training)
        for module, was_training in before:
            module.training = was_training
