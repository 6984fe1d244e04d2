"""Maps of every shape, order, memory format and precision."""

import copy

import pytest
import torch

VARIANTS = pytest.mark.parametrize("variant", ["paper", "official"])
TRAINING = pytest.mark.parametrize("training", [False, True])


def as_layout(bam, layout):
    """The same BAM for maps in another order of axes."""
    other = copy.deepcopy(bam)
    other.layout = layout
    return other


@VARIANTS
@TRAINING
@pytest.mark.parametrize(
    ("first", "last", "order"),
    [("NCHW", "NHWC", (0, 2, 3, 1)), ("NCTHW", "NTHWC", (0, 2, 3, 4, 1))],
)
def test_channels_last_layout_is_the_same_permuted(
    make_bam, make_map, variant, training, first, last, order
):
    bam = make_bam(8, 2, 2, variant=variant, layout=first).train(training)
    other, x = as_layout(bam, last), make_map(first)
    y = other(x.permute(order).contiguous())
    torch.testing.assert_close(y, bam(x).permute(order))
    assert y.is_contiguous()


@pytest.mark.parametrize("layout", ["NHWC", "NTHWC"])
def test_channels_last_layout_is_not_copied(make_bam, make_map, layout):
    bam, x, seen = make_bam(8, 2, layout=layout), make_map(layout), []
    bam.spatial.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].data_ptr()))
    bam(x)
    assert seen == [x.data_ptr()]


@VARIANTS
def test_video_is_frames_for_m_s_and_a_clip_for_m_c(make_bam, make_map, variant):
    bam = make_bam(8, 2, 2, variant=variant, layout="NCTHW").eval()
    image, x = as_layout(bam, "NCHW"), make_map("NCTHW")
    m_c, m_s, m = bam.attention(x)
    for t in range(2):
        torch.testing.assert_close(m_s[:, :, t], image.attention(x[:, :, t])[1])
    # Frames stacked in height are one image with the clip's mean.
    stacked = x.flatten(2, 3)
    torch.testing.assert_close(m_c[..., 0], image.attention(stacked)[0])
    logits = m_c + m_s if variant == "paper" else m_c * m_s
    torch.testing.assert_close(m, logits.sigmoid())
    torch.testing.assert_close(bam(x), x + x * m)


@VARIANTS
def test_video_trains_on_the_frames_of_the_whole_batch(make_bam, make_map, variant):
    bam = make_bam(8, 2, 2, variant=variant, layout="NCTHW").train()
    image, x = as_layout(bam, "NCHW"), make_map("NCTHW")
    _, m_s, _ = bam.attention(x)
    _, frames, _ = image.attention(torch.cat([x[:, :, 0], x[:, :, 1]]))
    torch.testing.assert_close(m_s, torch.stack([frames[:3], frames[3:]], 2))


@VARIANTS
@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NCTHW", "NTHWC"])
@pytest.mark.parametrize("size", [5, 1])
def test_trains_on_a_batch_of_one(make_bam, make_map, variant, layout, size):
    bam = make_bam(8, 2, 2, variant=variant, layout=layout).train()
    x = make_map(layout, N=1, T=1, H=size, W=size).requires_grad_()
    lone = ["channel.reduce_norm" if variant == "official" else "channel.norm"]
    if size == 1:
        lone = [name for name, module in bam.named_modules() if hasattr(module, "running_var")]
    before = copy.deepcopy(bam.state_dict())
    y = bam(x)
    y.square().sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()
    assert x.grad.count_nonzero() == x.numel()
    for name, value in bam.state_dict().items():
        layer, _, part = name.rpartition(".")
        assert value.isfinite().all()
        if part in ("running_mean", "running_var", "num_batches_tracked"):
            assert torch.equal(value, before[name]) == (layer in lone), name


def test_a_lone_image_gets_the_channel_logits_of_eval_mode(make_bam, make_map):
    bam, x = make_bam(8, 2), make_map(N=1)
    trained = bam.train().attention(x)[0]
    torch.testing.assert_close(trained, bam.eval().attention(x)[0])


@TRAINING
def test_channels_last_memory_stays(make_bam, make_map, training):
    bam, x = make_bam(8, 2, 2).train(training), make_map()
    y = bam(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert not y.is_contiguous()
    torch.testing.assert_close(y, bam(x))


@VARIANTS
@TRAINING
@pytest.mark.parametrize("init", ["paper", "identity"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_keeps_the_maps_dtype(make_bam, make_map, variant, training, init, dtype):
    gate = 0.5 if init == "identity" else None
    bam = make_bam(8, 2, 2, variant=variant, init=init, gate=gate).train(training)
    x = make_map().to(dtype)
    exact = copy.deepcopy(bam)(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        y, m = bam(x), bam.attention(x)[2]
    assert y.dtype == m.dtype == dtype
    torch.testing.assert_close(y.float(), exact, rtol=0.1, atol=0.1)


def test_half_precision_and_meta(make_bam, make_map):
    bam, x = make_bam(8, 2, init="identity"), make_map()
    for training in (False, True):
        bam.train(training)
        assert copy.deepcopy(bam).bfloat16()(x.bfloat16()).dtype == torch.bfloat16
        assert copy.deepcopy(bam).to("meta")(x.to("meta")).shape == x.shape
