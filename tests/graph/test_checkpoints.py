"""Checkpoints of other people's training scripts: wrappers, prefixes, averages, odd contents."""

from __future__ import annotations

import argparse
import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from bamsearch.errors import WeightsError
from bamsearch.graph.checkpoints import load_all, read_checkpoint

State = dict[str, Tensor]


def small(classes: int = 7, blocks: int = 1) -> nn.Module:
    return ResNet(BasicBlock, [blocks, 1, 1, 1], num_classes=classes, width_per_group=64)


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(5)
    return dict(small().state_dict())


@pytest.fixture
def loaded(tmp_path: Path, state: State, caplog: pytest.LogCaptureFixture):
    """``loaded(content)``: what is said of its file, which gives the weights of the state."""

    def load(content: object) -> str:
        path = tmp_path / "w.pth"
        torch.save(content, path)
        module = small()
        with caplog.at_level(logging.INFO):
            load_all(module, path, "small")
        for key, value in module.state_dict().items():
            assert torch.equal(value, state[key]), key
        return caplog.messages[0].removeprefix(f"{path}: ") if caplog.messages else ""

    return load


@pytest.fixture
def refused(tmp_path: Path):
    def load(content: object) -> str:
        path = tmp_path / "w.pth"
        torch.save(content, path)
        module = small()
        before = {key: value.clone() for key, value in module.state_dict().items()}
        with pytest.raises(WeightsError) as caught:
            load_all(module, path, "small")
        assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return load


def other(state: State) -> State:
    return {key: torch.zeros_like(value) for key, value in state.items()}


def test_nothing_is_said_of_a_plain_one(loaded, state):
    assert loaded(state) == ""


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "net."),
        *("backbone.", "encoder.", "learner.student.body."),
    ],
)
def test_prefixes(loaded, state, prefix):
    inner = {prefix + key: value for key, value in state.items()}
    assert loaded(inner) == f"without the prefix {prefix}"


@pytest.mark.parametrize(
    "key",
    [
        *("state_dict", "model", "model_state_dict", "net", "network", "params", "weights"),
        *("state_dict_ema", "model_ema", "ema", "encoder"),
    ],
)
def test_wrappers(loaded, state, key):
    average = " (a moving average)" if "ema" in key else ""
    assert loaded({key: state, "epoch": 3, "lr": torch.ones(())}) == f"took {key}{average}"


def test_wrappers_in_wrappers(loaded, state):
    assert loaded({"model": {"state_dict": state}}) == "took model.state_dict"


def test_an_average_comes_first(loaded, state):
    said = loaded({"state_dict": other(state), "state_dict_ema": state})
    assert said == "took state_dict_ema (a moving average), not state_dict"


def test_an_average_below_a_prefix_comes_first(loaded, state):
    both = {f"model.{key}": value for key, value in other(state).items()}
    both |= {f"model_ema.{key}": value for key, value in state.items()}
    said = loaded({"state_dict": both})
    assert said.startswith("took state_dict; without the prefix model_ema.; left out model.")


def test_an_average_of_another_network_is_passed_over(loaded, state):
    assert loaded({"ema": {"decay": torch.ones(())}, "model": state}) == "took model"


def test_timm_keeps_its_options_beside(loaded, state):
    content = {
        "epoch": 1,
        "arch": "resnet18",
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        "args": argparse.Namespace(lr=0.1, output=Path("out"), betas=[0.9, 0.99]),
        "metric": np.float64(0.7),
        "best": np.int64(3),
        "half": np.float32(1),
    }
    assert loaded(content) == "took state_dict"


def test_what_is_beside_the_network_is_left_out(loaded, state):
    beside = {f"{name}.weight": torch.ones(2) for name in ("criterion", "teacher", "probe")}
    said = loaded({**state, **beside})
    assert said == "left out criterion.weight, teacher.weight and 1 more"


def test_an_averaged_model_counts(loaded, state):
    inner = {f"module.{key}": value for key, value in state.items()}
    said = loaded({"n_averaged": torch.tensor(3), **inner})
    assert said == "without the prefix module.; left out n_averaged"


def test_counters_may_be_missing(loaded, state):
    assert not loaded({key: v for key, v in state.items() if "num_batches" not in key})


def test_double_is_converted(loaded, state):
    assert not loaded({key: v.double() if v.is_floating_point() else v for key, v in state.items()})


def test_half_is_converted(tmp_path, state):
    half = {key: v.half() if v.is_floating_point() else v for key, v in state.items()}
    torch.save(half, tmp_path / "w.pth")
    module = small()
    load_all(module, tmp_path / "w.pth", "small")
    for key, value in module.state_dict().items():
        assert value.dtype == state[key].dtype
        assert torch.equal(value, half[key].to(value.dtype))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("key", ["conv1.weight", "layer4.0.bn2.running_var"])
def test_weights_that_are_not_finite(refused, state, key, value):
    spoilt = state[key].clone()
    spoilt.view(-1)[-1] = value
    said = refused({"state_dict": {**state, key: spoilt}})
    assert said.endswith(f"has NaN or infinite weights in {key}: take an earlier checkpoint")


def test_double_beyond_float(refused, state):
    assert "infinite weights in fc.bias" in refused(
        {**state, "fc.bias": torch.full((7,), 1e300, dtype=torch.float64)}
    )


def test_two_networks_that_fit(refused, state):
    both = {
        f"{name}.{key}": value for name in ("student", "teacher") for key, value in state.items()
    }
    assert "several such networks, under student. and teacher.: save" in refused(both)


def test_a_larger_network_of_the_same_names(refused):
    said = refused(small(blocks=2).state_dict())
    assert (
        "does not hold the weights of small: 6 unknown (such as layer1.1.bn1.bias"
        in said.replace("12 unknown", "6 unknown")
    )


def test_a_network_with_bam(refused, state):
    assert "1 unknown (such as bam.layer1.x)" in refused({**state, "bam.layer1.x": torch.ones(1)})


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"model": m}])
def test_a_pickled_module(refused, wrap):
    said = refused(wrap(small()))
    assert "it holds Python objects, torch.nn.modules." in said
    assert "save model.state_dict(), or a .safetensors file" in said


def test_tensors_that_are_not_dense_numbers(refused, state):
    sparse = state["fc.weight"].to_sparse()
    assert "has fc.weight as torch.float32, torch.sparse_coo" in refused(
        {**state, "fc.weight": sparse}
    )
    assert "has fc.weight as" in refused({**state, "fc.weight": state["fc.weight"].to("meta")})


def test_a_view_of_one_number_takes_no_memory(refused, state):
    huge = torch.zeros(1).expand(2**50)
    assert "1 misshapen (such as fc.bias)" in refused({**state, "fc.bias": huge})


def test_safetensors_by_another_name(tmp_path, state):
    save_file(state, tmp_path / "w.pth")
    module = small()
    load_all(module, tmp_path / "w.pth", "small")
    assert torch.equal(module.fc.weight, state["fc.weight"])


def test_a_compressed_archive(tmp_path, state):
    torch.save({"conv1.weight": torch.zeros(10**6)}, tmp_path / "stored.pth")
    with (
        zipfile.ZipFile(tmp_path / "stored.pth") as plain,
        zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(WeightsError, match=r"w\.pth is compressed: save it with torch\.save"):
        read_checkpoint(tmp_path / "w.pth")
