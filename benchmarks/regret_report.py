"""Writes sampler_regret.json, .md and .svg from the runs of sampler_regret.py."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from machine import HERE, write
from rivals import STOCK
from scipy.stats import bootstrap
from told import TOLD

OURS, RANDOM = "bamsearch", "random"
TPES = ("TPE, constrained", "TPE, feasible only")
AFTER = 30
RESAMPLES = 2000
AT_MOST = {("stages", 0.0): 0.2, ("stages", 0.3): 0.5, ("blocks", 0.0): 1.0, ("blocks", 0.3): 1.0}


def table_of(runs: Sequence[dict[str, Any]], every: int) -> pd.DataFrame:
    """One row per run and number of trials."""
    rows = [
        {**{name: run[name] for name in run if name != "regret"}, "trials": every * at, "regret": r}
        for run in runs
        for at, r in enumerate(run["regret"], start=1)
    ]
    return pd.DataFrame(rows)


def mean_of(values: np.ndarray) -> dict[str, float]:
    """Mean with a 95% bootstrap interval over seeds."""
    return _interval((values,), np.mean)


def ratio_of(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Ratio of means with a 95% bootstrap interval over paired seeds."""

    def ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.mean(axis=axis) / np.maximum(b.mean(axis=axis), 1e-12)

    return _interval((ours, theirs), ratio)


