"""What must hold for every network after BAM is in it."""

from __future__ import annotations

import copy
import pickle
import random
from collections import Counter, OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops.misc import FrozenBatchNorm2d

from bamsearch.attention.bam import BAM
from bamsearch.errors import DesignError, InvalidValueError, ModelError, NoSiteError
from bamsearch.graph.bams import bam_parameters
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.models import build_model
from bamsearch.records import Design, Insertion

Same = Callable[[Any, Any], None]
Silence = Callable[[nn.Module], nn.Module]

# One of each family, at a small input that it takes: model, input shape, options of its builder.
FAMILIES: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("alexnet", (3, 96, 96), {}),
    ("convnext_tiny", (3, 64, 64), {}),
    ("deeplabv3_mobilenet_v3_large", (3, 64, 64), {"weights": "DEFAULT"}),
    ("densenet121", (3, 64, 64), {}),
    ("efficientnet_b0", (3, 64, 64), {}),
    ("googlenet", (3, 64, 64), {}),
    ("inception_v3", (3, 299, 299), {}),
    ("lraspp_mobilenet_v3_large", (3, 64, 64), {}),
    ("mnasnet0_5", (3, 64, 64), {}),
    ("mobilenet_v2", (3, 64, 64), {}),
    ("mobilenet_v3_small", (3, 64, 64), {}),
    ("quantized_mobilenet_v2", (3, 64, 64), {}),
    ("quantized_resnet18", (3, 64, 64), {}),
    ("r3d_18", (3, 4, 32, 32), {}),
    ("regnet_y_400mf", (3, 64, 64), {}),
    ("resnet18", (3, 64, 96), {}),
    ("resnext50_32x4d", (3, 64, 64), {}),
    ("shufflenet_v2_x0_5", (3, 64, 64), {}),
    ("squeezenet1_1", (3, 64, 64), {}),
    ("swin3d_t", (3, 4, 64, 64), {}),
    ("swin_t", (3, 64, 64), {}),
    ("swin_v2_t", (3, 64, 64), {}),
    ("vgg11_bn", (3, 64, 64), {}),
]
HEAVY = {
    "alexnet",
    "deeplabv3_mobilenet_v3_large",
    "densenet121",
    "googlenet",
    "inception_v3",
    "quantized_resnet18",
    "regnet_y_400mf",
    "resnext50_32x4d",
    "swin3d_t",
    "swin_v2_t",
    "vgg11_bn",
}


def run(model: nn.Module, x: Tensor, *, training: bool, seed: int = 0) -> Any:
    model.train(training)
    torch.manual_seed(seed)
    with torch.no_grad():
        return model(x)


