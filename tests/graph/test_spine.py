"""What the spine follows: tensors, not sizes; no padding, no gates; the way to the output."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bamsearch.graph.placement import place
from bamsearch.graph.sites import find_sites
from bamsearch.records import Site


def rows(sites: list[Site]) -> list[str]:
    return [
        f"{s.name} {s.channels}x{s.height}x{s.width} /{s.stride} {s.kind} {s.reducer or '-'}"
        for s in sites
    ]


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU())


class Sized(nn.Module):
    """Takes sizes of its input at the top and uses them in the middle."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.a, self.b, self.c = conv(3, 8), conv(8, 16, 2), conv(16, 16, 2)
        self.first = conv(8, 8)
        self.fc = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        batch, height = x.shape[0], x.size(2)
        image = x
        x = self.b(self.first(self.a(x)))
        if self.how == "view":
            x = x.view(batch, 2, 8, height // 2, -1).transpose(1, 2)
            x = x.reshape(batch, 16, height // 2, height // 2)
        elif self.how == "zeros":
            x = x + torch.zeros_like(image[:, :1, ::2, ::2])
        elif self.how == "image":
            x = x + F.avg_pool2d(image, 2).mean(1, keepdim=True)
        return self.fc(self.c(x).mean((2, 3)).view(batch, -1))


@pytest.mark.parametrize(
    ("how", "middle", "mean"),
    [
        ("none", "b", "mean"),
        ("view", "reshape", "mean"),
        ("zeros", "add", "mean"),
        ("image", "add", "mean_1"),
    ],
)
def test_sizes_and_the_image_again_are_not_a_way_around(how: str, middle: str, mean: str) -> None:
    assert rows(find_sites(Sized(how), (3, 32, 32))) == [
        "first 8x32x32 /1 bottleneck b",
        f"{middle} 16x16x16 /2 bottleneck c",
        f"c 16x8x8 /4 head {mean}",
    ]


class Same(nn.Module):
    """Explicit padding, then a valid convolution, as TensorFlow has it."""

    def __init__(self, channels: int, kernel: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        self.total = dilation * (kernel - 1)
        self.conv = nn.Conv2d(channels, channels, kernel, stride, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        low = self.total // 2
        return F.relu(self.conv(F.pad(x, (low, self.total - low) * 2)))


@pytest.mark.parametrize("size", [224, 160, 128, 96, 64, 32])
@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (5, 1), (7, 1), (3, 2)])
def test_padding_inside_a_module(size: int, kernel: int, dilation: int) -> None:
    net = nn.Sequential(
        conv(3, 4),
        *(Same(4, kernel, 2) for _ in range(4)),
        *(Same(4, kernel, 1, dilation) for _ in range(3)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    )
    sites = [site for site in find_sites(net, (3, size, size)) if site.kind != "block"]
    sizes = [size // 2**i for i in range(5)]
    assert rows(sites) == [
        f"0 4x{sizes[0]}x{sizes[0]} /1 stem 1",
        *(f"{i} 4x{sizes[i]}x{sizes[i]} /{2**i} bottleneck {i + 1}" for i in (1, 2, 3)),
        f"7 4x{sizes[4]}x{sizes[4]} /16 head 8",
    ]


def test_padding_beside_the_convolution() -> None:
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()),
        *(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(8, 16, 3, 2), nn.ReLU()),  # 8 -> 9 -> 4
        *(nn.ReflectionPad2d(2), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 5)),  # 4 -> 8 -> 4
        *(nn.Conv2d(16, 16, 1, padding=2), nn.Conv2d(16, 16, 5)),  # the same
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2)),
    )
    assert rows(find_sites(net, (3, 8, 8))) == [
        "2 8x8x8 /1 bottleneck 4",  # what is padded, not the padded map
        "10 16x4x4 /2 head 11",
    ]


class Gate(nn.Module):
    def __init__(self, channels: int, how: str) -> None:
        super().__init__()
        self.how = how
        self.down = nn.Sequential(conv(channels, channels, 2), conv(channels, channels, 2))
        self.conv = conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.interpolate(torch.sigmoid(self.down(x)), size=x.shape[-2:])
        if self.how == "add":
            return self.conv(x) + pooled
        return pooled * self.conv(x) if self.how == "left" else self.conv(x) * pooled


