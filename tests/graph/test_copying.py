"""Copies of models that copy.deepcopy refuses, or copies wrongly."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from unrewritable import SHAPE, Plain, Stores, block

from bamsearch.attention.bam import BAM
from bamsearch.errors import ModelError
from bamsearch.graph.bams import bam_parameters
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.sites import find_sites
from bamsearch.graph.tracing.copying import copy_model, meta_copy
from bamsearch.profiling.counting import count

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


def images() -> Tensor:
    return torch.randn(2, *SHAPE)


def works(model: nn.Module) -> None:
    """Sites, insertion and counting; the copy computes what the model does."""
    assert [site.name for site in find_sites(model, SHAPE) if site.kind == "bottleneck"]
    result = insert_bam(model, SHAPE, init="identity").eval()
    assert any(isinstance(module, BAM) for module in result.modules())
    x = images()
    assert torch.equal(result(x), model.eval()(x))
    count(model, SHAPE)


def normed(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    model = Plain()
    for stage in (model.s0, model.s1, model.s2, model.s3):
        norm(stage[0])
    return model


def test_old_weight_norm() -> None:
    works(normed(nn.utils.weight_norm))


def test_old_spectral_norm_that_was_trained() -> None:
    model = normed(nn.utils.spectral_norm).train()
    model(images()).sum().backward()
    works(model)


def test_stored_maps() -> None:
    model = Stores()
    model(images())
    works(model)
    stored = model.last_map
    copied = copy_model(model)
    assert stored is not None
    assert stored.grad_fn is not None
    assert torch.equal(copied.last_map, stored)
    assert copied.last_map is not stored
    assert copied.last_map.grad_fn is None


def test_maps_in_containers_and_in_hooks() -> None:
    model = Plain()

    class Saver:
        def __init__(self) -> None:
            self.maps: dict[str, Any] = {}

        def __call__(self, module: nn.Module, args: Any, output: Tensor) -> None:
            self.maps["last"] = [output]

    model.s2.register_forward_hook(Saver())
    model(images())
    works(model)


@pytest.mark.parametrize("kind", ["lock", "file", "generator", "module", "nested"])
def test_what_cannot_be_copied_is_shared(kind: str) -> None:
    class Holder:
        def __init__(self) -> None:
            self.lock, self.number = threading.Lock(), [1]

    model = Plain()
    with Path(__file__).open() as file:
        things = {"lock": threading.Lock(), "file": file, "generator": (i for i in range(3))}
        things |= {"module": torch, "nested": Holder()}
        model.thing = things[kind]
        model.settings = {"a": [1]}
        copied = copy_model(model)
        works(model)
    assert copied.settings == {"a": [1]}
    assert copied.settings is not model.settings
    if kind == "nested":
        assert copied.thing.lock is model.thing.lock
        assert copied.thing.number is not model.thing.number
    else:
        assert copied.thing is model.thing


def test_empty_containers_are_copied() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    cache: dict[str, Tensor] = {}
    net.cache, net.groups, net[0].cache = cache, defaultdict(list), cache
    net.handle = net[0].register_forward_hook(print)
    net.handle.remove()
    copied = copy_model(net)
    assert copied.cache is copied[0].cache
    assert copied.handle.hooks_dict_ref() is copied[0]._forward_hooks
    for before, after in zip(net.modules(), copied.modules(), strict=True):
        for name, value in vars(before).items():
            if isinstance(value, dict | set):
                assert type(vars(after)[name]) is type(value)
                assert vars(after)[name] is not value


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_lazy_layers_have_to_run_first() -> None:
    model = Plain()
    model.s0 = nn.Sequential(nn.LazyConv2d(8, 3, 1, 1))
    for function in (find_sites, insert_bam):
        with pytest.raises(ModelError, match=r"s0\.0 has lazy parameters: run the model once"):
            function(model, SHAPE)
    model(images())
    works(model)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_torchscript_is_refused() -> None:
    model = Plain().eval()
    traced = torch.jit.trace(model, images())
    model.s2 = torch.jit.trace(block(8, 8, 2).eval(), torch.randn(2, 8, 16, 16))
    for network, name in ((traced, "TopLevelTracedModule"), (model, "s2")):
        for function in (find_sites, insert_bam):
            with pytest.raises(ModelError, match=rf"{name} is a TorchScript module"):
                function(network, SHAPE)


@pytest.mark.parametrize("how", ["rewrite", "attach"])
@pytest.mark.parametrize("where", ["root", "stage", "in place"])
def test_compiled_modules_are_unwrapped(where: str, how: Any) -> None:
    torch._dynamo.reset()
    model = Plain()
    network: nn.Module = model
    if where == "root":
        network = torch.compile(model, backend="eager")
    elif where == "stage":
        model.s1 = torch.compile(model.s1, backend="eager")
    else:
        model.compile(backend="eager")
    with torch.no_grad():
        network(images())
    result = insert_bam(network, SHAPE, how=how)
    assert not [name for name in result.state_dict() if "_orig_mod" in name]
    result(images()).sum().backward()
    assert all(parameter.grad is not None for parameter in bam_parameters(result))
    assert len(list(bam_parameters(result))) > 0


def test_a_meta_copy_has_the_attached_bams_and_no_hook_of_the_user() -> None:
    result = insert_bam(Plain(), SHAPE, how="attach")
    fired: list[None] = []
    result.s1.register_forward_hook(lambda *_: fired.append(None))
    copied = meta_copy(result)
    calls: list[None] = []
    copied.get_submodule("bam.s1").register_forward_hook(lambda *_: calls.append(None))
    assert copied(images().to("meta")).is_meta
    assert (len(calls), fired) == (1, [])
    assert result.fc.weight.device.type == "cpu"
