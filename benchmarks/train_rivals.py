"""Searches over noisy trainings: the sampler of ``--score train`` and strong rivals.

Tables: the three data sets of NAS-Bench-201 (nb201.py, designs up to the median size), and
synthetic truths over the 1,361 designs of the committed audit's space (coverage_search.py: additive
and interacting, noise 0.5, 1 and 1.5 points, a third of its variance shared by a seed). A search
suggests a design and observes its next training; the order of seeds is random for each search.
After 10, 20 and 40 trainings it recommends a design. Regret is the worth of the best feasible
design minus that of the recommended one, in points.

Only the oracle knows the table. Settings were fixed on seeds 1000 and above; seeds from 0 on are
reported. ``model`` is the model by which bamsearch recommends a design (TrainingModel).

- ``bamsearch``: the sampler; recommends by model.
- ``random``: each design once; recommends the best score. ``random, model``. ``random, ridge``:
  scikit-learn's RidgeCV on one effect per operation and edge, or per site and of mean log2 r and
  log2 d. ``stratified, model`` and ``stratified, ridge``: evenly over sets of sites (planted only).
- ``tpe``: Optuna's multivariate TPE, 10 random starts, up to 20 suggestions until one is new and
  feasible; recommends the best score. ``tpe, replicated``: after ten trainings, each third training
  repeats the design with the best mean with another seed; recommends the best mean of at least two.
- ``halving``: sequential halving over seeds, for each horizon: half of the trainings on as many
  random designs, then another seed for the better half, and so on; recommends the best mean of the
  designs trained most often, or as often as the table allows.
- ``gp, EI`` and ``gp, noisy EI``: scikit-learn's GaussianProcessRegressor as in rivals.py (linear,
  Matern 5/2 and white-noise terms, fitted each fifth training, normalised scores); log expected
  improvement over the best score among new designs, or over the best expectation among all. They
  start with 5 random designs and recommend the best expectation.
- ``gp, BoTorch``: SingleTaskGP with its default kernel and priors, fitted each fifth training, and
  qLogNoisyExpectedImprovement over all designs; otherwise as ``gp, noisy EI``.
- ``top-two``: top-two Thompson sampling (Russo 2020) on a Bayesian linear model of the effects of
  ridge; it knows the form of the additive truths. ``top-two, model``: on model, over the trained
  designs and 64 others.
- ``oracle`` (NAS-Bench-201 only): a Gaussian process with the covariance of all operations and
  pairs of operations in the whole table, and its noise; the first designs and the acquisition are
  those of bamsearch. A bound for one-step-ahead sampling with a known covariance.

Run: ``OMP_NUM_THREADS=1 python benchmarks/train_rivals.py``. Finished searches are lines of
train_rivals.jsonl; delete it to start again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import click
import machine
import nb201
import numpy as np
import optuna
from coverage_search import Cell, Simulator
from noisy_rivals import AFTER, METHODS, ONLY, regrets
from noisy_search import nb201_table, planted_table

from bamsearch.sampler.kernel import Floats

RUNS = machine.HERE / "train_rivals.jsonl"
SLOW = {"gp, BoTorch": 20, "top-two, model": 10}
"""Number of searches of methods that take seconds per training."""

PLANTED = tuple(
    Cell(kind, noise) for kind in ("additive", "interacting") for noise in (0.5, 1, 1.5)
)


def jobs(searches: int) -> Iterator[tuple[str, str, int]]:
    """(where, method, seed) of all searches, seed by seed."""
    names = [*METHODS, "halving"]
    for seed in range(searches):
        for where in (*nb201.SETS, *(cell.name for cell in PLANTED)):
            kind = "nb201" if where in nb201.SETS else "planted"
            for name in names:
                if ONLY.get(name, kind) == kind and seed < SLOW.get(name, searches):
                    yield where, name, seed


@click.command(help=__doc__)
@click.option(
    "--searches",
    type=click.IntRange(min=2),
    default=20,
    help="Number of searches per method and table.",
)
def main(searches: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    done = [json.loads(line) for line in RUNS.read_text().splitlines()] if RUNS.exists() else []
    finished = {(where, name, seed) for where, name, seed, _ in done}
    tables = {name: nb201_table(name) for name in nb201.SETS}
    simulator, cells = Simulator(), {cell.name: cell for cell in PLANTED}
    with RUNS.open("a") as file:
        for where, name, seed in jobs(searches):
            if (where, name, seed) in finished:
                continue
            table = tables.get(where) or planted_table(simulator, cells[where], seed)
            done.append([where, name, seed, regrets(table, name, seed)])
            file.write(json.dumps(done[-1]) + "\n")
            file.flush()
    machine.write("train_rivals", {"searches": searches}, describe(done, searches))


def describe(done: list[list], searches: int) -> str:
    """The page: means over tables and searches; ratios with paired bootstrap intervals."""
    lines = ["# Searches over noisy trainings: bamsearch and rivals", ""]
    lines += [
        f"{searches} searches per method and table unless another number is stated; mean regret "
        "in points, and in parentheses the ratio bamsearch / rival of the means over the same "
        "searches, with a paired 95% bootstrap interval over searches.",
        "",
    ]
    titles = {"NAS-Bench-201, mean of three sets": nb201.SETS, **{s: (s,) for s in nb201.SETS}}
    for title, tables in {**titles, "Synthetic truths": tuple(c.name for c in PLANTED)}.items():
        values = {(where, name, seed): value for where, name, seed, value in done}
        names = [n for n in (*METHODS, "halving") if (tables[0], n, 0) in values]
        counts = {n: min(searches, SLOW.get(n, searches)) for n in names}
        regret = {
            n: np.array([[values[where, n, s] for s in range(counts[n])] for where in tables])
            for n in names
        }
        lines += [
            f"## {title}",
            "",
            f"| | {' | '.join(map(str, AFTER))} |",
            "| --- |" + " --- |" * 3,
        ]
        for name in sorted(names, key=lambda n: float(regret[n][..., -1].mean())):
            cells = _cells(regret["bamsearch"][:, : counts[name]], regret[name], name)
            number = f" ({counts[name]} searches)" if name in SLOW else ""
            lines.append(f"| {name}{number} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cells(mine: Floats, theirs: Floats, name: str) -> list[str]:
    """Mean regrets over tables and searches, and the ratios of ours to them."""
    means = theirs.mean(axis=(0, 1))
    if name == "bamsearch":
        return [f"{mean:.2f}" for mean in means]
    rng = np.random.default_rng(0)
    # Tables share the random numbers of a search, so a search is resampled with all tables.
    drawn = rng.integers(mine.shape[1], size=(4_000, mine.shape[1]))
    ratios = mine.mean(axis=0)[drawn].mean(axis=1) / theirs.mean(axis=0)[drawn].mean(axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975], axis=0)
    ratio = mine.mean(axis=(0, 1)) / means
    return [
        f"{mean:.2f} ({r:.2f} [{a:.2f}, {b:.2f}])"
        for mean, r, a, b in zip(means, ratio, low, high, strict=True)
    ]


if __name__ == "__main__":
    main()
