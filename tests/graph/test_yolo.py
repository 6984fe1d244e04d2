"""BAM in a detector whose root dispatches and whose layers pass lists, as Ultralytics' do.

The detector is our own, built from rows, with the parts that public YOLO configurations name: C2f,
C3k2, SPPF, PAN and an anchor-free head. Maps are chunked and appended to lists, layers know where
their input comes from, the root dispatches on what it is called with.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bamsearch import bam_parameters, find_sites, insert_bam
from bamsearch.attention.bam import BAM


class Conv(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, bias=False)
        self.bn, self.act = nn.BatchNorm2d(c2), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, c: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.add = Conv(c, c, 3), Conv(c, c, 3), shortcut

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x)) if self.add else self.cv2(self.cv1(x))


class C3k(nn.Module):
    """Two paths, one of them with bottlenecks, then both together."""

    def __init__(self, c: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(c, c // 2), Conv(c, c // 2), Conv(c, c)
        self.m = nn.Sequential(*(Bottleneck(c // 2, shortcut) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class C2f(nn.Module):
    """Halves of a map; each bottleneck's output is appended, and all are concatenated."""

    block: type[nn.Module] = Bottleneck

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c2), Conv((2 + n) * c2 // 2, c2)
        self.m = nn.ModuleList(self.block(c2 // 2, shortcut) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class C3k2(C2f):
    block = C3k


class SPPF(nn.Module):
    """Three poolings of one kernel in a row."""

    def __init__(self, c1: int, c2: int, k: int = 5) -> None:
        super().__init__()
        self.cv1, self.cv2 = Conv(c1, c1 // 2), Conv(2 * c1, c2)
        self.m = nn.MaxPool2d(k, 1, k // 2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        y.extend(self.m(y[-1]) for _ in range(3))
        return self.cv2(torch.cat(y, 1))


class Concat(nn.Module):
    def forward(self, xs: list[Tensor]) -> Tensor:
        return torch.cat(xs, 1)


class Detect(nn.Module):
    """Boxes and classes of each level; in eval mode decoded over a grid made from the shapes."""

    def __init__(self, channels: list[int], classes: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(Conv(c, 16, 3), nn.Conv2d(16, 4 + classes, 1)) for c in channels
        )
        self.shape: tuple[int, ...] | None = None

    def forward(self, xs: list[Tensor]) -> Any:
        maps = [head(x) for head, x in zip(self.heads, xs, strict=True)]
        if self.training:
            return maps
        shape = xs[0].shape
        if self.shape != shape:
            self.anchors = torch.cat([_centres(m) for m in maps], 1)
            self.shape = shape
        flat = torch.cat([m.flatten(2) for m in maps], 2)
        boxes, scores = flat[:, :4], flat[:, 4:].sigmoid()
        return torch.cat([boxes[:, :2] + self.anchors, boxes[:, 2:].exp(), scores], 1), maps


def _centres(m: Tensor) -> Tensor:
    rows = torch.arange(m.shape[-2], device=m.device, dtype=m.dtype) + 0.5
    columns = torch.arange(m.shape[-1], device=m.device, dtype=m.dtype) + 0.5
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x.flatten(), y.flatten()))


# (where from, part, arguments); channels in, but for the first, follow from where from.
ROWS: tuple[tuple[Any, str, tuple[int, ...]], ...] = (
    (-1, "Conv", (16, 3, 2)),
    (-1, "Conv", (32, 3, 2)),
    (-1, "C2f", (32, 1, 1)),
    (-1, "Conv", (64, 3, 2)),
    (-1, "C2f", (64, 2, 1)),
    (-1, "Conv", (128, 3, 2)),
    (-1, "C3k2", (128, 1, 1)),
    (-1, "Conv", (256, 3, 2)),
    (-1, "C3k2", (256, 1, 1)),
    (-1, "SPPF", (256, 5)),
    (-1, "Upsample", ()),
    ((-1, 6), "Concat", ()),
    (-1, "C2f", (128, 1)),
    (-1, "Upsample", ()),
    ((-1, 4), "Concat", ()),
    (-1, "C2f", (64, 1)),
    (-1, "Conv", (64, 3, 2)),
    ((-1, 12), "Concat", ()),
    (-1, "C2f", (128, 1)),
    (-1, "Conv", (128, 3, 2)),
    ((-1, 9), "Concat", ()),
    (-1, "C2f", (256, 1)),
    ((15, 18, 21), "Detect", (3,)),
)
PARTS = {part.__name__: part for part in (Conv, C2f, C3k2, SPPF)}


class Yolo(nn.Module):
    """The root: ``forward`` takes images, or a batch with labels and then returns a loss."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels: list[int] = []
        self.save: set[int] = set()
        for number, (source, name, arguments) in enumerate(ROWS):
            sources = [source] if isinstance(source, int) else list(source)
            into = [channels[s] if channels else 3 for s in sources]
            if name == "Upsample":
                layer, out = nn.Upsample(scale_factor=2), into[0]
            elif name == "Concat":
                layer, out = Concat(), sum(into)
            elif name == "Detect":
                layer, out = Detect(into, *arguments), 0
            else:
                layer, out = PARTS[name](into[0], *arguments), arguments[0]
            layer.i, layer.f = number, source if isinstance(source, int) else sources
            self.save.update(s % number for s in sources if s != -1)
            layers.append(layer)
            channels.append(out)
        self.model = nn.Sequential(*layers)

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, dict):
            return self.loss(x, *args, **kwargs)
        return self.predict(x, *args, **kwargs)

    def predict(self, x: Tensor, visualize: bool = False) -> Any:
        y: list[Tensor | None] = []
        for m in self.model:
            if m.f != -1:
                x = y[m.f] if isinstance(m.f, int) else [x if j == -1 else y[j] for j in m.f]
            x = m(x)
            y.append(x if m.i in self.save else None)
        return x

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        return sum(m.square().mean() for m in self.predict(batch["img"]))


SHAPE = (3, 64, 64)


@pytest.fixture
def detector():
    torch.manual_seed(0)
    return Yolo()


def test_sites_are_the_backbones_and_the_neck_has_names(detector):
    sites = {site.name: site for site in find_sites(detector, SHAPE)}
    stages = [(s.name, s.channels, s.height, s.stride, s.kind) for s in sites.values()]
    # From ROWS: each stage ends before the next convolution of stride 2, the last with SPPF.
    assert [stage for stage in stages if stage[-1] not in ("block", "neck")] == [
        ("model.0", 16, 32, 2, "stem"),
        ("model.2", 32, 16, 4, "bottleneck"),
        ("model.4", 64, 8, 8, "bottleneck"),
        ("model.6", 128, 4, 16, "bottleneck"),
        ("model.9", 256, 2, 32, "head"),
    ]
    for name, channels, height in (("model.15", 64, 8), ("model.18", 128, 4), ("model.21", 256, 2)):
        site = sites[name]
        assert (site.channels, site.height, site.kind) == (channels, height, "neck")


@pytest.mark.parametrize("sites", ["paper", ["model.4", "model.15", "model.21"]])
def test_attached_it_is_the_same_detector_with_bam(detector, sites):
    images = torch.rand(2, *SHAPE)
    inserted = insert_bam(detector, SHAPE, sites=sites, init="identity")
    assert type(inserted) is Yolo
    for model in (detector, inserted):
        model.eval()
    with torch.no_grad():
        assert torch.equal(inserted(images)[0], detector(images)[0])
        larger = torch.rand(1, 3, 96, 128)
        assert torch.equal(inserted(larger)[0], detector(larger)[0])
    inserted.train()({"img": images}).backward()
    assert all(parameter.grad is not None for parameter in bam_parameters(inserted))
    assert isinstance(inserted.model, nn.Sequential)
    assert len(inserted.model) == len(ROWS)


def test_a_moving_average_of_it_has_bam_of_its_own(detector):
    inserted = insert_bam(detector, SHAPE)
    average = copy.deepcopy(inserted).eval()
    before = average(torch.ones(1, *SHAPE))[0]
    with torch.no_grad():
        for parameter in bam_parameters(inserted):
            parameter.add_(1.0)
    assert torch.equal(average(torch.ones(1, *SHAPE))[0], before)
    assert sum(isinstance(module, BAM) for module in average.modules()) == 3
