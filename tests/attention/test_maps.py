import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, ResNet

from bamsearch.attention.bam import BAM
from bamsearch.attention.maps import attention_maps
from bamsearch.errors import InvalidValueError, ModelError, NothingToDoError
from bamsearch.graph.insertion import insert_bam


@pytest.fixture
def network():
    """A little ResNet with BAM at layer1 and layer2, of which nothing is at a default value."""

    @torch.no_grad()
    def make(**kwargs):
        base = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)
        model = insert_bam(base, (3, 32, 48), sites=["layer1", "layer2"], **kwargs)
        for parameter in model.bam.parameters():
            parameter.normal_(std=0.2)
        for name, buffer in model.bam.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
        return model

    return make


def normalised(x, norm):
    """Batch norm in eval mode, written out, over axis 1."""
    column = [1, -1] + [1] * (x.dim() - 2)
    mean, var, weight, bias = (
        t.view(column) for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / (var + norm.eps).sqrt() * weight + bias


def equations(bam, x):
    """M_c, M_s and M of x, as the paper or the authors' code has them, from the weights."""
    official = bam.variant == "official"
    c, s = bam.channel, bam.spatial
    hidden = x.mean((2, 3)) @ c.reduce.weight.T + c.reduce.bias
    hidden = normalised(hidden, c.reduce_norm) if official else hidden
    m_c = hidden.clamp(min=0) @ c.expand.weight.T + c.expand.bias
    hidden = x
    for conv, norm in (
        (s.reduce, s.reduce_norm),
        (s.context1, s.context1_norm),
        (s.context2, s.context2_norm),
    ):
        d = 0 if conv is s.reduce else bam.dilation
        hidden = F.conv2d(hidden, conv.weight, conv.bias, padding=d, dilation=max(d, 1))
        hidden = (normalised(hidden, norm) if official else hidden).clamp(min=0)
    m_s = F.conv2d(hidden, s.project.weight, s.project.bias)
    if official:
        return m_c, m_s[:, 0], 1 / (1 + (-m_c[:, :, None, None] * m_s).exp())
    m_c, m_s = normalised(m_c, c.norm), normalised(m_s, s.norm)
    return m_c, m_s[:, 0], 1 / (1 + (-m_c[:, :, None, None] - m_s).exp())


@pytest.mark.parametrize("variant", ["paper", "official"])
@torch.no_grad()
def test_they_are_the_equations_of_the_map_at_the_site(network, variant):
    model = network(variant=variant, reduction=8, dilation=2).eval()
    images = torch.randn(2, 3, 40, 56)
    seen = {}
    for name in ("layer1", "layer2"):
        model.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: seen.update({name: output.clone()})
        )
    maps = attention_maps(model, images)
    assert [(site_map.path, site_map.call) for site_map in maps] == [
        ("bam.layer1", 1),
        ("bam.layer2", 1),
    ]
    for name, site_map in zip(("layer1", "layer2"), maps, strict=True):
        expected = equations(model.get_submodule(f"bam.{name}"), seen[name])
        for value, wanted in zip((site_map.m_c, site_map.m_s, site_map.m), expected, strict=True):
            assert wanted.std() > 0
            torch.testing.assert_close(value, wanted, rtol=1e-4, atol=1e-4)
        assert (site_map.reduction, site_map.dilation, site_map.gate) == (8, 2, None)


def test_shapes_where_a_photograph_is_not_square(network):
    first, second = attention_maps(network(), torch.randn(2, 3, 40, 56))
    assert (first.m_c.shape, second.m_c.shape) == ((2, 64), (2, 128))
    assert (first.m_s.shape, second.m_s.shape) == ((2, 10, 14), (2, 5, 7))
    assert (first.m.shape, second.m.shape) == ((2, 64, 10, 14), (2, 128, 5, 7))


@pytest.mark.parametrize("layout", ["NHWC", "NTHWC", "NCTHW"])
def test_channels_come_first_whatever_the_layout(make_bam, make_map, layout):
    bam = make_bam(8, 2, 1, layout=layout).eval()
    x = make_map(layout)
    (site_map,) = (
        attention_maps(nn.Sequential(nn.Identity(), bam), x)
        if layout != "NHWC"
        else (attention_maps(nn.Sequential(ToLast(), bam), x.movedim(-1, 1)))
    )
    plain = [axis for axis in "NCTHW" if axis in layout]
    with torch.no_grad():
        m_c, m_s, m = (
            value.permute([layout.index(axis) for axis in plain]) for value in bam.attention(x)
        )
    torch.testing.assert_close(site_map.m, m)
    torch.testing.assert_close(site_map.m_c, m_c.reshape(3, 8))
    torch.testing.assert_close(site_map.m_s, m_s[:, 0])
    assert site_map.m_s.shape == m[:, 0].shape


class ToLast(nn.Module):
    def forward(self, x):
        return x.movedim(1, -1)


