"""Coverage of the intervals of a search that trains, on simulations with a known truth.

A search trains the base, the largest design, and the suggestions of bamsearch's sampler among the
1,361 designs of the committed audit's space: 20 or 40 trainings, then the base with two more seeds.
Intervals are those of ``TrainingModel`` and ``effects``, as in ``learned.json``.

Truths, in points: ``additive`` has an effect N(0.3, 0.8) of BAM at each site and effects of mean
log2 r and log2 d; ``interacting`` adds N(0, 0.5) for each pair of sites and N(0, 0.3) for each
design; in ``null`` all designs equal the base. A training has a standard deviation of 0.5, 1 or 1.5
points, a third of its variance shared by all trainings with the same seed; ``t3`` draws the rest
from Student's t with 3 degrees of freedom; with ``failed``, a training ends at 10% in every third
search.

Every search trains the base with seeds 0 to 2 and the largest design with seed 0. The noise of
these trainings has mean 0 over searches and is known here, so biases of base and recommended design
are intercepts of a regression of the errors on it (control variates): their Monte Carlo errors are
up to four times smaller than those of plain means.

``python benchmarks/coverage_search.py`` prints the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, product
from statistics import mean

import numpy as np
from coverage_verify import Row, row
from train_replay import AUDIT, Floats, mean_log, read_space

from bamsearch.sampler.effects import effects
from bamsearch.sampler.noisy import NoisySampler
from bamsearch.sampler.training_analysis import Observation, TrainingModel
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Listed
from bamsearch.space.feasible import feasible as feasible_designs

KINDS, NOISES, TRIALS = ("additive", "interacting", "null"), (0.5, 1.0, 1.5), (20, 40)
SEARCHES = 60
FAILED = 10.0
_SEEDS, _DRAWS = 40, 2_000
R, D = -0.2, 0.1
"""Means of the effects of log2 r and log2 d."""


@dataclass(frozen=True)
class Cell:
    """A kind of truth and a level of noise."""

    kind: str
    noise: float
    tails: str = "normal"

    @property
    def name(self) -> str:
        return f"{self.kind}, noise {self.noise:g}" + f", {self.tails}" * (self.tails != "normal")


CELLS = (
    *(Cell(kind, noise) for kind, noise in product(KINDS, NOISES)),
    *(Cell(kind, 1.0, tails) for kind, tails in product(KINDS, ("t3", "failed"))),
)


@dataclass
class Held:
    """Whether each interval contains the truth, and errors of the expectations in points."""

    held: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, list[float]] = field(default_factory=dict)
    noises: list[Floats] = field(default_factory=list)

    def add(self, name: str, truth: float, ends: tuple[float, float], expected: float) -> None:
        self.held.setdefault(name, []).append(float(ends[0] <= truth <= ends[1]))
        self.errors.setdefault(name, []).append(expected - truth)


class Simulator:
    """Searches over the committed audit's space."""

    def __init__(self) -> None:
        audit, space = read_space(AUDIT)
        designs = feasible_designs(space, audit.budgets)
        assert isinstance(designs, Listed)
        self.feasible, self.sites = designs, audit.summary.sites
        self.rows = {
            encoding: index for index, encoding in enumerate(map(tuple, designs.table.tolist()))
        }
        self.has_bam = designs.table > 0
        insertions = [space.insertions(encoding) for encoding in self.rows]
        logs = [[mean_log(i, aspect) if i else np.nan for i in insertions] for aspect in "rd"]
        self.logs = np.array(logs) - np.nanmean(logs, axis=1, keepdims=True)

    def truth(self, kind: str, rng: np.random.Generator) -> tuple[Floats, dict[str, float]]:
        """True accuracies of all designs in points, and the effects of an additive truth."""
        if kind == "null":
            zeros = {choice.name: 0.0 for choice in self.feasible.space.choices}
            return np.zeros(len(self.rows)), zeros | {"r": 0.0, "d": 0.0}
        at, slopes = rng.normal(0.3, 0.8, self.has_bam.shape[1]), rng.normal([R, D], [0.4, 0.25])
        worth = self.has_bam @ at + np.nan_to_num(slopes @ self.logs)
        if kind == "additive":
            names = [choice.name for choice in self.feasible.space.choices]
            return worth, dict(zip([*names, "r", "d"], [*at, *slopes], strict=True))
        for a, b in combinations(range(len(at)), 2):
            worth += self.has_bam[:, a] * self.has_bam[:, b] * rng.normal(0, 0.5)
        return worth + self.has_bam.any(axis=1) * rng.normal(0, 0.3, len(worth)), {}

    def noise(self, cell: Cell, worth: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Effects of a seed on all designs, (seeds,), and on each, (designs, seeds), in points."""
        shape = (len(worth), _SEEDS)
        rest = (
            rng.standard_t(3, shape) / np.sqrt(3) if cell.tails == "t3" else rng.normal(size=shape)
        )
        common = rng.normal(size=_SEEDS)
        return cell.noise * np.sqrt(1 / 3) * common, cell.noise * np.sqrt(2 / 3) * rest

    def search(
        self, cell: Cell, seed: int
    ) -> tuple[list[Observation], Floats, dict[str, float], Floats]:
        """Trainings, true accuracies of all designs in percent, true effects, control variates."""
        rng = np.random.default_rng([seed, 17])
        worth, true_effects = self.truth(cell.kind, rng)
        common, rest = self.noise(cell, worth, rng)
        accuracy = 70 + worth[:, None] + common + rest
        nothing, trials = (0,) * self.has_bam.shape[1], TRIALS[seed % len(TRIALS)]
        fails = int(rng.integers(2, trials)) if cell.tails == "failed" and seed % 3 == 0 else None
        sampler = NoisySampler(self.feasible, seed=seed)
        trainings: list[Observation] = []
        queue: list[Encoding] = [nothing, self.feasible.largest()]
        while len(trainings) <= trials:
            seen = [(encoding, value) for encoding, value, _ in trainings]
            encoding = queue.pop(0) if queue else sampler.suggest(seen, frozenset())
            assert encoding is not None
            nth = sum(design == encoding for design, _ in seen)
            value = FAILED if len(trainings) == fails else float(accuracy[self.rows[encoding], nth])
            trainings.append((encoding, value, nth))
        base, largest = self.rows[nothing], self.rows[self.feasible.largest()]
        trainings += [(nothing, float(accuracy[base, s]), s) for s in (1, 2)]
        controls = np.array([*common[:3], *rest[base, :3], rest[largest, 0]])
        return trainings, 70 + worth, true_effects, controls

    def look(self, cell: Cell, seed: int, held: Held) -> None:
        """Run a search, and record which of its intervals contain the truth."""
        trainings, worth, true_effects, controls = self.search(cell, seed)
        held.noises.append(controls)
        model = TrainingModel(self.feasible, trainings)
        draws = model.draw(_DRAWS, 0)
        ends = np.quantile(draws, [0.025, 0.975], axis=0)
        truth = np.array([worth[self.rows[encoding]] for encoding in model.encodings])
        base = model.encodings.index((0,) * self.has_bam.shape[1])
        failed = {trainings[index][0] for index in model.outliers}
        inside = [
            float(low <= t <= high)
            for encoding, low, high, t in zip(model.encodings, *ends, truth, strict=True)
            if encoding not in failed
        ]
        held.held.setdefault("all designs", []).append(mean(inside))
        for name, column in (("base", base), ("recommended", model.best)):
            held.add(name, truth[column], tuple(ends[:, column]), model.mean[column])
        if base != model.best:
            gain = np.quantile(draws[:, model.best] - draws[:, base], [0.025, 0.975])
            expected = model.mean[model.best] - model.mean[base]
            held.add("gain", truth[model.best] - truth[base], tuple(gain), expected)
        runs = [
            (self.feasible.space.insertions(encoding), value)
            for index, (encoding, value, _) in enumerate(trainings)
            if index not in model.outliers
        ]
        for effect in effects(self.sites, runs) if true_effects else ():
            name = effect.aspect if effect.aspect != "site" else effect.sites[0]
            if len(effect.sites) == 1 or effect.aspect != "site":
                held.add("effects", true_effects[name], (effect.low, effect.high), effect.points)


def rows(divide: int = 1) -> Iterator[Row]:
    """Coverage by cell and over all, then biases over all cells in points."""
    simulator, together, searches = Simulator(), Held(), max(SEARCHES // divide, 2)
    for number, cell in enumerate(CELLS):
        held = Held()
        for seed in range(searches):
            simulator.look(cell, 1000 * number + seed, held)
        for name, values in held.held.items():
            together.held.setdefault(name, []).extend(values)
            yield row(f"search, {cell.name}: {name}: coverage", values)
        for name, values in held.errors.items():
            together.errors.setdefault(name, []).extend(values)
        together.noises.extend(held.noises)
    for name, values in together.held.items():
        yield row(f"search, all: {name}: coverage", values)
    controls = np.array(together.noises)
    for name, values in together.errors.items():
        # The other rows do not have exactly one value per search.
        controlled = name in ("base", "recommended") and len(values) > 2 * controls.shape[1]
        less = _controlled(values, controls) if controlled else values
        yield row(f"search, bias in points: {name}", less)


def _controlled(values: list[float], controls: Floats) -> list[float]:
    """The values minus the part explained by the controls, whose expectations are 0."""
    slopes = np.linalg.lstsq(np.column_stack([np.ones(len(controls)), controls]), values)[0][1:]
    return list(values - controls @ slopes)


if __name__ == "__main__":
    for each in rows():
        print(f"{each.name:60} {each.value:7.3f} ± {each.error:.3f}   {each.repetitions:,}")
