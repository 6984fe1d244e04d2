"""Truths by hand, and what count() must leave alone."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bamsearch.errors import InvalidValueError, ModelError
from bamsearch.profiling.counting import count

BOTH = ("fvcore", "FlopCounterMode")


class Call(nn.Module):
    """A module from a function of (self, input) and its submodules."""

    def __init__(self, function: Callable[..., object], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: torch.Tensor) -> object:
        return self.function(self, x)


# Name: module, input shape, conv_linear_macs, and the rest of macs (norms and pools).
# Each truth is written out from the layer's definition.
TRUTHS: dict[str, tuple[nn.Module, tuple[int, ...], int, int]] = {
    "conv": (nn.Conv2d(3, 8, 3, padding=1), (3, 8, 8), 8 * 8 * 8 * 27, 0),
    "conv without bias": (nn.Conv2d(3, 8, 3, padding=1, bias=False), (3, 8, 8), 8 * 8 * 8 * 27, 0),
    "conv, not square": (nn.Conv2d(3, 8, (1, 5), stride=2), (3, 9, 11), 5 * 4 * 8 * 15, 0),
    "conv, strings for padding": (nn.Conv2d(3, 8, 3, padding="same"), (3, 8, 9), 72 * 8 * 27, 0),
    "conv, padding valid": (
        nn.Conv2d(4, 6, 3, padding="valid", groups=2),
        (4, 8, 9),
        42 * 6 * 18,
        0,
    ),
    "conv, reflected": (
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"),
        (3, 8, 8),
        64 * 8 * 27,
        0,
    ),
    "grouped conv": (nn.Conv2d(8, 12, 3, padding=1, groups=4), (8, 6, 5), 6 * 5 * 12 * 2 * 9, 0),
    "depthwise conv": (nn.Conv2d(8, 8, 3, groups=8), (8, 6, 6), 4 * 4 * 8 * 9, 0),
    # d changes where the taps are, not how many.
    "dilated conv": (nn.Conv2d(3, 8, 3, padding=4, dilation=4), (3, 8, 8), 64 * 8 * 27, 0),
    # Each input position meets every tap.
    "transposed conv": (nn.ConvTranspose2d(4, 6, 3, stride=2), (4, 5, 7), 35 * 4 * 6 * 9, 0),
    "transposed conv, grouped": (
        nn.ConvTranspose2d(4, 6, 3, groups=2),
        (4, 5, 7),
        35 * 4 * 3 * 9,
        0,
    ),
    "3-D conv": (nn.Conv3d(3, 8, (3, 1, 1), padding=(1, 0, 0)), (3, 4, 6, 5), 4 * 6 * 5 * 8 * 9, 0),
    "linear on tokens": (nn.Linear(16, 10), (4, 5, 16), 4 * 5 * 160, 0),
    "linear on one vector": (
        Call(lambda m, x: m.fc(x.flatten(1)), fc=nn.Linear(24, 7)),
        (2, 3, 4),
        24 * 7,
        0,
    ),
    # In eval mode BatchNorm is x * a + b: 2 an element, 1 when only normalised, 5 and 4 when the
    # mean and the variance must be found too.
    "batch norm": (nn.BatchNorm2d(3), (3, 8, 9), 0, 2 * 3 * 72),
    "batch norm, not affine": (nn.BatchNorm2d(3, affine=False), (3, 8, 9), 0, 3 * 72),
    "batch norm of the batch": (
        nn.BatchNorm2d(3, track_running_stats=False),
        (3, 8, 9),
        0,
        5 * 3 * 72,
    ),
    "batch norm of the batch, not affine": (
        nn.BatchNorm2d(3, affine=False, track_running_stats=False),
        (3, 8, 9),
        0,
        4 * 3 * 72,
    ),
    "instance norm": (nn.InstanceNorm2d(3), (3, 8, 9), 0, 4 * 3 * 72),
    "instance norm, affine": (nn.InstanceNorm2d(3, affine=True), (3, 8, 9), 0, 5 * 3 * 72),
    "group norm": (nn.GroupNorm(2, 4), (4, 3, 5), 0, 5 * 60),
    "group norm, not affine": (nn.GroupNorm(2, 4, affine=False), (4, 3, 5), 0, 4 * 60),
    "layer norm": (nn.LayerNorm(9), (3, 8, 9), 0, 5 * 3 * 72),
    "layer norm, not affine": (nn.LayerNorm(9, elementwise_affine=False), (3, 8, 9), 0, 4 * 3 * 72),
    # One addition an input element.
    "pool to 1": (nn.AdaptiveAvgPool2d(1), (3, 8, 9), 0, 3 * 72),
    "pool to more": (nn.AdaptiveAvgPool2d((2, None)), (3, 8, 9), 0, 3 * 72),
    "pool of a clip": (nn.AdaptiveAvgPool3d(1), (3, 4, 8, 9), 0, 3 * 4 * 72),
    "pool of a clip to more": (nn.AdaptiveAvgPool3d((2, 1, None)), (3, 4, 8, 9), 0, 3 * 4 * 72),
    "pool of tokens": (
        Call(lambda m, x: m.fc(F.adaptive_avg_pool1d(x.flatten(2), 5)), fc=nn.Linear(5, 2)),
        (3, 8, 9),
        3 * 5 * 2,
        3 * 72,
    ),
    "pool with a window": (nn.AvgPool2d(2), (3, 8, 8), 0, 0),
    "mean is not a pool": (Call(lambda m, x: x.mean((2, 3))), (3, 8, 8), 0, 0),
    "resize to nearest": (nn.Upsample(scale_factor=2), (3, 4, 5), 0, 3 * 8 * 10),
    "resize bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), (3, 4, 5), 0, 4 * 3 * 8 * 10),
    "resample": (
        Call(lambda m, x: F.grid_sample(x, x.new_zeros(1, 4, 5, 2), align_corners=False)),
        (3, 7, 7),
        0,
        4 * 3 * 4 * 5,
    ),
    "resample a volume": (
        Call(lambda m, x: F.grid_sample(x, x.new_zeros(1, 2, 4, 5, 3), align_corners=False)),
        (3, 7, 7, 7),
        0,
        4 * 3 * 2 * 4 * 5,
    ),
    # Batched matrices, 5x8 times 8x5, three of them.
    "matmul": (Call(lambda m, x: x @ x.transpose(2, 3)), (3, 5, 8), 3 * 5 * 8 * 5, 0),
    "matmul, a batch on the right only": (
        Call(lambda m, x: x[0, 0] @ x.transpose(2, 3)),
        (3, 5, 8),
        3 * 5 * 8 * 5,
        0,
    ),
    "matmul with a vector": (Call(lambda m, x: x[0, 0] @ x[0, 0, 0]), (3, 5, 8), 5 * 8, 0),
    "dot": (Call(lambda m, x: torch.dot(x[0, 0, 0], x[0, 0, 1])), (3, 5, 8), 8, 0),
    "addmv": (
        Call(lambda m, x: torch.addmv(x[0, 0, :, 0], x[0, 0], x[0, 0, 0])),
        (3, 5, 8),
        5 * 8,
        0,
    ),
    "baddbmm": (
        Call(lambda m, x: torch.baddbmm(x[0, ..., :5], x[0], x[0].mT)),
        (3, 5, 8),
        3 * 5 * 8 * 5,
        0,
    ),
    "einsum": (
        Call(lambda m, x: torch.einsum("bghid,bghjd->bghij", x[None], x[None])),
        (3, 77, 8),
        3 * 77 * 77 * 8,
        0,
    ),
    "einsum with dots": (
        Call(lambda m, x: torch.einsum("...id,...jd->...ij", x, x)),
        (3, 77, 8),
        3 * 77 * 77 * 8,
        0,
    ),
    # 3 heads, 5 queries, 7 keys, E = 8, V = 6: q k^T is 5*7*8, weights times values 5*7*6.
    "attention": (
        Call(
            lambda m, x: F.scaled_dot_product_attention(x[:, :, :5], x[:, :, 5:], x[:, :, 5:, :6])
        ),
        (3, 12, 8),
        3 * (5 * 7 * 8 + 5 * 7 * 6),
        0,
    ),
    # Four projections of 5 tokens of 8, and 2 heads of 4: 2 * (5*5*4 + 5*5*4).
    "multi-head attention": (
        Call(
            lambda m, x: m.a(x[0], x[0], x[0], need_weights=False)[0],
            a=nn.MultiheadAttention(8, 2, batch_first=True),
        ),
        (1, 5, 8),
        4 * 5 * 8 * 8 + 2 * 2 * 5 * 5 * 4,
        0,
    ),
    "transformer layer": (
        Call(lambda m, x: m.a(x[0]), a=nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)),
        (1, 5, 8),
        4 * 5 * 8 * 8 + 2 * 2 * 5 * 5 * 4 + 2 * 5 * 8 * 16,
        2 * 5 * 40,
    ),
}


@pytest.mark.parametrize("counter", BOTH)
@pytest.mark.parametrize("name", TRUTHS)
def test_truth_by_hand(name: str, counter: str) -> None:
    module, shape, products, rest = TRUTHS[name]
    cost = count(module, shape, counter=counter)
    assert cost.conv_linear_macs == products
    assert cost.macs == products + rest
    assert cost.by_module[""] == cost.macs
    assert cost.counter == counter
    assert isinstance(cost.macs, int)
    assert isinstance(cost.conv_linear_macs, int)


def net() -> nn.Sequential:
    """Convolution 3*9*4*64 = 6,912, norm 512, pool 256, linear 40."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.Sigmoid(),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.ReLU()),
        nn.Linear(4, 10),
        nn.Dropout(),
    )


