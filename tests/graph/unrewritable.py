"""Small networks that torch.fx cannot rewrite, each in its own way."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

SHAPE = (3, 32, 32)


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Plain(nn.Module):
    """Four blocks, whose second and third are the paper's sites."""

    def __init__(self) -> None:
        super().__init__()
        self.s0, self.s1 = block(3, 8), block(8, 8, 2)
        self.s2, self.s3 = block(8, 8, 2), block(8, 8, 2)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.s1(self.s0(x)))

    def tail(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.s3(self.s2(x)).mean((2, 3)))
        return scores


class FrozenStem(Plain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.s1(self.s0(x))
        return self.tail(x)


class Autocast(Plain):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            x = self.s3(self.s2(self.s1(self.s0(x))))
        scores: Tensor = self.fc(x.float().mean((2, 3)))
        return scores


class Stores(Plain):
    """Keeps its last map for a picture, and counts its calls."""

    last_map: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.s1(self.s0(x))
        self.last_map = x
        self.calls += 1
        return self.tail(x)


class Counts(Plain):
    """Weakens its map with every training step, counted in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.zeros(()))
        self.step: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.step += 1
        return self.tail(self.s1(self.s0(x))) * (1 - 0.01 * self.step)


class Checkpointed(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.s1(checkpoint(self.s0, x, use_reentrant=False)))


class Gambles(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.s1(self.s0(x))
        return self.tail(x * 2 if self.training and random.random() < 0.5 else x)


class OwnTrain(Plain):
    """Keeps its stem's norms in eval mode, by a ``train`` of its own."""

    def train(self, mode: bool = True) -> OwnTrain:
        super().train(mode)
        self.s0.eval()
        return self


NOT_REWRITABLE = [
    FrozenStem,
    Autocast,
    Stores,
    Counts,
    Checkpointed,
    Gambles,
    OwnTrain,
]


class Fork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = block(8, 8), block(8, 8)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.a(x), self.b(x)]


class Lists(Plain):
    """Does one step only for lists, and a list that is traced is not one."""

    def __init__(self) -> None:
        super().__init__()
        self.fork, self.scale = Fork(), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.fork(self.s1(self.s0(x)))
        if isinstance(maps, list):
            maps = [self.scale(site_map) for site_map in maps]
        return self.tail(torch.stack(maps).sum(0))


def frozen_stem(num_classes: int = 10) -> nn.Module:
    return FrozenStem()


def stores(num_classes: int = 10) -> nn.Module:
    return Stores()
