"""Sites against tables derived by hand, and against the models themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bamsearch.errors import InvalidValueError, ModelError, NoSiteError
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.models import build_model
from bamsearch.graph.placement import place
from bamsearch.graph.sites import find_sites
from bamsearch.records import Site


def parse(line: str) -> Site:
    name, size, stride, kind, reducer, *rest = line.split()
    channels, height, width = map(int, size.split("x"))
    layout, frames = (rest + [None] * 2)[:2]
    return Site(
        name,
        channels,
        height,
        width,
        int(stride.removeprefix("/")),
        layout or "NCHW",  # type: ignore[arg-type]
        kind,  # type: ignore[arg-type]
        None if reducer == "-" else reducer,
        int(frames) if frames else None,
    )


def read_table() -> dict[tuple[str, tuple[int, ...]], list[Site]]:
    table: dict[tuple[str, tuple[int, ...]], list[Site]] = {}
    for line in Path(__file__).with_name("sites.txt").read_text().splitlines():
        if line.startswith("["):
            model, size = line.strip("[]").split()
            sites = table.setdefault((model, tuple(map(int, size.split("x")))), [])
        elif line and not line.startswith("#"):
            sites.append(parse(line))
    return table


TABLE = read_table()
# One of each family is looked at each time, these in the zoo.
SISTERS = {"resnet101", "wide_resnet50_2", "resnext50_32x4d", "quantized_resnet18", "vgg16_bn"} | {
    *("squeezenet1_0", "quantized_mobilenet_v2", "mobilenet_v3_large", "efficientnet_v2_s"),
    *("swin_v2_t", "mc3_18", "r2plus1d_18", "fcn_resnet50", "retinanet_resnet50_fpn"),
    *("fcos_resnet50_fpn", "keypointrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "mvit_v1_b"),
}
ROWS = [
    pytest.param(
        *key,
        id="-".join([key[0], *map(str, key[1])]),
        marks=pytest.mark.zoo if key[0] in SISTERS else (),
    )
    for key in TABLE
]

# Blocks: what the table leaves out.
BLOCKS = {
    ("resnet18", (3, 224, 224)): ["layer1.0"],
    ("resnet50", (3, 224, 224)): [
        *("layer1.0", "layer1.1", "layer2.1", "layer2.2"),
        *("layer3.1", "layer3.2", "layer3.3", "layer3.4", "layer4.1"),
    ],
    ("vgg16", (3, 224, 224)): [],
    ("squeezenet1_1", (3, 224, 224)): [f"features.{i}" for i in (3, 6, 9, 10, 11)],
    ("mobilenet_v2", (3, 224, 224)): [f"features.{i}" for i in (5, 8, 9, 10, 11, 12, 15, 16, 17)],
    ("mobilenet_v3_small", (3, 224, 224)): [f"features.{i}" for i in (5, 6, 7, 10, 11)],
    ("mnasnet1_0", (3, 224, 224)): [
        *("layers.8.1", "layers.9.1", "layers.10.1", "layers.10", "layers.11.0"),
        *("layers.12.1", "layers.12.2", "layers.12"),
    ],
    ("densenet121", (3, 224, 224)): ["features.denseblock4"],
    ("inception_v3", (3, 299, 299)): [
        *("Conv2d_3b_1x1", "Mixed_5b", "Mixed_5c", "Mixed_6b", "Mixed_6c", "Mixed_6d"),
        "Mixed_7b",
    ],
    ("googlenet", (3, 224, 224)): [
        *("conv2", "inception3a", "inception4a", "inception4b", "inception4c", "inception4d"),
        "inception5a",
    ],
    ("shufflenet_v2_x1_0", (3, 224, 224)): [
        *("stage2.1", "stage2.2"),
        *(f"stage3.{i}" for i in range(1, 7)),
        *("stage4.1", "stage4.2", "stage4"),
    ],
    ("efficientnet_b0", (3, 224, 224)): [
        *("features.4.1", "features.4", "features.5.0", "features.5.1"),
        *("features.6.1", "features.6.2", "features.6"),
    ],
    ("regnet_y_400mf", (3, 224, 224)): [
        "trunk_output.block2.block2-1",
        *(f"trunk_output.block3.block3-{i}" for i in range(1, 5)),
        *(f"trunk_output.block4.block4-{i}" for i in range(1, 5)),
    ],
    ("convnext_tiny", (3, 224, 224)): [
        *("features.1.0", "features.1.1", "features.3.0", "features.3.1"),
        *(f"features.5.{i}" for i in range(8)),
        *("features.7.0", "features.7.1"),
    ],
    ("swin_t", (3, 224, 224)): [
        *("features.1.0", "features.3.0"),
        *(f"features.5.{i}" for i in range(5)),
        *("features.7.0", "features"),
    ],
    ("r3d_18", (3, 16, 112, 112)): ["layer1.0"],
    ("deeplabv3_resnet50", (3, 520, 520)): [
        *("backbone.layer1.0", "backbone.layer1.1"),
        *("backbone.layer2.1", "backbone.layer2.2", "backbone.layer2"),
        *(f"backbone.layer3.{i}" for i in range(5)),
        *("backbone.layer3", "backbone.layer4.0", "backbone.layer4.1", "backbone.layer4"),
    ],
}


@pytest.mark.parametrize(("name", "shape"), ROWS)
def test_sites_are_those_in_the_table(name: str, shape: tuple[int, ...]) -> None:
    model = build_model(name, shape, initialise=False)
    sites = find_sites(model, shape)
    assert [site for site in sites if site.kind != "block"] == TABLE[name, shape]
    if (name, shape) in BLOCKS:
        blocks = [site.name for site in sites if site.kind == "block"]
        assert blocks == BLOCKS[name, shape]
    check_against_model(model, shape, sites)


def check_against_model(model: nn.Module, shape: tuple[int, ...], sites: list[Site]) -> None:
    """Run the model itself: each named module must put out a map of the site's shape."""
    try:
        runner = copy.deepcopy(model).to("meta").eval()
        seen = watch(runner, torch.empty(2, *shape, device="meta"), sites)
    except (NotImplementedError, RuntimeError, ValueError):
        seen = watch(copy.deepcopy(model).eval(), torch.zeros(1, *shape), sites)
    paths = {path for path, _ in model.named_modules()}
    named = [site for site in sites if site.name in paths]
    assert len(named) >= len(sites) - 1  # at most the head is an operation
    for site in named:
        order = {
            "C": site.channels,
            "H": site.height,
            "W": site.width,
            "T": site.frames,
        }
        assert seen[site.name] == tuple(order[axis] for axis in site.layout[1:]), site


