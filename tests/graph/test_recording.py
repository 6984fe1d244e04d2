"""Networks that torch.fx cannot trace: sites by hand, from a recording of their own forward."""

from __future__ import annotations

import logging
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bamsearch.errors import InvalidValueError, ModelError
from bamsearch.graph.models import build_model
from bamsearch.graph.network import FeatureNetwork, find_network
from bamsearch.graph.placement import place
from bamsearch.graph.roles import Outputs
from bamsearch.graph.sites import find_sites, sites_of
from bamsearch.graph.tracing.example import example_of
from bamsearch.graph.tracing.recording import record
from bamsearch.records import Site

# Of Body below, at 64 px: s0 1 x, then three times by 2.
BODY = [
    "s0 8x64x64 /1 bottleneck s1",
    "s1 16x32x32 /2 bottleneck s2",
    "s2 32x16x16 /4 bottleneck s3",
    "s3 32x8x8 /8 head mean",
]


def rows(sites: list[Site]) -> list[str]:
    return [
        f"{s.name} {s.channels}x{s.height}x{s.width} /{s.stride} {s.kind} {s.reducer or '-'}"
        for s in sites
    ]


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU(True))


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.s0 = nn.Sequential(conv(3, 8), conv(8, 8))
        self.s1, self.s2, self.s3 = conv(8, 16, 2), conv(16, 32, 2), conv(32, 32, 2)
        self.fc = nn.Linear(32, 3)

    def forward(self, x: Any) -> Any:
        return self.fc(self.s3(self.s2(self.s1(self.s0(x)))).mean((2, 3)))


class SizeCheck(Body):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] < 32 or x.size(2) < 32:
            raise ValueError("too small")
        return super().forward(x)


class PadIfOdd(Body):
    def forward(self, x: Tensor) -> Tensor:
        while x.shape[-1] % 2:
            x = F.pad(x, (0, 1))
        return super().forward(x)


class AssertShape(Body):
    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 3, "three channels"
        return super().forward(x)


class ListOrTensor(Body):
    def forward(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor):
            x = torch.stack(x)
        if len(x) == 0:
            raise ValueError("an empty batch")
        return super().forward(x)


class Unbatched(Body):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[None] if x.dim() == 3 else x)


class ScaledIfNeeded(Body):
    def forward(self, x: Tensor) -> Tensor:
        if x.max() > 1:
            x = x / 255
        return super().forward(x)


class Prints(Body):
    def forward(self, x: Tensor) -> Tensor:
        print(x.mean().item())
        warnings.warn("said each time", stacklevel=1)
        logging.getLogger("body").error("said each time")
        return super().forward(x)


class EarlyExit(Body):
    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.s0(x)
        guess = self.early(x.mean((2, 3)))
        if guess.softmax(1).min() > 0.99:  # of three classes, never
            return guess
        return self.fc(self.s3(self.s2(self.s1(x))).mean((2, 3)))


class TriesAgain(Body):
    def forward(self, x: Tensor) -> Tensor:
        try:
            x = self.s0(x[:, :1])
        except RuntimeError:  # one channel is too few, inside of a layer
            x = self.s0(x)
        if x.shape[0] == 0:
            return x
        return self.fc(self.s3(self.s2(self.s1(x))).mean((2, 3)))


class Star(Body):
    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        (x,) = args
        if kwargs.get("flip"):
            x = x.flip(3)
        return super().forward(x)


class KeywordOnly(Body):
    def forward(self, *, image: Tensor) -> Tensor:
        return super().forward(image if len(image.shape) == 4 else image[None])


class Dispatching(Body):
    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, dict):
            return self.loss(x, *args, **kwargs)
        return self.predict(x, *args, **kwargs)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        return self.predict(batch["image"]).sum()

    def predict(self, x: Tensor) -> Any:
        return super().forward(x)


@dataclass
class Features:
    maps: list[Tensor]
    size: tuple[int, int]


class Fork(nn.Module):
    def forward(self, x: Tensor) -> Features:
        half = list(x.chunk(2, 1))
        half.extend(part * 2 for part in half[-1:])
        return Features(half, (x.shape[2], x.shape[3]))