def bits(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def snapshot(model: nn.Module) -> dict[str, Any]:
    """All that a model is, apart from its tensors' values."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_state_dict_hooks")
    return {
        path: (
            id(module),
            type(module),
            module.training,
            sorted(vars(module)),
            [list(getattr(module, name).items()) for name in hooks],
            [(name, id(p), p.requires_grad) for name, p in module.named_parameters(recurse=False)],
        )
        for path, module in model.named_modules()
    }


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        pytest.param(*row, id=row[0], marks=pytest.mark.zoo if row[0] in HEAVY else ())
        for row in FAMILIES
    ],
)
def test_a_silent_bam_changes_nothing(
    name: str, shape: tuple[int, ...], options: dict[str, Any], same: Same, silence: Silence
) -> None:
    torch.manual_seed(1)
    base = build_model(name, shape, **options)
    state, looks = bits(base), snapshot(base)
    result = insert_bam(base, shape)
    assert snapshot(base) == looks
    same(dict(base.state_dict()), state)
    weights = {k: v for k, v in result.state_dict().items() if not k.startswith("bam.")}
    same(weights, state)
    assert list(weights) == list(state)
    # strict: what the base's weights do not fill is BAM's and nothing else
    missing, unexpected = result.load_state_dict(state, strict=False)
    assert not unexpected
    assert missing
    assert all(key.startswith("bam.") for key in missing)
    silence(result)
    x = torch.randn(2, *shape)
    for training in (False, True, False):
        same(run(result, x, training=training), run(base, x, training=training))
    # the batch norms have seen the same
    same({k: result.state_dict()[k] for k in state}, dict(base.state_dict()))


@pytest.mark.parametrize("name", ["swin_t", "efficientnet_b0", "mobilenet_v2", "googlenet"])
def test_train_mode_stays_random(name: str, silence: Silence) -> None:
    shape = (3, 64, 64)
    base = build_model(name, shape)
    result = silence(insert_bam(base, shape))
    x = torch.randn(4, *shape)
    first, again, other = (
        run(copy.deepcopy(result), x, training=True, seed=seed) for seed in (0, 0, 1)
    )
    logits = [o.logits if isinstance(o, tuple) else o for o in (first, again, other)]
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("densenet121", "paper"),
        ("googlenet", "official"),
        ("efficientnet_b0", "paper"),
        ("efficientnet_b0", "official"),
    ],
)
def test_identity_changes_no_bit(name: str, variant: Any, same: Same) -> None:
    shape = (3, 64, 64)
    base = build_model(name, shape).eval()
    result = insert_bam(base, shape, sites="blocks", init="identity", variant=variant)
    x = torch.randn(2, *shape)
    for training in (False, True):
        same(run(result, x, training=training), run(base, x, training=training))


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "densenet121", "squeezenet1_1"])
def test_a_live_bam_refines_the_map_and_only_it(name: str) -> None:
    """The result is the base with each site's output replaced, done here with forward hooks."""
    shape = (3, 64, 64)
    base = build_model(name, shape).eval()
    result = insert_bam(base, shape, sites="paper", reduction=4, dilation=2)
    assert not result.training
    hooked = copy.deepcopy(base)
    for key, bam in result.get_submodule("bam").named_children():
        path = next(p for p, _ in base.named_modules() if p.replace(".", "_") == key)
        hooked.get_submodule(path).register_forward_hook(lambda m, args, out, bam=bam: bam(out))
    x = torch.randn(2, *shape)
    expected = hooked(x)
    assert torch.equal(result(x), expected)
    assert not torch.equal(base(x), expected)


@pytest.mark.parametrize("name", ["resnet18", "swin_t", "r3d_18"])
def test_every_parameter_of_bam_learns(name: str) -> None:
    shape = (3, 4, 64, 64) if name == "r3d_18" else (3, 64, 64)
    base = build_model(name, shape)
    # both ReLUs of a hidden layer this wide are never dead at once
    result = insert_bam(base, shape, reduction=2)
    result(torch.randn(4, *shape)).square().sum().backward()
    grads = {k: p.grad for k, p in result.named_parameters() if "bam." in k}
    assert len(list(bam_parameters(result))) == len(grads) > 0
    # a bias in front of a batch norm is taken away by it again
    dead = ("channel.expand.bias", "spatial.project.bias")
    for key, grad in grads.items():
        assert grad is not None, key
        assert key.endswith(dead) or grad.abs().max() > 0, key


def test_bam_parameters_are_bams_alone() -> None:
    base = build_model("resnet18", initialise=False)
    result = insert_bam(base, sites="stages", reduction=8)
    ours = {id(p) for p in bam_parameters(result)}
    named = {k for k, p in result.named_parameters() if id(p) in ours}
    assert named == {k for k, _ in result.named_parameters() if k.startswith("bam.")}
    assert {k.split(".")[1] for k in named} == {"layer1", "layer2", "layer3", "layer4"}
    # 3Ch + 18h^2 + 5h + 3C + 3 with h = C / 8
    assert sum(p.numel() for p in bam_parameters(result)) == sum(
        3 * c * h + 18 * h * h + 5 * h + 3 * c + 3
        for c, h in ((c, c // 8) for c in (64, 128, 256, 512))
    )
    assert list(bam_parameters(base)) == []


def test_state_dict_keys_are_pinned() -> None:
    result = insert_bam(build_model("mobilenet_v2", initialise=False), sites=["features.3"])
    keys = [k for k in result.state_dict() if k.startswith("bam.")]
    assert "bam.features_3.channel.reduce.weight" in keys
    assert all(k.startswith("bam.features_3.") for k in keys)


def test_blocks_stay_the_users_own() -> None:
    base = build_model("resnet18")
    fired: Counter[str] = Counter()
    base.layer4[-1].register_forward_hook(lambda *_: fired.update(["block"]))
    base.layer1[0].conv1.register_forward_pre_hook(lambda *_: fired.update(["conv"]))
    parametrizations.weight_norm(base.layer2[0].conv1)
    result = insert_bam(base, (3, 64, 64))
    assert type(result.layer4[-1]) is torchvision.models.resnet.BasicBlock
    assert type(result.layer4) is nn.Sequential
    result.eval()(torch.randn(1, 3, 64, 64))
    assert fired == {"block": 1, "conv": 1}
    base.eval()(torch.randn(1, 3, 64, 64))
    assert fired == {"block": 2, "conv": 2}


def test_backward_hooks_of_leaf_blocks_fire() -> None:
    base = build_model("resnet18")
    fired = []
    base.layer2.register_full_backward_hook(lambda *_: fired.append(1))
    insert_bam(base, (3, 64, 64))(torch.randn(2, 3, 64, 64)).sum().backward()
    assert fired == [1]


@pytest.mark.parametrize(
    "attach",
    [
        lambda m: m.features.register_forward_hook(lambda *_: None),
        lambda m: m.features.register_forward_pre_hook(lambda *_: None),
        lambda m: m.features.register_full_backward_hook(lambda *_: None),
        lambda m: m.features.register_full_backward_pre_hook(lambda *_: None),
    ],
    ids=["forward", "forward_pre", "backward", "backward_pre"],
)
def test_hooks_that_would_be_lost_are_refused_by_name(attach: Callable[[nn.Module], Any]) -> None:
    base = build_model("mobilenet_v2", initialise=False)
    attach(base)
    with pytest.raises(ModelError, match=r"features has hooks"):
        insert_bam(base, how="rewrite")


def test_hooks_of_the_root_are_refused() -> None:
    base = build_model("resnet18", initialise=False)
    base.register_forward_hook(lambda *_: None)
    with pytest.raises(ModelError, match=r"ResNet has hooks"):
        insert_bam(base, how="rewrite")


class OwnWeight(nn.Module):
    """A root with a parameter of its own, which can be parametrized."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, 1, 1))
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.stem(x) * self.weight).mean((2, 3))


def test_parametrizations_that_would_be_lost_are_refused() -> None:
    base = OwnWeight()
    assert insert_bam(base, (3, 16, 16)).get_submodule("bam")
    nn.utils.parametrize.register_parametrization(base, "weight", nn.Softplus())
    with pytest.raises(ModelError, match="has parametrizations"):
        insert_bam(base, (3, 16, 16), how="rewrite")


def test_bam_is_not_inserted_twice() -> None:
    result = insert_bam(build_model("resnet18", initialise=False))
    with pytest.raises(ModelError, match=r"already has BAM at bam\.layer1"):
        insert_bam(result)


def test_an_attribute_called_bam_is_refused() -> None:
    base = build_model("resnet18", initialise=False)
    base.bam = "mine"
    with pytest.raises(ModelError, match="attribute 'bam'"):
        insert_bam(base)


def test_modes_of_single_modules_survive() -> None:
    base = build_model("resnet18").train()
    for module in base.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    result = insert_bam(base, (3, 64, 64))
    modes = {path: m.training for path, m in base.named_modules()}
    assert {p: m.training for p, m in result.named_modules() if "bam" not in p} == modes
    assert all(m.training for p, m in result.named_modules() if "bam" in p)


class Noisy(nn.Module):
    """A container that asks for its own mode; traced through, as its stage is a site."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.down(self.stage(x)), 0.5, self.training)


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Noisy()
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.net(x).mean((2, 3)))


def test_a_part_of_another_mode_that_asks_for_it_is_refused(silence: Silence, same: Same) -> None:
    """Train mode outside, eval mode inside, as in transfer learning: one graph cannot be both."""
    base = Around()
    result = silence(insert_bam(base, (3, 16, 16)))
    x = torch.randn(2, 3, 16, 16)
    for training in (True, False):
        same(run(result, x, training=training), run(base, x, training=training))
    result.train().net.eval()
    for model in (result, copy.deepcopy(result)):
        with pytest.raises(ModelError, match=r"net is in eval mode inside a network in train mode"):
            model(x)
    # what the message advises
    inside = copy.deepcopy(base)
    inside.net = silence(insert_bam(base.net, (3, 16, 16)))
    for model in (base, inside):
        model.train()
        model.get_submodule("net").eval()
    same(inside(x), base(x))


class FrozenFeatures(nn.Module):
    """The mode matters to the root alone; its opened sequence can be frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)),
            *(nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.features(x).mean((2, 3)), 0.5, self.training)


def test_a_frozen_part_stays_frozen(silence: Silence, same: Same) -> None:
    base = FrozenFeatures()
    result = silence(insert_bam(base, (3, 16, 16)))
    x = torch.randn(2, 3, 16, 16)
    for model in (base, result):
        model.train()
        model.features.eval()
    before = bits(base)
    outputs = []
    for model in (base, result):
        torch.manual_seed(0)
        outputs.append(model(x))
    same(*outputs)
    same({k: result.state_dict()[k] for k in before}, before)


class Gambler(nn.Module):
    """Takes a random decision in Python, which tracing would take once and for all."""

    def __init__(self, source: Callable[[], float]) -> None:
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.source = source

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage(x)
        if self.training and self.source() < 0.5:
            x = x * 2
        return self.down(x).mean((2, 3))


@pytest.mark.parametrize(
    "source", [random.random, lambda: torch.rand(1).item(), lambda: torch.randn(1)]
)
def test_random_decisions_in_python_are_refused(source: Callable[[], float]) -> None:
    with pytest.raises(ModelError, match="random"):
        insert_bam(Gambler(source), (3, 16, 16), how="rewrite")


def test_frozen_batch_norm_keeps_its_buffers() -> None:
    base = torchvision.models.resnet18(norm_layer=FrozenBatchNorm2d)
    result = insert_bam(base, (3, 64, 64), sites=["relu", "layer1.0", "layer1"], init="identity")
    assert base.state_dict().keys() <= result.state_dict().keys()
    result.eval()
    x = torch.randn(1, 3, 64, 64)
    before = result(x)
    other = {k: v + 0.5 if v.is_floating_point() else v for k, v in base.state_dict().items()}
    result.load_state_dict(other, strict=False)
    base.load_state_dict(other)
    assert not torch.equal(result(x), before)
    assert torch.equal(result(x), base.eval()(x))


class OwnBuffer(OwnWeight):
    """Buffers of an opened module: used in the graph, and one that is not persistent."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.full((8, 1, 1), 2.0))
        self.register_buffer("shift", torch.full((8, 1, 1), 3.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.stem(x) * self.scale + self.shift).mean((2, 3))


def test_buffers_of_opened_modules_stay_buffers(same: Same) -> None:
    base = OwnBuffer().eval()
    result = insert_bam(base, (3, 16, 16), init="identity")
    assert "scale" in result.state_dict()
    assert "shift" not in result.state_dict()
    x = torch.randn(2, 3, 16, 16)
    same(result(x), base(x))
    for model in (base, result):
        model.scale.mul_(3)
        model.shift.add_(1)
    same(result(x), base(x))


def test_deepcopy_keeps_everything(same: Same) -> None:
    base = build_model("googlenet", (3, 64, 64))
    fired: list[int] = []
    base.inception4e.register_forward_hook(lambda *_: fired.append(1))
    result = insert_bam(base, (3, 64, 64))
    result.remark = {"mine": [1]}
    twin = copy.deepcopy(result)
    assert twin.remark == result.remark
    assert twin.remark is not result.remark
    same(dict(twin.state_dict()), dict(result.state_dict()))
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in result.parameters()}
    x = torch.randn(2, 3, 64, 64)
    for training in (True, False, True):
        fired.clear()
        same(run(twin, x, training=training), run(result, x, training=training))
        assert fired == [1, 1]
    twin.bam.inception4e.channel.norm.bias.data.fill_(5.0)
    assert not torch.equal(run(twin, x, training=False), run(result, x, training=False))
    again = copy.deepcopy(twin)
    same(run(again, x, training=True)[0], run(twin, x, training=True)[0])


def test_pickling_whole_is_refused_with_the_cure(tmp_path: Any) -> None:
    result = insert_bam(build_model("resnet18", initialise=False))
    with pytest.raises(TypeError, match=r"bamsearch\.save"):
        pickle.dumps(result)
    with pytest.raises(TypeError, match="state_dict"):
        torch.save(result, tmp_path / "model.pt")


def test_state_dict_round_trip(same: Same) -> None:
    design = Design("resnet18", (3, 64, 64), (Insertion("layer2", 4, 2), Insertion("layer4", 8, 1)))
    result = insert_bam(build_model("resnet18"), design=design).eval()
    other = insert_bam(build_model("resnet18"), design=design).eval()
    x = torch.randn(1, 3, 64, 64)
    assert not torch.equal(result(x), other(x))
    other.load_state_dict(result.state_dict())
    same(other(x), result(x))


def test_submodules_of_the_result_are_seen_by_everyone() -> None:
    """What is added to a GraphModule after tracing can get lost (pytorch #66197)."""
    result = insert_bam(build_model("resnet18"), (3, 64, 64), sites=["layer1"])
    assert isinstance(result.bam.layer1, BAM)
    assert result.get_submodule("bam.layer1") is result.bam.layer1
    assert not result.eval().bam.layer1.training
    assert result.train().bam.layer1.training
    assert next(result.double().bam.layer1.parameters()).dtype == torch.float64
    result.recompile()
    assert result.float().eval()(torch.randn(1, 3, 64, 64)).shape == (1, 1000)
    calls = []
    result.bam.layer1.register_forward_hook(lambda *_: calls.append(1))
    result(torch.randn(1, 3, 64, 64))
    assert calls == [1]
    result.set_submodule("bam.layer1", nn.Identity())
    result(torch.randn(1, 3, 64, 64))
    assert calls == [1]


@pytest.mark.parametrize("training", [True, False])
def test_compiles_without_a_graph_break(training: bool) -> None:
    result = insert_bam(build_model("resnet18"), (3, 64, 64)).train(training)
    x = torch.randn(2, 3, 64, 64)
    compiled = torch.compile(copy.deepcopy(result), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), result(x))


def test_exports() -> None:
    result = insert_bam(build_model("resnet18"), (3, 64, 64)).eval()
    batch = torch.export.Dim("batch", min=2, max=8)
    x = torch.randn(2, 3, 64, 64)
    program = torch.export.export(result, (x,), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(x), result(x))
    x = torch.randn(3, 3, 64, 64)
    torch.testing.assert_close(program.module()(x), result(x))


def test_can_be_traced_further() -> None:
    result = insert_bam(build_model("resnet18"), (3, 64, 64)).eval()
    # the batch norms of BAM, which it traces through, differ in train mode
    extractor = create_feature_extractor(
        result, {"bam.layer2": "refined", "layer2": "raw"}, suppress_diff_warning=True
    )
    maps = extractor(torch.randn(1, 3, 64, 64))
    assert maps["refined"].shape == maps["raw"].shape == (1, 128, 8, 8)
    torch.testing.assert_close(result.bam.layer2(maps["raw"]), maps["refined"])


def test_device_dtype_and_format_follow_the_model() -> None:
    result = insert_bam(build_model("resnet18").bfloat16(), (3, 64, 64)).eval()
    assert {p.dtype for p in bam_parameters(result)} == {torch.bfloat16}
    assert result(torch.randn(1, 3, 64, 64).bfloat16()).dtype == torch.bfloat16
    meta = insert_bam(build_model("resnet18", initialise=False).to("meta"))
    assert {p.device.type for p in bam_parameters(meta)} == {"meta"}
    base = build_model("resnet18").eval().to(memory_format=torch.channels_last)
    result = insert_bam(base, (3, 64, 64))
    seen = []
    result.bam.layer1.register_forward_hook(lambda m, a, out: seen.append(out))
    x = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    result(x)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert result.conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_requires_grad_is_kept_and_bam_learns() -> None:
    base = build_model("resnet18", initialise=False).requires_grad_(False)
    result = insert_bam(base)
    assert all(p.requires_grad for p in bam_parameters(result))
    assert not any(p.requires_grad for k, p in result.named_parameters() if "bam." not in k)


def test_inserts_where_the_caller_computes() -> None:
    with torch.inference_mode():
        result = insert_bam(build_model("resnet18", initialise=False))
    assert len(list(bam_parameters(result))) > 0


Pair = namedtuple("Pair", "logits features")


class Custom(OrderedDict):  # type: ignore[type-arg]
    """A container of the user's."""


class Returning(nn.Module):
    """Returns its result in any container."""

    def __init__(self, wrap: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        x = self.down(self.stage(x))
        return self.wrap(x.mean((2, 3)), x)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda a, b: (a, b),
        lambda a, b: [a, b],
        lambda a, b: {"a": a, "b": [b, (a,)]},
        lambda a, b: OrderedDict(a=a, b=OrderedDict(b=b)),
        lambda a, b: Custom(a=a, b=b),
        lambda a, b: {"none": None, "flag": True, "pair": Pair(a, b)},
        Pair,
    ],
    ids=["tuple", "list", "dict", "OrderedDict", "own dict", "mixed", "namedtuple"],
)
def test_containers_come_back_as_they_were(
    wrap: Callable[[Tensor, Tensor], Any], same: Same, silence: Silence
) -> None:
    base = Returning(wrap)
    result = silence(insert_bam(base, (3, 16, 16)))
    x = torch.randn(2, 3, 16, 16)
    for training in (True, False):
        same(run(result, x, training=training), run(base, x, training=training))