def watch(model: nn.Module, x: Tensor, sites: list[Site]) -> dict[str, tuple[int, ...]]:
    """Shapes, without the batch, that the sites' modules put out on their first call."""
    seen: dict[str, tuple[int, ...]] = {}
    paths = dict(model.named_modules())

    class Enough(Exception):
        pass

    wanted = {site.name for site in sites} & paths.keys()

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Tensor) -> None:
            seen.setdefault(name, tuple(out.shape[1:]))
            if seen.keys() == wanted:
                raise Enough

        return hook

    for name in wanted:
        paths[name].register_forward_hook(note(name))
    try:
        with torch.no_grad():
            model(*[x] * (2 if type(model).__name__ == "RAFT" else 1))
    except Enough:
        pass
    return seen


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet18", [64, 128, 256]),
        ("resnext50_32x4d", [256, 512, 1024]),
        ("squeezenet1_1", [128, 256]),
        ("mobilenet_v2", [24, 32, 96]),
    ],
)
def test_published_placements(name: str, channels: list[int]) -> None:
    sites = find_sites(build_model(name, initialise=False))
    assert [site.channels for site in place(sites, "paper")] == channels


@pytest.mark.parametrize("name", ["vit_b_16", "vit_b_32"])
def test_vit_has_no_site(name: str) -> None:
    sites = find_sites(build_model(name, initialise=False))
    assert sites == []
    with pytest.raises(NoSiteError, match="no spatial bottleneck"):
        place(sites, "paper")