def test_a_bam_that_is_called_twice_is_there_twice(make_bam, make_map):
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = make_bam(8, 2, 1)

        def forward(self, x):
            return self.attend(x=self.attend(x) + 1)

    model, x = Twice().eval(), make_map("NCHW")
    first, second = attention_maps(model, x)
    assert [(site_map.path, site_map.call) for site_map in (first, second)] == [
        ("attend", 1),
        ("attend", 2),
    ]
    with torch.no_grad():
        torch.testing.assert_close(first.m, model.attend.attention(x)[2])
        torch.testing.assert_close(second.m, model.attend.attention(model.attend(x) + 1)[2])
    assert not torch.equal(first.m, second.m)


def facts(model):
    """All that a call must leave as it was."""
    return (
        {name: module.training for name, module in model.named_modules()},
        {name: value.clone() for name, value in model.state_dict().items()},
        {name: len(module._forward_hooks) for name, module in model.named_modules()},
        torch.get_rng_state(),
    )


def same(before, after) -> bool:
    tensors = all(torch.equal(value, after[1][name]) for name, value in before[1].items())
    return (
        tensors
        and before[0] == after[0]
        and before[2] == after[2]
        and torch.equal(before[3], after[3])
    )


def test_the_network_is_left_as_it_was(network):
    model = network()
    model.layer1.eval()
    model.layer3[0].bn1.eval()
    calls = []
    model.bam.layer1.register_forward_hook(lambda *_: calls.append(model.bam.layer1.training))
    before = facts(model)
    assert {True, False} <= set(before[0].values())
    maps = attention_maps(model, torch.ones(2, 3, 32, 48))
    assert same(before, facts(model))
    assert calls == [False]  # its user's own hook, in eval mode
    assert not any(site_map.m.requires_grad for site_map in maps)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_is_left_as_it_was_after_a_failure_too(network):
    model = network()
    before = facts(model)
    with pytest.raises(
        ModelError, match=r"^ResNet does not accept images of shape \(1, 2, 32, 48\)"
    ):
        attention_maps(model, torch.ones(1, 2, 32, 48))
    assert same(before, facts(model))


def test_a_network_of_two_graphs_gets_its_own_back():
    base = torchvision.models.googlenet(init_weights=False, num_classes=10)
    model = insert_bam(base, (3, 64, 64), sites=["inception4e"])
    assert model.train_graph is not model.eval_graph
    attention_maps(model, torch.randn(2, 3, 64, 64))
    assert model.training
    assert model.graph is model.train_graph
    assert type(model(torch.randn(2, 3, 64, 64))).__name__ == "GoogLeNetOutputs"


def test_eval_mode_makes_an_image_independent_of_its_batch(network):
    model, images = network(), torch.randn(3, 3, 32, 48)
    together, alone = attention_maps(model, images), attention_maps(model, images[1:2])
    for batched, other in zip(together, alone, strict=True):
        torch.testing.assert_close(batched.m[1:2], other.m)


def test_the_gate_is_reported_and_not_applied(make_bam, make_map):
    bam, x = make_bam(8, 2, 1, init="identity", gate=0.25), make_map("NCHW")
    (site_map,) = attention_maps(nn.Sequential(bam), x)
    assert site_map.gate == 0.25
    with torch.no_grad():
        torch.testing.assert_close(site_map.m, bam.eval().attention(x)[2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_images_are_given_in_the_dtype_of_the_network(make_bam, make_map, dtype):
    (site_map,) = attention_maps(nn.Sequential(make_bam(8, 2, 1).to(dtype)), make_map("NCHW"))
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert {site_map.m_c.dtype, site_map.m_s.dtype, site_map.m.dtype} == {wanted}


def test_without_bam_there_is_nothing_to_do():
    with pytest.raises(NothingToDoError, match=r"Conv2d has no BAM.*insert_bam"):
        attention_maps(nn.Conv2d(3, 3, 1), torch.ones(1, 3, 4, 4))


def test_a_bam_that_is_never_called(make_bam):
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = make_bam(8, 2, 1)

        def forward(self, x):
            return x

    with pytest.raises(ModelError, match="Idle has BAM at attend but does not call it"):
        attention_maps(Idle(), torch.ones(1, 3, 4, 4))


@pytest.mark.parametrize(
    "images",
    [torch.ones(3, 4, 4), torch.ones(1, 3, 4, 4, dtype=torch.uint8), torch.ones(0, 3, 4, 4)],
    ids=["no batch", "bytes", "empty"],
)
def test_what_is_not_a_batch_of_images(images):
    with pytest.raises(InvalidValueError, match=r"a floating-point batch \(N, C, H, W\), not"):
        attention_maps(nn.Sequential(BAM(3)), images)


def test_memory_that_is_short_is_not_called_a_wrong_shape(make_bam, monkeypatch):
    def full(self, x):
        raise torch.OutOfMemoryError("full")

    model = nn.Sequential(make_bam(8, 2, 1))
    monkeypatch.setattr(nn.Sequential, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        attention_maps(model, torch.ones(1, 8, 4, 4))