class Flags(nn.Module):
    """Optional arguments: one that control flow depends on and one that is only passed on."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, scale: float = 2.0, features: bool = False
    ) -> Any:
        x = self.stage(x) * scale
        if mask is not None:
            x = x * mask
        x = self.down(x)
        return x if features else x.mean((2, 3))


def test_optional_arguments_at_their_defaults(silence: Silence, same: Same) -> None:
    base = Flags()
    result = silence(insert_bam(base, (3, 16, 16)))
    x = torch.randn(2, 3, 16, 16)
    same(result(x), base(x))
    same(result(x, None), base(x, None))
    same(result(x, features=False), base(x, features=False))
    # fixed by tracing: anything else must be refused, not ignored
    with pytest.raises((AssertionError, RuntimeError)):
        result(x, features=True)
    with pytest.raises((AssertionError, RuntimeError)):
        result(x, torch.zeros(()))


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stage = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor, scale: float = 2.0) -> Tensor:
        return self.down(self.stage(x) * scale).mean((2, 3))


def test_optional_arguments_that_nothing_depends_on_stay_arguments(
    silence: Silence, same: Same
) -> None:
    base = Scale()
    result = silence(insert_bam(base, (3, 16, 16)))
    x = torch.randn(2, 3, 16, 16)
    same(result(x), base(x))
    same(result(x, 3.0), base(x, 3.0))
    same(result(x, scale=0.5), base(x, scale=0.5))
    same(copy.deepcopy(result)(x, scale=0.5), base(x, scale=0.5))


class Twice(nn.Module):
    """One module called twice: two sites."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.shared = nn.Conv2d(8, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.shared(self.stem(x)))
        return self.down(self.shared(x)).mean((2, 3))


