"""Frozen values and their JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from bamsearch.errors import BamsearchError, DesignError, InvalidValueError
from bamsearch.records import Cost, Design, Insertion, ModelSummary, Site

DESIGN = Design(
    "resnet101",
    (3, 320, 224),
    (Insertion("layer1", 16, 4), Insertion("layer2@2", 3, 1)),
    "official",
    "identity",
    12,
    "IMAGENET1K_V1",
)
WRITTEN = {
    "bamsearch_design": 1,
    "model": "resnet101",
    "input_shape": [3, 320, 224],
    "insertions": [
        {"site": "layer1", "reduction": 16, "dilation": 4},
        {"site": "layer2@2", "reduction": 3, "dilation": 1},
    ],
    "variant": "official",
    "init": "identity",
    "num_classes": 12,
    "weights": "IMAGENET1K_V1",
}


def test_design_json() -> None:
    assert json.loads(DESIGN.to_json()) == WRITTEN
    assert DESIGN.to_json().endswith("}\n")
    assert Design.from_json(DESIGN.to_json()) == DESIGN
    assert Design.from_json(json.dumps(WRITTEN)) == DESIGN
    odd = Design("größe.py:make", (3, 8, 8), (Insertion('a"b\n\ud800'),))
    assert Design.from_json(odd.to_json()) == odd
    assert odd.to_json().isascii()


def test_defaults_may_be_left_out() -> None:
    text = json.dumps(
        {"bamsearch_design": 1, "model": "a", "input_shape": [3, 8, 8], "insertions": []}
    )
    assert Design.from_json(text) == Design("a", (3, 8, 8))


def test_cut_short_anywhere_is_a_design_error() -> None:
    text = DESIGN.to_json().rstrip()
    for length in range(len(text)):
        with pytest.raises(DesignError, match=r"my\.json") as caught:
            Design.from_json(text[:length], "my.json")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model", ""),
        ("model", 3),
        ("model", None),
        ("input_shape", None),
        ("input_shape", "abc"),
        ("input_shape", [3, 224]),
        ("input_shape", [3, 224, 224.0]),
        ("input_shape", [3, 224, True]),
        ("input_shape", [3, 0, 224]),
        ("input_shape", [3, -1, 224]),
        ("input_shape", {"3": 1, "224": 2, "225": 3}),
        ("insertions", None),
        ("insertions", ""),
        ("insertions", {}),
        ("insertions", {"site": "layer1"}),
        ("insertions", ["layer1"]),
        ("insertions", [["layer1", 16, 4]]),
        ("insertions", [None]),
        ("insertions", [{}]),
        ("insertions", [{"reduction": 4}]),
        ("insertions", [{"site": 3}]),
        ("insertions", [{"site": ""}]),
        ("insertions", [{"site": "layer1", "reduction": 1.5}]),
        ("insertions", [{"site": "layer1", "reduction": 0}]),
        ("insertions", [{"site": "layer1", "reduction": True}]),
        ("insertions", [{"site": "layer1", "reduction": "16"}]),
        ("insertions", [{"site": "layer1", "reduction": None}]),
        ("insertions", [{"site": "layer1", "dilation": 4.0}]),
        ("insertions", [{"site": "layer1", "dilation": -1}]),
        ("insertions", [{"site": "layer1", "dilation": float("nan")}]),
        ("insertions", [{"site": "layer1", "colour": 1}]),
        ("insertions", [{"site": "layer1"}, {"site": "layer1"}]),
        ("variant", "mine"),
        ("variant", None),
        ("variant", ["paper"]),
        ("init", "zero"),
        ("init", 0),
        ("num_classes", 0),
        ("num_classes", 1.0),
        ("num_classes", True),
        ("num_classes", "10"),
        ("weights", 1),
        ("colour", "red"),
    ],
)
def test_wrong_content_is_a_design_error(key: str, value: Any) -> None:
    with pytest.raises(DesignError, match=r"my\.json is not a valid design") as caught:
        Design.from_json(json.dumps(WRITTEN | {key: value}), "my.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["model", "input_shape", "insertions"])
def test_missing_keys(key: str) -> None:
    content = {k: v for k, v in WRITTEN.items() if k != key}
    with pytest.raises(DesignError, match=key):
        Design.from_json(json.dumps(content))


@pytest.mark.parametrize("version", [2, 99, "1", 1.0, None, [1], True, 0, -1])
def test_other_versions(version: Any) -> None:
    with pytest.raises(DesignError, match="design format"):
        Design.from_json(json.dumps(WRITTEN | {"bamsearch_design": version}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        '"text"',
        "{}",
        "\ufeff{}",
        "NaN",
        '{"a": 1',
        pytest.param("[" * 100_000, id="deep"),
        pytest.param('{"bamsearch_design": ' + "9" * 5000 + "}", id="long number"),
        DESIGN.to_json() + "{}",
    ],
)
def test_what_is_not_a_design(text: str) -> None:
    with pytest.raises(DesignError):
        Design.from_json(text)


def test_records_are_frozen_values() -> None:
    for record in (DESIGN, DESIGN.insertions[0], Cost(1, 2, 3)):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, dataclasses.fields(record)[0].name, "other")
    assert {DESIGN, Design.from_json(DESIGN.to_json())} == {DESIGN}
    listed = Design("a", [3, 8, 8], [Insertion("b")])  # type: ignore[arg-type]
    assert listed == Design("a", (3, 8, 8), (Insertion("b"),))
    assert hash(listed) == hash(Design("a", (3, 8, 8), (Insertion("b"),)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Insertion("", 4, 4),
        lambda: Insertion("a", 0),
        lambda: Insertion("a", 4, 1.5),  # type: ignore[arg-type]
        lambda: Insertion(None),  # type: ignore[arg-type]
        lambda: Design("", (3, 8, 8)),
        lambda: Design("a", (8, 8)),
        lambda: Design("a", True),
        lambda: Design("a", (3, 8, 8), (Insertion("b"), Insertion("b", 8))),
        lambda: Design("a", (3, 8, 8), variant="c"),  # type: ignore[arg-type]
        lambda: Design("a", (3, 8, 8), ("layer1",)),  # type: ignore[arg-type]
    ],
)
def test_impossible_values_are_refused_at_once(make: Any) -> None:
    with pytest.raises(InvalidValueError) as caught:
        make()
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, BamsearchError)


def test_costs_add() -> None:
    base = Cost(10, 20, 30, {"": 20}, {"aten::add": 1}, "fvcore")
    assert base + Cost(1, 2, 3) == Cost(11, 22, 33, {"": 20}, {"aten::add": 1}, "fvcore")


def test_summary_round_trip() -> None:
    site = Site("layer1", 64, 56, 28, 4, "NCTHW", "bottleneck", "layer2", 8)
    summary = ModelSummary(
        "resnet18", (3, 224, 112), "backbone", (3, 9, 9), (site,), Cost(1, 2, 3, {"": 2}), 5, 1.5
    )
    assert ModelSummary.from_json(summary.to_json()) == summary
    for text in ("", "{}", "[]", "3", summary.to_json()[:-5]):
        with pytest.raises((ValueError, KeyError, TypeError)):
            ModelSummary.from_json(text)
