"""One network of every family, in both formats."""

import pytest
import torch

from bamsearch.errors import ExportError
from bamsearch.export.comparison import TOLERANCE
from bamsearch.export.network import export_network
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.models import build_model

FORMATS = pytest.mark.parametrize("format", ["onnx", "pt2"])


FAMILIES = {
    "mobilenet_v2": (3, 64, 96),
    "densenet121": (3, 64, 96),
    "swin_t": (3, 64, 96),
    "convnext_tiny": (3, 64, 96),
    "efficientnet_b0": (3, 64, 96),
    "inception_v3": (3, 128, 160),
    "googlenet": (3, 64, 96),
    "regnet_y_400mf": (3, 64, 96),
    "shufflenet_v2_x1_0": (3, 64, 96),
    "squeezenet1_1": (3, 64, 96),
    "maxvit_t": (3, 224, 224),
    "deeplabv3_resnet50": (3, 65, 97),
    "r3d_18": (3, 4, 32, 48),
    "swin3d_t": (3, 4, 64, 64),
    "timm:convnext_atto": (3, 64, 96),
}


@pytest.mark.zoo
@FORMATS
@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_exports_with_a_free_batch(
    tmp_path, model, format, run_onnx, run_pt2, expected
):
    shape = FAMILIES[model]
    torch.manual_seed(0)
    network = insert_bam(build_model(model, shape), shape)
    exported = export_network(network, tmp_path / "net", format, input_shape=shape)
    assert exported.dynamic_batch, exported.note
    assert exported.input_name == ("image" if len(shape) == 3 else "clip")
    x = torch.randn(3, *shape)
    (name,) = exported.outputs
    wanted = expected(network, x)
    wanted = wanted if name == "output" else wanted[name]
    if format == "onnx":
        result = run_onnx(exported.path, x)[name]
    else:
        result = run_pt2(exported.path, x)
        result = result if name == "output" else result[name]
    assert (result - wanted).abs().max() <= TOLERANCE * wanted.abs().max()


@pytest.mark.zoo
@pytest.mark.parametrize(
    ("model", "outputs"),
    [
        ("fasterrcnn_mobilenet_v3_large_320_fpn", ["output_0", "output_1", "output_pool"]),
        ("ssdlite320_mobilenet_v3_large", [f"output_{i}" for i in range(6)]),
    ],
)
def test_a_detectors_feature_network_exports(tmp_path, model, outputs):
    network = insert_bam(build_model(model), (3, 320, 320))
    with pytest.raises(ExportError, match="is a detector"):
        export_network(network, tmp_path / "net.onnx", input_shape=(3, 320, 320))
    exported = export_network(network.backbone, tmp_path / "net.onnx", input_shape=(3, 320, 320))
    assert exported.dynamic_batch, exported.note
    assert [*exported.outputs] == outputs