@pytest.mark.parametrize("counter", BOTH)
def test_every_field(counter: str) -> None:
    cost = count(net(), (3, 8, 8), counter=counter)
    assert cost.params == 108 + 8 + 50
    assert cost.macs == 6912 + 512 + 256 + 40
    assert cost.conv_linear_macs == 6912 + 40
    assert cost.by_module == {
        "": 7720,
        "0": 6912,
        "1": 512,
        "2": 0,
        "3": 256,
        "3.0": 256,
        "3.1": 0,
        "3.2": 0,
        "4": 40,
        "5": 0,
    }
    assert cost.uncounted == {"aten::sigmoid": 1}


@pytest.mark.parametrize("counter", BOTH)
def test_the_model_is_left_alone(counter: str) -> None:
    model = net().train()
    model[1].eval()
    calls: list[object] = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    before = copy.deepcopy(model.state_dict())
    gradient = model[0].weight.grad.clone()
    hooks = len(model[0]._forward_hooks)
    count(model, (3, 8, 8), counter=counter)
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [m.training for m in model.modules()] == [True, True, False] + [True] * 7
    assert torch.equal(model[0].weight.grad, gradient)
    assert model[0].weight.requires_grad
    assert len(model[0]._forward_hooks) == hooks
    assert not model[0]._forward_pre_hooks
    assert model[0].weight.device.type == "cpu"