class Gated(nn.Module):
    def __init__(self, how: str, dense: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Sequential(conv(3, 8), conv(8, 8)), conv(8, 16, 2)
        self.gate1, self.gate2 = Gate(16, how), Gate(16, how)
        self.head: nn.Module = nn.Conv2d(16, 2, 1)
        self.pool = nn.Identity() if dense else nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.gate2(self.gate1(self.b(self.a(x))))))


@pytest.mark.parametrize(
    ("how", "dense"), [("left", True), ("right", True), ("right", False), ("add", False)]
)
def test_pooled_attention_is_not_the_deepest_map(how: str, dense: bool) -> None:
    sites = [s for s in find_sites(Gated(how, dense), (3, 64, 64)) if s.kind != "block"]
    end = ["pool 16x32x32 /2 head -"] if dense else ["gate2 16x32x32 /2 head pool"]
    assert rows(sites) == ["a 8x64x64 /1 bottleneck b", *end]


class DeadEnd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unused = nn.Sequential(conv(3, 8), conv(8, 8)), conv(8, 8, 2), None
        self.c = nn.Sequential(conv(8, 8, 2), conv(8, 8, 2))
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x))
        self.c(x)  # computed, and not used
        return self.fc(x.mean((2, 3)))


def test_what_reaches_no_output_is_not_a_site() -> None:
    assert rows(find_sites(DeadEnd(), (3, 64, 64))) == [
        "a 8x64x64 /1 bottleneck b",
        "b 8x32x32 /2 head mean",
    ]


