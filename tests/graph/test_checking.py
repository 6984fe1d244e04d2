"""The check that a network with closed BAMs does what its base does."""

from __future__ import annotations

import copy
import random
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from unrewritable import SHAPE, Counts, FrozenStem, Plain, Stores, block

from bamsearch.attention.bam import BAM
from bamsearch.errors import ModelError
from bamsearch.graph import checking
from bamsearch.graph.checking import Check
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.network import find_network
from bamsearch.graph.sites import sites_of
from bamsearch.graph.tracing.observing import difference


def check_of(model: nn.Module, example: Any = None) -> Check:
    network = find_network(model, SHAPE)
    return Check(model, network, sites_of(network), SHAPE, example)


@pytest.fixture
def base() -> nn.Module:
    torch.manual_seed(0)
    return Plain()


@pytest.fixture(params=["rewrite", "attach"])
def result(base: nn.Module, request: pytest.FixtureRequest) -> nn.Module:
    return insert_bam(base, SHAPE, how=request.param, check=False)


def test_what_is_right_passes(base: nn.Module, result: nn.Module) -> None:
    assert check_of(base).compare(result) == "values"


def test_other_values_are_found_with_the_first_module(base: nn.Module, result: nn.Module) -> None:
    with torch.no_grad():
        result.get_submodule("s2.0").weight[0, 0, 0, 0] += 0.5
    with pytest.raises(ModelError, match=r"the output has other values in eval mode; .* is s2\.0"):
        check_of(base).compare(result)


def test_what_differs_in_train_mode_alone_is_found(base: nn.Module, result: nn.Module) -> None:
    result.get_submodule("s1.1").momentum = 0.5
    with pytest.raises(ModelError, match=r"the buffer s1\.1\.running_mean differs in train mode"):
        check_of(base).compare(result)


def test_a_gradient_that_is_missing_is_found(base: nn.Module, result: nn.Module) -> None:
    result.get_submodule("s0.0").weight.requires_grad_(False)
    with pytest.raises(ModelError, match=r"s0\.0\.weight gets no gradient in train mode"):
        check_of(base).compare(result)


def test_a_bam_that_never_runs_is_found(base: nn.Module) -> None:
    result = insert_bam(base, SHAPE, how="attach", check=False)
    result.get_submodule("s1")._forward_hooks.clear()
    with pytest.raises(ModelError, match=r"BAM at s1 never runs in eval mode"):
        check_of(base).compare(result)


def test_a_bam_on_another_map_is_found(base: nn.Module, result: nn.Module) -> None:
    result.get_submodule("bam").add_module("s2", BAM(12))
    with pytest.raises(ModelError, match=r"for 12 channels, NCHW, gets a map of"):
        check_of(base).compare(result)


class AllFrozen(Plain):
    """Its first three blocks run without gradients: no BAM there can learn."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.s2(self.s1(self.s0(x)))
        scores: Tensor = self.fc(self.s3(x).mean((2, 3)))
        return scores


def test_a_bam_that_cannot_learn_is_found() -> None:
    with pytest.raises(ModelError, match=r"BAM at s1 would never learn"):
        insert_bam(AllFrozen(), SHAPE)
    assert insert_bam(AllFrozen(), SHAPE, sites=["s2"]).get_submodule("bam.s2")


def test_a_network_that_fails_is_found(base: nn.Module, result: nn.Module) -> None:
    result.s3 = block(9, 8)
    with pytest.raises(ModelError, match=r"fails in eval mode with RuntimeError"):
        check_of(base).compare(result)


class OwnProperty(nn.Module):
    """A decoder that asks its encoder for a property, which a rewritten encoder has lost."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % self.encoder.stride:  # torch.fx cannot follow this
            raise ValueError
        scores: Tensor = self.head(self.encoder(x))
        return scores


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.s0, self.s1, self.s2 = block(3, 8), block(8, 8, 2), block(8, 8, 2)
        self.s3 = block(8, 8, 2)

    @property
    def stride(self) -> int:
        return 8

    def forward(self, x: Tensor) -> Tensor:
        return self.s3(self.s2(self.s1(self.s0(x))))