def test_the_second_call_alone_is_refined() -> None:
    base = Twice().eval()
    result = insert_bam(base, (3, 16, 16), sites=["shared@2"])
    assert [k for k, _ in result.bam.named_children()] == ["shared@2"]
    x = torch.randn(1, 3, 16, 16)
    y = base.shared(base.pool(base.shared(base.stem(x))))
    bam = result.bam.get_submodule("shared@2")
    assert torch.equal(result(x), base.down(bam(y)).mean((2, 3)))


@pytest.mark.parametrize("name", ["keys", "values", "pop", "update", "items", "clear"])
def test_modules_may_be_called_anything(name: str) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            conv = nn.Conv2d
            setattr(self, name, nn.Sequential(conv(3, 8, 3, padding=1), conv(8, 8, 3, padding=1)))
            self.down = conv(8, 8, 3, stride=2, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.down(getattr(self, name)(x)).mean((2, 3))

    result = insert_bam(Named(), (3, 16, 16))
    assert f"bam.{name}.channel.reduce.weight" in result.state_dict()
    assert result(torch.randn(2, 3, 16, 16)).shape == (2, 8)


class Reordered(nn.Module):
    """In train mode, an operation of the site's own name comes before it."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        if self.training:
            x = F.relu(x)
        x = F.relu(self.b(x))
        return self.down(x).mean((2, 3))


def test_an_operation_is_the_same_one_in_both_modes() -> None:
    base = Reordered()
    try:
        result = insert_bam(base, (3, 16, 16), sites=["relu"])
    except ModelError:
        return  # an honest answer too
    x = torch.randn(2, 3, 16, 16)
    seen: list[Tensor] = []
    result.bam.relu.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
    result.train()(x)
    assert torch.equal(seen[0], F.relu(base.b(F.relu(base.a(x)))))


class Attributes(OwnWeight):
    """Plain attributes, methods and properties of the root."""

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = 8
        self.config = {"a": [1, 2]}
        self.meta = "mine"


def test_a_sequence_can_be_the_root(silence: Silence, same: Same) -> None:
    """It runs all its children, which BAM must not be one of."""
    conv = nn.Conv2d
    base = nn.Sequential(
        conv(3, 8, 3, padding=1), conv(8, 8, 3, padding=1), nn.MaxPool2d(2), conv(8, 8, 3)
    )
    result = insert_bam(base, (3, 16, 16), sites="stages")
    x = torch.randn(2, 3, 16, 16)
    assert not torch.equal(result(x), base(x))
    same(silence(result)(x), base(x))


def test_plain_attributes_are_kept() -> None:
    base = Attributes()
    result = insert_bam(base, (3, 16, 16))
    assert result.num_classes == 8
    assert result.config == {"a": [1, 2]}
    assert result.config is not base.config
    assert result.meta == "mine"


def test_state_dict_hooks_of_the_root_survive() -> None:
    base = OwnWeight()
    calls: list[str] = []
    base.register_state_dict_post_hook(lambda *_: calls.append("saved"))
    base.register_load_state_dict_pre_hook(lambda *_: calls.append("loading"))
    result = insert_bam(base, (3, 16, 16))
    calls.clear()
    result.load_state_dict(result.state_dict())
    assert calls == ["saved", "loading"]


def test_shared_weights_stay_shared() -> None:
    base = Twice()
    base.down.weight = base.shared.weight
    result = insert_bam(base, (3, 16, 16))
    assert result.down.weight is result.shared.weight


def test_global_random_state_is_the_callers() -> None:
    """Nothing but BAM's own initialisers draws random numbers."""
    base = build_model("resnet18", initialise=False)
    torch.manual_seed(0)
    insert_bam(base, sites=[])
    untouched = torch.get_rng_state()
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), untouched)
    torch.manual_seed(7)
    result = insert_bam(base, sites=["layer1"])
    torch.manual_seed(7)
    bam = BAM(64)
    for key, value in bam.state_dict().items():
        assert torch.equal(result.bam.layer1.state_dict()[key], value)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, "16"])