def strided(kind: Any, channels: int, depth: int) -> nn.Sequential:
    pool = nn.AdaptiveAvgPool3d(1) if kind is nn.Conv3d else nn.AdaptiveAvgPool2d(1)
    layers = [kind(channels if i == 0 else 4, 4, 3, 2, 1) for i in range(depth)]
    return nn.Sequential(*layers, pool, nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("frames", [32, 48, 64, 96, 128])
def test_depth_of_volumes(frames: int) -> None:
    flat = find_sites(strided(nn.Conv2d, 1, 5), (1, 64, 64))
    deep = find_sites(strided(nn.Conv3d, 1, 5), (1, frames, 64, 64))
    assert rows(deep) == rows(flat)
    assert [site.frames for site in deep] == [-(-frames // 2**i) for i in range(1, 6)]


def test_stride_128() -> None:
    sites = find_sites(strided(nn.Conv2d, 3, 7), (3, 200, 264))
    heights = [(site.height, site.width, site.stride) for site in sites]
    assert heights == [
        *((100, 132, 2), (50, 66, 4), (25, 33, 8), (13, 17, 16), (7, 9, 32), (4, 5, 64)),
        (2, 3, 128),
    ]


class Pyramid(nn.Module):
    """A feature pyramid; `put_out` is what a detector takes, else a segmentation's one map."""

    def __init__(self, put_out: bool) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Sequential(conv(3, 8), conv(8, 8)), conv(8, 16, 2)
        self.c3, self.c4 = conv(16, 32, 2), conv(32, 64, 2)
        self.lateral = nn.ModuleList(nn.Conv2d(count, 12, 1) for count in (16, 32, 64))
        self.out = nn.ModuleList(conv(12, 12) for _ in range(3))
        self.score = nn.Sequential(conv(12, 12), nn.Conv2d(12, 2, 1))
        self.put_out = put_out

    def forward(self, x: Tensor) -> Any:
        c2 = self.c2(self.c1(x))
        c3 = self.c3(c2)
        p4 = self.lateral[2](self.c4(c3))
        p3 = self.lateral[1](c3) + F.interpolate(p4, scale_factor=2.0)
        p2 = self.lateral[0](c2) + F.interpolate(p3, scale_factor=2.0)
        if self.put_out:
            return {"2": self.out[0](p2), "3": self.out[1](p3), "4": self.out[2](p4)}
        p3, p4 = (F.interpolate(p, size=p2.shape[-2:]) for p in (self.out[1](p3), self.out[2](p4)))
        return self.score(self.out[0](p2) + p3 + p4)


ENCODER = [
    "c1 8x64x64 /1 bottleneck c2",
    "c2 16x32x32 /2 bottleneck c3",
    "c3 32x16x16 /4 bottleneck c4",
    "lateral.2 12x8x8 /8 head -",
]


def test_a_pyramid() -> None:
    sites = find_sites(Pyramid(put_out=True), (3, 64, 64))
    levels = ["out.0 12x32x32 /2 neck -", "out.1 12x16x16 /4 neck -", "out.2 12x8x8 /8 neck -"]
    assert rows(sites) == [*ENCODER, *levels]
    for placement in ("paper", "bottlenecks", "stages", "blocks"):
        assert "neck" not in {site.kind for site in place(sites, placement)}
    assert place(sites, ["out.1", "c2"]) == [sites[5], sites[1]]


def test_a_pyramid_that_ends_in_scores() -> None:
    sites = find_sites(Pyramid(put_out=False), (3, 64, 64))
    # in the order of the calls; the scores are not features, their input is
    assert rows(sites) == [
        *ENCODER,
        *("out.1 12x16x16 /4 neck -", "out.2 12x8x8 /8 neck -", "out.0 12x32x32 /2 neck -"),
        "score.0 12x32x32 /2 neck -",
    ]


class Backbone(nn.Module):
    """Puts out each stage's map, the last as well."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Sequential(conv(3, 8), conv(8, 8)), conv(8, 16, 2)
        self.c3 = nn.Sequential(conv(16, 32, 2), conv(32, 32))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in (self.c1, self.c2, self.c3):
            x = stage(x)
            maps.append(x)
        return maps


def test_a_backbone_ends_in_its_last_map() -> None:
    assert rows(find_sites(Backbone(), (3, 64, 64))) == [
        "c1 8x64x64 /1 bottleneck c2",
        "c2 16x32x32 /2 bottleneck c3",
        "c3 32x16x16 /4 head -",
    ]


class Parallel(nn.Module):
    """Like HRNet: a branch of half the size, exchanged, and all brought to the smallest size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8), conv(8, 8, 2), conv(8, 8))
        self.down, self.high, self.low = conv(8, 16, 2), conv(8, 8), conv(16, 16)
        self.exchange, self.back = conv(8, 16, 2), conv(16, 8)
        self.third, self.last = conv(16, 32, 2), nn.ModuleList([conv(8, 16, 2), conv(16, 32, 2)])
        self.final, self.fc = conv(32, 64), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        high, low = self.high(x), self.low(self.down(x))
        high, low = (
            high + F.interpolate(self.back(low), scale_factor=2.0),
            low + self.exchange(high),
        )
        third = self.third(low)
        low = low + self.last[0](high)
        return self.fc(self.final(third + self.last[1](low)).mean((2, 3)))


def test_parallel_branches() -> None:
    sites = find_sites(Parallel(), (3, 64, 64))
    # only what all passes: between stem and final there is always a way around
    assert rows(sites) == [
        "stem.0 8x64x64 /1 stem stem.1",
        "stem 8x32x32 /2 bottleneck add_3",
        "final 64x8x8 /8 head mean",
    ]


class Mixer(nn.Module):
    """Windows, then tokens, as in a Swin block, for maps (N, H, W, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.attn, self.mlp = nn.Linear(channels, channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        windows = x.view(n, h // 4, 4, w // 4, 4, c).transpose(2, 3).reshape(-1, 16, c)
        windows = self.attn(windows).view(n, h // 4, w // 4, 4, 4, c).transpose(2, 3)
        x = x + windows.reshape(n, h, w, c)
        x = x.reshape(n, -1, c)
        x = x + self.mlp(x)
        return x.reshape(n, h, w, c)


class Merge(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        x = x.reshape(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.reduction(x)


class FixedWindows(nn.Module):
    """Takes images of one size only, so that no probe gets in."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 2, 2)
        self.stage1 = nn.Sequential(Mixer(8), Mixer(8))
        self.stage2 = nn.Sequential(Merge(8), Mixer(16), Mixer(16))
        self.fc = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (32, 64):
            raise ValueError("another size")
        x = self.embed(x).permute(0, 2, 3, 1)
        return self.fc(self.stage2(self.stage1(x)).mean((1, 2)))


def test_windows_of_a_network_of_one_size() -> None:
    sites = [site for site in find_sites(FixedWindows(), (3, 32, 64)) if site.kind != "block"]
    assert rows(sites) == [
        "stage1 8x16x32 /2 bottleneck stage2",
        "stage2 16x8x16 /4 head mean",
    ]
    assert {site.layout for site in sites} == {"NHWC"}
