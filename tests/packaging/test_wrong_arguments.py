"""Public functions with arguments of the wrong type raise an error of one line, not a traceback."""

import inspect
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

import bamsearch
from bamsearch.errors import BamsearchError
from bamsearch.profiling.conditions import DEFAULTS

NET = nn.Sequential(
    *(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2)),
    *(nn.Conv2d(8, 8, 3, padding=1), nn.MaxPool2d(2)),
    nn.Conv2d(8, 8, 3),
)
DESIGN = bamsearch.Design("bamsearch.examples:resnet20", (3, 16, 16))
WRONG = [None, 3, -1, "nonsense", ["nonsense"], [None], nn.Linear(3, 3), DESIGN, object()]

RIGHT = {
    "BAM": {"channels": 8},
    "Design": {"model": "resnet18", "input_shape": (3, 32, 32)},
    "Insertion": {"site": "layer1"},
    "attention_maps": {"model": nn.Sequential(bamsearch.BAM(8)), "images": torch.zeros(1, 8, 4, 4)},
    "bam_parameters": {"model": NET},
    "build": {"design": DESIGN},
    "count": {"model": NET, "input_shape": 16},
    "export_network": {"source": NET, "path": None, "format": "pt2", "input_shape": 16},
    "find_sites": {"model": NET, "input_shape": 16},
    "freeze_bam_bn": {"model": NET},
    "insert": {"model": "bamsearch.examples:resnet20", "input_size": (16, 16)},
    "insert_bam": {"model": NET, "input_shape": 16, "sites": ["0"]},
    "load": {"design": "nowhere"},
    "measure_latency": {"model": NET, "input_shape": 16, "samples": 1, "held_out": 0},
    "peak_memory": {"model": NET, "input_shape": 16, "train": True},
    "save": {"design": DESIGN, "folder": "somewhere", "force": True},
    "search": {"model": NET, "input_size": 16, "score": "params", "trials": 1},
    "show_attention": {"design": "attended", "images": ["photograph.png"]},
    "time_model": {"model": NET, "input_shape": 16, "samples": 1},
    "time_pair": {"a": NET, "b": NET, "input_shape": 16, "samples": 1},
    "train": {"network": "bamsearch.examples:resnet20", "data": "digits", "dry_run": True},
}
"""Arguments of a call that works in the folder of :func:`folder`."""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> None:
    """A current folder with designs and a photograph."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bamsearch.profiling.timing._WARM_UP_SAMPLES", 1)
    bamsearch.save(DESIGN, "nowhere")
    bamsearch.save(replace(DESIGN, insertions=(bamsearch.Insertion("layer1"),)), "attended")
    Image.new("RGB", (16, 16)).save("photograph.png")


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_arguments_are_taken(name, folder):
    getattr(bamsearch, name)(**RIGHT[name])


def test_no_public_function_is_left_out():
    values = {name: getattr(bamsearch, name) for name in bamsearch.__all__}
    functions = {name for name, value in values.items() if inspect.isfunction(value)}
    # Elsewhere: what trains for long, and what takes any number of networks or runs.
    assert functions - {"audit", "verify", "profile", "report"} <= set(RIGHT)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        (name, parameter)
        for name in RIGHT
        for parameter, facts in inspect.signature(getattr(bamsearch, name)).parameters.items()
        if facts.kind is not facts.VAR_KEYWORD
    ],
)
def test_a_wrong_type_is_refused_at_the_door(name, parameter, folder):
    names = DEFAULTS if parameter == "conditions" else [parameter]
    for key in names:
        for value in WRONG:
            if callable(value) and key in ("callback", "progress", "score"):
                continue  # its call is checked, not its type
            if key == "budget_ms" and isinstance(value, int):
                continue  # a number is right, and measured for long
            message = ""
            try:
                getattr(bamsearch, name)(**RIGHT[name] | {key: value})
            except BamsearchError as error:
                message = str(error)
            except Exception as error:
                message = f"{error!r} within {name}\n"
            assert "\n" not in message, (key, value)
