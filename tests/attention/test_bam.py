"""BAM against its equations, written out again here with torch's functions alone."""

import copy
import pickle
import re

import pytest
import torch
from torch.nn import functional as F

from bamsearch.attention.bam import BAM
from bamsearch.errors import InvalidValueError


def reference(bam, x):
    """M_c, M_s, M of an image map, from the state dict and the paper (or the authors' code)."""
    state, d = bam.state_dict(), bam.dilation

    def norm(name, y):
        axes = (0, *range(2, y.dim()))
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        if bam.training:
            mean = y.mean(axes)
            var = ((y - y.mean(axes, keepdim=True)) ** 2).mean(axes)
        shape = [1, -1] + [1] * (y.dim() - 2)
        unit = (y - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt()
        return unit * state[f"{name}.weight"].view(shape) + state[f"{name}.bias"].view(shape)

    def official_norm(name, y):
        return norm(name, y) if bam.variant == "official" else y

    def conv(name, y, padding):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.conv2d(y, weight, bias, padding=padding, dilation=max(padding, 1))

    y = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
    y = y @ state["channel.reduce.weight"].T + state["channel.reduce.bias"]
    y = official_norm("channel.reduce_norm", y).clamp(min=0)
    m_c = y @ state["channel.expand.weight"].T + state["channel.expand.bias"]
    y = official_norm("spatial.reduce_norm", conv("spatial.reduce", x, 0)).clamp(min=0)
    y = official_norm("spatial.context1_norm", conv("spatial.context1", y, d)).clamp(min=0)
    y = official_norm("spatial.context2_norm", conv("spatial.context2", y, d)).clamp(min=0)
    m_s = conv("spatial.project", y, 0)
    if bam.variant == "official":
        m_c = m_c[:, :, None, None]
        return m_c, m_s, 1 / (1 + torch.exp(-(m_c * m_s)))
    m_c, m_s = norm("channel.norm", m_c)[:, :, None, None], norm("spatial.norm", m_s)
    return m_c, m_s, 1 / (1 + torch.exp(-(m_c + m_s)))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize(("channels", "reduction", "dilation"), [(8, 2, 1), (12, 3, 3), (5, 16, 2)])
def test_is_the_papers_equations(
    make_bam, make_map, training, variant, channels, reduction, dilation
):
    bam = make_bam(channels, reduction, dilation, variant=variant).train(training)
    x = make_map(C=channels)
    m_c, m_s, m = reference(bam, x)
    for ours, theirs in zip(bam.attention(x), (m_c, m_s, m), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(bam(x), x + x * m, rtol=1e-4, atol=1e-5)


def test_official_pools_all_of_a_wide_map(make_bam, make_map):
    bam = make_bam(8, 2, variant="official").eval()
    x = make_map(H=4, W=9)
    right = x.clone()
    right[..., 4:] += 1
    assert not torch.allclose(bam.attention(x)[0], bam.attention(right)[0])


@pytest.mark.parametrize(
    ("variant", "channels", "reduction", "by_hand"),
    [
        ("paper", 64, 16, 1271),  # 3·64·4 + 18·16 + 5·4 + 3·64 + 3
        ("official", 64, 16, 1173),  # 3·64·4 + 18·16 + 13·4 + 64 + 1
        ("paper", 3, 16, 44),  # h = 1: 9 + 18 + 5 + 9 + 3
        ("official", 3, 16, 44),  # h = 1: 9 + 18 + 13 + 3 + 1
        ("paper", 1024, 16, 273731),  # 196608 + 73728 + 320 + 3072 + 3
    ],
)
def test_parameters_counted_by_hand(variant, channels, reduction, by_hand):
    for dilation in (1, 6):
        bam = BAM(channels, reduction, dilation, variant=variant)
        assert sum(parameter.numel() for parameter in bam.parameters()) == by_hand


NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
LAYERS = {
    "paper": {
        "channel.reduce": NORM[:2],
        "channel.expand": NORM[:2],
        "channel.norm": NORM,
        "spatial.reduce": NORM[:2],
        "spatial.context1": NORM[:2],
        "spatial.context2": NORM[:2],
        "spatial.project": NORM[:2],
        "spatial.norm": NORM,
    },
    "official": {
        "channel.reduce": NORM[:2],
        "channel.reduce_norm": NORM,
        "channel.expand": NORM[:2],
        "spatial.reduce": NORM[:2],
        "spatial.reduce_norm": NORM,
        "spatial.context1": NORM[:2],
        "spatial.context1_norm": NORM,
        "spatial.context2": NORM[:2],
        "spatial.context2_norm": NORM,
        "spatial.project": NORM[:2],
    },
}


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_state_dict_names_stay(variant):
    names = [f"{layer}.{part}" for layer, parts in LAYERS[variant].items() for part in parts]
    assert list(BAM(8, variant=variant).state_dict()) == names
    assert set(BAM(8, variant=variant, init="identity").state_dict()) == {"gate", *names}


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_spatial_branch_sees_two_dilated_steps_each_way(make_bam, dilation):
    # Two 3x3 kernels with taps at -d, 0, d: offsets -2d, -d, 0, d, 2d, from -2d to 2d.
    bam = make_bam(4, 1, dilation).eval()
    with torch.no_grad():
        for parameter in bam.spatial.parameters():
            parameter.abs_()  # no ReLU is closed on a positive map
    x = torch.rand(1, 4, 17, 19, requires_grad=True)
    bam.attention(x)[1][0, 0, 8, 9].backward()
    rows, columns = x.grad[0].abs().sum(0).nonzero().T
    steps = [-2 * dilation, -dilation, 0, dilation, 2 * dilation]
    assert rows.unique().tolist() == [8 + step for step in steps]
    assert columns.unique().tolist() == [9 + step for step in steps]
    assert len(rows) == 25


@pytest.mark.parametrize(
    ("layout", "m_c", "m_s"),
    [
        ("NCHW", (3, 8, 1, 1), (3, 1, 5, 7)),
        ("NHWC", (3, 1, 1, 8), (3, 5, 7, 1)),
        ("NCTHW", (3, 8, 1, 1, 1), (3, 1, 2, 5, 7)),
        ("NTHWC", (3, 1, 1, 1, 8), (3, 2, 5, 7, 1)),
    ],
)
def test_attention_shapes_follow_the_layout(make_bam, make_map, layout, m_c, m_s):
    x = make_map(layout)
    shapes = [tuple(m.shape) for m in make_bam(8, 2, layout=layout).attention(x)]
    assert shapes == [m_c, m_s, tuple(x.shape)]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"channels": 0}, "channels must be an integer of at least 1, not 0"),
        ({"reduction": -4}, "reduction must be an integer of at least 1, not -4"),
        ({"dilation": 1.5}, "dilation must be an integer of at least 1, not 1.5"),
        ({"variant": "offical"}, "variant must be one of paper, official, not 'offical'"),
        ({"init": "zero"}, "init must be one of paper, identity, not 'zero'"),
        ({"layout": "CHW"}, "layout must be one of NCHW, NHWC, NCTHW, NTHWC, not 'CHW'"),
    ],
)
def test_refuses_bad_arguments(arguments, says):
    with pytest.raises(InvalidValueError, match=re.escape(says)):
        BAM(**({"channels": 8} | arguments))