def test_numbers_out_of_range(bad: Any) -> None:
    base = build_model("resnet18", initialise=False)
    for key in ("reduction", "dilation"):
        with pytest.raises(InvalidValueError, match=key):
            insert_bam(base, **{key: bad})


def test_wrong_names_suggest_the_right_one() -> None:
    base = build_model("resnet18", initialise=False)
    with pytest.raises(InvalidValueError, match=r"did you mean layer1"):
        insert_bam(base, sites=["layer11"])
    with pytest.raises(InvalidValueError, match="bottlenecks"):
        insert_bam(base, sites="bottleneck")
    with pytest.raises(InvalidValueError, match="twice"):
        insert_bam(base, sites=["layer1", "layer1"])
    with pytest.raises(InvalidValueError, match="variant"):
        insert_bam(base, variant="mine")  # type: ignore[arg-type]
    with pytest.raises(NoSiteError, match="no spatial bottleneck"):
        insert_bam(build_model("vit_b_16", initialise=False))


def test_input_too_small_for_the_network() -> None:
    with pytest.raises(ModelError, match="does not accept an input of 3x8x8"):
        insert_bam(build_model("alexnet", initialise=False), (3, 8, 8))


def test_a_design_for_another_model_is_refused() -> None:
    design = Design("resnet34", (3, 64, 64), (Insertion("layer1"),))
    with pytest.raises(DesignError, match="the design is for resnet34"):
        insert_bam(build_model("resnet18", initialise=False), design=design)
    ten = build_model("resnet34", num_classes=10, initialise=False)
    assert insert_bam(ten, design=design).get_submodule("bam.layer1")


