"""Every one of torchvision's models: placed with everything kept, or without a site."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bamsearch.graph.bams import bam_parameters
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.models import build_model, default_input_shape, model_names
from bamsearch.graph.rewrite import InsertedModel
from bamsearch.graph.sites import find_sites

pytestmark = pytest.mark.zoo

# One resolution of tokens, or tokens throughout.
NO_SITE = {"mvit_v1_b", "mvit_v2_s"} | {name for name in model_names() if name.startswith("vit_")}
DETECTION = ("rcnn", "retinanet", "fcos", "ssd")
# Two copies of it do not fit beside another test in memory: looked at on the meta device alone.
META = {"regnet_y_128gf"}
# Where a small input does as well as the published one.
SMALL = ("resnet", "resnext", "vgg", "mobilenet", "mnasnet", "densenet", "efficientnet", "regnet")
SMALL += ("shufflenet", "squeezenet", "convnext", "googlenet", "deeplab", "fcn_", "lraspp")


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have the same bytes: NaN counts."""
    return a.dtype == b.dtype and torch.equal(
        a.detach().contiguous().reshape(-1).view(torch.uint8),
        b.detach().contiguous().reshape(-1).view(torch.uint8),
    )


@pytest.mark.parametrize("name", model_names())
def test_placed_or_without_a_site(name: str) -> None:
    shape = default_input_shape(name)
    base = build_model(name, shape, initialise=False)
    if name in META:
        base = base.to("meta")
    sites = find_sites(base, shape)
    assert (not sites) == (name in NO_SITE)
    if not sites:
        return
    bottlenecks = [site for site in sites if site.kind == "bottleneck"]
    assert bottlenecks
    # a map shrinks along the way, and no two sites have one name
    areas = [site.height * site.width for site in bottlenecks]
    assert areas == sorted(set(areas), reverse=True)
    assert len({site.name for site in sites}) == len(sites)
    state = base.state_dict()
    modes = [(path, type(m), m.training) for path, m in base.named_modules()]
    result = insert_bam(base, shape, sites="blocks")
    after = result.state_dict()
    weights = [key for key in after if ".bam." not in f".{key}"]
    assert weights == list(state)
    if name not in META:
        assert all(same_bits(after[key], state[key]) for key in weights)
    assert sum(p.numel() for p in bam_parameters(result)) + sum(
        p.numel() for p in base.parameters()
    ) == sum(p.numel() for p in result.parameters())
    # all but the rewritten part keep their class
    modules = {path: (type(m), m.training) for path, m in result.named_modules()}
    changed = [path for path, kind, mode in modes if modules[path] != (kind, mode)]
    assert [type(result.get_submodule(path)).__mro__[1] for path in changed] == [InsertedModel]


def cheap_values(model: nn.Module) -> nn.Module:
    """Small random weights, so that the output is finite and depends on all."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.uniform_(-1, 1).mul_((3 / parameter[0].numel()) ** 0.5)
            else:
                parameter.uniform_(0.4, 0.6)
    return model


@pytest.mark.parametrize(
    "name", [n for n in model_names() if n not in NO_SITE | META and "raft" not in n]
)
def test_a_silent_bam_changes_nothing(name: str, same, silence) -> None:
    shape = default_input_shape(name)
    if name.removeprefix("quantized_").startswith(SMALL):
        shape = (3, 64, 64)
    elif len(shape) == 4 and name != "s3d":
        shape = (3, 4, 64, 64)
    elif name.startswith("swin"):
        shape = (3, 64, 64)
    elif any(part in name for part in DETECTION):
        shape = (3, 96, 96)
    base = cheap_values(build_model(name, shape, initialise=False))
    if any(part in name for part in DETECTION):
        shape = (3, 300, 300) if name == "ssd300_vgg16" else (3, 160, 160)
    result = silence(insert_bam(base, shape, sites="stages"))
    # of a detector its feature network, whose output is an OrderedDict
    ours, theirs = (getattr(m, "backbone", m) for m in (result, base))
    if not any(part in name for part in DETECTION):
        ours, theirs = result, base
    x = torch.randn(2, *shape)
    for training in (True, False):
        outputs = []
        for model in (ours, theirs):
            model.train(training)
            torch.manual_seed(0)
            with torch.no_grad():
                outputs.append(model(x))
        same(*outputs)
        flat = outputs[0]
        while not isinstance(flat, Tensor):
            flat = next(iter(flat.values())) if isinstance(flat, dict) else flat[0]
        assert flat.isfinite().all()
        assert flat.std() > 0
