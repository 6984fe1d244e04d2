"""Two processes under torchrun share a training."""

import json
import subprocess

import torch

from bamsearch.training.recipe import Recipe

TRAINS = """
import json, sys
from pathlib import Path
import torch
from torch import nn
from bamsearch.data.loading import load_data
from bamsearch.training.engine import train
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.initial_model import module_as_given
from bamsearch.training.recipe import Recipe
from bamsearch.training.trainer import Training

torch.set_num_threads(1)
torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
recipe = Recipe(**json.loads(sys.argv[1]))
digits = load_data("digits")
training = Training(module_as_given(network, digits), digits, recipe, 3, "cpu")
train(training, TrainingFolder(Path(sys.argv[2])))
"""


def test_two_processes_do_what_one_does(train, digits, preloaded, tmp_path, outcome):
    recipe = Recipe("r", epochs=2, batch_size=256, lr=0.1)
    python = preloaded / "python"
    torchrun = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    line = [*torchrun, "--no-python", python, "-c", TRAINS, json.dumps(recipe.to_dict())]
    subprocess.run([*line, tmp_path / "two"], check=True, capture_output=True)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    train(network, digits, recipe, seed=3, device="cpu", output=tmp_path / "one")
    facts = json.loads((tmp_path / "two" / "train.json").read_text())
    assert facts["processes"] == 2
    (two, two_rows), (single, one_rows) = (outcome(tmp_path / name) for name in ("two", "one"))
    for key, value in single.items():
        pair = [
            torch.frombuffer(bytearray(each), dtype=torch.float32) for each in (two[key], value)
        ]
        torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-6)
    for two_row, one_row in zip(two_rows, one_rows, strict=True):
        for key, value in one_row.items():
            assert abs(float(two_row[key]) - float(value)) < 1e-4, key
