"""BAM, the Bottleneck Attention Module (Park, Woo, Lee, Kweon, BMVC 2018, arXiv 1807.06514).

A feature map F is refined by an attention map M(F) of the same shape, made of two branches::

    F'     = F + F · M(F)                                           (1)
    M(F)   = sigmoid(M_c(F) + M_s(F))                               (2)
    M_c(F) = BN(W1 ReLU(W0 AvgPool(F) + b0) + b1)                   (3)
    M_s(F) = BN(f1x1(ReLU(f3x3(ReLU(f3x3(ReLU(f1x1(F))))))))        (4)

The paper omits the ReLUs in (3) and (4). Without them, the multi-layer perceptron would be a single
linear map, and the three convolutions a single convolution; the authors' code has them too.
"""

from __future__ import annotations

from typing import Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bamsearch.attention.cost import hidden_channels
from bamsearch.attention.norm import BatchNorm1d, BatchNorm2d
from bamsearch.errors import InvalidValueError
from bamsearch.records import Init, Layout, Variant, check_choice, check_positive


class ChannelBranch(nn.Module):
    """M_c before the sigmoid, the channel attention. (N, C) averages in, (N, C) logits out.

    Args:
        channels: C.
        hidden: h, the width of the hidden layer.
        variant: position of batch norm: ``paper`` at the end, ``official`` after the hidden layer.
    """

    def __init__(self, channels: int, hidden: int, variant: Variant) -> None:
        super().__init__()
        official = variant == "official"
        self.reduce = nn.Linear(channels, hidden)
        self.reduce_norm = BatchNorm1d(hidden) if official else nn.Identity()
        self.expand = nn.Linear(hidden, channels)
        self.norm = nn.Identity() if official else BatchNorm1d(channels)

    def forward(self, pooled: Tensor) -> Tensor:
        """Averages (N, C) → logits (N, C)."""
        hidden = F.relu(self.reduce_norm(self.reduce(pooled)))
        logits: Tensor = self.norm(self.expand(hidden))
        return logits


