"""Value of early stopping: searches that train, replayed on the table of an audit.

An audit has trained a sample of designs with several seeds. Searches are simulated on that table:
a search proposes a design and observes its next training, with the seeds in an order drawn for each
simulation. So a replay has real noise, and the truth is estimated from the whole table.

- ``train``: as ``bamsearch search --score train``: the base and the largest design, designs
  suggested by the model, new seeds for contenders, early stopping; from the fourth training on, the
  search recommends the design with the best expectation. (A real search trains the base twice more
  at its end, for comparison.)
- ``train, no early stopping`` and ``train, halving``: the same without early stopping, and with the
  rule of Hyperband.

The target is a design with the **true best effects**, those significant at 95% in the whole table:
BAM at every site with a positive effect, no BAM at sites with a negative one, and r and d on the
better side of their means; or a design **near the best**. A target is reached when it is
recommended until the end. **Regret** is the expected accuracy of the best design minus that of the
recommended one, both from the whole table. Compute is counted in epochs of training.

A table is a single truth, and settings were chosen with it in view; train_rivals.py has other
truths, and rivals.

Run: ``OMP_NUM_THREADS=1 python benchmarks/train_replay.py [AUDIT]``
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import machine
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bamsearch.records import Effect, Insertion
from bamsearch.records.audit_files import read_audit
from bamsearch.records.audits import Audit
from bamsearch.sampler.early import cannot_win, expected_last
from bamsearch.sampler.effects import effects
from bamsearch.sampler.noisy import NoisySampler
from bamsearch.sampler.training_analysis import FEWEST, Observation, TrainingModel
from bamsearch.space.choices import Encoding, SearchSpace
from bamsearch.space.feasible import Listed
from bamsearch.space.space import parse_space, search_space

Curve = tuple[float, ...]
Floats = NDArray[np.float64]
HERE = Path(__file__).parent
AUDIT = HERE.parent / "reports" / "audit" / "fashion-mnist-light"
SEARCHES, LONGEST = 40, 40
NEAR = 0.3
"""Difference that verify aims to detect, in points; about the size of BAM's published effects."""


@dataclass(frozen=True)
class Table:
    """The trainings of an audit, and the truth estimated from all of them.

    Attributes:
        feasible: the designs of the table.
        curves: accuracies after each epoch, for each training of each design.
        worth: expected accuracy of each design, from the whole table.
        good: designs with the true best effects.
        near: designs whose worth is within NEAR of the best.
        epochs: epochs of a complete training.
        words: description of the true best effects.
        longest: number of trainings of a search.
    """

    feasible: Listed
    curves: dict[Encoding, list[Curve]]
    worth: dict[Encoding, float]
    good: frozenset[Encoding]
    near: frozenset[Encoding]
    epochs: int
    words: str
    longest: int


@dataclass
class Spent:
    """Progress of a simulated search.

    Attributes:
        recommended: recommendation after each training; None before the first.
        epochs: total epochs after each training.
    """

    recommended: list[Encoding | None]
    epochs: list[int]


Stops = Callable[[Curve, list[Curve], TrainingModel], int]
"""Maps a training to the epoch after which it is stopped."""


class Trainings:
    """Trainings of a table, in an order of seeds drawn for each simulation."""

    def __init__(self, table: Table, seed: int) -> None:
        seeds = max(len(curves) for curves in table.curves.values())
        order = np.random.default_rng([seed, 3]).permutation(seeds)
        # As in a search, the first training of every design has the same seed.
        self._remaining = {
            encoding: [curves[seed] for seed in order if seed < len(curves)]
            for encoding, curves in table.curves.items()
        }

    def take(self, encoding: Encoding) -> Curve:
        return self._remaining[encoding].pop()

    def used_up(self) -> set[Encoding]:
        return {encoding for encoding, curves in self._remaining.items() if not curves}


def train(table: Table, seed: int, stops: Stops) -> Spent:
    """Simulate ``--score train``."""
    trainings, spent = Trainings(table, seed), Spent([], [])
    sampler = NoisySampler(table.feasible, seed=seed)
    nothing = (0,) * len(table.feasible.space.choices)
    observed: list[Observation] = []
    finished: list[Curve] = []
    model, done = None, 0
    queue = [nothing, table.feasible.largest()]
    while len(spent.epochs) < LONGEST:
        encoding = queue.pop(0) if queue else _proposal(sampler, observed, trainings)
        if encoding is None:
            break
        nth = sum(design == encoding for design, _, _ in observed)
        curve = trainings.take(encoding)
        ended = table.epochs if model is None else stops(curve, finished, model)
        done += ended
        if ended < table.epochs:
            observed.append((encoding, expected_last(curve[:ended], finished)[0], nth))
        else:
            observed.append((encoding, curve[-1], nth))
            finished.append(curve)
        model = TrainingModel(table.feasible, observed) if len(observed) >= FEWEST else None
        spent.recommended.append(None if model is None else model.encodings[model.best])
        spent.epochs.append(done)
    return spent


