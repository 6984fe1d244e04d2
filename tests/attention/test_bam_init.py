"""How a BAM starts, and that it learns from there."""

import pytest
import torch

from bamsearch.attention.bam import BAM

LAYOUTS = pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NCTHW", "NTHWC"])


def bits(x):
    return x.view({4: torch.int32, 2: torch.int16}[x.element_size()])


@LAYOUTS
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_identity_starts_bit_for_bit(make_map, layout, training, dtype):
    bam = BAM(8, 2, init="identity", layout=layout).to(dtype).train(training)
    x = make_map(layout).to(dtype)
    x.view(-1)[:4] = torch.tensor([0.0, -0.0, 1e-38, -1e4], dtype=dtype)
    assert x.view(-1)[1].signbit()
    assert torch.equal(bits(bam(x)), bits(x))


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_identity_is_a_gate_on_the_attention(make_bam, make_map, variant):
    bam, x = make_bam(8, 2, variant=variant, init="identity", gate=-0.7).eval(), make_map()
    torch.testing.assert_close(bam(x), x - 0.7 * (x * bam.attention(x)[2]))


def test_gate_is_one_scalar_and_only_of_identity():
    plain, gated = BAM(8, 2), BAM(8, 2, init="identity")
    assert plain.gate is None
    assert "gate" not in dict(plain.named_parameters())
    assert gated.gate.shape == ()
    assert gated.gate.item() == 0
    extra = {name for name, _ in gated.named_parameters()} - dict(plain.named_parameters()).keys()
    assert extra == {"gate"}


def test_paper_starts_at_one_and_a_half_where_the_logits_are_zero(make_map):
    bam, x = BAM(8, 2).eval(), make_map()
    for norm in (bam.channel.norm, bam.spatial.norm):
        torch.nn.init.zeros_(norm.weight)
    torch.testing.assert_close(bam(x), 1.5 * x)


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("init", ["paper", "identity"])
def test_learns(variant, init):
    bam = BAM(16, 4, 1, variant=variant, init=init)  # h = 4: no single dead ReLU blocks a branch
    x = torch.randn(8, 16, 6, 6)
    optimiser = torch.optim.Adam(bam.parameters(), lr=0.05)
    losses = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = (bam(x) - 2 * x).square().mean()
        loss.backward()
        if not losses and init == "identity":
            # While the gate is shut, it alone learns.
            moving = [n for n, p in bam.named_parameters() if p.grad.count_nonzero()]
            assert moving == ["gate"]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    for name, parameter in bam.named_parameters():
        if name.endswith("weight") or name == "gate":
            assert parameter.grad.abs().sum() > 0, name