DETECTORS = [
    ("fasterrcnn_mobilenet_v3_large_320_fpn", "backbone.body"),
    ("ssdlite320_mobilenet_v3_large", "backbone"),
]


@pytest.mark.parametrize(("name", "part"), DETECTORS)
def test_detector_end_to_end(name: str, part: str, same: Same, silence: Silence) -> None:
    torch.manual_seed(0)
    base = build_model(name, num_classes=3)
    state = bits(base)
    result = silence(insert_bam(base, (3, 96, 128)))
    assert type(result) is type(base)
    weights = {k: v for k, v in result.state_dict().items() if not k.startswith(f"{part}.bam.")}
    same(weights, state)
    assert len(weights) < len(result.state_dict())
    images = [torch.rand(3, 96, 128), torch.rand(3, 120, 90)]
    x = torch.randn(2, 3, 320, 320)
    for training in (False, True):
        same(run(result.backbone, x, training=training), run(base.backbone, x, training=training))
    same(result.eval()(images), base.eval()(images))
    targets = [
        {"boxes": torch.tensor([[10.0, 10.0, 60.0, 70.0]]), "labels": torch.tensor([1])}
        for _ in images
    ]
    losses = []
    for model in (result, base):
        torch.manual_seed(0)
        losses.append({k: v.detach() for k, v in model.train()(images, targets).items()})
    same(losses[0], losses[1])
    assert type(result.get_submodule(part)(x)) is type(base.get_submodule(part)(x)) is OrderedDict
    copy.deepcopy(result).eval()(images)
