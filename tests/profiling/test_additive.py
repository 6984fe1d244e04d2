"""Base plus closed form is what fvcore counts in the rewritten model, to the last integer."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from bamsearch.attention.cost import bam_cost
from bamsearch.graph.base import Base
from bamsearch.graph.models import build_model, default_input_shape, model_names
from bamsearch.profiling.counting import Counter, count
from bamsearch.records import Cost, Design, Insertion, Site

FAST = [
    ("resnet18", (3, 64, 96)),
    ("mobilenet_v2", (3, 64, 64)),
    ("swin_t", (3, 64, 64)),
    ("r3d_18", (3, 4, 32, 48)),
    ("lraspp_mobilenet_v3_large", (3, 64, 64)),
]
# Too large for two at once in memory; their smaller sisters stand for them.
HUGE = {"vit_h_14", "vit_l_16", "vit_l_32", "regnet_y_128gf"}


def integers(cost: Cost) -> tuple[int, int, int]:
    return cost.params, cost.macs, cost.conv_linear_macs


def random_design(
    generator: random.Random, sites: Sequence[Site], shape: tuple[int, ...]
) -> Design:
    chosen = generator.sample(sites, generator.randint(1, len(sites)))
    insertions = [
        Insertion(site.name, generator.randint(1, 2 * site.channels), generator.randint(1, 9))
        for site in chosen
    ]
    return Design(
        "any",
        shape,
        tuple(insertions),
        generator.choice(("paper", "official")),
        generator.choice(("paper", "identity")),
    )


def check(base: Base, design: Design, counter: Counter) -> None:
    sites = {site.name: site for site in base.sites}
    part, shape = base.network.path, base.network.input_shape
    expected = count(base.network.module, shape, counter=counter)
    for insertion in design.insertions:
        expected += bam_cost(
            sites[insertion.site],
            insertion.reduction,
            insertion.dilation,
            variant=design.variant,
            init=design.init,
        )
    rewritten = base.insert(design).module.get_submodule(part)
    cost = count(rewritten, shape, counter=counter)
    assert integers(cost) == integers(expected), design


@pytest.mark.parametrize(("name", "shape"), FAST, ids=[name for name, _ in FAST])
def test_random_designs(name: str, shape: tuple[int, ...]) -> None:
    base = Base(build_model(name, shape, initialise=False), shape)
    generator = random.Random(name)
    for _ in range(2):
        check(base, random_design(generator, base.sites, shape), "fvcore")


@pytest.mark.zoo
@pytest.mark.parametrize("name", [name for name in model_names() if name not in HUGE])
def test_every_model(name: str) -> None:
    shape = default_input_shape(name)
    base = Base(build_model(name, shape, initialise=False), shape)
    if not base.sites:
        pytest.skip("no site")
    check(base, random_design(random.Random(name), base.sites, shape), "FlopCounterMode")