class SpatialBranch(nn.Module):
    """M_s before the sigmoid, the spatial attention. (N, C, H, W) in, (N, 1, H, W) logits out.

    Args:
        channels: C.
        hidden: h, the channels between the first and the last convolution.
        dilation: d of the two 3x3 convolutions, and their padding.
        variant: position of batch norm: ``paper`` at the end, ``official`` after each hidden layer.
    """

    def __init__(self, channels: int, hidden: int, dilation: int, variant: Variant) -> None:
        super().__init__()
        official = variant == "official"

        def context() -> nn.Conv2d:
            return nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation)

        def hidden_norm() -> nn.Module:
            return BatchNorm2d(hidden) if official else nn.Identity()

        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.reduce_norm = hidden_norm()
        self.context1 = context()
        self.context1_norm = hidden_norm()
        self.context2 = context()
        self.context2_norm = hidden_norm()
        self.project = nn.Conv2d(hidden, 1, 1)
        self.norm = nn.Identity() if official else BatchNorm2d(1)

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, C, H, W) → logits (N, 1, H, W)."""
        hidden = F.relu(self.reduce_norm(self.reduce(images)))
        hidden = F.relu(self.context1_norm(self.context1(hidden)))
        hidden = F.relu(self.context2_norm(self.context2(hidden)))
        logits: Tensor = self.norm(self.project(hidden))
        return logits


class BAM(nn.Module):
    """Refines a feature map by channel and spatial attention: same shape, dtype and layout out.

    For video, the spatial branch folds frames into the batch, and the channel branch pools over T,
    H and W: one M_c per clip. Training with a batch of one works: if there is a single value per
    channel, BatchNorm uses its running statistics unchanged (:mod:`bamsearch.attention.norm`).

    Args:
        channels: C of the map.
        reduction: r; both branches have h = max(C // r, 1) hidden channels.
        dilation: d of the 3x3 convolutions; the receptive field of the spatial branch is
            (4d + 1) x (4d + 1).
        variant: ``paper`` is equations (1) to (4). ``official`` is the authors' code, for their
            weights: batch norm after each hidden layer and none at the end, and
            M = sigmoid(M_c · M_s). The authors' code pools only the left square of a wide map; this
            class pools the whole map.
        init: ``paper`` is the paper's initialisation: the map is scaled by 1.5 where the logits are
            0. ``identity`` is for pretrained networks: F' = F + g·(F·M), with a scalar parameter
            ``gate`` initialised to 0. A new BAM then returns a finite map bit for bit (if M is
            finite too), and the branches are trained from the second step on.
        layout: order of the map's axes.

    Raises:
        InvalidValueError: a number is not a positive integer, a name is unknown; in forward, the
            map has other axes or channels.
    """

    gate: nn.Parameter | None
    norms_frozen = False
    """Whether batch norms stay in eval mode, see :func:`bamsearch.freeze_bam_bn`."""

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        dilation: int = 4,
        *,
        variant: Variant = "paper",
        init: Init = "paper",
        layout: Layout = "NCHW",
    ) -> None:
        super().__init__()
        check_choice("variant", variant, get_args(Variant))
        check_choice("init", init, get_args(Init))
        check_choice("layout", layout, get_args(Layout))
        hidden = hidden_channels(channels, reduction)
        self.channels = channels
        self.reduction = reduction
        self.dilation = check_positive("dilation", dilation)
        self.variant: Variant = variant
        self.init: Init = init
        self.layout: Layout = layout
        self.channel = ChannelBranch(channels, hidden, variant)
        self.spatial = SpatialBranch(channels, hidden, dilation, variant)
        # A 0-dim tensor never promotes a half-precision map to float32.
        gate = nn.Parameter(torch.zeros(())) if init == "identity" else None
        self.register_parameter("gate", gate)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; frozen batch norms stay in eval mode."""
        super().train(mode)
        if self.norms_frozen:
            # Checks the base class, because conversion to SyncBatchNorm replaces the norms.
            for norm in self.modules():
                if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                    norm.train(False)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """The refined map F', equation (1).

        Args:
            x: F in this module's layout.

        Returns:
            F' in x's shape, dtype and memory format.
        """
        _, _, attention = self.attention(x)
        if self.gate is not None:
            attention = self.gate * attention
        return torch.addcmul(x, x, attention)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The attention maps of x.

        Args:
            x: F in this module's layout.

        Returns:
            M_c, M_s and M. M_c and M_s are logits, before the sigmoid, with the axes of x: M_c is
            (N, C, 1, 1), M_s is (N, 1, H, W); for video (N, C, 1, 1, 1) and (N, 1, T, H, W); NHWC
            and NTHWC accordingly. M, in 0..1, has x's shape and dtype, and excludes the gate.
        """
        self._check_input(x)
        channels_last = self.layout[-1] == "C"
        maps = x.movedim(-1, 1) if channels_last else x
        logits = self._video_logits(maps) if "T" in self.layout else self._image_logits(maps)
        m_c, m_s = (m.movedim(1, -1) for m in logits) if channels_last else logits
        m = torch.sigmoid(m_c + m_s if self.variant == "paper" else m_c * m_s)
        return m_c, m_s, m.to(x.dtype)

    def _image_logits(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        pooled = F.adaptive_avg_pool2d(maps, 1)
        m_c = self.channel(pooled.flatten(1))
        return m_c[:, :, None, None], self.spatial(maps)

    def _video_logits(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        pooled = F.adaptive_avg_pool3d(maps, 1)
        m_c = self.channel(pooled.flatten(1))
        frames = maps.transpose(1, 2)
        m_s = self.spatial(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return m_c[:, :, None, None, None], m_s.transpose(1, 2)

    def _check_input(self, x: Tensor) -> None:
        # A tracer's sizes are not ints: skip the check, which would record a branch.
        axes = _int_or_none(x.dim())
        if axes is None:
            return
        channels = x.shape[self.layout.index("C")] if axes == len(self.layout) else 0
        if _int_or_none(channels) in (None, self.channels):
            return
        shape = ", ".join(str(self.channels) if axis == "C" else axis for axis in self.layout)
        raise InvalidValueError(
            f"this BAM takes a map of shape ({shape}), not {tuple(x.shape)}: "
            "build it with the map's channels and layout"
        )

    def extra_repr(self) -> str:
        """Settings of this BAM for ``print``."""
        return (
            f"{self.channels}, reduction={self.reduction}, dilation={self.dilation}, "
            f"variant={self.variant}, init={self.init}, layout={self.layout}"
        )


def bams_of(model: nn.Module) -> dict[str, BAM]:
    """The BAMs of a model by their paths."""
    return {path: part for path, part in model.named_modules() if isinstance(part, BAM)}


def _int_or_none(size: object) -> int | None:
    return size if isinstance(size, int) else None
