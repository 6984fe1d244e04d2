"""The networks that designs are scored with: common weights, nothing shared that is written to."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from bamsearch.attention.bam import BAM
from bamsearch.errors import InvalidValueError, ModelError
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.models import build_model
from bamsearch.records import Design
from bamsearch.score.networks import Networks


@pytest.fixture
def networks(summary, toy) -> Networks:
    return Networks(summary, module=toy, seed=3)


def bams(module: nn.Module) -> list[dict[str, Tensor]]:
    return [layer.state_dict() for layer in module.modules() if isinstance(layer, BAM)]


def same(first: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return first.keys() == other.keys() and all(
        torch.equal(first[key], other[key]) for key in first
    )


def test_a_bams_weights_depend_on_seed_site_and_width_alone(summary, toy, networks, design) -> None:
    (alone,) = bams(networks.network(design(("layer2", 8, 4))))
    _, beside, _ = bams(networks.network(design(*[(f"layer{i}", 8, 2) for i in (1, 2, 3)])))
    last, first = bams(networks.network(design(("layer3", 8, 1), ("layer2", 8, 1))))
    assert same(alone, beside)
    assert same(alone, first)
    assert not same(alone, last)
    # 32 // 9 and 32 // 10 are one width, 3
    (before,), (other,) = (bams(networks.network(design(("layer2", r, 4)))) for r in (9, 10))
    assert same(before, other)
    key = "channel.reduce.weight"
    assert (alone[key].shape, before[key].shape) == ((4, 32), (3, 32))
    assert not torch.equal(alone[key][:3], before[key])
    of_other_seed = Networks(summary, module=toy, seed=4).network(design(("layer2", 8, 4)))
    assert not same(alone, *bams(of_other_seed))


def test_two_sites_with_the_same_channels(resnet18, design) -> None:
    placed = design(("layer1.0", 16, 4), ("layer1", 16, 4), model="resnet18")
    inner, outer = bams(Networks(resnet18).network(placed))
    assert inner["channel.reduce.weight"].shape == outer["channel.reduce.weight"].shape
    assert not same(inner, outer)


def test_the_weights_are_drawn_as_bam_draws_them(networks, design) -> None:
    (weights,) = bams(networks.network(design(("layer3", 4, 4))))
    bound = 64**-0.5  # torch's uniform initialiser of a layer of 64 inputs
    assert bound / 2 < weights["channel.reduce.weight"].abs().max().item() <= bound
    assert weights["channel.norm.weight"].eq(1).all()
    assert "gate" not in weights
    (gated,) = bams(networks.network(design(("layer3", 4, 4), init="identity")))
    assert gated.pop("gate").item() == 0
    assert same(weights, gated)


def test_the_base_is_seeded_and_the_network_is_the_designs(resnet18, design) -> None:
    torch.manual_seed(3)
    expected = build_model("resnet18", (3, 32, 32))
    wanted = design(("layer1", 16, 4), ("layer3", 4, 2), model="resnet18")
    network = Networks(resnet18, seed=3).network(wanted)
    state = network.state_dict()
    for key, value in expected.state_dict().items():
        assert torch.equal(state[key], value), key
    reference = insert_bam(expected, design=wanted).eval()
    reference.load_state_dict(state)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network.eval()(images), reference(images))


def test_shared_weights(summary, toy, design) -> None:
    sharing = Networks(summary, module=toy)
    base = sharing.network(design())
    sharing.share_weights()
    first, other = sharing.network(design(("layer1", 16, 4))), sharing.network(design())
    assert first.fc.weight is other.fc.weight
    assert first.stem[1].running_mean is not other.stem[1].running_mean
    assert base.fc.weight is not first.fc.weight
    assert torch.equal(base.fc.weight, first.fc.weight)
    assert isinstance(first.fc.weight, nn.Parameter)
    assert [name for name, _ in other.named_parameters()] == [n for n, _ in base.named_parameters()]
    assert type(toy.fc.weight) is nn.Parameter


def test_a_tied_weight_stays_one(summary_of) -> None:
    tied = nn.Sequential(nn.Conv2d(3, 3, 3), nn.MaxPool2d(2), nn.Conv2d(3, 3, 3), nn.MaxPool2d(2))
    tied[2].weight = tied[0].weight
    sharing = Networks(summary_of("tied", tied, (3, 16, 16)), module=tied)
    sharing.share_weights()
    copied = sharing.network(Design("tied", (3, 16, 16)))
    assert copied[2].weight is copied[0].weight
    assert copied[2].weight is not tied[0].weight


def test_the_given_module_is_copied(summary, toy, networks, design) -> None:
    before = copy.deepcopy(toy.state_dict())
    networks.share_weights()
    network = networks.network(design(("layer1", 16, 4)))
    with torch.no_grad():
        network.fc.weight.zero_()
    assert same(before, toy.state_dict())


def test_num_classes(resnet18, design) -> None:
    network = Networks(resnet18, num_classes=7).network(design(model="resnet18"))
    assert network.fc.out_features == 7


def test_batches_are_of_the_parts_input(networks) -> None:
    assert networks.batch(2).images.shape == (2, 3, 16, 16)


def test_what_cannot_be_built(summary, toy, networks, design) -> None:
    with pytest.raises(InvalidValueError, match="no site is called 'layer9'"):
        networks.network(design(("layer9", 16, 4)))
    with pytest.raises(ModelError, match=r"already has BAM at bam\.layer1"):
        Networks(summary, module=insert_bam(toy, (3, 16, 16), sites=["layer1"]))
