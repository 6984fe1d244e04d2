"""Networks that torchvision builds otherwise when it has weights for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree
from torchvision.models import WeightsEnum, get_model_builder
from torchvision.ops import FrozenBatchNorm2d

from bamsearch import Design, insert_bam, load, save
from bamsearch.graph.models import build_model, default_input_shape, published_weights
from bamsearch.graph.placement import plan_insertions
from bamsearch.graph.sites import find_sites
from bamsearch.graph.weights import Loaded, build_with_weights


def _as_torchvision(name: str, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """The network as torchvision itself builds it for its weights, which are random here."""
    real = nn.Module.load_state_dict
    with monkeypatch.context() as patch:
        patch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: {})
        patch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
        model: nn.Module = get_model_builder(name)(weights=published_weights(name, "DEFAULT"))
    assert nn.Module.load_state_dict is real
    for module in model.modules():  # statistics that are not those of a fresh norm
        if isinstance(module, (nn.BatchNorm2d, FrozenBatchNorm2d)):
            module.running_mean.uniform_(-0.1, 0.1)
    return model.eval()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[nn.Module, Loaded]]:
    """The network that torchvision builds, and ours with the same tensors, by ``DEFAULT``."""

    def fetch(name: str) -> tuple[nn.Module, Loaded]:
        reference = _as_torchvision(name, monkeypatch)
        state = reference.state_dict()
        monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: dict(state))
        return reference, build_with_weights(name, "DEFAULT")

    return fetch


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("googlenet", 64),
        pytest.param("inception_v3", 128, marks=pytest.mark.zoo),
        ("lraspp_mobilenet_v3_large", 64),
        pytest.param("deeplabv3_mobilenet_v3_large", 64, marks=pytest.mark.zoo),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", 64),
        ("quantized_resnet18", 64),
    ],
)
@torch.no_grad()
def test_identity_survives_the_disk(
    name: str, size: int, fetched: Callable[[str], tuple[nn.Module, Loaded]], tmp_path: Path
) -> None:
    reference, loaded = fetched(name)
    assert loaded.left_random == ()
    shape = default_input_shape(name)
    insertions = plan_insertions(find_sites(loaded.module, shape), "stages")
    design = Design(name, shape, insertions, init="identity", weights=loaded.published)
    save(design, tmp_path, insert_bam(loaded.module, design=design))
    again = load(tmp_path).eval()
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    expected, got = pytree.tree_leaves(reference(image)), pytree.tree_leaves(again(image))
    assert len(expected) == len(got)
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


def test_what_weights_change(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build_model("googlenet", weights="IMAGENET1K_V1").transform_input
    assert not build_model("googlenet").transform_input
    assert build_model("googlenet", weights="IMAGENET1K_V1", num_classes=7).transform_input
    detector = build_model("fasterrcnn_mobilenet_v3_large_fpn", weights="COCO_V1")
    assert any(isinstance(module, FrozenBatchNorm2d) for module in detector.modules())
    segmenter = build_model("fcn_resnet50", weights="DEFAULT", num_classes=5)
    assert segmenter.aux_classifier is not None
    assert segmenter.classifier[-1].out_channels == 5


def test_a_file_under_its_published_name_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = published_weights("googlenet", "IMAGENET1K_V1")
    state = _as_torchvision("googlenet", monkeypatch).state_dict()
    path = tmp_path / entry.url.rpartition("/")[2]
    torch.save(state, path)
    loaded = build_with_weights("googlenet", str(path))
    assert loaded.published == "IMAGENET1K_V1"
    assert loaded.module.transform_input


def test_a_factory_may_load_its_own_weights(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from torch import nn\n"
        "def net():\n"
        "    layer = nn.Linear(1, 1, bias=False)\n"
        "    layer.load_state_dict({'weight': layer.weight.detach() * 0 + 3})\n"
        "    return layer\n"
    )
    assert build_model(f"{path}:net").weight.item() == 3
