"""The closed form against numbers by hand, the module's parameters and fvcore."""

import subprocess
import sys

import pytest
import torch

from bamsearch.attention.bam import BAM
from bamsearch.attention.cost import bam_cost, effective_dilation, hidden_channels
from bamsearch.errors import InvalidValueError
from bamsearch.records import Cost, Site


def site(channels, height, width, layout="NCHW", frames=None):
    return Site("layer1", channels, height, width, 4, layout, "bottleneck", None, frames)


def test_the_pinned_number():
    # 3136·(256 + 288 + 4) + 512 = 1719040; pool 200704; norm 128 + 6272.
    assert bam_cost(site(64, 56, 56), 16, 4) == Cost(1271, 1926144, 1719040)


def test_official_and_video_by_hand():
    # h = 4, 12 positions: 12·(32 + 288 + 4) + 64 = 3952; pool 96; norm 8 + 24·12.
    # Parameters 96 + 288 + 52 + 8 + 1.
    assert bam_cost(site(8, 3, 4), 2, 1, variant="official") == Cost(445, 4344, 3952)
    # Two frames: 24·324 + 64 = 7840; pool 192; norm 16 + 48. Parameters 96 + 288 + 20 + 24 + 3.
    assert bam_cost(site(8, 3, 4, "NCTHW", 2), 2, 1) == Cost(431, 8096, 7840)


def test_published_resnet50():
    # 25,557,032 without BAM; 25.92 M published with three at r = 16.
    added = sum(bam_cost(site(c, 56, 56), 16, 4).params for c in (256, 512, 1024))
    assert round((25_557_032 + added) / 1e6, 2) == 25.92


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NCTHW", "NTHWC"])
@pytest.mark.parametrize(("channels", "reduction", "dilation"), [(12, 4, 4), (5, 16, 1)])
def test_is_what_fvcore_counts(
    count_macs, make_map, variant, layout, channels, reduction, dilation
):
    where = site(channels, 5, 7, layout, 2 if "T" in layout else None)
    for init in ("paper", "identity"):
        bam = BAM(channels, reduction, dilation, variant=variant, init=init, layout=layout)
        cost = bam_cost(where, reduction, dilation, variant=variant, init=init)
        counted = count_macs(bam, make_map(layout, N=1, C=channels))
        assert cost.params == sum(parameter.numel() for parameter in bam.parameters())
        assert cost.macs == sum(counted.values())
        assert cost.conv_linear_macs == counted["conv"] + counted["linear"]


def test_fvcore_counts_the_pinned_number(count_macs):
    assert sum(count_macs(BAM(64), torch.zeros(1, 64, 56, 56)).values()) == 1926144


def test_dilation_costs_nothing(count_macs, make_map):
    assert bam_cost(site(8, 5, 7), 2, 1) == bam_cost(site(8, 5, 7), 2, 6)
    x = make_map(N=1)
    counts = [count_macs(BAM(8, 2, d), x) for d in (1, 6)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("channels", "reduction", "hidden"), [(64, 16, 4), (3, 16, 1), (65, 4, 16)]
)
def test_hidden_channels(channels, reduction, hidden):
    assert hidden_channels(channels, reduction) == hidden


@pytest.mark.parametrize(("height", "width"), [(3, 5), (5, 3), (4, 4)])
def test_dilations_beyond_the_map_are_one_function(make_bam, height, width):
    where, x = site(8, height, width), torch.randn(2, 8, height, width)
    last = max(height, width)
    state = make_bam(8, 2).state_dict()

    def output(dilation):
        bam = BAM(8, 2, dilation).eval()
        bam.load_state_dict(state)
        return bam(x)

    outputs = {d: output(d) for d in range(1, last + 4)}
    for piece in outputs:
        for other in outputs:
            same = effective_dilation(where, piece) == effective_dilation(where, other)
            assert torch.allclose(outputs[piece], outputs[other]) == same, (piece, other)


@pytest.mark.parametrize(
    "call",
    [
        lambda: bam_cost(site(8, 5, 7), 0, 4),
        lambda: bam_cost(site(8, 5, 7), 2, 0),
        lambda: bam_cost(site(8, 5, 7), 2, 4, variant="offical"),
        lambda: bam_cost(site(8, 5, 7), 2, 4, init="zero"),
        lambda: hidden_channels(0, 4),
        lambda: effective_dilation(site(8, 5, 7), True),
    ],
)
def test_refuses_bad_values(call):
    with pytest.raises(InvalidValueError):
        call()


def test_counts_without_torch():
    code = "import sys, bamsearch.attention.cost; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