@pytest.mark.parametrize("counter", BOTH)
def test_the_mode_of_the_model_does_not_matter(counter: str) -> None:
    assert count(net().train(), (3, 8, 8), counter=counter) == count(
        net().eval(), (3, 8, 8), counter=counter
    )


@pytest.mark.parametrize("value", [float("nan"), 1e-40])
def test_values_do_not_matter(value: float) -> None:
    layers = [nn.Conv2d(64, 64, 3, padding=1) for _ in range(4)]
    model = nn.Sequential(*layers)
    plain = count(model, (64, 56, 56))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    assert count(model, (64, 56, 56)) == plain
    assert plain.macs == 4 * 56 * 56 * 64 * 64 * 9


@pytest.mark.parametrize("counter", BOTH)
def test_a_shared_parameter_counts_once_and_its_work_twice(counter: str) -> None:
    layer = nn.Conv2d(3, 3, 1, bias=False)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    tied = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.Conv2d(3, 3, 1, bias=False))
    tied[1].weight = tied[0].weight
    for shared in (model, tied):
        cost = count(shared, (3, 4, 4), counter=counter)
        assert (cost.params, cost.macs) == (9, 2 * 9 * 16)


@pytest.mark.parametrize("counter", BOTH)
def test_half_precision_and_no_parameters(counter: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1)).to(torch.bfloat16)
    assert count(model, (3, 8, 8), counter=counter).macs == 3 * 4 * 64
    assert count(nn.AdaptiveAvgPool2d(1), (3, 8, 8), counter=counter).params == 0


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("counter", BOTH)
def test_a_weight_that_is_not_a_leaf(counter: str) -> None:
    # torch's own deepcopy refuses it.
    model = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(3, 4, 1)))
    assert count(model, (3, 8, 8), counter=counter).macs == 3 * 4 * 64


