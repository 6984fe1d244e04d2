"""sampler_regret.json, .md and .svg from the runs of sampler_regret.py."""

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
    """A row for each run and number of trials."""
    rows = [
        {**{what: run[what] for what in run if what != "regret"}, "trials": every * at, "regret": r}
        for run in runs
        for at, r in enumerate(run["regret"], start=1)
    ]
    return pd.DataFrame(rows)


def mean_of(values: np.ndarray) -> dict[str, float]:
    """The mean between the ends of its 95 % bootstrap interval over seeds."""
    return _interval((values,), np.mean)


def ratio_of(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """The ratio of means between the ends of its 95 % interval, seeds in pairs."""

    def ratio(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.mean(axis=axis) / np.maximum(b.mean(axis=axis), 1e-12)

    return _interval((ours, theirs), ratio)


def _interval(values: tuple[np.ndarray, ...], statistic: Any) -> dict[str, float]:
    low = high = float(statistic(*values))
    mean = low
    if len(values[0]) > 1:
        found = bootstrap(
            values,
            statistic,
            paired=True,
            vectorized=True,
            method="percentile",
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(0),
        ).confidence_interval
        low, high = float(found.low), float(found.high)
    return {"mean": round(mean, 4), "low": round(low, 4), "high": round(high, 4)}


def by_seed(table: pd.DataFrame) -> pd.DataFrame:
    """Regret by seed (rows) and sampler (columns), the mean over spaces and families."""
    return table.pivot_table(index="seed", columns="sampler", values="regret", aggfunc="mean")


def compared(table: pd.DataFrame) -> dict[str, Any]:
    """Mean regrets of each sampler, and ours over random's and over the better TPE's."""
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
    """One comparison after 30 trials for each combination of the columns' values."""
    late = table[table["trials"] == AFTER]
    found = []
    for values, part in late.groupby(columns, sort=False):
        named = dict(zip(columns, values, strict=True))
        found.append({**named, **compared(part)})
    return found


def _cell(one: dict[str, float] | None) -> str:
    return "" if one is None else f"{one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def _rows(groups: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    lines = []
    for group in groups:
        first = [f"{group[name]:g}" if name == "noise" else str(group[name]) for name in names]
        regret = [_cell(group["regret"].get(name)) for name in (OURS, RANDOM, *TPES)]
        target = AT_MOST[group["kind"], group["noise"]]
        ratios = [group["over_random"], group["over_tpe"]]
        kept = "yes" if max(ratio["mean"] for ratio in ratios) <= target else "**no**"
        lines.append(f"| {' | '.join([*first, *regret, *map(_cell, ratios), kept])} |\n")
    head = [*names, "bamsearch", RANDOM, *TPES, "over random", "over the better TPE", "target"]
    rule = ["---"] * len(names) + ["---:"] * 6 + ["---"]
    return f"| {' | '.join(head)} |\n| {' | '.join(rule)} |\n{''.join(lines)}"


def charts(table: pd.DataFrame) -> alt.VConcatChart:
    """Mean regret against trials, with 95 % intervals over seeds: a panel a family."""
    parts = {f"space {kind}": part for kind, part in table.groupby("kind", sort=False)}
    parts = {title: part[part["sampler"] != STOCK] for title, part in parts.items()}
    return alt.vconcat(*(_panels(title, part) for title, part in parts.items()))


def _panels(title: str, table: pd.DataFrame) -> alt.FacetChart:
    rows = []
    for (family, noise, sampler, trials), part in table.groupby(
        ["family", "noise", "sampler", "trials"], sort=False
    ):
        seeds = part.groupby("seed")["regret"].mean().to_numpy()
        said = f"noise {noise:g} sd" if noise else "clean"
        rows.append(
            {"family": family, "noise": said, "sampler": sampler, "trials": trials} | mean_of(seeds)
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
    """Write the report of all runs beside this file."""
    table = table_of(runs, every)
    table["kind"] = table["space"].str.split().str[1]
    overall = groups_of(table, ["kind", "noise"])
    spaces = groups_of(table, ["kind", "space", "noise"])
    families = groups_of(table, ["kind", "family", "noise"])
    cells = groups_of(table, ["kind", "space", "family", "noise"])
    charts(table).save(HERE / "sampler_regret.svg")
    text = f"""# Regret of the samplers

`OMP_NUM_THREADS=1 python benchmarks/sampler_regret.py` wrote this: {len(runs):,} runs,
{table["seed"].nunique()} seeds, what is planted drawn anew for each.

Regret after {AFTER} trials is (best - found) / (best - mean) over the designs that fit: 0 is the
best of them, 1 an average one. Found is the design with the best score; with noise (0.3 standard
deviations of the objective over what fits) its value without noise. Brackets are 95 % bootstrap
intervals over seeds; a ratio is bamsearch's mean regret over the rival's, seeds in pairs.

The target is met where neither ratio is above a fifth in space `stages` where the objective is
clean, a half where it is noisy, and 1 in space `blocks`.

A trial of "TPE, constrained" may be spent on a design that does not fit; all others propose only
what fits. "TPE, feasible only" is asked up to 6 times, then a design is drawn uniformly. All
samplers start with nothing known: a search of bamsearch scores its references first. Runs are of
60 trials in space `stages` where it is clean, of 30 elsewhere. Optuna {version("optuna")}.

## All together

{_rows(overall, ["kind", "noise"])}
## By space

{_rows(spaces, ["space", "noise"])}
## By family

The families are described at the top of planted.py.

{_rows(families, ["kind", "family", "noise"])}
{_told_text(table)}
## Each

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
    """What a sampler reaches that knows the family."""
    late = table[(table["trials"] == AFTER) & (table["kind"] == "stages")]
    rows = []
    for (family, noise), part in late.groupby(["family", "noise"], sort=False):
        seeds = by_seed(part)
        if TOLD not in seeds or seeds[TOLD].isna().all():
            continue
        better = min(TPES, key=lambda name: seeds[name].mean())
        told, ours = (seeds[name].to_numpy() for name in (TOLD, OURS))
        over = [_cell(ratio_of(one, seeds[better].to_numpy())) for one in (told, ours)]
        regret = [_cell(mean_of(one)) for one in (told, ours)]
        rows.append(f"| {' | '.join([family, f'{noise:g}', *regret, *over])} |\n")
    return f"""## What can be reached

Four of the families are Gaussian processes. Here is one that is told the family's own covariance
and the noise (told.py), which no sampler can know, beside the default sampler; space `stages`.
Where it misses the target too, {AFTER} scores do not tell enough to meet it one step at a time.

| family | noise | told | bamsearch | told over the better TPE | bamsearch over it |
| --- | --- | ---: | ---: | ---: | ---: |
{"".join(rows)}"""


def _stock_text(table: pd.DataFrame) -> str:
    """A stock Gaussian process beside the default sampler, where both were run."""
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

scikit-learn's, over the same designs that fit and maximised in the same way: linear, Matern and
white-noise terms on BAM or not, log2 r and log2 d of each choice; expected improvement.

| kind | noise | seeds | bamsearch | {STOCK} | bamsearch over it |
| --- | --- | --: | ---: | ---: | ---: |
{"".join(rows)}"""
