"""What early stopping is worth: searches that train, replayed on an audit's table.

An audit has trained a sample of designs with several seeds. Here searches are simulated on that
table: each asks for a design, and is given one of its trainings that it has not had, the seeds in
an order drawn for each simulation. So a replay has real noise, and knows the truth as well as the
whole table does.

- ``train``: what ``bamsearch search --score train`` does: the base and the largest design, others
  that the model proposes, new seeds for contenders, early stopping; from the fourth training on it
  recommends what it expects to be the best. (A search trains the base twice more at its end, to
  compare.)
- ``train, no early stopping`` and ``train, halving``: the same without, and with the rule of
  Hyperband instead.

What is looked for are the **true best effects**, those that the whole table tells from 0 with 95 %:
BAM at every site whose effect is above it, none where it is below, and r and d on the better side
of their means; and a design **near the best**. Both count when recommended from then on and to
the end. **Regret** is the expected accuracy of the best design, less that of the
recommended one, both by the whole table. Compute is counted in epochs of training.

A table is one truth, and was in view when this was settled: train_rivals.py has others, and rivals.

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
from bamsearch.searching.choices import Picks, SearchSpace
from bamsearch.searching.early import cannot_win, expected_last
from bamsearch.searching.effects import effects
from bamsearch.searching.feasible import Listed
from bamsearch.searching.learning import FEWEST
from bamsearch.searching.noisy import NoisyProposer
from bamsearch.searching.space import parse_space, search_space
from bamsearch.searching.training_model import Training, TrainingModel

Curve = tuple[float, ...]
Floats = NDArray[np.float64]
HERE = Path(__file__).parent
AUDIT = HERE.parent / "reports" / "audit" / "fashion-mnist-light"
SEARCHES, LONGEST = 40, 40
NEAR = 0.3
"""Points: the difference that verify looks for, about the size of BAM's published effects."""


@dataclass(frozen=True)
class Table:
    """An audit's trainings, and what they say together.

    Attributes:
        feasible: the designs of the table, and no other.
        curves: accuracies after each epoch, of each training of each design.
        worth: expected accuracy of each design by the whole table.
        good: designs with the true best effects.
        near: designs whose worth is that of the best, or less by no more than NEAR.
        epochs: of a whole training.
        words: the true best effects.
        longest: trainings after which a search ends.
    """

    feasible: Listed
    curves: dict[Picks, list[Curve]]
    worth: dict[Picks, float]
    good: frozenset[Picks]
    near: frozenset[Picks]
    epochs: int
    words: str
    longest: int


@dataclass
class Spent:
    """What a simulated search has done so far.

    Attributes:
        recommended: a design after each training; None before there is any.
        epochs: trained until then.
    """

    recommended: list[Picks | None]
    epochs: list[int]


Stops = Callable[[Curve, list[Curve], TrainingModel], int]
"""Of a training to come: after how many epochs it is ended."""


class Trainings:
    """Trainings of a table; in which order of seeds is drawn for each simulation."""

    def __init__(self, table: Table, seed: int) -> None:
        seeds = max(len(curves) for curves in table.curves.values())
        order = np.random.default_rng([seed, 3]).permutation(seeds)
        # As in a search, the first training of every design has the same seed.
        self._left = {
            picks: [curves[place] for place in order if place < len(curves)]
            for picks, curves in table.curves.items()
        }

    def take(self, picks: Picks) -> Curve:
        return self._left[picks].pop()

    def used_up(self) -> set[Picks]:
        return {picks for picks, left in self._left.items() if not left}


def train(table: Table, seed: int, stops: Stops) -> Spent:
    """What ``--score train`` does."""
    trainings, spent = Trainings(table, seed), Spent([], [])
    proposer = NoisyProposer(table.feasible, seed=seed)
    nothing = (0,) * len(table.feasible.space.choices)
    observed: list[Training] = []
    finished: list[Curve] = []
    known, done = None, 0
    queue = [nothing, table.feasible.largest()]
    while len(spent.epochs) < LONGEST:
        picks = queue.pop(0) if queue else _proposal(proposer, observed, trainings)
        if picks is None:
            break
        nth = sum(design == picks for design, _, _ in observed)
        curve = trainings.take(picks)
        ended = table.epochs if known is None else stops(curve, finished, known)
        done += ended
        if ended < table.epochs:
            observed.append((picks, expected_last(curve[:ended], finished)[0], nth))
        else:
            observed.append((picks, curve[-1], nth))
            finished.append(curve)
        known = TrainingModel(table.feasible, observed) if len(observed) >= FEWEST else None
        spent.recommended.append(None if known is None else known.picks[known.best])
        spent.epochs.append(done)
    return spent