class Containers(Body):
    """A dataclass, a list of pieces and an unassigned in-place function on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.fork = Fork()

    def forward(self, x: Tensor) -> Tensor:
        x = self.s0(x)
        result = self.fork(x)
        joined = torch.empty_like(x)
        joined[:, :4] = result.maps[0]
        joined[:, 4:] = result.maps[2]
        joined += 1
        F.relu_(joined)
        if result.size != (x.shape[2], x.shape[3]):
            raise ValueError("another size")
        return self.fc(self.s3(self.s2(self.s1(joined))).mean((2, 3)))


class Batched(Body):
    """As torchvision's detectors batch images: each is copied into a part of one tensor."""

    def forward(self, images: Any) -> Tensor:
        x = images[0].new_full((len(images), *images[0].shape), 0.0)
        for i in range(x.shape[0]):
            x[i, :, : images[i].shape[1]].copy_(images[i])
        return super().forward(x)


class Buffered(Body):
    def forward(self, x: Tensor) -> Tensor:
        buffer = torch.zeros(tuple(x.shape))
        for i in range(len(buffer)):
            buffer[i] = x[i]
        return super().forward(buffer)


ALIKE = [SizeCheck, PadIfOdd, AssertShape, ListOrTensor, Unbatched, ScaledIfNeeded]
ALIKE += [Star, KeywordOnly, Dispatching, Batched, Buffered]


@pytest.mark.parametrize("net", [Body, *ALIKE])
def test_control_flow_around_a_body(net: Callable[[], nn.Module]) -> None:
    assert rows(find_sites(net(), (3, 64, 64))) == BODY


def test_control_flow_inside() -> None:
    for net in (EarlyExit(), Prints()):  # these take a mean before
        sites = rows(find_sites(net, (3, 64, 64)))
        assert sites == [*BODY[:3], BODY[3].replace("mean", "mean_1")]
    again = rows(find_sites(TriesAgain(), (3, 64, 64)))
    assert again == [BODY[0].replace("s0", "s0@2"), *BODY[1:]]


def test_containers_on_the_way() -> None:
    sites = rows(find_sites(Containers(), (3, 64, 64)))
    assert sites == ["relu_ 8x64x64 /1 bottleneck s1", *BODY[1:]]


@pytest.mark.parametrize(
    "name", ["resnet18", "shufflenet_v2_x1_0", "efficientnet_b0", "densenet121", "swin_t"]
)
def test_a_recording_has_the_sites_of_a_symbolic_trace(name: str) -> None:
    model = build_model(name, initialise=False)
    symbolic = find_network(model, (3, 224, 224))
    assert symbolic.recording is None
    recording = record(model, example_of(model, (3, 224, 224)))
    outputs = Outputs(recording.shapes, set(recording.trace.graph.nodes))
    recorded = FeatureNetwork("", model, (3, 224, 224), recording.trace, "", outputs, recording)
    assert sites_of(recorded) == sites_of(symbolic)


def test_everything_of_the_caller_stays() -> None:
    net = ScaledIfNeeded().train()
    net.s1.eval()
    net.register_buffer("seen", torch.zeros(()))
    calls: list[int] = []
    net.s2.register_forward_hook(lambda *_: calls.append(1))

    class Counts(type(net)):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            self.last = F.dropout(x, 0.5, training=True)
            self.drawn = random.random() + np.random.rand()
            return super().forward(x)

    net.__class__ = Counts
    state = {key: value.clone() for key, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert rows(find_sites(net, (3, 64, 64))) == BODY
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
    assert calls == []
    assert not hasattr(net, "last")
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    find_sites(Prints(), (3, 64, 64))
    assert capfd.readouterr() == ("", "")


class C2f(nn.Module):
    """As in YOLO: two halves, blocks on the last, and all of them put together."""

    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = conv(inputs, outputs), conv((2 + count) * (outputs // 2), outputs)
        self.m = nn.ModuleList(conv(outputs // 2, outputs // 2) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


class Concat(nn.Module):
    def forward(self, maps: list[Tensor]) -> Tensor:
        return torch.cat(maps, 1)


class Detect(nn.Module):
    def __init__(self, *channels: int) -> None:
        super().__init__()
        self.cv = nn.ModuleList(nn.Conv2d(count, 5, 1) for count in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        for i in range(len(maps)):
            maps[i] = self.cv[i](maps[i])
        return maps


class Rows(nn.Module):
    """A detector from rows of (from, module), as YOLO's configurations have it."""

    def __init__(self) -> None:
        super().__init__()
        table: list[tuple[Any, nn.Module]] = [
            (-1, conv(3, 8, 2)),  # 0
            (-1, conv(8, 16, 2)),  # 1
            (-1, C2f(16, 16, 1)),  # 2: /4
            (-1, conv(16, 32, 2)),  # 3
            (-1, C2f(32, 32, 2)),  # 4: /8
            (-1, conv(32, 64, 2)),  # 5
            (-1, C2f(64, 64, 1)),  # 6: /16
            (-1, nn.Upsample(scale_factor=2)),  # 7
            ([-1, 4], Concat()),  # 8
            (-1, C2f(96, 32, 1)),  # 9: neck, /8
            (-1, conv(32, 32, 2)),  # 10: back to /16
            ([-1, 6], Concat()),  # 11
            (-1, C2f(96, 64, 1)),  # 12: neck, /16
            ([9, 12], Detect(32, 64)),  # 13
        ]
        self.model = nn.Sequential(*(module for _, module in table))
        for module, (source, _) in zip(self.model, table, strict=True):
            module.f = source

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        return self.predict(x, *args, **kwargs)

    def predict(self, x: Tensor) -> Any:
        y: list[Tensor] = []
        for m in self.model:
            if m.f != -1:
                x = y[m.f] if isinstance(m.f, int) else [x if j == -1 else y[j] for j in m.f]
            x = m(x)
            y.append(x)
        return x


def test_a_detector_from_rows() -> None:
    sites = find_sites(Rows(), (3, 64, 64))
    assert [row for row in rows(sites) if "block" not in row] == [
        "model.0 8x32x32 /2 stem model.1",
        "model.2 16x16x16 /4 bottleneck model.3",
        "model.4 32x8x8 /8 bottleneck model.5",
        "model.6 64x4x4 /16 head -",
        "model.9 32x8x8 /8 neck -",
        "model.10 32x4x4 /16 neck -",
        "model.12 64x4x4 /16 neck -",
    ]
    assert [s.name for s in place(sites, "blocks") if s.kind == "neck"] == []
    assert [s.name for s in place(sites, ["model.9"])] == ["model.9"]


class ImageAndVector(Body):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(37, 3)

    def forward(self, meta: Tensor, image: Tensor) -> Tensor:
        x = self.s3(self.s2(self.s1(self.s0(image)))).mean((2, 3))
        return self.fc(torch.cat([x, meta], 1))


class DictIn(Body):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return super().forward(batch["image"])


class TwoImages(Body):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return super().forward(a) - super().forward(b)


IMAGE, VECTOR = torch.zeros(1, 3, 64, 64), torch.zeros(1, 5)


@pytest.mark.parametrize(
    ("net", "inputs"),
    [
        (ImageAndVector, (VECTOR, IMAGE)),
        (ImageAndVector, {"image": IMAGE, "meta": VECTOR}),
        (DictIn, {"image": IMAGE, "mask": IMAGE[:, :1]}),
        (DictIn, ({"image": IMAGE},)),
        (TwoImages, (IMAGE, IMAGE + 1)),
        (TwoImages, None),
        (Body, IMAGE),
    ],
)
def test_example_inputs(net: Callable[[], nn.Module], inputs: Any) -> None:
    assert rows(find_sites(net(), (3, 64, 64), example_inputs=inputs)) == BODY


def test_example_inputs_that_do_not_do() -> None:
    with pytest.raises(InvalidValueError, match="no image"):
        find_sites(Body(), (3, 64, 64), example_inputs=(VECTOR,))
    with pytest.raises(InvalidValueError, match="an image of 3x64x64, but input_shape is 3x32x32"):
        find_sites(Body(), (3, 32, 32), example_inputs=IMAGE)
    with pytest.raises(
        ModelError, match=r"does not accept an input of 3x64x64.*give example_inputs"
    ):
        find_sites(ImageAndVector(), (3, 64, 64))


class Breaks(Body):
    def __init__(self, early: bool) -> None:
        super().__init__()
        self.early = early

    def forward(self, x: Tensor) -> Tensor:
        x = self.s1(self.s0(x))
        if self.early:
            x = self.s2(x + self.missing)
        x = self.s3(self.s2(x))
        if x.max() > -1:
            return torch.stack([self.missing, x])
        return x


def test_a_recording_that_breaks_off_before_the_last_convolution() -> None:
    with pytest.raises(ModelError) as caught:
        find_sites(Breaks(early=True), (3, 64, 64))
    said = str(caught.value)
    assert said.startswith("Breaks does not accept an input of 3x64x64: ")
    assert "has no attribute 'missing'" in said
    assert "at test_recording.py:" in said
    assert said.endswith("x = self.s2(x + self.missing)")


def test_a_recording_that_breaks_off_after_it() -> None:
    network = find_network(Breaks(early=False), (3, 64, 64))
    assert network.stopped is not None
    assert network.stopped.endswith("return torch.stack([self.missing, x])")
    assert [row.rpartition(" ")[0] for row in rows(sites_of(network))[:3]] == [
        row.rpartition(" ")[0] for row in BODY[:3]
    ]


class NoReduction(nn.Module):
    def __init__(self, breaks: bool) -> None:
        super().__init__()
        self.conv, self.breaks = conv(3, 8), breaks

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if x.sum() < -1:
            return x
        return self.missing if self.breaks else x


def test_without_a_bottleneck_only_by_a_complete_recording() -> None:
    assert find_sites(NoReduction(breaks=False), (3, 16, 16)) == []
    with pytest.raises(ModelError, match=r"at test_recording.py:\d+: return self.missing"):
        find_sites(NoReduction(breaks=True), (3, 16, 16))


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


class OwnFunctions(Body):
    """What no torch function shows: an autograd function, one operator of the dispatcher."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] < 8:
            raise ValueError("too small")
        x = Swish.apply(self.s0(x))
        x = torch.ops.aten.relu.default(x)
        return self.fc(self.s3(self.s2(self.s1(x))).mean((2, 3)))


def test_functions_below_torch_functions() -> None:
    sites = rows(find_sites(OwnFunctions(), (3, 64, 64)))
    assert sites == ["relu 8x64x64 /1 bottleneck s1", *BODY[1:]]


class FixedGrid(Body):
    """Mixes in a tensor on no particular device, and asks for values of another."""

    def forward(self, x: Tensor) -> Tensor:
        rates = [float(rate) for rate in torch.linspace(0, 0.1, 3)]
        if len(rates) != 3:
            raise ValueError("three")
        x = x + torch.zeros(x.shape[0], 1, 1, 1)
        return super().forward(x)


def test_tensors_of_their_own() -> None:
    assert rows(find_sites(FixedGrid(), (3, 64, 64))) == BODY


def generator() -> Iterator[int]:
    yield from range(3)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.down = conv(3, 8), conv(8, 8), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != 3:
            raise ValueError("three channels")
        x = self.stem(x)
        for _ in generator():
            x = self.down(self.block(x))
        return x.mean((2, 3))


def test_calls_of_one_module_are_numbered() -> None:
    assert rows(find_sites(Shared(), (3, 64, 64))) == [
        "block 8x64x64 /1 bottleneck down",
        "block@2 8x32x32 /2 bottleneck down@2",
        "block@3 8x16x16 /4 bottleneck down@3",
    ]


class Wrapped(nn.Module):
    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.net = detector

    def forward(self, x: Tensor) -> Any:
        return self.net(list(x))


def test_a_detector_in_a_wrapper() -> None:
    detector = build_model("ssdlite320_mobilenet_v3_large", initialise=False)
    alone = rows(find_sites(detector, (3, 320, 320)))
    wrapped = rows(find_sites(Wrapped(detector), (3, 320, 320)))
    assert alone
    assert [row.replace("net.", "") for row in wrapped] == alone
