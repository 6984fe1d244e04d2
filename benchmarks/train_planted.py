"""A search that trains on planted truths: how far from the best after 10, 20 and 40 trainings.

Each simulation has a truth of its own over all designs that fit in the audit's space: effects of
the sites, of pairs of them, of r, of d and of each design alone are drawn, and so is the noise of
one training, 0.5, 1 or 1.5 points, a third of its variance common to all trainings with one seed.
The searches are those of train_replay.py, which says what they are and what regret is; an epoch is
a training here, and nothing is stopped early.

Run: ``OMP_NUM_THREADS=1 python benchmarks/train_planted.py [AUDIT]``
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import click
import machine
import numpy as np
import optuna
from scipy import stats
from train_replay import AUDIT, LONGEST, SEARCHERS, Table, mean_log, read_space, regret_after

from bamsearch.searching.feasible import Listed
from bamsearch.searching.fitting import feasible as what_fits

SEARCHES, AFTER = 40, (10, 20, 40)
NAMES = ("train", "random", "tpe")


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True), default=AUDIT)
@click.option(
    "--searches",
    type=click.IntRange(min=2),
    default=SEARCHES,
    help="Simulated searches of each kind.",
)
def main(folder: Path, searches: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    audit, space = read_space(folder)
    feasible = what_fits(space, audit.budgets)
    if not isinstance(feasible, Listed):
        raise click.BadParameter(f"{folder} has too many designs to plant a truth for each")
    regrets = on_planted(feasible, searches)
    text = describe(regrets, feasible.count)
    machine.write("train_planted", {"audit": folder.name, "regrets": regrets}, text)


def on_planted(feasible: Listed, searches: int) -> dict[str, list[list[float]]]:
    """Regret after so many trainings, of each search."""
    found: dict[str, list[list[float]]] = {name: [] for name in NAMES}
    for seed in range(searches):
        table = planted(feasible, seed)
        for name, regrets in found.items():
            spent = SEARCHERS[name](table, seed)
            regrets.append([regret_after(table, spent, number) for number in AFTER])
    return found


def planted(feasible: Listed, seed: int) -> Table:
    """A truth of its own, in points, and LONGEST trainings of every design; no curves."""
    rng = np.random.default_rng([seed, 4])
    designs = [tuple(row) for row in feasible.table.tolist()]
    there = feasible.table > 0
    sites = there.shape[1]
    worth = there @ rng.normal(0.3, 0.8, sites)
    for one, other in combinations(range(sites), 2):
        worth += there[:, one] * there[:, other] * rng.normal(0, 0.3)
    insertions = [feasible.space.insertions(picks) for picks in designs]
    some = there.any(axis=1)
    for what, mean, spread in (("r", -0.1, 0.4), ("d", 0.0, 0.25)):
        logs = np.array([mean_log(each, what) if each else np.nan for each in insertions])
        worth += np.where(some, rng.normal(mean, spread) * (logs - np.nanmean(logs)), 0.0)
    worth += some * rng.normal(0, 0.3, len(designs))
    noise = rng.choice([0.5, 1.0, 1.5])
    common, own = rng.normal(0, noise, LONGEST), rng.normal(0, noise, (len(designs), LONGEST))
    reached = worth[:, None] + np.sqrt(1 / 3) * common + np.sqrt(2 / 3) * own
    found = dict(zip(designs, worth.tolist(), strict=True))
    return Table(
        feasible,
        {picks: [(y,) for y in row] for picks, row in zip(designs, reached.tolist(), strict=True)},
        found,
        good=frozenset(),
        near=frozenset(),
        epochs=1,
        words="",
        longest=LONGEST,
    )


def describe(regrets: dict[str, list[list[float]]], designs: int) -> str:
    """The page; intervals are of paired differences over searches."""
    n = len(regrets["train"])
    lines = [
        "# A search that trains on planted truths",
        "",
        f"{n} searches for planted truths among {designs:,} designs that fit: regret in points "
        "and, in brackets, how much more than that of `train` on the same truths it is, with 95 % "
        "intervals.",
        "",
        f"| Trainings | {' | '.join(map(str, AFTER))} |",
        "| --- |" + " --- |" * len(AFTER),
    ]
    ours = np.array(regrets["train"])
    for name, each in regrets.items():
        cells = [f"{mean:.2f}" for mean in np.mean(each, axis=0)]
        if name != "train":
            more = np.array(each) - ours
            half = stats.t.ppf(0.975, n - 1) * more.std(axis=0, ddof=1) / np.sqrt(n)
            cells = [
                f"{cell} ({mean:+.2f} [{mean - h:+.2f}, {mean + h:+.2f}])"
                for cell, mean, h in zip(cells, more.mean(axis=0), half, strict=True)
            ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