@pytest.mark.parametrize("counter", BOTH)
def test_outputs_in_containers(counter: str) -> None:
    model = Call(lambda m, x: {"out": m.conv(x), "all": [x]}, conv=nn.Conv2d(3, 4, 1))
    assert count(model, (3, 8, 8), counter=counter).macs == 3 * 4 * 64


@pytest.mark.parametrize("counter", BOTH)
def test_under_inference_mode(counter: str) -> None:
    with torch.inference_mode():
        cost = count(net(), (3, 8, 8), counter=counter)
        assert torch.is_inference_mode_enabled()
    assert (cost.macs, cost.uncounted) == (7720, {"aten::sigmoid": 1})


def test_attention_has_its_fast_path_back() -> None:
    assert torch.backends.mha.get_fastpath_enabled()
    for counter in BOTH:
        count(nn.Conv2d(3, 4, 1), (3, 8, 8), counter=counter)
        with pytest.raises(ModelError):
            count(nn.Conv2d(5, 4, 1), (3, 8, 8), counter=counter)
        assert torch.backends.mha.get_fastpath_enabled()


def test_meta_counter_needs_no_memory() -> None:
    with torch.device("meta"):
        # 40 GB of weights.
        model = nn.Sequential(nn.Flatten(), nn.Linear(10_000, 1_000_000, bias=False))
    cost = count(model, (1, 100, 100), counter="FlopCounterMode")
    assert (cost.params, cost.macs) == (10**10, 10**10)


def test_auto_takes_fvcore() -> None:
    assert count(net(), (3, 8, 8)).counter == "fvcore"


def test_auto_without_fvcore(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    cost = count(net(), (3, 8, 8))
    assert (cost.counter, cost.macs) == ("FlopCounterMode", 7720)
    with pytest.raises(ModelError, match="fvcore"):
        count(net(), (3, 8, 8), counter="fvcore")
    # What is wrong with the model is said, not that fvcore is missing.
    with pytest.raises(ModelError, match="Sequential") as caught:
        count(net(), (4, 8, 8))
    assert "fvcore" not in str(caught.value)


def test_auto_where_fvcore_cannot_trace() -> None:
    # A model that lives on the meta device.
    cost = count(net().to("meta"), (3, 8, 8))
    assert (cost.counter, cost.macs) == ("FlopCounterMode", 7720)


@pytest.mark.parametrize("counter", ["auto", *BOTH])
@pytest.mark.parametrize("shape", [(3, 2, 2), (4, 8, 8)])
def test_an_input_that_does_not_fit(shape: tuple[int, ...], counter: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 5))
    with pytest.raises(ModelError) as caught:
        count(model, shape, counter=counter)
    message = str(caught.value)
    assert "Sequential" in message
    assert str(shape) in message
    assert "input shape" in message
    assert "\n" not in message


def test_an_error_without_a_message() -> None:
    def refuse(m: nn.Module, x: torch.Tensor) -> None:
        raise NotImplementedError

    with pytest.raises(ModelError, match="NotImplementedError"):
        count(Call(refuse), (3, 8, 8))


def test_an_error_of_several_lines() -> None:
    def refuse(m: nn.Module, x: torch.Tensor) -> None:
        raise RuntimeError("first line.\nsecond line")

    with pytest.raises(ModelError, match="first line") as caught:
        count(Call(refuse), (3, 8, 8))
    assert "second" not in str(caught.value)


def test_lazy_parameters_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.LazyConv2d(4, 1))
    with pytest.raises(ModelError, match="lazy"):
        count(model, (3, 8, 8))


def test_values_out_of_range() -> None:
    with pytest.raises(InvalidValueError, match="counter"):
        count(net(), (3, 8, 8), counter="thop")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="input_shape"):
        count(net(), (3, 0, 8))


@pytest.mark.parametrize("counter", BOTH)
def test_nothing_is_logged_or_warned(counter: str, caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A module that is never called and an operator without a handle: fvcore tells of both.
        # A module that is never called, an operator without a handle, a constant in the trace.
        model = Call(
            lambda m, x: m.conv(x).sigmoid() * torch.tensor(x.shape[0]),
            conv=nn.Conv2d(3, 4, 1),
            spare=nn.ReLU(),
        )
        count(model, (3, 8, 8), counter=counter)
    assert not caplog.records
