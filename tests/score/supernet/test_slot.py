"""A slot computes what a BAM with the same weights does, in every layout; who shares what."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from bamsearch.attention.bam import BAM
from bamsearch.errors import InvalidValueError
from bamsearch.records import Insertion, Site
from bamsearch.score.supernet.slot import Slot

C = 8
SHAPES = {"NCHW": (3, C, 6, 5), "NHWC": (3, 6, 5, C), "NCTHW": (2, C, 3, 6, 5)}
VARIANTS = pytest.mark.parametrize("variant", ["paper", "official"])
RULE = ((2, 4, 8), (1, 2, 4))


def make(layout="NCHW", variant="paper", init="paper", share="width", rule=RULE) -> Slot:
    torch.manual_seed(0)
    site = Site("there", C, 6, 5, 4, layout, "bottleneck", frames=3 if "T" in layout else None)
    widest = BAM(C, min(rule[0]), rule[1][0], variant=variant, init=init, layout=layout)
    slot = Slot(site, widest, rule, share, seed=1)
    for name, value in slot.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) - (0 if name.endswith("var") else 0.5))
    return slot


def by_hand(wide: BAM, hidden: int, dilation: int) -> BAM:
    """The BAM of the first hidden channels, each tensor cut as its axes are."""
    bam = BAM(
        C, C // hidden, dilation, variant=wide.variant, init=wide.init, layout=wide.layout
    ).train(wide.training)
    first = slice(hidden)
    with torch.no_grad():
        for ours, theirs in ((bam.channel, wide.channel), (bam.spatial, wide.spatial)):
            ours.reduce.weight.copy_(theirs.reduce.weight[first])
            ours.reduce.bias.copy_(theirs.reduce.bias[first])
        bam.channel.expand.weight.copy_(wide.channel.expand.weight[:, first])
        bam.channel.expand.bias.copy_(wide.channel.expand.bias)
        for name in ("context1", "context2"):
            ours, theirs = getattr(bam.spatial, name), getattr(wide.spatial, name)
            ours.weight.copy_(theirs.weight[first, first])
            ours.bias.copy_(theirs.bias[first])
        bam.spatial.project.weight.copy_(wide.spatial.project.weight[:, first])
        bam.spatial.project.bias.copy_(wide.spatial.project.bias)
        norms = [name for name, part in bam.named_modules() if hasattr(part, "running_mean")]
        for name in norms:
            ours, theirs = bam.get_submodule(name), wide.get_submodule(name)
            for key in ("weight", "bias", "running_mean", "running_var"):
                size = len(getattr(ours, key))
                getattr(ours, key).copy_(getattr(theirs, key)[:size])
        if bam.gate is not None:
            bam.gate.copy_(wide.gate)
    return bam


def map_of(layout: str) -> Tensor:
    return torch.randn(SHAPES[layout], generator=torch.Generator().manual_seed(2))


@VARIANTS
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("hidden", "dilation"), [(4, 1), (2, 4), (1, 2)])
@pytest.mark.parametrize("layout", SHAPES)
def test_any_width_and_dilation_is_a_bam_of_sliced_weights(
    layout, hidden, dilation, training, variant
):
    slot, x = make(layout, variant).train(training), map_of(layout)
    wide = copy.deepcopy(slot.parts["all"])
    alone = by_hand(wide, hidden, dilation)
    slot.chosen = Insertion("there", C // hidden, dilation)
    torch.testing.assert_close(slot(x), alone(x), rtol=1e-6, atol=1e-6)
    assert (slot(x) - x).abs().max() > 0.01
    # the statistics have moved where they are used, and nowhere else
    if training:
        alone(x)
    shared = slot.parts["all"]
    for name, norm in alone.named_modules():
        if hasattr(norm, "running_mean"):
            now, before = shared.get_submodule(name), wide.get_submodule(name)
            size = norm.num_features
            for key in ("running_mean", "running_var"):
                torch.testing.assert_close(getattr(now, key)[:size], getattr(norm, key))
                assert torch.equal(getattr(now, key)[size:], getattr(before, key)[size:])


def test_the_gate_is_shared():
    slot, x = make(init="identity"), map_of("NCHW")
    slot.chosen = Insertion("there", 4, 2)
    alone = by_hand(slot.parts["all"], 2, 2).eval()
    torch.testing.assert_close(slot.eval()(x), alone(x), rtol=1e-6, atol=1e-6)
    slot(x).sum().backward()
    assert slot.parts["all"].gate.grad.item() != 0
    with torch.no_grad():
        slot.parts["all"].gate.zero_()
    assert torch.equal(slot(x), x)


def test_off_is_the_map_itself():
    slot, x = make(), map_of("NCHW")
    assert slot(x) is x


def test_unused_channels_get_no_gradient():
    slot, x = make(), map_of("NCHW")
    slot.chosen = Insertion("there", 4, 2)
    slot.eval()(x).square().sum().backward()
    wide = slot.parts["all"]
    context = wide.spatial.context1.weight.grad
    assert context[:2, :2].abs().min() > 0
    assert not context[2:].any()
    assert not context[:, 2:].any()
    assert not wide.channel.expand.weight.grad[:, 2:].any()
    assert wide.channel.expand.weight.grad[:, :2].any()
    assert not wide.spatial.reduce.bias.grad[2:].any()


def test_width_does_not_change_by_a_look_at_another():
    slot, x = make().eval(), map_of("NCHW")
    slot.chosen = Insertion("there", 2, 1)
    before = slot(x)
    slot.chosen = Insertion("there", 8, 4)
    assert not torch.equal(slot(x), before)
    slot.chosen = Insertion("there", 2, 1)
    assert torch.equal(slot(x), before)


def touched(slot: Slot, reduction: int, dilation: int) -> set[str]:
    """The parameters that get a gradient."""
    slot.zero_grad()
    slot.chosen = Insertion("there", reduction, dilation)
    slot.eval()(map_of("NCHW")).square().sum().backward()
    return {name for name, value in slot.named_parameters() if value.grad is not None}


@VARIANTS
def test_with_share_dilation_each_d_has_its_own_3x3_weights_and_nothing_else(variant):
    slot = make(variant=variant, share="dilation")
    all_bam = {name for name, _ in make(variant=variant).named_parameters()}
    contexts = {f"spatial.context{n}.{key}" for n in (1, 2) for key in ("weight", "bias")}
    common = all_bam - {f"parts.all.{name}" for name in contexts}
    for dilation in (1, 2, 4):
        own = {f"parts.d{dilation}.{name}" for name in contexts}
        assert touched(slot, 4, dilation) == common | own
        assert touched(slot, 8, dilation) == common | own
    assert {name for name, _ in slot.named_parameters()} == common | {
        f"parts.d{d}.{name}" for d in (1, 2, 4) for name in contexts
    }


def test_with_share_none_each_r_and_d_is_a_bam_of_its_own():
    slot = make(share="none")
    assert list(slot.parts) == [f"h{h}d{d}" for h in (4, 2, 1) for d in (1, 2, 4)]
    assert [part.spatial.context1.weight.shape[0] for part in slot.parts.values()] == [
        h for h in (4, 2, 1) for _ in range(3)
    ]
    names = {name for name, _ in BAM(C, 4, 2).named_parameters()}
    assert touched(slot, 4, 2) == {f"parts.h2d2.{name}" for name in names}
    x = map_of("NCHW")
    torch.testing.assert_close(slot(x), slot.parts["h2d2"](x))


@pytest.mark.parametrize(
    ("share", "reduction", "dilation", "says"),
    [
        ("width", 1, 2, r"no r=1, d=2: give an r of at least 2"),
        ("dilation", 1, 2, r"give an r of at least 2"),
        ("dilation", 2, 3, r"no r=2, d=3: d3 is none of d1, d2, d4"),
        ("none", 3, 9, r"h2d6 is none of h4d1, h4d2"),
    ],
)
def test_what_is_not_in_range_is_refused(share, reduction, dilation, says):
    with pytest.raises(InvalidValueError, match=says):
        make(share=share).check(Insertion("there", reduction, dilation))


def test_what_computes_the_same_is_in_range():
    # 8 // 3 = 2 channels; beyond a map of 6x5, d = 6 and d = 9 read padding alike
    make().check(Insertion("there", 3, 3))
    slot = make(share="none", rule=((4,), (6,)))
    slot.check(Insertion("there", 3, 9))
    x = map_of("NCHW")
    outputs = []
    for reduction, dilation in ((4, 6), (3, 9)):
        slot.chosen = Insertion("there", reduction, dilation)
        outputs.append(slot.eval()(x))
    torch.testing.assert_close(*outputs)


def test_the_weights_are_those_of_the_state_alone():
    slot = make(share="dilation")
    slot.chosen = Insertion("there", 4, 2)
    slot.eval()(map_of("NCHW"))
    assert all(not value.is_meta for value in slot.state_dict().values())
    assert len(list(slot.parameters())) == len({id(value) for value in slot.parameters()})
    other: nn.Module = copy.deepcopy(slot)
    assert torch.equal(other(map_of("NCHW")), slot(map_of("NCHW")))
