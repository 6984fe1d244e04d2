"""Networks for small images, as factories: ``bamsearch.examples:resnet20``.

torchvision's ResNets start with a 7x7 convolution and a pooling layer, both of stride 2: too much
for a 32x32 image. These are the CIFAR ResNets of He et al. 2016 (arXiv 1512.03385, section 4.2):
a 3x3 stem, then three stages of 16, 32 and 64 channels at full, half and quarter resolution.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64)


def resnet20(num_classes: int = 10) -> nn.Module:
    """ResNet-20: three blocks per stage, 0.27 M parameters with 10 classes."""
    return SmallResNet(3, num_classes)


def resnet56(num_classes: int = 10) -> nn.Module:
    """ResNet-56: nine blocks per stage, 0.85 M parameters with 10 classes."""
    return SmallResNet(9, num_classes)


class Shortcut(nn.Module):
    """The paper's option A: every second pixel and zeros for the new channels, no parameters.

    Args:
        new: channels to add, half of them on each side.
    """

    def __init__(self, new: int) -> None:
        super().__init__()
        self.padding = (0, 0, 0, 0, new // 2, new - new // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C + new, H / 2, W / 2), rounded up."""
        return F.pad(x[:, :, ::2, ::2], self.padding)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Args:
        channels: input channels.
        width: output channels; the first convolution has stride 2 if they differ from channels.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        stride = 1 if width == channels else 2
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Identity() if width == channels else Shortcut(width - channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) → (N, width, H, W), with H and W halved if the stride is 2."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """A residual network for small images of three channels, with 6n + 2 weighted layers.

    Args:
        blocks: n, the number of blocks per stage.
        num_classes: output classes.
    """

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.conv1 = nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = _stage(first, first, blocks)
        self.layer2 = _stage(first, second, blocks)
        self.layer3 = _stage(second, third, blocks)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(third, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) → logits (N, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _stage(channels: int, width: int, blocks: int) -> nn.Sequential:
    first = BasicBlock(channels, width)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(blocks - 1)))
