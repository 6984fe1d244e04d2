"""``insert_bam`` and its arguments: models by name, sizes as one number, contradictions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from bamsearch.attention.bam import BAM
from bamsearch.errors import InvalidValueError, ModelError
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.models import build_model
from bamsearch.graph.sites import find_sites
from bamsearch.records import Design, Insertion

NAME = "bamsearch.examples:resnet20"
DESIGN = Design(NAME, (3, 32, 32), (Insertion("layer2", 8, 2),), num_classes=7, how="rewrite")


def bams(model: nn.Module) -> list[tuple[str, int, int]]:
    named = model.named_modules()
    return [(path, m.reduction, m.dilation) for path, m in named if isinstance(m, BAM)]


def test_a_model_is_given_by_name() -> None:
    model = insert_bam("resnet18", 64)
    assert bams(model) == [(f"bam.layer{n}", 16, 4) for n in (1, 2, 3)]
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 1000)


def test_the_input_of_a_name_is_its_own() -> None:
    at = {site.name: site.height for site in find_sites("inception_v3")}
    assert at == {site.name: site.height for site in find_sites("inception_v3", 299)}


def test_one_number_is_height_and_width() -> None:
    model = build_model(NAME)
    assert find_sites(model, 48) == find_sites(model, (3, 48, 48)) != find_sites(model)


def test_a_design_builds_the_model_that_it_names() -> None:
    model = insert_bam(NAME, design=DESIGN)
    assert bams(model) == [("bam.layer2", 8, 2)]
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize(
    "options",
    [
        {"sites": ["layer1"]},
        {"sites": "paper"},
        {"reduction": 16},
        {"dilation": 4},
        {"variant": "official"},
        {"init": "identity"},
        {"input_shape": 64},
        {"how": "attach"},
        {"model": "bamsearch.examples:wide_resnet"},
    ],
    ids=str,
)
def test_an_option_and_a_design_do_not_contradict(options: Mapping[str, Any]) -> None:
    (name,) = options
    with pytest.raises(InvalidValueError, match=f"^{name}=.*, but the design") as caught:
        insert_bam(**{"model": build_model(NAME), "design": DESIGN} | options)
    assert "\n" not in str(caught.value)


def test_what_a_design_says_too_is_not_a_contradiction() -> None:
    model = build_model(NAME, num_classes=7)
    same = insert_bam(model, 32, design=DESIGN, variant="paper", init="paper", how="rewrite")
    assert bams(same) == [("bam.layer2", 8, 2)]


@pytest.mark.parametrize("shape", [(3, 224, 224), (3, 8, 5)])
def test_a_network_without_a_trunk_is_refused_without_torchs_log(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[logging.LogRecord] = []
    monkeypatch.setattr(logging.Logger, "callHandlers", lambda self, record: seen.append(record))
    with pytest.raises(ModelError, match="Linear does not accept an input of"):
        insert_bam(nn.Linear(3, 3), shape)
    assert seen == []