def rows(sites: list[Site]) -> list[str]:
    """A compact picture of sites: name, map, stride, kind, reducer."""
    return [
        f"{s.name} {s.channels}x{s.height}x{s.width} /{s.stride} {s.kind} {s.reducer or '-'}"
        + ("" if s.layout == "NCHW" else f" {s.layout}")
        for s in sites
    ]


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1, se: bool = False) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(outputs, 4, 1), nn.ReLU(), nn.Conv2d(4, outputs, 1)
        )
        self.has_se = se
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.has_se:
            y = y * torch.sigmoid(self.se(y))
        if self.stride == 2:
            # the parameter-free shortcut of the paper: drop pixels, add channels
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return F.relu(x + y)


class CifarResNet(nn.Module):
    def __init__(self, channels: int = 3, se: bool = False, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = conv(channels, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[Block(16, 16, se=se) for _ in range(3)])
        self.layer2 = nn.Sequential(Block(16, 32, 2, se), Block(32, 32, se=se), Block(32, 32))
        self.layer3 = nn.Sequential(Block(32, 64, 2, se), Block(64, 64, se=se), Block(64, 64))
        self.pool = pool or nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.pool(x).flatten(1))


CIFAR = [
    "layer1.0 16x32x32 /1 block -",
    "layer1.1 16x32x32 /1 block -",
    "layer1 16x32x32 /1 bottleneck layer2",
    "layer2.1 32x16x16 /2 block -",
    "layer2 32x16x16 /2 bottleneck layer3",
    "layer3.1 64x8x8 /4 block -",
    "layer3 64x8x8 /4 head pool",
]


def test_cifar_resnet() -> None:
    sites = find_sites(CifarResNet(), (3, 32, 32))
    assert rows(sites) == CIFAR
    assert [site.name for site in place(sites, "paper")] == ["layer1", "layer2"]
    assert [site.name for site in place(sites, "stages")] == ["layer1", "layer2", "layer3"]
    assert len(place(sites, "blocks")) == 7


def test_squeeze_excite_is_not_a_reduction() -> None:
    assert rows(find_sites(CifarResNet(se=True), (3, 32, 32))) == CIFAR


def test_one_channel_input() -> None:
    assert rows(find_sites(CifarResNet(1), (1, 32, 32))) == CIFAR


def test_pooling_to_one_by_a_window_is_global_pooling() -> None:
    assert rows(find_sites(CifarResNet(pool=nn.AvgPool2d(8)), (3, 32, 32))) == CIFAR


def test_not_square() -> None:
    sites = find_sites(CifarResNet(), (3, 64, 32))
    assert [row.split()[1] for row in rows(sites) if "block" not in row] == [
        "16x64x32",
        "32x32x16",
        "64x16x8",
    ]


def test_small_input_of_resnet18() -> None:
    sites = [s for s in find_sites(build_model("resnet18", initialise=False), (3, 32, 32))]
    assert [r for r in rows(sites) if "block" not in r] == [
        "relu 64x16x16 /2 stem maxpool",
        "layer1 64x8x8 /4 bottleneck layer2",
        "layer2 128x4x4 /8 bottleneck layer3",
        "layer3 256x2x2 /16 bottleneck layer4",
        "layer4 512x1x1 /32 head avgpool",
    ]


class Wrapper(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"scores": self.net((image - 0.5) / 0.25)}


def test_wrappers_lengthen_the_names_and_nothing_else() -> None:
    inner = rows(find_sites(CifarResNet(), (3, 32, 32)))
    outer = rows(find_sites(Wrapper(CifarResNet()), (3, 32, 32)))
    assert [row.replace("net.", "") for row in outer] == inner
    assert outer[2] == "net.layer1 16x32x32 /1 bottleneck net.layer2"
    twice = find_sites(Wrapper(nn.Sequential(nn.Identity(), CifarResNet())), (3, 32, 32))
    assert rows(twice)[2] == "net.1.layer1 16x32x32 /1 bottleneck net.1.layer2"


def test_one_reduction_in_a_wrapper() -> None:
    net = nn.Sequential(conv(3, 8), conv(8, 8), nn.MaxPool2d(2), conv(8, 8), nn.Conv2d(8, 4, 1))
    sites = find_sites(Wrapper(net), (3, 16, 16))
    # conv 4 is the last weighted layer: its map are the scores
    assert rows(sites) == [
        "net.1 8x16x16 /1 bottleneck net.2",
        "net.3 8x8x8 /2 head -",
    ]