def _proposal(
    sampler: NoisySampler, observed: list[Observation], trainings: Trainings
) -> Encoding | None:
    return sampler.suggest([(encoding, y) for encoding, y, _ in observed], trainings.used_up())


def never(curve: Curve, finished: list[Curve], model: TrainingModel) -> int:
    return len(curve)


def by_interval(curve: Curve, finished: list[Curve], model: TrainingModel) -> int:
    """The rule of bamsearch."""
    best = float(model.mean[model.best])
    for epoch in range(1, len(curve)):
        if cannot_win(curve[:epoch], finished, best, model.noise):
            return epoch
    return len(curve)


def halving(curve: Curve, finished: list[Curve], model: TrainingModel) -> int:
    """Hyperband's most aggressive bracket: the best third continues at each power of 3."""
    rung = 1
    while rung < len(curve) and len(finished) >= 3:
        reached = sorted((other[rung - 1] for other in finished), reverse=True)
        if curve[rung - 1] < reached[max(len(reached) // 3 - 1, 0)]:
            return rung
        rung *= 3
    return len(curve)


def epochs_to(wanted: Container[Encoding], spent: Spent) -> int | None:
    """Epochs after which all recommendations are wanted designs; None: never."""
    good = [encoding in wanted for encoding in spent.recommended]
    if not good[-1]:
        return None
    first = len(good) - next((n for n, hit in enumerate(reversed(good)) if not hit), len(good))
    return spent.epochs[first]


def regret_after(table: Table, spent: Spent, epochs: int) -> float:
    """Regret of the recommendation after ``epochs``, in points."""
    before = [p for p, e in zip(spent.recommended, spent.epochs, strict=True) if e <= epochs]
    chosen = before[-1] if before else None
    mean = float(np.mean(list(table.worth.values())))
    return max(table.worth.values()) - (mean if chosen is None else table.worth[chosen])


def read_space(folder: Path) -> tuple[Audit, SearchSpace]:
    """An audit and its search space."""
    audit = read_audit(folder)
    space = search_space(
        parse_space(audit.space, audit.name),
        audit.summary,
        with_stem=audit.with_stem,
        variant=audit.variant,
        init=audit.init,
        num_classes=audit.num_classes,
    )
    return audit, space


def read_table(folder: Path) -> Table:
    """Read the folder of an audit as a table."""
    audit, space = read_space(folder)
    curves: dict[Encoding, list[Curve]] = {}
    runs = []
    lines = (folder / "trainings.jsonl").read_text(encoding="utf-8").splitlines()
    for training in sorted(map(json.loads, lines), key=lambda training: training["seed"]):
        insertions = tuple(Insertion(*each) for each in training["design"])
        encoding = space.encoding(insertions)
        if encoding is not None and "curve" in training:
            curves.setdefault(encoding, []).append(tuple(training["curve"]))
            runs.append((insertions, training["curve"][-1]))
    feasible = Listed(space, audit.budgets, np.array(sorted(curves), dtype=np.int8))
    trainings = [
        (encoding, curve[-1], seed)
        for encoding, each in curves.items()
        for seed, curve in enumerate(each)
    ]
    model = TrainingModel(feasible, trainings)
    significant = [e for e in effects(audit.summary.sites, runs) if e.distinguished]
    good, words = _right(significant, [insertions for insertions, _ in runs])
    worth = dict(zip(model.encodings, model.mean.tolist(), strict=True))
    return Table(
        feasible,
        curves,
        worth,
        frozenset(encoding for encoding in curves if good(space.insertions(encoding))),
        frozenset(encoding for encoding in curves if worth[encoding] >= max(worth.values()) - NEAR),
        len(next(iter(curves.values()))[0]),
        words or "no effect is significant: every design counts",
        len(curves),
    )


def _right(
    significant: Sequence[Effect], trained: Sequence[Sequence[Insertion]]
) -> tuple[Callable[[Sequence[Insertion]], bool], str]:
    """A predicate for designs on the better side of all significant effects, and its text."""
    wanted = {site: e.points > 0 for e in significant if e.aspect == "site" for site in e.sites}
    # r and d: on the better side of the mean of all designs.
    sides = {e.aspect: np.sign(e.points) for e in significant if e.aspect != "site"}
    middle = {aspect: np.mean([mean_log(d, aspect) for d in trained if d]) for aspect in sides}

    def good(insertions: Sequence[Insertion]) -> bool:
        with_bam = {bam.site for bam in insertions}
        placed = all((site in with_bam) == on for site, on in wanted.items())
        return placed and all(
            bool(insertions) and sign * (mean_log(insertions, aspect) - middle[aspect]) > 0
            for aspect, sign in sides.items()
        )

    parts = [f"{'BAM' if on else 'no BAM'} at {site}" for site, on in wanted.items()]
    parts += [f"{aspect} {'above' if s > 0 else 'below'} the mean" for aspect, s in sides.items()]
    return good, ", ".join(parts)


def mean_log(insertions: Sequence[Insertion], aspect: str) -> float:
    """Mean of log2 r or log2 d over the BAMs of a design."""
    values = [bam.reduction if aspect == "r" else bam.dilation for bam in insertions]
    return float(np.mean(np.log2(values)))


SEARCHERS = {
    "train": partial(train, stops=by_interval),
    "train, no early stopping": partial(train, stops=never),
    "train, halving": partial(train, stops=halving),
}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True), default=AUDIT)
@click.option(
    "--searches",
    type=click.IntRange(min=2),
    default=SEARCHES,
    help="Number of simulated searches per method.",
)
def main(folder: Path, searches: int) -> None:
    table = read_table(folder)
    # All are compared at the same compute: that of training each design once.
    longest = table.epochs * sum(any(encoding) for encoding in table.curves)
    results = {}
    for name, search in SEARCHERS.items():
        spent = [search(table, seed) for seed in range(searches)]
        results[name] = {
            "effects": [epochs_to(table.good, run) for run in spent],
            "near": [epochs_to(table.near, run) for run in spent],
            "regret": [
                [regret_after(table, run, share * longest // 4) for run in spent]
                for share in (1, 2, 4)
            ],
        }
    text = describe(table, results, longest, searches)
    content = {"audit": folder.name, "longest": longest, "good": len(table.good)}
    machine.write("train_replay", content | {"results": results}, text)


def describe(table: Table, results: dict[str, dict[str, list]], longest: int, n: int) -> str:
    """The page."""
    lines = [
        "# Value of early stopping",
        "",
        f"{n} simulated searches per method on a table of {len(table.curves)} designs. True best "
        f"effects: {table.words}; designs with them: {len(table.good)}. Designs within {NEAR} "
        f"points of the best: {len(table.near)}.",
        "",
        "Epochs of training until all further recommendations are such designs; a search that "
        f"never reaches this counts as {longest}, the epochs of every design once. Ratio: epochs "
        "of `train` divided by those of the row, with a 95% bootstrap interval over searches.",
        "",
    ]
    for key, title in (("effects", "The true best effects"), ("near", "A design near the best")):
        lines += [
            f"| {title} | reached | epochs, mean | median | ratio |",
            "| --- | --: | --: | --: | --: |",
            *(
                _row(name, results["train"][key], result[key], longest)
                for name, result in results.items()
            ),
            "",
        ]
    lines += [
        "| Regret in points after | a quarter | half | all epochs |",
        "| --- | --: | --: | --: |",
    ]
    for name, result in results.items():
        regrets = " | ".join(f"{np.mean(each):.2f}" for each in result["regret"])
        lines.append(f"| {name} | {regrets} |")
    return "\n".join(lines) + "\n"


def _row(name: str, ours: list[int | None], theirs: list[int | None], longest: int) -> str:
    capped = [np.array([_capped(value, longest) for value in each]) for each in (ours, theirs)]
    ratio = stats.bootstrap(
        capped,
        lambda a, b, axis=-1: a.mean(axis=axis) / b.mean(axis=axis),
        method="percentile",
        rng=0,
    ).confidence_interval
    reached = np.mean([value is not None and value <= longest for value in theirs])
    mine, other = (epochs.mean() for epochs in capped)
    return (
        f"| {name} | {reached:.0%} | {other:.0f} | {np.median(capped[1]):.0f} | "
        f"{mine / other:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] |"
    )


def _capped(value: int | None, longest: int) -> int:
    return longest if value is None else min(value, longest)


if __name__ == "__main__":
    main()
