"""Where the weights of a training are from."""

import json

import pytest
import torch
from safetensors.torch import save_file

from bamsearch.attention.bam import BAM
from bamsearch.errors import NothingToDoError, WeightsError
from bamsearch.graph.designs import build, save
from bamsearch.graph.models import build_model
from bamsearch.graph.weights import IMAGENET_MEAN, IMAGENET_STD
from bamsearch.records import Design, Insertion
from bamsearch.training.initial_model import build_initial_model


def state(start) -> dict[str, torch.Tensor]:
    return start.module.state_dict()


def base_of(start) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state(start).items() if not key.startswith("bam.")}


def equal(first: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return first.keys() == other.keys() and all(torch.equal(first[k], other[k]) for k in first)


@pytest.fixture
def trained_base(design, tmp_path):
    """A file with weights of the small network, and these weights."""
    torch.manual_seed(77)
    weights = build_model(design().model).state_dict()
    save_file(weights, tmp_path / "base.safetensors")
    return str(tmp_path / "base.safetensors"), weights


def test_designs_with_one_seed_have_the_same_base(digits, design):
    base = build_initial_model(design(), digits, seed=5)
    placed = build_initial_model(design(("1", 4, 2), ("3", 2, 1)), digits, seed=5)
    assert equal(state(base), base_of(placed))
    assert not equal(state(base), state(build_initial_model(design(), digits, seed=6)))
    assert (base.weights, base.fresh) == (None, frozenset())


def test_a_site_has_the_same_bam_beside_whatever_others(digits, design):
    alone = state(build_initial_model(design(("3", 2, 4)), digits, seed=5))
    beside = state(build_initial_model(design(("1", 4, 2), ("3", 2, 1)), digits, seed=5))
    keys = [key for key in alone if key.startswith("bam.3.")]
    assert keys
    assert all(torch.equal(alone[key], beside[key]) for key in keys)


def test_the_callers_random_state_is_left(digits, design):
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    build_initial_model(design(("1", 4, 2)), digits)
    assert torch.equal(torch.rand(2), expected)


def test_pixels_are_normalised_by_the_training_split(digits, design):
    pixels = digits.train.images.double() / 255
    start = build_initial_model(design(), digits)
    assert start.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert start.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


def test_weights_of_the_base_leave_bam_to_be_learnt(digits, design, trained_base):
    file, weights = trained_base
    start = build_initial_model(design(("1", 4, 2), init="identity"), digits, weights=file, seed=5)
    assert equal(base_of(start), weights)
    assert start.weights == file
    assert start.fresh == {n for n, _ in start.module.named_parameters() if n.startswith("bam.")}
    random = build_initial_model(design(("1", 4, 2), init="identity"), digits, seed=5)
    bams = [key for key in state(start) if key.startswith("bam.")]
    assert all(torch.equal(state(start)[key], state(random)[key]) for key in bams)
    # an identity start computes what the base does
    images = torch.rand(2, 3, 8, 8)
    base = build_model(design().model).eval()
    base.load_state_dict(weights)
    assert torch.equal(start.module.eval()(images), base(images))


def test_a_head_of_other_classes_is_trained_again(digits, design, tmp_path):
    other = build_model(design().model, num_classes=7)
    save_file(other.state_dict(), tmp_path / "seven.safetensors")
    start = build_initial_model(design(), digits, weights=str(tmp_path / "seven.safetensors"))
    assert start.fresh == {"7.weight", "7.bias"}
    assert torch.equal(state(start)["0.0.weight"], other.state_dict()["0.0.weight"])


def test_weights_of_all_of_it_are_loaded_whole(digits, design, tmp_path):
    placed = design(("1", 4, 2))
    network = build(placed)
    save_file(network.state_dict(), tmp_path / "all.safetensors")
    start = build_initial_model(placed, digits, weights=str(tmp_path / "all.safetensors"))
    assert equal(state(start), network.state_dict())
    assert start.fresh == frozenset()
    with pytest.raises(
        WeightsError, match=r"all.safetensors does not hold the weights of this design"
    ):
        build_initial_model(design(("1", 2, 2)), digits, weights=str(tmp_path / "all.safetensors"))


def test_weights_beside_the_design_are_the_default(digits, design, tmp_path):
    placed = design(("1", 4, 2), init="identity")
    network = build(placed)
    _, file = save(placed, tmp_path, network)
    start = build_initial_model(placed, digits, beside=file)
    assert equal(state(start), network.state_dict())
    # its gate is 0: this BAM has learnt nothing yet
    assert start.fresh == {n for n, _ in network.named_parameters() if n.startswith("bam.")}
    anew = build_initial_model(placed, digits, beside=file, weights="random", seed=5)
    assert equal(state(anew), state(build_initial_model(placed, digits, seed=5)))
    assert anew.weights is None
    with torch.no_grad():
        next(m for m in network.modules() if isinstance(m, BAM)).gate.fill_(0.5)
    save(placed, tmp_path, network, force=True)
    assert build_initial_model(placed, digits, beside=file).fresh == frozenset()


def test_pixels_are_normalised_as_the_weights_were_trained(digits, design, tmp_path):
    placed = design(("1", 4, 2))
    _, file = save(placed, tmp_path, build(placed))
    facts = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (tmp_path / "train.json").write_text(json.dumps(facts))
    start = build_initial_model(placed, digits, beside=file)
    assert (start.mean, start.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_a_published_model_sees_pixels_as_its_publisher_says(digits, tmp_path):
    model = build_model("squeezenet1_1", num_classes=10)
    save_file(model.state_dict(), tmp_path / "squeeze.safetensors")
    small = Design("squeezenet1_1", (3, 8, 8), num_classes=10)
    facts = digits.facts
    large = type(facts)(
        **{f: getattr(facts, f) for f in facts.__slots__} | {"input_shape": (3, 64, 64)}
    )

    class Large:
        facts, mean, std = large, digits.mean, digits.std

    start = build_initial_model(
        Design(small.model, (3, 64, 64), num_classes=10),
        Large(),
        weights=str(tmp_path / "squeeze.safetensors"),
    )
    assert (start.mean, start.std) == (IMAGENET_MEAN, IMAGENET_STD)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("fasterrcnn_resnet50_fpn", "a detector"),
        ("deeplabv3_resnet50", "a segmenter"),
        ("raft_small", "a model of optical flow"),
    ],
)
def test_what_is_not_a_classifier_is_not_even_built(digits, model, kind):
    with pytest.raises(NothingToDoError, match=f"{model} is {kind}, not a classifier"):
        build_initial_model(Design(model, (3, 8, 8), [Insertion("anything")]), digits)