class PlainNet(nn.Module):
    """A VGG with average pooling, which ends in a pooling window as big as the map."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(conv(3, 8), nn.ReLU(True), nn.AvgPool2d(2)),
            *(conv(8, 16), nn.ReLU(True), nn.AvgPool2d(2)),
            *(conv(16, 32), nn.ReLU(True), nn.AvgPool2d(7)),
        )
        self.drop = nn.Dropout()
        self.fc = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.features(x)).flatten(1))


def test_plain_net_with_average_pooling() -> None:
    assert rows(find_sites(PlainNet(), (3, 28, 28))) == [
        "features.1 8x28x28 /1 stem features.2",
        "features.4 16x14x14 /2 bottleneck features.5",
        "features.7 32x7x7 /4 head features",
    ]


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc1 = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 8), nn.ReLU())
        self.enc2 = nn.Sequential(conv(8, 16), nn.ReLU(), conv(16, 16), nn.ReLU())
        self.mid = nn.Sequential(conv(16, 32), nn.ReLU(), conv(32, 32), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.up2 = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.dec2 = nn.Sequential(conv(32, 16), nn.ReLU())
        self.up1 = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.dec1 = nn.Sequential(conv(16, 8), nn.ReLU(), nn.Conv2d(8, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        first = self.enc1(x)
        second = self.enc2(self.pool(first))
        x = self.up2(self.mid(self.pool(second)))
        x = self.up1(self.dec2(torch.cat([x, second], 1)))
        return self.dec1(torch.cat([x, first], 1))


def test_unet() -> None:
    net = UNet().eval()
    sites = find_sites(net, (3, 32, 48))
    assert rows(sites) == [
        "enc1 8x32x48 /1 bottleneck pool",
        "enc2 16x16x24 /2 bottleneck pool@2",
        "mid 32x8x12 /4 head -",
        "dec2 16x16x24 /2 neck -",
    ]
    # the skip connections take the refined map too
    result = insert_bam(net, (3, 32, 48), sites=["enc1"])
    x = torch.randn(1, 3, 32, 48)
    net.enc1.register_forward_hook(lambda m, args, out: result.bam.enc1(out))
    assert torch.equal(net(x), result.eval()(x))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.shared = conv(8, 8)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.shared(self.stem(x)))
        x = self.pool(self.shared(x))
        return self.fc(self.shared(x).mean((2, 3)))


def test_a_module_called_more_than_once() -> None:
    assert rows(find_sites(Twice(), (3, 16, 16))) == [
        "shared 8x16x16 /1 bottleneck pool",
        "shared@2 8x8x8 /2 bottleneck pool@2",
        "shared@3 8x4x4 /4 head mean",
    ]


class ChannelsLastNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, stride=4)
        self.stage1 = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 16), nn.GELU())
        self.merge = nn.Linear(64, 32)
        self.stage2 = nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32), nn.GELU())
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(self.embed(x).permute(0, 2, 3, 1))
        x = torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
        return self.head(self.stage2(self.merge(x)).mean((1, 2)))


def test_channels_last_net() -> None:
    assert rows(find_sites(ChannelsLastNet(), (3, 32, 64))) == [
        "stage1 16x8x16 /4 bottleneck cat NHWC",
        "stage2 32x4x8 /8 head mean NHWC",
    ]


class VideoNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv3d(8, 8, 3, padding=1)
        self.frames = nn.MaxPool3d((2, 1, 1))  # time alone: no spatial reduction
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.conv3 = nn.Conv3d(8, 16, 3, padding=1)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.frames(self.conv2(self.conv1(x))))
        return self.fc(self.conv3(x).mean((2, 3, 4)))


def test_video_net() -> None:
    sites = find_sites(VideoNet(), (3, 8, 16, 24))
    assert rows(sites) == [
        "frames 8x16x24 /1 bottleneck pool NCTHW",
        "conv3 16x8x12 /2 head mean NCTHW",
    ]
    assert [site.frames for site in sites] == [4, 4]


class PassThrough(nn.Module):
    """A module that gives back what it is given names nobody's output."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_pass_through_modules_take_no_name() -> None:
    net = nn.Sequential(
        *(conv(3, 8), conv(8, 8), PassThrough(), nn.MaxPool2d(2), conv(8, 8), PassThrough()),
        *(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1)),
    )
    assert rows(find_sites(net, (3, 16, 16))) == [
        "1 8x16x16 /1 bottleneck 3",
        "4 8x8x8 /2 head 6",
    ]


