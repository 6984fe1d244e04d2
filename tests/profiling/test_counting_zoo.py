"""Three counters that must agree: fvcore, FlopCounterMode and what torchvision publishes.

``-m zoo`` runs every classifier of torchvision, video included (minutes, 8 GB); without it, one
of each of the quicker families.
"""

from __future__ import annotations

import pytest
from torch import nn
from torchvision import models

from bamsearch.profiling.counting import count

FAST = {
    "convnext_tiny",
    "efficientnet_b0",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "quantized_mobilenet_v2",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "vit_b_16",
}
CLASSIFIERS = [
    *models.list_models(module=models),
    *models.list_models(module=models.quantization),
    *models.list_models(module=models.video),
]
# The published weights of these come with the auxiliary head.
AUX = [name for name in models.list_models(module=models.segmentation) if "lraspp" not in name]


@pytest.fixture
def without_initialisers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values do not matter to a count, and initialising 644 M of them takes a minute."""
    for name in dir(nn.init):
        if name.endswith("_") and not name.startswith("_"):
            monkeypatch.setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)


def build(name: str, size: int) -> nn.Module:
    keywords: dict[str, object] = {}
    if "googlenet" in name:
        # Published without the auxiliary heads, which eval mode does not run anyway.
        keywords = {"init_weights": False, "aux_logits": False}
    if "inception" in name:
        keywords = {"init_weights": False}
    if name.startswith("vit_"):
        keywords = {"image_size": size}
    return models.get_model(name, weights=None, **keywords)


def published(name: str) -> list[tuple[tuple[int, ...], float, int]]:
    """Input shape, GMACs and parameters of each of a model's published weights."""
    rows = set()
    for entry in models.get_model_weights(name):
        crop = entry.transforms.keywords["crop_size"]
        size = crop if isinstance(crop, tuple) else (crop, crop)
        clip = (16,) if name in models.list_models(module=models.video) else ()
        rows.add(((3, *clip, *size), entry.meta["_ops"], entry.meta["num_params"]))
    return sorted(rows)


def check(name: str) -> None:
    rows = published(name)
    assert rows
    for shape, gmacs, params in rows:
        model = build(name, shape[-1])
        fvcore = count(model, shape, counter="fvcore")
        torchs = count(model, shape, counter="FlopCounterMode")
        assert (fvcore.counter, torchs.counter) == ("fvcore", "FlopCounterMode")
        assert fvcore.macs == torchs.macs
        assert fvcore.conv_linear_macs == torchs.conv_linear_macs
        assert fvcore.by_module == torchs.by_module
        assert round(fvcore.conv_linear_macs / 1e9, 3) == gmacs
        assert fvcore.params == torchs.params == params


@pytest.mark.usefixtures("without_initialisers")
@pytest.mark.parametrize("name", sorted(FAST))
def test_one_of_each_family(name: str) -> None:
    check(name)


@pytest.mark.zoo
@pytest.mark.usefixtures("without_initialisers")
@pytest.mark.parametrize("name", sorted(set(CLASSIFIERS) - FAST))
def test_every_published_classifier(name: str) -> None:
    check(name)


@pytest.mark.zoo
@pytest.mark.usefixtures("without_initialisers")
@pytest.mark.parametrize("name", models.list_models(module=models.segmentation))
def test_every_published_segmentation(name: str) -> None:
    entry = models.get_model_weights(name).DEFAULT
    aux = {"aux_loss": True} if name in AUX else {}
    model = models.get_model(name, weights=None, weights_backbone=None, **aux)
    shape = (3, 520, 520)
    fvcore, torchs = (
        count(model, shape, counter=counter) for counter in ("fvcore", "FlopCounterMode")
    )
    assert (fvcore.macs, fvcore.by_module) == (torchs.macs, torchs.by_module)
    assert round(fvcore.conv_linear_macs / 1e9, 3) == entry.meta["_ops"]
    assert fvcore.params == entry.meta["num_params"]


# The others' work depends on how many boxes trained weights find; here it is what zeros find.
@pytest.mark.zoo
@pytest.mark.usefixtures("without_initialisers")
@pytest.mark.parametrize(
    "name",
    [
        "fasterrcnn_resnet50_fpn",
        "fasterrcnn_resnet50_fpn_v2",
        "fcos_resnet50_fpn",
        "retinanet_resnet50_fpn",
        "retinanet_resnet50_fpn_v2",
        "ssd300_vgg16",
        "ssdlite320_mobilenet_v3_large",
    ],
)
def test_detectors_that_look_at_every_box(name: str) -> None:
    # No shape-only counter can follow a detector's choice of boxes.
    entry = models.get_model_weights(name).DEFAULT
    model = models.get_model(name, weights=None, weights_backbone=None)
    cost = count(model, (3, 320, 320))
    assert cost.counter == "fvcore"
    assert round(cost.conv_linear_macs / 1e9, 3) == entry.meta["_ops"]
    assert cost == count(model, (3, 320, 320))
