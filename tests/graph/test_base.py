"""A MODEL is traced once, and again if anything that determines its graph differs."""

from pathlib import Path

import pytest
import torch

import bamsearch
from bamsearch.graph import base, network
from bamsearch.graph.base import build_base

NET = """
import os
from torch import nn

def net():
    width = int(os.environ["WIDTH"])
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), {pool}nn.Conv2d(4, width, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )
"""


@pytest.fixture
def traces(monkeypatch, tmp_path):
    """The parts that are traced from here on; the current folder is new."""
    parts = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(base, "_TRACED", {})
    monkeypatch.setattr(
        network, "trace", lambda part, trace=network.trace: parts.append(part) or trace(part)
    )
    return parts


def test_a_design_that_is_built_again_is_not_traced_again(traces):
    design = bamsearch.Design(
        "resnet18", (3, 32, 32), (bamsearch.Insertion("layer1"),), how="rewrite"
    )
    torch.manual_seed(0)
    first = bamsearch.build(design)
    torch.manual_seed(0)
    second = bamsearch.build(design)
    assert len(traces) == 1
    assert all(
        torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items()
    )
    bamsearch.build(bamsearch.Design("resnet18", (3, 64, 64), design.insertions, how="rewrite"))
    assert len(traces) == 2


def test_other_code_and_other_parameters_are_traced(traces, monkeypatch):
    file = Path("net.py")
    file.write_text(NET.format(pool=""))
    built = []
    for width in (8, 8, 12):
        monkeypatch.setenv("WIDTH", str(width))
        built.append(build_base("net.py:net", (3, 32, 32)))
        assert built[-1].sites[-1].channels == width
    assert len(traces) == 2
    file.write_text(NET.format(pool="nn.MaxPool2d(2), "))
    changed = build_base("net.py:net", (3, 32, 32))
    assert len(changed.sites) > len(built[0].sites)


def test_a_few_are_kept(traces, monkeypatch):
    monkeypatch.setattr(base, "_MOST_TRACED", 2)
    for size in (32, 40, 48):
        assert build_base("bamsearch.examples:resnet20", (3, size, size)).sites
    assert [key[1] for key in base._TRACED] == [(3, 40, 40), (3, 48, 48)]
