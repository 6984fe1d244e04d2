"""Designs costed per second, compared with fvcore called for each design.

    OMP_NUM_THREADS=1 python benchmarks/costing.py

All designs with BAM at any of resnet50's three bottlenecks, r in 4, 8, 16, 32 and d in 1, 2, 4, 6:
17^3 = 4,913. A pass calls ``DesignCosts.cost`` for each of them, on tuples of insertions made
before. For some designs, fvcore counts the network with BAM just after a pass; the time to build
that network is reported separately. Both counts must be equal.

Writes costing.json and costing.md next to this file.
"""

from __future__ import annotations

import random
import warnings
from importlib.metadata import version
from itertools import product
from statistics import median
from time import perf_counter
from typing import Any

import torch
from machine import write
from torch import nn

from bamsearch.graph.base import Base
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.models import build_model
from bamsearch.graph.placement import place
from bamsearch.profiling.costs import DesignCosts
from bamsearch.profiling.summary import summarise_base
from bamsearch.profiling.timing import paired_ratio
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
    return [tuple(bam for bam in chosen if bam) for chosen in product(*at_each_site)]


def a_pass(costs: DesignCosts, designs: list[tuple[Insertion, ...]]) -> float:
    """Seconds per design."""
    start = perf_counter()
    for design in designs:
        costs.cost(design)
    return (perf_counter() - start) / len(designs)


def fvcore_counts(network: nn.Module) -> tuple[float, tuple[int, int, int]]:
    """Seconds of fvcore; parameters, multiply-adds, and multiply-adds without norm and pool."""
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
    """Seconds per design of a pass, of fvcore, and of building the network for fvcore."""
    ours, theirs, building = [], [], []
    for insertions in random.Random(0).sample(designs, COUNTED):
        start = perf_counter()
        design = Design(MODEL, SHAPE, insertions)
        network = insert_bam(model, design=design, check=False).eval()
        building.append(perf_counter() - start)
        ours.append(a_pass(costs, designs))
        seconds, counted = fvcore_counts(network)
        theirs.append(seconds)
        cost = costs.cost(insertions)
        if counted != (cost.params, cost.macs, cost.conv_linear_macs):
            raise SystemExit(f"{insertions}: {cost} differs from fvcore's {counted}")
    return ours, theirs, building


def measure() -> dict[str, Any]:
    model = build_model(MODEL, SHAPE, initialise=False)
    summary = summarise_base(MODEL, Base(model, SHAPE))
    designs = every_design(summary)
    start = perf_counter()
    costs = DesignCosts(summary)
    for design in designs:
        costs.cost(design)
    first = len(designs) / (perf_counter() - start)
    rates = sorted(1 / a_pass(costs, designs) for _ in range(PASSES))
    fvcore_counts(model.eval())  # excludes its imports and first call
    ours, theirs, building = beside_fvcore(costs, designs, model)
    low, ratio, high = paired_ratio(ours, theirs)
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


def as_text(result: dict[str, Any]) -> str:
    rate, fvcore, ratio = result["designs_per_second"], result["fvcore"], result["ratio"]
    interval = f"{ratio['median']:,} [{ratio['low']:,}, {ratio['high']:,}]"
    rows = {
        f"bamsearch, designs per second, median of {rate['passes']} passes": f"{rate['median']:,}",
        "slowest pass": f"{rate['lowest']:,}",
        "fastest pass": f"{rate['highest']:,}",
        "first pass, which computes each (site, h)": f"{rate['first_pass']:,}",
        f"fvcore, seconds per design, median of {fvcore['designs']}": fvcore["seconds_a_design"],
        "building the network for fvcore, seconds": fvcore["seconds_to_build_a_design"],
        f"time of fvcore / time of bamsearch, {ratio['confidence']:.0%} interval": interval,
    }
    table = "".join(f"| {label} | {value} |\n" for label, value in rows.items())
    return f"""# Costing a design

Written by `OMP_NUM_THREADS=1 python benchmarks/costing.py`: {result["model"]},
{result["designs"]:,} designs (BAM at any of three bottlenecks, 4 reductions, 4 dilations),
fvcore {version("fvcore")}.

| | |
|---|---:|
{table}
The ratio compares fvcore's time for a design with the pass of bamsearch just before it, without the
time to build the network. Parameters, multiply-adds, and multiply-adds of convolution and linear
layers are equal in all {fvcore["designs"]} designs that fvcore counted. The target is {TARGET:,}
designs per second.
"""


def main() -> None:
    # fvcore scripts two losses when imported; TorchScript is deprecated.
    warnings.filterwarnings("ignore", r"`torch\.jit\.")
    result = measure()
    write("costing", result, as_text(result))
    if result["designs_per_second"]["median"] < TARGET:
        raise SystemExit(f"below {TARGET:,} designs per second")


if __name__ == "__main__":
    main()
