"""The network of the committed audit: eight layers, one block a stage, half of the resolution.

``reports/audit/network.py:resnet8`` is a MODEL. It trains in under a minute on one core, so that
dozens of designs can be trained with several seeds.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from bamsearch.examples import BasicBlock

WIDTHS = (16, 32, 64)


class ResNet8(nn.Module):
    """ResNet-8 with a stem of stride 2.

    Args:
        num_classes: of the head.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.conv1 = nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = BasicBlock(first, first)
        self.layer2 = BasicBlock(first, second)
        self.layer3 = BasicBlock(second, third)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(third, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) → logits (N, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def resnet8(num_classes: int = 10) -> nn.Module:
    """ResNet-8, 0.08 M parameters with 10 classes."""
    return ResNet8(num_classes)
