"""The network of the committed audit: three convolutions, each of stride 2.

``reports/audit/network.py:conv3`` is a MODEL. It trains in half a minute on a core, so that dozens
of designs can be trained with several seeds; and it sees little of an image at once, so that what
an attention module adds can be seen.
"""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (16, 32, 64)


class Conv3(nn.Module):
    """Three stages of one convolution.

    Args:
        num_classes: of the head.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.layer1 = _stage(3, first)
        self.layer2 = _stage(first, second)
        self.layer3 = _stage(second, third)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(third, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) → logits (N, num_classes)."""
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def conv3(num_classes: int = 10) -> nn.Module:
    """Three convolutions and a linear layer, 0.02 M parameters with 10 classes."""
    return Conv3(num_classes)


def _stage(channels: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )
