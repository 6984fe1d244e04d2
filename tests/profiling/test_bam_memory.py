"""Memory from shapes: bytes by hand, as a CPU keeps them, and a sum over BAMs to the byte."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from bamsearch.attention.bam import BAM
from bamsearch.errors import ModelError
from bamsearch.graph.base import Base
from bamsearch.graph.models import build_model
from bamsearch.profiling import memory
from bamsearch.profiling.memory import bam_memory, peak_memory
from bamsearch.profiling.summary import summarise_base
from bamsearch.records import Cost, Design, Insertion, ModelSummary, Site

F32 = 4
IMAGE = 3 * 4 * 5 * F32
MAP = 8 * 4 * 5 * F32
REDUCTIONS = (1, 4, 16, 300)
SLOW = (
    "densenet121",
    "convnext_tiny",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",
    "googlenet",
    "lraspp_mobilenet_v3_large",
)


def saved_bytes(module: nn.Module, input_shape: tuple[int, ...]) -> int:
    """What a training step keeps, from shapes alone."""
    image = torch.empty(1, *input_shape, device="meta")
    return memory._step(memory._meta(module), image).bytes


def convolution() -> nn.Conv2d:
    return nn.Conv2d(3, 8, 3, padding=1)


class Chunked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = convolution()

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.convolution(x).chunk(2, dim=1)
        return first.sigmoid() * second  # keeps the sigmoid, half a map, and second's storage


class Dropped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = convolution(), convolution()

    def forward(self, x: Tensor) -> Tensor:
        self.unused(x).sigmoid().exp()
        return self.used(x)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param(convolution(), IMAGE, id="convolution"),
        pytest.param(convolution().double().eval(), IMAGE, id="other-dtype-and-mode"),
        pytest.param(nn.Sequential(convolution(), nn.ReLU()), IMAGE + MAP, id="relu"),
        pytest.param(
            nn.Sequential(convolution(), nn.ReLU(), nn.Conv2d(8, 2, 1)), IMAGE + MAP, id="shared"
        ),
        pytest.param(
            nn.Sequential(convolution(), nn.BatchNorm2d(8)), IMAGE + MAP + 2 * 8 * F32, id="norm"
        ),
        pytest.param(Chunked(), IMAGE + MAP // 2 + MAP, id="view"),
        pytest.param(Dropped(), IMAGE, id="dropped"),
    ],
)
def test_by_hand(model: nn.Module, expected: int) -> None:
    assert saved_bytes(model, (3, 4, 5)) == expected


def random_design(generator: random.Random, sites: tuple[Site, ...]) -> Design:
    chosen = generator.sample(sites, generator.randint(1, len(sites)))
    insertions = [
        Insertion(site.name, generator.choice(REDUCTIONS), generator.randint(1, 9))
        for site in chosen
    ]
    variant, init = generator.choice(("paper", "official")), generator.choice(("paper", "identity"))
    return Design("any", (3, 64, 64), tuple(insertions), variant, init)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", (3, 64, 96)),
        ("squeezenet1_1", (3, 64, 64)),
        ("mobilenet_v2", (3, 64, 64)),
        ("swin_t", (3, 64, 64)),
        ("r3d_18", (3, 4, 32, 48)),
        *(pytest.param(name, (3, 64, 64), marks=pytest.mark.zoo) for name in SLOW),
    ],
)
def test_bams_add_up_to_what_a_cpu_keeps(name: str, shape: tuple[int, ...]) -> None:
    model = build_model(name, shape, initialise=False)
    network = Base(model, shape)
    summary = summarise_base(name, network)
    generator = random.Random(name)
    design = random_design(generator, summary.sites)
    base, added = bam_memory(
        model,
        summary,
        dict.fromkeys((site.name for site in summary.sites), REDUCTIONS),
        variant=design.variant,
        init=design.init,
    )
    part = model.get_submodule(summary.part)
    assert base == saved_bytes(part, summary.part_input)
    assert set(added) == {(site.name, r) for site in summary.sites for r in REDUCTIONS}
    assert min(added.values()) > 0
    single = Design("any", shape, design.insertions[:1], design.variant, design.init)
    for tried in (single, design):
        expected = base + sum(added[i.site, i.reduction] for i in tried.insertions)
        rewritten = network.insert(tried).module.get_submodule(summary.part)
        assert saved_bytes(rewritten, summary.part_input) == expected, tried
    assert peak_memory(rewritten, summary.part_input, train=True).bytes == expected


def test_of_a_detector_it_is_the_part() -> None:
    name, shape = "fasterrcnn_mobilenet_v3_large_320_fpn", (3, 64, 64)
    model = build_model(name, shape, initialise=False)
    summary = summarise_base(name, Base(model, shape))
    assert summary.part
    single = Insertion(summary.sites[2].name, 4)
    base, added = bam_memory(model, summary, {single.site: [4, 8]})
    assert set(added) == {(single.site, 4), (single.site, 8)}
    rewritten = Base(model, shape).insert(Design(name, shape, (single,))).module
    part = rewritten.get_submodule(summary.part)
    assert saved_bytes(part, summary.part_input) == base + added[single.site, 4]


class Chain(nn.Module):
    """A map that ReLU keeps, that an identity hands on, and that a convolution keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.relu, self.same = convolution(), nn.ReLU(), nn.Identity()
        self.last = nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.same(self.relu(self.first(x))))


def chain_summary(*names: str) -> ModelSummary:
    sites = tuple(Site(name, 8, 4, 5, 1, "NCHW", "block") for name in names)
    return ModelSummary("chain", (3, 4, 5), "", (3, 4, 5), sites, Cost(0, 0, 0))


def test_one_bam_by_hand() -> None:
    # C = 8, h = 2, 20 positions. Each branch ends in a norm that keeps its input, that less the
    # mean, 1 / deviation, the scale and one byte (is this a batch of one?).
    channel = 8 + 2 + (2 * 8 + 2 * 8)  # averages, hidden ReLU, norm
    spatial = 3 * (2 * 20) + (2 * 20 + 2 * 1)  # three hidden ReLUs, norm
    alone = MAP + MAP + (channel + spatial) * F32 + 2  # the map before it, M, branches
    assert saved_bytes(nn.Sequential(convolution(), BAM(8, 4)), (3, 4, 5)) == IMAGE + alone
    # The map before is kept by ReLU, the one after by the convolution; before, one was for both.
    _, added = bam_memory(Chain(), chain_summary("relu"), {"relu": [4]})
    assert added == {("relu", 4): alone - MAP + MAP}
    # Nobody else keeps the map before it; the one after it, nobody or ReLU's output instead.
    for site in ("first", "last"):
        _, added = bam_memory(Chain(), chain_summary(site), {site: [4]})
        assert added == {(site, 4): alone}


def test_no_site_is_the_base_alone() -> None:
    assert bam_memory(Chain(), chain_summary("relu"), {}) == (IMAGE + MAP, {})


def test_what_does_not_add_up_is_refused(monkeypatch) -> None:
    both = {"relu": [4], "same": [4]}
    with pytest.raises(ModelError, match="BAMs at relu and same share a map"):
        bam_memory(Chain(), chain_summary("relu", "same"), both)
    frozen = Chain()
    frozen.first.requires_grad_(False)
    with pytest.raises(ModelError, match="chain has frozen parameters"):
        bam_memory(frozen, chain_summary("relu"), {"relu": [4]})
    real = memory._internal_bytes
    monkeypatch.setattr(memory, "_internal_bytes", lambda bam, shape: real(bam, shape) + 4)
    with pytest.raises(ModelError, match=r"memory of chain with BAM at all sites is (\d+) bytes"):
        bam_memory(Chain(), chain_summary("relu"), {"relu": [4]})


def test_bad_input() -> None:
    pooled = nn.Sequential(convolution(), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8))
    message = "^Sequential does not train with a batch of one of 3x4x5: Expected more than 1 value"
    with pytest.raises(ModelError, match=message):
        saved_bytes(pooled, (3, 4, 5))


def test_the_model_and_the_random_state_stay_as_they_are() -> None:
    model = nn.Sequential(convolution(), nn.BatchNorm2d(8), nn.Dropout(0.5)).eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    chain = Chain().eval()
    before = torch.get_rng_state()
    saved_bytes(model, (3, 4, 5))
    bam_memory(chain, chain_summary("relu"), {"relu": [4]})
    assert torch.equal(before, torch.get_rng_state())
    assert not model.training
    assert not chain.training
    assert not hasattr(chain, "bam")
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    x = torch.ones(2, requires_grad=True)
    assert isinstance(x.exp().grad_fn._saved_result, Tensor)  # no hooks left on
