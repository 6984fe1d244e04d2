"""How many designs a second are costed, beside fvcore called for each design.

    OMP_NUM_THREADS=1 python benchmarks/costing.py

Every design that has BAM at some of resnet50's three bottlenecks, r in 4, 8, 16, 32 and d in 1, 2,
4, 6: 17^3 = 4,913. A pass is ``DesignCosts.cost`` of each of them, of tuples of insertions made
before. For some designs, the network with BAM in it is given to fvcore, just after a pass; building
that network is not in fvcore's time and is said beside it. Both must give the same integers.

Writes costing.json and costing.md beside this file.
"""

from __future__ import annotations

import random
import warnings
from importlib.metadata import version
from itertools import product
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from machine import write
from scipy.stats import bootstrap
from torch import nn

from bamsearch.graph.models import build_model
from bamsearch.graph.placement import place
from bamsearch.graph.rewrite import insert_bam
from bamsearch.profile.costs import DesignCosts
from bamsearch.profile.summary import summarise_module
from bamsearch.records import Design, Insertion, ModelSummary

MODEL = "resnet50"
SHAPE = (3, 224, 224)
REDUCTIONS = (4, 8, 16, 32)
DILATIONS = (1, 2, 4, 6)
PASSES = 50
COUNTED = 12
TARGET = 50_000


def every_design(summary: ModelSummary) -> list[tuple[Insertion, ...]]:
    at_each_site = [
        [None, *(Insertion(site.name, r, d) for r in REDUCTIONS for d in DILATIONS)]
        for site in place(summary.sites, "paper")
    ]
    return [tuple(one for one in chosen if one) for chosen in product(*at_each_site)]


def a_pass(costs: DesignCosts, designs: list[tuple[Insertion, ...]]) -> float:
    """Seconds a design."""
    start = perf_counter()
    for design in designs:
        costs.cost(design)
    return (perf_counter() - start) / len(designs)


def fvcore_counts(network: nn.Module) -> tuple[float, tuple[int, int, int]]:
    """Seconds that fvcore takes, and parameters, multiply-adds and those without norm and pool."""
    from fvcore.nn import FlopCountAnalysis

    image = torch.zeros(1, *SHAPE)
    start = perf_counter()
    with torch.no_grad():
        analysis = FlopCountAnalysis(network, image)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.tracer_warnings("none")
        macs = analysis.total()
        params = sum(parameter.numel() for parameter in network.parameters())
    seconds = perf_counter() - start
    by_operator = analysis.by_operator()
    return seconds, (params, macs, by_operator["conv"] + by_operator["linear"])


def beside_fvcore(
    costs: DesignCosts, designs: list[tuple[Insertion, ...]], model: nn.Module
) -> tuple[list[float], list[float], list[float]]:
    """Seconds a design: of a pass, of fvcore, and of building the network for fvcore."""
    ours, theirs, building = [], [], []
    for insertions in random.Random(0).sample(designs, COUNTED):
        start = perf_counter()
        design = Design(MODEL, SHAPE, insertions)
        network = insert_bam(model, design=design).eval()
        building.append(perf_counter() - start)
        ours.append(a_pass(costs, designs))
        seconds, counted = fvcore_counts(network)
        theirs.append(seconds)
        cost = costs.cost(insertions)
        if counted != (cost.params, cost.macs, cost.conv_linear_macs):
            raise SystemExit(f"{insertions}: {cost} is not fvcore's {counted}")
    return ours, theirs, building


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """The median between the ends of its 95 % bootstrap interval over pairs."""
    generator = np.random.default_rng(0)
    found = bootstrap((ratios,), np.median, method="percentile", rng=generator)
    low, high = found.confidence_interval
    return float(low), median(ratios), float(high)


def measure() -> dict[str, Any]:
    model = build_model(MODEL, SHAPE, initialise=False)
    summary = summarise_module(MODEL, model, SHAPE)
    designs = every_design(summary)
    start = perf_counter()
    costs = DesignCosts(summary)
    for design in designs:
        costs.cost(design)
    first = len(designs) / (perf_counter() - start)
    rates = sorted(1 / a_pass(costs, designs) for _ in range(PASSES))
    fvcore_counts(model.eval())  # its imports and its own first call are not what is compared
    ours, theirs, building = beside_fvcore(costs, designs, model)
    low, ratio, high = interval([fvcore / one for one, fvcore in zip(ours, theirs, strict=True)])
    return {
        "model": MODEL,
        "designs": len(designs),
        "designs_per_second": {
            "first_pass": round(first),
            "median": round(median(rates)),
            "lowest": round(rates[0]),
            "highest": round(rates[-1]),
            "passes": PASSES,
        },
        "fvcore": {
            "designs": COUNTED,
            "same_integers": True,
            "seconds_a_design": round(median(theirs), 3),
            "seconds_to_build_a_design": round(median(building), 3),
        },
        "ratio": {
            "median": round(ratio),
            "low": round(low),
            "high": round(high),
            "confidence": 0.95,
        },
        "versions": {"fvcore": version("fvcore")},
    }


def as_text(found: dict[str, Any]) -> str:
    rate, fvcore, ratio = found["designs_per_second"], found["fvcore"], found["ratio"]
    interval = f"{ratio['median']:,} [{ratio['low']:,}, {ratio['high']:,}]"
    rows = {
        f"bamsearch, designs a second, median of {rate['passes']} passes": f"{rate['median']:,}",
        "its slowest pass": f"{rate['lowest']:,}",
        "its fastest pass": f"{rate['highest']:,}",
        "its first pass, which works out each (site, h)": f"{rate['first_pass']:,}",
        f"fvcore, seconds a design, median of {fvcore['designs']}": fvcore["seconds_a_design"],
        "building what fvcore is given, seconds": fvcore["seconds_to_build_a_design"],
        f"fvcore's time over bamsearch's, {ratio['confidence']:.0%} interval": interval,
    }
    table = "".join(f"| {what} | {value} |\n" for what, value in rows.items())
    return f"""# Costing a design

`OMP_NUM_THREADS=1 python benchmarks/costing.py` wrote this: {found["model"]}, {found["designs"]:,}
designs (BAM at some of three bottlenecks, 4 reductions, 4 dilations), fvcore {version("fvcore")}.

| | |
|---|---:|
{table}
The ratio is of fvcore's time for a design to bamsearch's in the pass just before it; building the
network is not in it. Parameters, multiply-adds, and multiply-adds of convolution and linear are the
same integers in all {fvcore["designs"]} designs that fvcore counted. The target is {TARGET:,}
designs a second.
"""


def main() -> None:
    # fvcore scripts two losses when imported; TorchScript is deprecated.
    warnings.filterwarnings("ignore", r"`torch\.jit\.")
    found = measure()
    write("costing", found, as_text(found))
    if found["designs_per_second"]["median"] < TARGET:
        raise SystemExit(f"below {TARGET:,} designs a second")


if __name__ == "__main__":
    main()
