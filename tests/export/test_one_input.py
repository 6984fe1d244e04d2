"""Networks that are no function of one float32 tensor."""

import pytest
import torch
from torch import nn

from bamsearch.errors import ExportError, InvalidValueError
from bamsearch.export.network import export_network
from bamsearch.graph.models import build_model


def test_detectors_are_refused_by_name():
    detector = build_model("ssdlite320_mobilenet_v3_large", initialise=False)
    works = r"bamsearch\.export_network\(bamsearch\.load\(DESIGN\)\.backbone, "
    with pytest.raises(ExportError, match=f"SSD is a detector: .*{works}"):
        export_network(detector, None, "pt2", input_shape=(3, 320, 320))


def test_networks_of_two_inputs_are_refused():
    with pytest.raises(ExportError, match=r"takes 2 inputs \(input1, input2\)"):
        export_network(nn.Bilinear(2, 2, 2), None, "pt2")


def test_half_precision_is_refused(apart):
    with pytest.raises(InvalidValueError, match=r"conv\.weight is float16: call \.float\(\)"):
        export_network(apart(torch.relu).half(), None, "pt2")
