"""Costs of many designs: the same integers as one by one, looked up."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import pytest

from bamsearch.errors import InvalidValueError
from bamsearch.profiling import costs
from bamsearch.profiling.costs import DesignCosts, cost_of
from bamsearch.records import Cost, Design, Insertion, ModelSummary, Site

SUMMARY = ModelSummary(
    "net",
    (3, 64, 64),
    "",
    (3, 64, 64),
    (
        Site("layer1", 64, 56, 56, 4, "NCHW", "bottleneck", "layer2"),
        Site("small", 64, 7, 7, 32, "NCHW", "block"),
        Site("layer2", 7, 5, 9, 8, "NHWC", "bottleneck", "layer3"),
        Site("clip", 32, 8, 6, 8, "NCTHW", "head", "pool", 3),
    ),
    Cost(1000, 2**60, 300, {"": 2**60}, {"aten::add": 2}, "fvcore"),
)
OPTIONS = [None, (1, 1), (4, 2), (5, 2), (100, 6)]


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("init", ["paper", "identity"])
def test_every_design_costs_what_it_costs_alone(variant, init) -> None:
    design_costs = DesignCosts(SUMMARY, variant=variant, init=init)
    for options in product(OPTIONS, repeat=4):
        insertions = tuple(
            Insertion(site.name, *option)
            for site, option in zip(SUMMARY.sites, options, strict=True)
            if option
        )
        design = Design("net", (3, 64, 64), insertions, variant, init)
        assert design_costs.cost(iter(insertions)) == cost_of(SUMMARY, design).total
        assert design_costs.cost(reversed(insertions)) == cost_of(SUMMARY, design).total


def test_by_hand() -> None:
    # C=64, 56x56, r=16, paper, as pinned in DESIGN 4: h=4, 3Ch + 18h² + 5h + 3C + 3
    design_costs = DesignCosts(SUMMARY)
    params = 3 * 64 * 4 + 18 * 16 + 5 * 4 + 3 * 64 + 3
    conv_linear = 56 * 56 * (64 * 4 + 18 * 16 + 4) + 2 * 64 * 4
    assert design_costs.added("layer1", 16) == Cost(params, 1_926_144, conv_linear)
    total = design_costs.cost([Insertion("layer1", 16, 4)])
    assert (total.params, total.macs, total.conv_linear_macs) == (
        1000 + params,
        2**60 + 1_926_144,
        300 + conv_linear,
    )
    assert (total.by_module, total.counter) == ({"": 2**60}, "fvcore")
    assert design_costs.cost(()) == SUMMARY.base


def test_each_site_and_h_is_worked_out_once(monkeypatch) -> None:
    requests = []
    real = costs.bam_cost
    monkeypatch.setattr(
        costs, "bam_cost", lambda *a, **k: requests.append((a[0].name, a[1])) or real(*a, **k)
    )
    design_costs = DesignCosts(SUMMARY)
    for _ in range(2):
        for dilation in (1, 6):
            for reduction in (4, 8, 9, 100, 65):  # h = 16, 8, 7, 1, 1
                design_costs.cost([Insertion("layer1", reduction, dilation)])
    assert requests == [("layer1", 4), ("layer1", 8), ("layer1", 9), ("layer1", 100)]


def test_bad_input() -> None:
    design_costs = DesignCosts(SUMMARY)
    with pytest.raises(InvalidValueError, match="no site is called 'layer9': did you mean layer"):
        design_costs.cost([Insertion("layer9")])
    with pytest.raises(InvalidValueError, match="layer1 is in the design twice"):
        design_costs.cost([Insertion("layer1", 4), Insertion("clip"), Insertion("layer1", 8)])
    with pytest.raises(InvalidValueError, match="reduction must be an integer of at least 1"):
        design_costs.added("layer1", 0)
    for wrong in ({"variant": "other"}, {"init": "other"}):
        with pytest.raises(InvalidValueError, match="must be one of"):
            DesignCosts(SUMMARY, **wrong)


def test_torch_is_not_loaded() -> None:
    code = "import sys, bamsearch.profiling.costs, bamsearch.profiling.latency_csv\n"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
