import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bamsearch.api.search import search
from bamsearch.evidence.verify.request import VerifyPlan, VerifyRequest, plan_verify

NETS = Path(__file__).parents[1] / "training" / "nets.py"


@pytest.fixture(scope="session")
def searched(tmp_path_factory) -> Path:
    """The folder of a search in the small network, for digits."""
    folder = tmp_path_factory.mktemp("evidence") / "small"
    search(
        f"{NETS}:small",
        score="params",
        trials=3,
        input_size=(8, 8),
        num_classes=10,
        output=folder,
    )
    return folder


@pytest.fixture
def run(searched, tmp_path) -> Path:
    """A copy of that search, to be verified."""
    return Path(shutil.copytree(searched, tmp_path / "small"))


@pytest.fixture
def plan(run) -> Callable[..., VerifyPlan]:
    """``plan(seeds=3)``: the run, two seeds and an epoch unless said otherwise."""

    def make(**others) -> VerifyPlan:
        usual = {"run": str(run), "data": "digits", "seeds": 2, "epochs": 1, "device": "cpu"}
        return plan_verify(VerifyRequest(**(usual | {"command": "bamsearch verify"} | others)))

    return make
