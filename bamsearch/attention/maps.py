"""Compute the attention maps of a network for a batch of images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bamsearch.attention.bam import BAM, bams_of
from bamsearch.errors import (
    BamsearchError,
    InvalidValueError,
    ModelError,
    NothingToDoError,
    first_line,
)
from bamsearch.records.arguments import checked


@dataclass(frozen=True, slots=True, eq=False)
class AttentionMap:
    """Attention maps of a BAM for a batch of N images, on the CPU, channels first.

    Attributes:
        path: the BAM's dotted path in the network, such as ``bam.layer1``.
        call: number of the call of this BAM, from 1.
        m_c: M_c before the sigmoid, the channel attention, (N, C).
        m_s: M_s before the sigmoid, the spatial attention, (N, H, W); (N, T, H, W) for clips.
        m: M in 0..1, the factor of the map without the gate, (N, C, H, W); (N, C, T, H, W) for
            clips.
        gate: gate of ``init="identity"``, else None; at 0 the maps have no effect.
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


@checked
def attention_maps(model: nn.Module, images: Tensor) -> list[AttentionMap]:
    """Run a network and return the attention maps of every BAM in it.

    The network runs in eval mode without gradients; modes and hooks are restored afterwards.

    Args:
        model: a network with BAM: from :func:`bamsearch.insert_bam` or :func:`bamsearch.load`, or
            any module that contains a :class:`bamsearch.BAM`. A detector also gets a batch, which
            it resizes.
        images: (N, C, H, W), normalised as in the network's training; (N, C, T, H, W) for clips.
            They are converted to the network's device and dtype.

    Returns:
        One item per call of a BAM, in call order. Half precision is converted to float32.

    Raises:
        NothingToDoError: the network has no BAM.
        ModelError: it does not accept these images, or does not call its BAM.
        InvalidValueError: the images are not a batch of floating-point values.
    """
    # Hooks need the module inside torch.compile's wrapper.
    model = getattr(model, "_orig_mod", model)
    bams = bams_of(model)
    if not bams:
        raise NothingToDoError(
            f"{type(model).__name__} has no BAM, so no attention: use bamsearch.insert_bam first"
        )
    if images.dim() not in (4, 5) or 0 in images.shape or not images.is_floating_point():
        raise InvalidValueError(
            f"images must be a floating-point batch (N, C, H, W), not {images.dtype} of shape "
            f"{tuple(images.shape)}"
        )
    maps: list[AttentionMap] = []
    calls = dict.fromkeys(bams, 0)
    with ExitStack() as stack:
        for path, bam in bams.items():

            def note(module: BAM, args: Any, kwargs: Any, _: Any, path: str = path) -> None:
                calls[path] += 1
                maps.append(_map_of(module, path, calls[path], *args, **kwargs))

            stack.enter_context(bam.register_forward_hook(note, with_kwargs=True))
        stack.enter_context(in_mode(model, training=False))
        _run(model, images, next(iter(bams.values())).spatial.reduce.weight)
    if not maps:
        raise ModelError(
            f"{type(model).__name__} has BAM at {next(iter(bams))} but does not call it"
        )
    return maps


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
        if "can't allocate memory" in str(error):  # the CPU allocator has no dedicated error class
            raise
        raise ModelError(
            f"{type(model).__name__} does not accept images of shape {tuple(images.shape)}: "
            f"{first_line(error)}"
        ) from error


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Set train or eval mode in the block, then restore each module's mode.

    Calls ``train()`` instead of setting the attribute only, because rewritten networks switch their
    graph there.
    """
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:  # outer modules first: inner ones override them
            if module.training != was_training:
                module.train(was_training)
        for module, was_training in before:
            module.training = was_training
