"""The supernet's network becomes any design of its space, and gives it away as its own network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from bamsearch.attention.bam import BAM
from bamsearch.errors import InvalidValueError, ModelError
from bamsearch.graph.designs import build, load, save
from bamsearch.graph.models import build_model
from bamsearch.records import Design
from bamsearch.score.supernet.network import SlotNetwork
from bamsearch.score.supernet.space import SlotSpace

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))

DESIGNS = pytest.mark.parametrize(
    "placed",
    [(), (("1", 4, 2),), (("3", 2, 1), ("1", 2, 2)), (("1", 2, 1), ("3", 8, 2))],
    ids=["base", "one site", "widest, last site first", "two widths"],
)


def network_of(space: SlotSpace, share="width") -> SlotNetwork:
    torch.manual_seed(0)
    base = build_model(space.base.model, space.base.input_shape, num_classes=10)
    return SlotNetwork(space, base, share, seed=1)


def moved(module: nn.Module) -> dict[str, torch.Tensor]:
    """The statistics of a network's own batch norms, without those of BAM."""
    return {n: v for n, v in module.named_buffers() if not n.startswith("bam.")}


@DESIGNS
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("share", ["width", "dilation", "none"])
def test_a_chosen_design_is_its_network(space, design, filled, placed, training, variant, share):
    space = replace(space, base=design(variant=variant))
    network = filled(network_of(space, share))
    asked = design(*placed, variant=variant)
    alone = network.standalone(asked).train(training)
    network.choose(asked)
    network.module.train(training)
    torch.testing.assert_close(network.module(IMAGES), alone(IMAGES), rtol=1e-6, atol=1e-6)
    for name, value in moved(alone).items():
        torch.testing.assert_close(network.module.get_buffer(name), value)


@DESIGNS
def test_standalone_is_an_ordinary_network(space, design, filled, placed, tmp_path, bytes_of):
    network = filled(network_of(space))
    asked = design(*placed)
    alone = network.standalone(asked)
    assert list(alone.state_dict()) == list(build(asked).state_dict())
    bams = [layer for layer in alone.modules() if isinstance(layer, BAM)]
    assert [(b.reduction, b.dilation) for b in bams] == [one[1:] for one in placed]
    save(asked, tmp_path, alone)
    assert bytes_of(load(tmp_path)) == bytes_of(alone)
    before = bytes_of(network.module)
    with torch.no_grad():
        for value in alone.parameters():
            value.zero_()
    alone.train()(IMAGES)
    assert bytes_of(network.module) == before


def test_choosing_back_gives_the_same_again(space, design, filled):
    network = filled(network_of(space))
    network.module.eval()
    outputs = []
    for placed in ([("1", 2, 2)], [("1", 4, 2), ("3", 8, 1)], [], [("1", 2, 2)], []):
        network.choose(design(*placed))
        outputs.append(network.module(IMAGES))
    assert torch.equal(outputs[0], outputs[3])
    assert torch.equal(outputs[2], outputs[4])
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_it_begins_as_the_base_and_with_the_widest_bams_of_the_seed(space, design):
    network = network_of(space)
    torch.manual_seed(0)
    base = build_model(space.base.model, (3, 8, 8), num_classes=10).eval()
    assert torch.equal(network.module.eval()(IMAGES), base(IMAGES))
    state = network.module.state_dict()
    assert all(torch.equal(state[name], value) for name, value in base.state_dict().items())
    assert {name.split(".")[0] for name in network.fresh} == {"bam"}
    rest = {name for name, _ in network.module.named_parameters()} - network.fresh
    assert rest == {name for name, _ in base.named_parameters()}
    again = network_of(space).module.state_dict()
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_what_is_not_in_the_space_is_refused_and_changes_nothing(space, design):
    network = network_of(space)
    network.choose(design(("1", 2, 2)))
    for other, says in (
        (design(("0", 2, 2)), "no slot at 0: it has 1, 3"),
        (design(("3", 2, 2), ("1", 1, 2)), "slot at 1 has no r=1, d=2: give an r of at least 2"),
        (design(variant="official"), "has variant paper, and the design official"),
        (design(init="identity"), "has init paper, and the design identity"),
        (Design("resnet18", (3, 8, 8)), "has model .*tiny, and the design resnet18"),
    ):
        with pytest.raises(InvalidValueError, match=says):
            network.choose(other)
    network.module.eval()
    expected = network.standalone(design(("1", 2, 2))).eval()
    torch.testing.assert_close(network.module(IMAGES), expected(IMAGES), rtol=1e-6, atol=1e-6)


def test_video():
    class Video(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU())
            self.second = nn.Conv3d(8, 8, 3, padding=1)
            self.pool = nn.MaxPool3d((1, 2, 2))
            self.last = nn.Conv3d(8, 8, 3, padding=1)

        def forward(self, x):
            return self.last(self.pool(self.second(self.first(x)))).mean((2, 3, 4))

    torch.manual_seed(0)
    base = Design("Video", (3, 2, 8, 8))
    network = SlotNetwork(SlotSpace(base, {"second": ((2, 4), (1, 2))}), Video())
    asked = Design(
        "Video", (3, 2, 8, 8), SlotSpace(base, {"second": ((4,), (2,))}).widest().insertions
    )
    clips = torch.randn(2, 3, 2, 8, 8)
    network.choose(asked)
    alone = network.standalone(asked)
    for training in (True, False):
        output = network.module.train(training)(clips)
        torch.testing.assert_close(output, alone.train(training)(clips), rtol=1e-6, atol=1e-6)


def test_a_base_with_bam_is_refused(space, design):
    with pytest.raises(ModelError, match="already has BAM"):
        SlotNetwork(space, build(design(("1", 2, 2))))


def test_a_space_that_is_none_is_refused(design):
    for base, sites, says in (
        (design(("1", 2, 2)), {"1": ((2,), (1,))}, "base has BAM at 1"),
        (design(), {}, "of no site"),
        (design(), {"1": ((), (1,))}, "site 1 has no reduction"),
        (design(), {"1": ((2,), (0,))}, "dilation of 1 must be an integer of at least 1, not 0"),
    ):
        with pytest.raises(InvalidValueError, match=says):
            SlotSpace(base, sites)


def test_a_space_as_json(space):
    assert SlotSpace.from_dict(space.to_dict()) == space
