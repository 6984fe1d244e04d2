"""Models by name, and nothing from the network."""

from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from bamsearch.errors import BamsearchError, MissingExtraError, ModelError
from bamsearch.graph import models
from bamsearch.graph.models import (
    build_model,
    default_input_shape,
    is_versioned,
    model_names,
    published,
    split_model,
)

needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is an optional dependency"
)

# What the authors' weights were trained or evaluated on, from torchvision's documentation.
INPUTS = {
    "resnet101": (3, 224, 224),
    "inception_v3": (3, 299, 299),
    "quantized_inception_v3": (3, 299, 299),
    "efficientnet_b7": (3, 600, 600),
    "efficientnet_v2_l": (3, 480, 480),
    "vit_h_14": (3, 518, 518),
    "swin_v2_t": (3, 256, 256),
    "maxvit_t": (3, 224, 224),
    "r3d_18": (3, 16, 112, 112),
    "s3d": (3, 16, 224, 224),
    "mvit_v2_s": (3, 16, 224, 224),
    "swin3d_t": (3, 16, 224, 224),
    "fasterrcnn_resnet50_fpn": (3, 800, 800),
    "ssd300_vgg16": (3, 800, 800),
    "deeplabv3_resnet50": (3, 520, 520),
    "raft_small": (3, 224, 224),
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any use of the network is a failure."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was touched")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_all_names_have_a_default_input() -> None:
    names = model_names()
    assert len(names) == len(torchvision.models.list_models()) >= 121
    for name in names:
        shape = default_input_shape(name)
        assert len(shape) in (3, 4)
        assert shape[0] == 3
        assert min(shape[-2:]) >= 112


@pytest.mark.parametrize("name", INPUTS)
def test_default_inputs(name: str) -> None:
    assert default_input_shape(name) == INPUTS[name]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("resnet5", "resnet50"), ("ResNet101", "resnet101"), ("mobilenetv2", "mobilenet_v2")],
)
def test_wrong_names_suggest(wrong: str, right: str) -> None:
    for ask in (build_model, default_input_shape):
        with pytest.raises(ModelError, match=f"no model is called '{wrong}'.*{right}") as caught:
            ask(wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "qqqq", ":", "timm:", "resnet18:", ":f", " resnet18"])
def test_nonsense_is_one_clear_error(name: str) -> None:
    with pytest.raises(BamsearchError) as caught:
        build_model(name)
    assert "\n" not in str(caught.value)


def test_split_at_the_first_colon() -> None:
    assert split_model("resnet18") == ("torchvision", "resnet18")
    assert split_model("timm:resnet18") == ("timm", "resnet18")
    assert split_model("a/b.py:make") == ("a/b.py", "make")
    assert is_versioned("resnet18")
    assert is_versioned("timm:resnet18")
    assert not is_versioned("my.package:make")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "fasterrcnn_mobilenet_v3_large_320_fpn",
        "ssdlite320_mobilenet_v3_large",
        "lraspp_mobilenet_v3_large",
        "googlenet",
        "quantized_resnet18",
        "r3d_18",
    ],
)
def test_building_never_touches_the_network(name: str) -> None:
    assert isinstance(build_model(name, initialise=False), nn.Module)


@pytest.mark.zoo
@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", model_names())
def test_every_model_is_built_offline(name: str) -> None:
    model = build_model(name, initialise=False)
    assert model.training
    weights = published(name)
    assert weights is not None
    # the published weights of these come with the auxiliary heads that ours has not, or without
    if not any(part in name for part in ("googlenet", "inception", "deeplab", "fcn_")):
        params = sum(p.numel() for p in model.parameters())
        # trained detectors have a frozen norm in the backbone: buffers instead of parameters
        body = getattr(getattr(model, "backbone", None), "body", nn.Identity())
        norms = [m for m in body.modules() if isinstance(m, nn.BatchNorm2d)]
        frozen = sum(p.numel() for m in norms for p in m.parameters())
        assert params - weights.params in (0, frozen)


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "maxvit_t", "regnet_y_400mf", "vit_b_32"])
def test_uninitialised_models_differ_in_values_alone(name: str) -> None:
    full, empty = build_model(name), build_model(name, initialise=False)
    state, other = full.state_dict(), empty.state_dict()
    assert list(state) == list(other)
    assert [(v.shape, v.dtype) for v in state.values()] == [
        (v.shape, v.dtype) for v in other.values()
    ]
    # indices and statistics are what graphs are made with
    for (key, first), (_, two) in zip(full.named_buffers(), empty.named_buffers(), strict=True):
        assert torch.equal(first, two), key


