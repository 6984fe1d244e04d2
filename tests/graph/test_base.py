"""A MODEL is traced once, and again if anything that determines its graph differs."""

from pathlib import Path

import pytest
import torch

import bamsearch
from bamsearch.graph import base, network
from bamsearch.graph.base import build_base
from bamsearch.records import Design

NET = """
import os
from torch import nn

def net():
    width = int(os.environ["WIDTH"])
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, width, 3), nn.ReLU(), nn.MaxPool2d(2),
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
    design = Design("resnet18", (3, 32, 32), (bamsearch.Insertion("layer1"),), how="rewrite")
    torch.manual_seed(0)
    first = bamsearch.build(design)
    torch.manual_seed(0)
    second = bamsearch.build(design)
    assert len(traces) == 1
    assert all(
        torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items()
    )
    bamsearch.build(Design("resnet18", (3, 64, 64), design.insertions, how="rewrite"))
    assert len(traces) == 2


def test_other_parameters_are_traced(traces, monkeypatch, tmp_path):
    (tmp_path / "varies").mkdir()
    (tmp_path / "varies/__init__.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(base, "user_code", lambda model: None)
    for width in (8, 8, 12):
        monkeypatch.setenv("WIDTH", str(width))
        assert build_base(Design("varies:net", (3, 32, 32))).sites[-1].channels == width
    assert len(traces) == 2


def test_the_users_own_code_is_always_traced(traces, monkeypatch):
    monkeypatch.setenv("WIDTH", "8")
    Path("net.py").write_text(NET)
    few = build_base(Design("net.py:net", (3, 32, 32))).sites
    # The same parameters, another graph: such as an import that was edited and loaded again.
    Path("net.py").write_text(NET.replace("nn.Flatten()", "nn.Flatten(2)"))
    assert build_base(Design("net.py:net", (3, 32, 32))).sites == few
    assert len(traces) == 2


def test_a_few_are_kept(traces, monkeypatch):
    monkeypatch.setattr(base, "_MOST_TRACED", 2)
    for size in (32, 40, 48):
        assert build_base(Design("bamsearch.examples:resnet20", (3, size, size))).sites
    assert [key[1] for key in base._TRACED] == [(3, 40, 40), (3, 48, 48)]