def _proposal(
    proposer: NoisyProposer, observed: list[Training], trainings: Trainings
) -> Picks | None:
    return proposer.propose([(picks, y) for picks, y, _ in observed], trainings.used_up())


def never(curve: Curve, finished: list[Curve], known: TrainingModel) -> int:
    return len(curve)


def by_interval(curve: Curve, finished: list[Curve], known: TrainingModel) -> int:
    """The rule of bamsearch."""
    best = float(known.mean[known.best])
    for epoch in range(1, len(curve)):
        if cannot_win(curve[:epoch], finished, best, known.noise):
            return epoch
    return len(curve)


def halving(curve: Curve, finished: list[Curve], known: TrainingModel) -> int:
    """The rungs of Hyperband's most eager bracket: the best third goes on at each power of 3."""
    rung = 1
    while rung < len(curve) and len(finished) >= 3:
        reached = sorted((one[rung - 1] for one in finished), reverse=True)
        if curve[rung - 1] < reached[max(len(reached) // 3 - 1, 0)]:
            return rung
        rung *= 3
    return len(curve)


def found_after(wanted: Container[Picks], spent: Spent) -> int | None:
    """Epochs after which what is recommended is always a wanted design; None: never."""
    good = [picks in wanted for picks in spent.recommended]
    if not good[-1]:
        return None
    first = len(good) - next((n for n, one in enumerate(reversed(good)) if not one), len(good))
    return spent.epochs[first]


def regret_after(table: Table, spent: Spent, epochs: int) -> float:
    """Points between the best design and what is recommended then."""
    before = [p for p, e in zip(spent.recommended, spent.epochs, strict=True) if e <= epochs]
    chosen = before[-1] if before else None
    mean = float(np.mean(list(table.worth.values())))
    return max(table.worth.values()) - (mean if chosen is None else table.worth[chosen])


def read_space(folder: Path) -> tuple[Audit, SearchSpace]:
    """An audit, and the space that its designs are of."""
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
    """An audit's folder as a table."""
    audit, space = read_space(folder)
    curves: dict[Picks, list[Curve]] = {}
    runs = []
    lines = (folder / "trainings.jsonl").read_text(encoding="utf-8").splitlines()
    for one in sorted(map(json.loads, lines), key=lambda one: one["seed"]):
        insertions = tuple(Insertion(*each) for each in one["design"])
        picks = space.picks(insertions)
        if picks is not None and "curve" in one:
            curves.setdefault(picks, []).append(tuple(one["curve"]))
            runs.append((insertions, one["curve"][-1]))
    feasible = Listed(space, audit.budgets, np.array(sorted(curves), dtype=np.int8))
    trainings = [
        (picks, curve[-1], seed)
        for picks, each in curves.items()
        for seed, curve in enumerate(each)
    ]
    known = TrainingModel(feasible, trainings)
    told = [one for one in effects(audit.summary.sites, runs) if one.distinguished]
    good, words = _right(told, [insertions for insertions, _ in runs])
    worth = dict(zip(known.picks, known.mean.tolist(), strict=True))
    return Table(
        feasible,
        curves,
        worth,
        frozenset(picks for picks in curves if good(space.insertions(picks))),
        frozenset(picks for picks in curves if worth[picks] >= max(worth.values()) - NEAR),
        len(next(iter(curves.values()))[0]),
        words or "nothing is told from 0: every design counts",
        len(curves),
    )


def _right(
    told: Sequence[Effect], trained: Sequence[Sequence[Insertion]]
) -> tuple[Callable[[Sequence[Insertion]], bool], str]:
    """Whether a design has the effects that were told from 0 on its side, and these in words."""
    wanted = {site: e.points > 0 for e in told if e.aspect == "site" for site in e.sites}
    # r and d: on the better side of the mean of all designs.
    sides = {e.aspect: np.sign(e.points) for e in told if e.aspect != "site"}
    middle = {what: np.mean([mean_log(d, what) for d in trained if d]) for what in sides}

    def good(insertions: Sequence[Insertion]) -> bool:
        there = {one.site for one in insertions}
        placed = all((site in there) == on for site, on in wanted.items())
        return placed and all(
            bool(insertions) and sign * (mean_log(insertions, what) - middle[what]) > 0
            for what, sign in sides.items()
        )

    parts = [f"{'BAM' if on else 'none'} at {site}" for site, on in wanted.items()]
    parts += [f"{what} {'above' if s > 0 else 'below'} the mean" for what, s in sides.items()]
    return good, ", ".join(parts)


def mean_log(insertions: Sequence[Insertion], what: str) -> float:
    """Mean of log2 r or log2 d over the BAMs of a design."""
    values = [one.reduction if what == "r" else one.dilation for one in insertions]
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
    help="Simulated searches of each kind.",
)
def main(folder: Path, searches: int) -> None:
    table = read_table(folder)
    # All are compared over the same compute: that of training each design once.
    longest = table.epochs * sum(any(picks) for picks in table.curves)
    results = {}
    for name, search in SEARCHERS.items():
        spent = [search(table, seed) for seed in range(searches)]
        results[name] = {
            "effects": [found_after(table.good, one) for one in spent],
            "near": [found_after(table.near, one) for one in spent],
            "regret": [
                [regret_after(table, one, share * longest // 4) for one in spent]
                for share in (1, 2, 4)
            ],
        }
    text = describe(table, results, longest, searches)
    content = {"audit": folder.name, "longest": longest, "good": len(table.good)}
    machine.write("train_replay", content | {"results": results}, text)


def describe(table: Table, results: dict[str, dict[str, list]], longest: int, n: int) -> str:
    """The page."""
    lines = [
        "# What early stopping is worth",
        "",
        f"{n} simulated searches of each kind on a table of {len(table.curves)} designs. The true "
        f"best effects: {table.words}; designs with them: {len(table.good)}. Within {NEAR} points "
        f"of the best: {len(table.near)}.",
        "",
        "Epochs of training until the recommendation is such a design for good; a search that "
        f"never gets there counts as {longest}, which is every design once. Ratio: epochs of "
        "`train` over those of the row, with a 95 % bootstrap interval over searches.",
        "",
    ]
    for what, title in (("effects", "The true best effects"), ("near", "A design near the best")):
        lines += [
            f"| {title} | found | epochs, mean | median | ratio |",
            "| --- | --: | --: | --: | --: |",
            *(
                _row(name, results["train"][what], one[what], longest)
                for name, one in results.items()
            ),
            "",
        ]
    lines += [
        "| Regret, points, after | a quarter | a half | all of it |",
        "| --- | --: | --: | --: |",
    ]
    for name, one in results.items():
        lines.append(f"| {name} | {' | '.join(f'{np.mean(each):.2f}' for each in one['regret'])} |")
    return "\n".join(lines) + "\n"


def _row(name: str, ours: list[int | None], theirs: list[int | None], longest: int) -> str:
    capped = [np.array([_capped(value, longest) for value in each]) for each in (ours, theirs)]
    ratio = stats.bootstrap(
        capped,
        lambda a, b, axis=-1: a.mean(axis=axis) / b.mean(axis=axis),
        method="percentile",
        rng=0,
    ).confidence_interval
    found = np.mean([value is not None and value <= longest for value in theirs])
    mine, other = (one.mean() for one in capped)
    return (
        f"| {name} | {found:.0%} | {other:.0f} | {np.median(capped[1]):.0f} | "
        f"{mine / other:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] |"
    )


def _capped(value: int | None, longest: int) -> int:
    return longest if value is None else min(value, longest)


if __name__ == "__main__":
    main()