def _interval(values: tuple[np.ndarray, ...], statistic: Any) -> dict[str, float]:
    low = high = float(statistic(*values))
    mean = low
    if len(values[0]) > 1:
        interval = bootstrap(
            values,
            statistic,
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(0),
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return {"mean": round(mean, 4), "low": round(low, 4), "high": round(high, 4)}


def by_seed(table: pd.DataFrame) -> pd.DataFrame:
    """Regret by seed (rows) and sampler (columns), the mean over spaces and families."""
    return table.pivot_table(index="seed", columns="sampler", values="regret", aggfunc="mean")


def compared(table: pd.DataFrame) -> dict[str, Any]:
    """Mean regrets of each sampler, and ratios of ours to random and to the better TPE."""
    seeds = by_seed(table).dropna(axis="columns", how="all")
    means = {name: mean_of(seeds[name].dropna().to_numpy()) for name in seeds.columns}
    both = seeds[[OURS, RANDOM, *TPES]].dropna()
    better = min(TPES, key=lambda name: both[name].mean())
    ours = both[OURS].to_numpy()
    return {
        "seeds": len(both),
        "regret": means,
        "better_tpe": better,
        "over_random": ratio_of(ours, both[RANDOM].to_numpy()),
        "over_tpe": ratio_of(ours, both[better].to_numpy()),
    }


def groups_of(table: pd.DataFrame, columns: list[str]) -> list[dict[str, Any]]:
    """A comparison after 30 trials for each combination of values of the columns."""
    late = table[table["trials"] == AFTER]
    groups = []
    for values, part in late.groupby(columns, sort=False):
        named = dict(zip(columns, values, strict=True))
        groups.append({**named, **compared(part)})
    return groups


def _cell(mean: dict[str, float] | None) -> str:
    return "" if mean is None else f"{mean['mean']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}]"


def _rows(groups: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    lines = []
    for group in groups:
        first = [f"{group[name]:g}" if name == "noise" else str(group[name]) for name in names]
        regret = [_cell(group["regret"].get(name)) for name in (OURS, RANDOM, *TPES)]
        target = AT_MOST[group["kind"], group["noise"]]
        ratios = [group["over_random"], group["over_tpe"]]
        met = "yes" if max(ratio["mean"] for ratio in ratios) <= target else "**no**"
        lines.append(f"| {' | '.join([*first, *regret, *map(_cell, ratios), met])} |\n")
    head = [*names, "bamsearch", RANDOM, *TPES, "ratio to random", "ratio to better TPE", "target"]
    rule = ["---"] * len(names) + ["---:"] * 6 + ["---"]
    return f"| {' | '.join(head)} |\n| {' | '.join(rule)} |\n{''.join(lines)}"


def charts(table: pd.DataFrame) -> alt.VConcatChart:
    """Mean regret against trials, with 95% intervals over seeds; one panel per family."""
    parts = {f"space {kind}": part for kind, part in table.groupby("kind", sort=False)}
    parts = {title: part[part["sampler"] != STOCK] for title, part in parts.items()}
    return alt.vconcat(*(_panels(title, part) for title, part in parts.items()))


def _panels(title: str, table: pd.DataFrame) -> alt.FacetChart:
    rows = []
    for (family, noise, sampler, trials), part in table.groupby(
        ["family", "noise", "sampler", "trials"], sort=False
    ):
        seeds = part.groupby("seed")["regret"].mean().to_numpy()
        label = f"noise {noise:g} sd" if noise else "clean"
        rows.append(
            {"family": family, "noise": label, "sampler": sampler, "trials": trials}
            | mean_of(seeds)
        )
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("trials:Q", title="trials"),
        color=alt.Color("sampler:N", sort=[OURS, RANDOM, *TPES, TOLD], title=None),
    )
    band = base.mark_area(opacity=0.2).encode(y="low:Q", y2="high:Q")
    line = base.mark_line().encode(y=alt.Y("mean:Q", title="regret"))
    layered = alt.layer(band, line).properties(width=150, height=120)
    return layered.facet(
        column=alt.Column("family:N", sort=None, title=None),
        row=alt.Row("noise:N", sort=None, title=None),
        title=title,
    )


def write_report(runs: Sequence[dict[str, Any]], every: int) -> None:
    """Write the report of all runs next to this file."""
    table = table_of(runs, every)
    table["kind"] = table["space"].str.split().str[1]
    overall = groups_of(table, ["kind", "noise"])
    spaces = groups_of(table, ["kind", "space", "noise"])
    families = groups_of(table, ["kind", "family", "noise"])
    cells = groups_of(table, ["kind", "space", "family", "noise"])
    charts(table).save(HERE / "sampler_regret.svg")
    text = f"""# Regret of the samplers

Written by `OMP_NUM_THREADS=1 python benchmarks/sampler_regret.py`: {len(runs):,} runs,
{table["seed"].nunique()} seeds, each with new random objectives.

Regret after {AFTER} trials is (best - value) / (best - mean) over the feasible designs: 0 for the
best design, 1 for an average one. The value is that of the design with the best score, without
noise; noise has 0.3 standard deviations of the objective over the feasible designs. Brackets are
95% bootstrap intervals over seeds. A ratio is the mean regret of bamsearch divided by that of the
rival, with paired seeds.

The target is that neither ratio is above 0.2 in space `stages` without noise, 0.5 with noise, and 1
in space `blocks`.

"TPE, constrained" may spend a trial on an infeasible design; all others propose feasible designs
only. "TPE, feasible only" makes up to 6 suggestions, then a design is drawn uniformly. No sampler
starts with scored designs, whereas a search of bamsearch scores its baselines first. Runs have 60
trials in space `stages` without noise, else 30. Optuna {version("optuna")}.

## Overall

{_rows(overall, ["kind", "noise"])}
## By space

{_rows(spaces, ["space", "noise"])}
## By family

The families are described at the top of planted.py.

{_rows(families, ["kind", "family", "noise"])}
{_told_text(table)}
## Each space and family

{_rows(cells, ["space", "family", "noise"])}
{_stock_text(table)}
![curves](sampler_regret.svg)
"""
    content: dict[str, Any] = {
        "versions": {name: version(name) for name in ("optuna", "numpy", "scipy")},
        "after": AFTER,
        "overall": overall,
        "spaces": spaces,
        "families": families,
        "cells": cells,
    }
    write("sampler_regret", content, text)


def _told_text(table: pd.DataFrame) -> str:
    """The section on the sampler that knows the family."""
    late = table[(table["trials"] == AFTER) & (table["kind"] == "stages")]
    rows = []
    for (family, noise), part in late.groupby(["family", "noise"], sort=False):
        seeds = by_seed(part)
        if TOLD not in seeds or seeds[TOLD].isna().all():
            continue
        better = min(TPES, key=lambda name: seeds[name].mean())
        bound, ours = (seeds[name].to_numpy() for name in (TOLD, OURS))
        over = [_cell(ratio_of(regrets, seeds[better].to_numpy())) for regrets in (bound, ours)]
        regret = [_cell(mean_of(regrets)) for regrets in (bound, ours)]
        rows.append(f"| {' | '.join([family, f'{noise:g}', *regret, *over])} |\n")
    return f"""## A bound

Four of the families are Gaussian processes. The table compares the default sampler with a sampler
that knows the true covariance and noise (told.py), in space `stages`. Where that sampler misses the
target too, {AFTER} scores do not contain enough information to meet it one step at a time.

| family | noise | bound | bamsearch | bound / better TPE | bamsearch / better TPE |
| --- | --- | ---: | ---: | ---: | ---: |
{"".join(rows)}"""


def _stock_text(table: pd.DataFrame) -> str:
    """The section on the stock Gaussian process, where both were run."""
    late = table[table["trials"] == AFTER]
    rows = []
    for (kind, noise), part in late.groupby(["kind", "noise"], sort=False):
        both = part.pivot_table(
            index=["seed", "space", "family"], columns="sampler", values="regret"
        )
        if STOCK not in both:
            continue
        seeds = both[[OURS, STOCK]].dropna().groupby("seed").mean()
        ours, stock = seeds[OURS].to_numpy(), seeds[STOCK].to_numpy()
        cells = [_cell(mean_of(ours)), _cell(mean_of(stock)), _cell(ratio_of(ours, stock))]
        rows.append(f"| {kind} | {noise:g} | {len(seeds)} | {' | '.join(cells)} |\n")
    return f"""## A stock Gaussian process

scikit-learn's Gaussian process over the same feasible designs, maximised in the same way: linear,
Matern and white-noise terms on BAM or not, log2 r and log2 d of each site; expected improvement.

| kind | noise | seeds | bamsearch | {STOCK} | ratio |
| --- | --- | --: | ---: | ---: | ---: |
{"".join(rows)}"""
