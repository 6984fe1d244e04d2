"""Regret of the default sampler and its rivals, on objectives with a known optimum.

    OMP_NUM_THREADS=1 python benchmarks/sampler_regret.py          # an hour or two; resumable
    OMP_NUM_THREADS=1 python benchmarks/sampler_regret.py --quick  # minutes; writes nothing

The objectives are those of planted.py, over the feasible designs of real networks: resnet50,
resnet101, mobilenet_v2 and densenet121 in space ``stages``, resnet101 and mobilenet_v2 in
``blocks``. The samplers are in rivals.py; told.py has a sampler that knows the family. Regret is
(best - value) / (best - mean) over the feasible designs, where value is the objective, without
noise, of the design with the best score so far: 0 for the best design, 1 for an average one. It is
1 before the first feasible design.

Each run is a line of sampler_regret.jsonl, which survives an interruption; delete the file to start
again. sampler_regret.json, .md and .svg are made from it.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from machine import HERE
from planted import BLOCKS, LISTED, Planted, planted
from regret_report import write_report
from rivals import SAMPLERS, STOCK, Trials
from told import FAMILIES, TOLD
from told import trials as told_trials

from bamsearch.profiling.summary import summarise
from bamsearch.space.budget import parse_budget
from bamsearch.space.feasible import Feasible, Listed, feasible
from bamsearch.space.space import read_space, search_space

RUNS = HERE / "sampler_regret.jsonl"
SPACES = {
    "resnet50 stages": "4.2",
    "resnet101 stages": "8",
    "mobilenet_v2 stages": "+5%",
    "densenet121 stages": "3.0",
    "resnet101 blocks": "8",
    "mobilenet_v2 blocks": "+5%",
}
NOISES = (0.0, 0.3)
SEEDS = 20
EVERY = 5
STOCK_SEEDS = 5


def trials_of(noise: float, *, listed: bool) -> int:
    """Number of trials: 60 without noise in listed spaces, else 30."""
    return 60 if listed and not noise else 30


def space_of(name: str) -> Feasible:
    model, space = name.split()
    summary = summarise(model)
    budget = parse_budget("gflops", SPACES[name], summary.base.macs)
    return feasible(search_space(read_space(space), summary), [budget])


def jobs(seeds: int) -> Iterator[dict[str, Any]]:
    """All runs, one seed after the other."""
    for seed, space, noise in product(range(seeds), SPACES, NOISES):
        families = BLOCKS if space.endswith("blocks") else LISTED
        for family, sampler in product(families, [*SAMPLERS, TOLD]):
            told_here = families is LISTED and family in FAMILIES
            if {STOCK: seed < STOCK_SEEDS, TOLD: told_here}.get(sampler, True):
                yield {
                    "space": space,
                    "family": family,
                    "noise": noise,
                    "seed": seed,
                    "sampler": sampler,
                }


def regrets(designs: Feasible, objective: Planted, job: dict[str, Any]) -> list[float]:
    """Regret after 5, 10, … trials of the design with the best score."""
    number = trials_of(job["noise"], listed=isinstance(designs, Listed))
    rng = np.random.default_rng([job["seed"], 3])
    noises = job["noise"] * objective.deviation * rng.normal(size=number)
    trials = trials_by(designs, objective, job)
    curve, best_score, regret = [], -np.inf, 1.0
    encoding = next(trials)
    for number, noise in enumerate(noises, start=1):
        score = 0.0
        if encoding is not None:
            value = float(objective.value(np.array([encoding], dtype=np.int8))[0])
            score = value + noise
            if score > best_score:
                best_score, regret = score, objective.regret(value)
        encoding = trials.send(score)
        if number % EVERY == 0:
            curve.append(round(regret, 5))
    return curve


def trials_by(designs: Feasible, objective: Planted, job: dict[str, Any]) -> Trials:
    if job["sampler"] == TOLD:
        return told_trials(designs, job["seed"], job["family"], objective, job["noise"])
    return SAMPLERS[job["sampler"]](designs, job["seed"])


def read(path: Path) -> list[dict[str, Any]]:
    """The runs in a file, without a truncated last line."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def key(job: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(job[name] for name in ("space", "family", "noise", "seed", "sampler"))


def run(seeds: int, path: Path | None) -> list[dict[str, Any]]:
    """Make all runs that are missing from the file."""
    done = read(path) if path else []
    if path:
        path.write_text("".join(json.dumps(job) + "\n" for job in done), encoding="utf-8")
    finished = {key(job) for job in done}
    spaces = {name: space_of(name) for name in SPACES}
    objectives: dict[tuple[Any, ...], Planted] = {}
    for job in jobs(seeds):
        if key(job) in finished:
            continue
        drawn = (job["space"], job["family"], job["seed"])
        if drawn not in objectives:
            # Objectives of one seed are kept, because each takes a linear program.
            objectives = {k: v for k, v in objectives.items() if k[-1] == job["seed"]}
            objectives[drawn] = planted(spaces[job["space"]], job["family"], job["seed"])
        job["regret"] = regrets(spaces[job["space"]], objectives[drawn], job)
        done.append(job)
        if path:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(job) + "\n")
        print(*key(job), job["regret"][-1], flush=True)
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one seed, without writing files")
    parser.add_argument(
        "--report", action="store_true", help="write the report of the finished runs"
    )
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if chosen.quick:
        run(1, None)
        return
    write_report(read(RUNS) if chosen.report else run(SEEDS, RUNS), EVERY)


if __name__ == "__main__":
    main()
