import pytest

from bamsearch.errors import ModelError
from bamsearch.graph.normalisation import normalisation

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("resnet50", IMAGENET),
        ("fcn_resnet50", IMAGENET),
        ("quantized_resnet18", IMAGENET),
        ("ssdlite320_mobilenet_v3_large", ((0, 0, 0), (1, 1, 1))),
        ("timm:resnet18", IMAGENET),
        ("timm:inception_resnet_v2", ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))),
        ("my_package:net", IMAGENET),
    ],
)
def test_as_its_weights_were_trained(model, wanted):
    assert normalisation(model) == wanted


def test_as_published_weights_were_trained():
    # vit_b_16's SWAG weights are the one entry there whose crop differs; their numbers do not
    assert normalisation("resnet50", "IMAGENET1K_V1") == IMAGENET


@pytest.mark.parametrize("model", ["resnet5000", "timm:resnet5000"])
def test_no_such_model(model):
    with pytest.raises(ModelError, match="is called 'resnet5000'"):
        normalisation(model)
