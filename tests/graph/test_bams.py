"""BAM attached to networks that cannot be rewritten."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from unrewritable import (
    NOT_REWRITABLE,
    SHAPE,
    Checkpointed,
    FrozenStem,
    Lists,
    Plain,
    Stores,
    block,
)

from bamsearch.attention.bam import BAM
from bamsearch.errors import ModelError
from bamsearch.graph.bams import RunBam, bam_parameters
from bamsearch.graph.designs import build, load, save
from bamsearch.graph.insertion import insert_bam
from bamsearch.records import Design, Insertion

Same = Callable[[object, object], None]
Silence = Callable[[nn.Module], nn.Module]


def images(count: int = 2) -> Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def attached() -> nn.Module:
    torch.manual_seed(0)
    return insert_bam(FrozenStem(), SHAPE).eval()


@pytest.mark.parametrize("kind", NOT_REWRITABLE, ids=lambda kind: kind.__name__)
def test_what_cannot_be_rewritten_is_attached(
    kind: type[nn.Module], same: Same, silence: Silence
) -> None:
    torch.manual_seed(0)
    base = kind()
    result = silence(insert_bam(base, SHAPE))
    assert type(result) is kind
    for training in (False, True):
        outputs = []
        for model in (base, result):
            model.train(training)
            torch.manual_seed(1)
            random.seed(1)
            outputs.append(model(images()))
        same(*outputs)
    for output in outputs:
        output.sum().backward()
    learning = {name for name, p in base.named_parameters() if p.grad is not None}
    ours = {name for name, p in result.named_parameters() if p.grad is not None}
    assert {name for name in ours if not name.startswith("bam.")} == learning
    assert {name for name in ours if name.startswith("bam.")} == {
        name for name, _ in result.named_parameters() if name.startswith("bam.")
    }
    same({key: result.state_dict()[key] for key in base.state_dict()}, dict(base.state_dict()))


@pytest.mark.parametrize("kind", NOT_REWRITABLE, ids=lambda kind: kind.__name__)
def test_rewriting_them_is_refused(kind: type[nn.Module]) -> None:
    with pytest.raises(ModelError):
        insert_bam(kind(), SHAPE, how="rewrite")


def test_what_a_forward_stores_is_stored() -> None:
    base = Stores()
    result = insert_bam(base, SHAPE)
    assert (base.last_map, base.calls) == (None, 0)
    result(images())
    result(images())
    assert isinstance(result.last_map, Tensor)
    assert result.calls == 2


def test_checkpointed_blocks_run_again_in_the_backward_pass() -> None:
    result = insert_bam(Checkpointed(), SHAPE).train()
    calls: list[None] = []
    result.s0.register_forward_pre_hook(lambda *_: calls.append(None))
    result(images()).sum().backward()
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: torchvision.models.resnet18(num_classes=4), (3, 64, 64)),
        (lambda: nn.Sequential(*list(Plain().children())[:4]), SHAPE),
        (
            lambda: torchvision.models.detection.ssdlite320_mobilenet_v3_large(
                weights=None, weights_backbone=None, num_classes=3
            ),
            (3, 96, 96),
        ),
    ],
    ids=["resnet18", "sequential", "ssdlite"],
)
def test_both_ways_have_the_same_weights(
    make: Callable[[], nn.Module], shape: tuple[int, ...], same: Same
) -> None:
    base = make()
    first, second = (insert_bam(base, shape, how=how).eval() for how in ("rewrite", "attach"))
    assert list(first.state_dict()) == list(second.state_dict())
    second.load_state_dict(first.state_dict())
    x = [torch.rand(shape)] if shape[-1] == 96 else torch.randn(2, *shape)
    with torch.no_grad():
        same(second(x), first(x))


def test_it_survives_a_deep_copy(attached: nn.Module) -> None:
    twin = copy.deepcopy(attached)
    expected = attached(images())
    assert torch.equal(twin(images()), expected)
    with torch.no_grad():
        for parameter in bam_parameters(twin):
            parameter.add_(1)
    assert torch.equal(attached(images()), expected)
    assert not torch.equal(twin(images()), expected)


def test_it_survives_pickling(attached: nn.Module) -> None:
    file = io.BytesIO()
    torch.save(attached, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(loaded(images()), attached(images()))
    # a hook that is registered later does not take the number of ours
    loaded.s1.register_forward_hook(lambda *_: None)
    assert sum(isinstance(hook, RunBam) for hook in loaded.s1._forward_hooks.values()) == 1


def test_it_survives_the_average_of_weights(attached: nn.Module) -> None:
    average = torch.optim.swa_utils.AveragedModel(attached)
    average.update_parameters(attached)
    assert torch.equal(average.eval()(images()), attached(images()))


def test_it_survives_torch_compile(attached: nn.Module) -> None:
    expected = attached(images())
    torch._dynamo.reset()
    compiled = torch.compile(attached, backend="eager", fullgraph=True)
    assert torch.equal(compiled(images()), expected)
    compiled(images()).sum().backward()
    assert all(parameter.grad is not None for parameter in bam_parameters(attached))


def test_it_survives_torch_export(attached: nn.Module) -> None:
    exported = torch.export.export(attached, (images(),)).module()
    torch.testing.assert_close(exported(images()), attached(images()))


def test_it_survives_functional_calls(attached: nn.Module) -> None:
    weights = {name: p.detach() * 2 for name, p in attached.named_parameters() if "bam." in name}
    changed = torch.func.functional_call(attached, weights, (images(),))
    attached.load_state_dict(weights, strict=False)
    assert torch.equal(changed, attached(images()))


def test_another_module_in_the_place_of_a_bam_runs(attached: nn.Module) -> None:
    attached.get_submodule("bam").add_module("s1", nn.Identity())
    attached.get_submodule("bam").add_module("s2", nn.Identity())
    base = FrozenStem().eval()
    base.load_state_dict(attached.state_dict(), strict=False)
    assert torch.equal(attached(images()), base(images()))


def test_an_operation_needs_rewriting() -> None:
    with pytest.raises(ModelError, match=r"sum is an operation, not the output of a module"):
        insert_bam(Lists(), SHAPE, how="attach")
    # neither way is right here, and the message says why
    with pytest.raises(ModelError, match=r"rewrite: .*values.*; attach: sum is an operation"):
        insert_bam(Lists(), SHAPE)
    assert insert_bam(Lists(), SHAPE, sites=["s2"], how="attach").get_submodule("bam.s2")


class Shared(Plain):
    """Calls one module several times."""

    def __init__(self) -> None:
        super().__init__()
        self.repeated, self.down = block(8, 8), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.s0(x)
        for _ in range(3):
            x = self.down(self.repeated(x))
        scores: Tensor = self.fc(x.mean((2, 3)))
        return scores


def test_a_module_that_is_called_repeatedly_needs_rewriting() -> None:
    with pytest.raises(ModelError, match=r"repeated is called 3 times in one forward"):
        insert_bam(Shared(), SHAPE, how="attach")
    assert len(list(insert_bam(Shared(), SHAPE).get_submodule("bam").children())) == 3


def test_hooks_and_parametrizations_are_a_reason_to_attach() -> None:
    base = torchvision.models.mobilenet_v2(num_classes=4)
    base.features.register_forward_hook(lambda *_: None)
    result = insert_bam(base, (3, 64, 64))
    assert type(result) is type(base)
    assert result.features._forward_hooks
    assert sum(isinstance(module, BAM) for module in result.modules()) == 3


def test_designs_say_how(tmp_path: Path) -> None:
    design = Design("unrewritable:frozen_stem", SHAPE, (Insertion("s1"), Insertion("s2")))
    network = build(design)
    assert type(network).__name__ == "FrozenStem"
    save(design, tmp_path / "a", network)
    assert '"how": "attach"' in (tmp_path / "a" / "design.json").read_text()
    loaded = load(tmp_path / "a")
    assert type(loaded).__name__ == "FrozenStem"
    assert torch.equal(loaded.eval()(images()), network.eval()(images()))