def test_a_property_that_the_parent_asks_for_stays() -> None:
    base = OwnProperty().eval()
    result = insert_bam(base, SHAPE, init="identity")
    assert sum(isinstance(module, BAM) for module in result.modules()) == 2
    x = torch.randn(2, *SHAPE)
    assert torch.equal(result(x), base(x))


@pytest.mark.parametrize("kind", [Plain, FrozenStem, Stores, Counts])
def test_the_caller_keeps_everything(kind: type[nn.Module]) -> None:
    base = kind()
    base.s0.eval()
    base(torch.randn(2, *SHAPE)).sum().backward()
    modes = {path: module.training for path, module in base.named_modules()}
    state = copy.deepcopy(base.state_dict())
    grads = {name: p.grad.clone() for name, p in base.named_parameters() if p.grad is not None}
    ids = [id(value) for value in vars(base).values()]
    network = find_network(base, SHAPE)
    sites = sites_of(network)
    result = insert_bam(base, SHAPE, how="attach", check=False)
    ours = copy.deepcopy(result.state_dict())
    torch.manual_seed(4)
    random.seed(4)
    np.random.seed(4)
    drawn = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(4)
    random.seed(4)
    np.random.seed(4)
    Check(base, network, sites, SHAPE).compare(result)
    assert (torch.rand(1), random.random(), np.random.rand()) == drawn
    assert {path: module.training for path, module in base.named_modules()} == modes
    assert [id(value) for value in vars(base).values()] == ids
    for before, now in ((state, base.state_dict()), (ours, result.state_dict())):
        assert all(torch.equal(before[key], now[key]) for key in before)
    now = {name: p.grad for name, p in base.named_parameters() if p.grad is not None}
    assert all(torch.equal(grads[name], now[name]) for name in grads)
    assert all(parameter.grad is None for parameter in result.get_submodule("bam").parameters())


class Clamps(Plain):
    """Writes to its weights in forward, as networks with bounded weights do."""

    def forward(self, x: Tensor) -> Tensor:
        self.s0[0].weight.data.clamp_(-0.01, 0.01)
        return super().forward(x)


def test_weights_that_a_forward_changes_stay_the_callers() -> None:
    base = Clamps()
    before = base.s0[0].weight.detach().clone()
    insert_bam(base, SHAPE, how="attach")
    assert torch.equal(base.s0[0].weight, before)


class TwoInputs(Plain):
    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        if scale is None:
            raise ValueError("scale is needed")
        return self.tail(self.s1(self.s0(x))) * scale


def test_a_base_that_takes_no_image_is_run_on_examples(caplog: pytest.LogCaptureFixture) -> None:
    base, network = TwoInputs(), find_network(Plain(), SHAPE)
    result = copy.deepcopy(base)
    images = torch.randn(2, *SHAPE)
    assert Check(base, network, sites_of(network), SHAPE).compare(result) == "nothing"
    for example in ((images, torch.ones(())), {"x": images, "scale": torch.ones(())}):
        assert Check(base, network, sites_of(network), SHAPE, example).compare(result) == "values"


def test_too_large_networks_are_compared_by_shapes(
    base: nn.Module, result: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "LARGEST_RUN", 10)
    check = check_of(base)
    assert check.compare(result) == "shapes"
    result.fc = nn.Linear(8, 9)
    with pytest.raises(ModelError, match="shape"):
        check.compare(result)


def test_values_are_compared_by_their_bits_and_classes() -> None:
    nan, ones = torch.tensor(float("nan")), torch.ones(2)
    same: list[Any] = [nan, ones, (ones, [1, "a", None]), {"a": ones}, OrderedDict(a=nan), 1.5]
    for value in same:
        assert difference(value, copy.deepcopy(value)) is None
    other = [
        (ones, ones + 1e-6),
        (ones, ones.double()),
        (ones, torch.ones(1)),
        ((ones,), [ones]),
        ({"a": ones}, OrderedDict(a=ones)),
        ({"a": ones}, {"b": ones}),
        ([ones], [ones, ones]),
        (1, 2),
        (nan, torch.tensor(0.0)),
    ]
    for ours, theirs in other:
        assert difference(ours, theirs) is not None