def test_a_forward_of_one_batch_norm() -> None:
    def halve(self: nn.BatchNorm2d, x: Tensor) -> Tensor:
        return nn.BatchNorm2d.forward(self, x)[..., ::2, ::2]

    norm = nn.BatchNorm2d(8)
    norm.forward = MethodType(halve, norm)  # type: ignore[method-assign]
    net = nn.Sequential(conv(3, 8), norm, conv(8, 8), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 4, 1))
    assert rows(find_sites(net, (3, 16, 16))) == [
        "0 8x16x16 /1 stem 1",
        "2 8x8x8 /2 head 3",
    ]


class Resized(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = CifarResNet()
        self.body.fc = nn.Identity()
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(F.interpolate(x, (48, 32)))
        return self.head(x) if float(x.sum()) > 0 else self.head(-x)


def test_an_image_that_is_resized_first() -> None:
    net = Resized().eval()
    sites = find_sites(net, (3, 20, 20))
    assert [row for row in rows(sites) if "block" not in row] == [
        "body.layer1 16x48x32 /1 bottleneck body.layer2",
        "body.layer2 32x24x16 /2 bottleneck body.layer3",
        "body.layer3 64x12x8 /4 head body.pool",
    ]


class Untraceable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) if x.sum() > 0 else x


def test_nothing_that_runs() -> None:
    with pytest.raises(
        ModelError,
        match=r"does not accept an input of 3x224x224: .*return self.fc\(x\)",
    ):
        find_sites(Untraceable())


class GroupedWithDropout(nn.Module):
    """Two paths that meet again, and dropout between the last map and the pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 8))
        self.left = conv(8, 8, 2)
        self.right = nn.Conv2d(8, 8, 1, stride=2, groups=8)
        self.last = nn.Conv2d(16, 16, 3, padding=1, groups=4)
        self.drop = nn.Dropout2d()
        self.fc = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.drop(self.last(torch.cat([self.left(x), self.right(x)], 1)))
        return self.fc(x.mean((2, 3)))


def test_grouped_paths_and_dropout_at_the_end() -> None:
    assert rows(find_sites(GroupedWithDropout(), (3, 16, 16))) == [
        "stem 8x16x16 /1 bottleneck cat",
        "last 16x8x8 /2 head mean",
    ]


class FlattenAtFixedSize(nn.Module):
    """A linear layer that fits one input size only, so that probing fails after it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(conv(1, 8), nn.ReLU(), nn.MaxPool2d(2), conv(8, 16), nn.ReLU(), nn.MaxPool2d(2))
        )
        self.fc = nn.Linear(16 * 7 * 7, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.features(x), 1))


def test_a_fixed_size_classifier() -> None:
    assert rows(find_sites(FlattenAtFixedSize(), (1, 28, 28))) == [
        "features.1 8x28x28 /1 stem features.2",
        "features.4 16x14x14 /2 bottleneck features.5",
        "features 16x7x7 /4 head -",
    ]


def test_the_model_is_left_alone() -> None:
    net = CifarResNet().train()
    net.layer1.eval()
    calls: list[int] = []
    net.layer2.register_forward_hook(lambda *_: calls.append(1))
    net.layer2.register_full_backward_hook(lambda *_: calls.append(1))
    state = {key: value.clone() for key, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert rows(find_sites(net, (3, 32, 32))) == CIFAR
    assert torch.equal(torch.get_rng_state(), before)
    assert calls == []
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    "shape", [(224, 224), (3, 0, 224), (3, 224.0, 224), (3, True, 224), True, 0, (1, 2, 3, 4, 5)]
)
def test_impossible_inputs(shape: Any) -> None:
    with pytest.raises(InvalidValueError, match="input_shape"):
        find_sites(CifarResNet(), shape)


def test_inputs_that_the_model_does_not_take() -> None:
    with pytest.raises(ModelError, match="does not accept an input of 4x32x32"):
        find_sites(CifarResNet(), (4, 32, 32))