@pytest.mark.parametrize(
    ("layout", "shape", "says"),
    [
        ("NCHW", (2, 9, 5, 7), "a map of shape (N, 8, H, W), not (2, 9, 5, 7)"),
        ("NCHW", (8, 5, 7), "a map of shape (N, 8, H, W), not (8, 5, 7)"),
        ("NHWC", (2, 8, 5, 7), "a map of shape (N, H, W, 8), not (2, 8, 5, 7)"),
        ("NCTHW", (2, 8, 5, 7), "a map of shape (N, 8, T, H, W), not (2, 8, 5, 7)"),
    ],
)
def test_refuses_other_maps(layout, shape, says):
    with pytest.raises(InvalidValueError, match=re.escape(says)):
        BAM(8, layout=layout)(torch.randn(shape))


def test_prints_what_it_is():
    text = repr(BAM(64, 8, 2, variant="official", init="identity", layout="NHWC"))
    assert "64, reduction=8, dilation=2, variant=official, init=identity, layout=NHWC\n" in text


def test_one_seed_one_module():
    torch.manual_seed(3)
    first = BAM(8, 2).state_dict()
    torch.manual_seed(3)
    second = BAM(8, 2).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(BAM(8, 2).channel.reduce.weight, first["channel.reduce.weight"])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda bam: pickle.loads(pickle.dumps(bam))])
def test_copies_and_pickles(make_bam, make_map, clone):
    bam, x = make_bam(8, 2, 2, variant="official", init="identity", gate=0.5).eval(), make_map()
    assert torch.equal(clone(bam)(x), bam(x))