def test_initialisers_work_again_afterwards() -> None:
    build_model("resnet18", initialise=False)
    linear = nn.Linear(4, 4)
    nn.init.constant_(linear.weight, 3.0)
    assert torch.equal(linear.weight, torch.full((4, 4), 3.0))


def test_uninitialised_models_draw_no_random_numbers() -> None:
    before = torch.get_rng_state()
    build_model("swin_t", initialise=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_same_seed_is_the_same_model() -> None:
    first, other = [], []
    for states in (first, other):
        torch.manual_seed(5)
        states.append(build_model("squeezenet1_1").state_dict())
    assert all(torch.equal(v, other[0][k]) for k, v in first[0].items())


def test_number_of_classes() -> None:
    assert build_model("resnet18", num_classes=7, initialise=False).fc.out_features == 7
    with pytest.raises(ModelError, match="raft_small cannot be built"):
        build_model("raft_small", num_classes=7, initialise=False)


def test_models_made_for_one_size_follow_the_input() -> None:
    model = build_model("vit_b_16", (3, 384, 384), initialise=False)
    assert model.image_size == 384
    model = build_model("maxvit_t", (3, 448, 448), initialise=False).to("meta").eval()
    assert model(torch.empty(1, 3, 448, 448, device="meta")).shape == (1, 1000)


@needs_timm
def test_timm() -> None:
    assert default_input_shape("timm:efficientnet_lite0") == (3, 224, 224)
    assert default_input_shape("timm:inception_v3") == (3, 299, 299)
    model = build_model("timm:efficientnet_lite0", num_classes=3, initialise=False)
    assert model.num_classes == 3
    with pytest.raises(ModelError, match="no timm model is called 'resnet5x'"):
        build_model("timm:resnet5x")


def test_without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bamsearch\[timm\]'"):
        build_model("timm:resnet18")


FACTORY = """
from torch import nn
import helper_of_test
WIDTH = helper_of_test.WIDTH
def make(num_classes=4):
    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.Flatten(), nn.LazyLinear(num_classes))
def number():
    return 3
def broken():
    raise ValueError("two\\nlines")
value = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model file and a package, as the current one."""
    (tmp_path / "my-net.py").write_text(FACTORY)
    (tmp_path / "helper_of_test.py").write_text("WIDTH = 8\n")
    package = tmp_path / "package_of_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "nets.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield tmp_path
    assert sys.path == path
    for name in [n for n in sys.modules if n.startswith(("helper_of_test", "package_of_test"))]:
        del sys.modules[name]


def test_factories(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for model in ("my-net.py:make", f"{folder}/my-net.py:make", "package_of_test.nets:make"):
        built = build_model(model, num_classes=6)
        assert built[0].out_channels == 8
        assert built[2].out_features == 6
        assert default_input_shape(model) == (3, 224, 224)
    # a file's own folder can be imported from, wherever we are
    monkeypatch.chdir(folder.parent)
    sys.modules.pop("helper_of_test")
    assert build_model(f"{folder}/my-net.py:make")[0].out_channels == 8


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("no-such.py:make", "no file no-such.py"),
        ("my-net.py:mak", "no factory in my-net.py is called 'mak': did you mean make"),
        ("my-net.py:value", "no factory in my-net.py is called 'value'"),
        ("my-net.py:number", "returns int, not a torch.nn.Module"),
        ("my-net.py:broken", "cannot be built: ValueError: two"),
        ("no_such_package_x:make", "no_such_package_x cannot be imported"),
        ("my-net.py:", "no factory"),
        ("..:make", "cannot be imported"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_errors_of_factories(model: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        build_model(model)
    assert "\n" not in str(caught.value)


def test_a_file_that_exits(folder: Path) -> None:
    (folder / "exits.py").write_text("import sys; sys.exit(0)")
    with pytest.raises(ModelError, match=r"exits\.py cannot be imported"):
        build_model("exits.py:make")


def test_published_numbers() -> None:
    weights = published("resnet101")
    assert weights == models.Published(44_549_160, 7.801)
    assert published("my.package:make") is None
