"""Coverage and error rates of ``verify``, on simulated results with a known truth.

Looks, levels, decisions and intervals are computed by the functions of bamsearch. Each function
returns rows; ``python benchmarks/coverage_verify.py`` prints them all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bamsearch.evidence.verify.looks import Conclusion, Rule, conclude, look_sizes, nominal_level
from bamsearch.evidence.verify.statistics import TARGET_DIFFERENCE, power, sd_limits, seeds_needed
from bamsearch.records import Over

Floats = NDArray[np.float64]
Noise = Callable[[np.random.Generator, tuple[int, ...]], Floats]


class Row(NamedTuple):
    """A simulated number.

    Attributes:
        name: the simulated quantity.
        value: mean over the repetitions.
        error: Monte Carlo standard error of the mean.
        repetitions: number of independent simulations.
    """

    name: str
    value: float
    error: float
    repetitions: int


NOISES: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    # Scaled to a standard deviation of 1.
    "t3": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3.0),
}

# No interval lies within this margin, so looks do not end with a correct "equivalent".
_NO_MARGIN = 1e-12


def row(name: str, values: list[float] | list[bool]) -> Row:
    """The mean of values, with its standard error."""
    numbers = np.asarray(values, dtype=float)
    error = float(numbers.std(ddof=1) / np.sqrt(len(numbers)))
    return Row(name, float(numbers.mean()), error, len(numbers))


def fresh_seeds(repetitions: int = 4_000, seeds: int = 5) -> list[Row]:
    """A search selects the best of 40 designs by three trainings each, and verify trains it.

    Designs have a standard deviation of 0.3 points, trainings of 0.5. There is one look. Shared
    seeds repeat the trainings of the search; those of the base are independent.
    """
    rng = np.random.default_rng(1)
    rule = Rule(nominal_level((seeds,), 1), _NO_MARGIN)
    bias: dict[str, list[float]] = {"fresh": [], "shared": []}
    covered: dict[str, list[bool]] = {"fresh": [], "shared": []}
    for _ in range(repetitions):
        designs = rng.normal(0.0, 0.3, 40)
        searched = designs + rng.normal(0.0, 0.5, (3, 40))
        best = int(searched.mean(axis=0).argmax())
        for kind in bias:
            trained = designs[best] + rng.normal(0.0, 0.5, seeds)
            if kind == "shared":
                trained[:3] = searched[:, best]
            end = conclude(trained - rng.normal(0.0, 0.5, seeds), (seeds,), rule)
            bias[kind].append(end.interval.mean - designs[best])
            covered[kind].append(end.interval.low <= designs[best] <= end.interval.high)
    return [
        new
        for kind in bias
        for new in (
            row(f"fixed, {seeds} seeds, {kind}: bias, points", bias[kind]),
            row(f"fixed, {seeds} seeds, {kind}: coverage", covered[kind]),
        )
    ]


def ends(
    rng: np.random.Generator,
    noise: Noise,
    effect: float,
    sizes: tuple[int, ...],
    comparisons: int,
    lost: float = 0.0,
) -> list[Conclusion]:
    """Comparisons of a verification, all with the same effect in deviations of a difference."""
    rule = Rule(nominal_level(sizes, comparisons), _NO_MARGIN)
    # The best design and the rivals share the spread of a difference, so that comparisons are
    # correlated as in a verification.
    trained = noise(rng, (comparisons + 1, sizes[-1])) / np.sqrt(2.0)
    rows = np.flatnonzero(rng.random(sizes[-1]) >= lost)
    made = []
    for rival in trained[1:]:
        values = (effect + trained[0] - rival)[rows]
        end = conclude(values, sizes, rule, rows=rows.tolist())
        if end is not None:
            made.append(end)
    return made


def sequential(repetitions: int = 10_000) -> list[Row]:
    """False answers, coverage, power and seeds of verifications with several looks."""
    rows = []
    cases = [
        (seeds, comparisons, noise)
        for seeds in (10, 25)
        for comparisons in (1, 4)
        for noise in NOISES
    ]
    for number, (seeds, comparisons, noise) in enumerate(cases):
        sizes = look_sizes(seeds, 5)
        head = f"5 looks, up to {seeds} seeds, {comparisons} to compare, {noise}"
        for effect in (0.0, 1.0):
            rng = np.random.default_rng([2, number, int(effect)])
            # False answers have a limit, so their Monte Carlo error must be smaller.
            number_of_runs = repetitions if effect else 4 * repetitions
            runs = [
                ends(rng, NOISES[noise], effect, sizes, comparisons) for _ in range(number_of_runs)
            ]
            rows += _summary(f"{head}, effect {effect:g} sd", runs, effect)
    rng = np.random.default_rng(3)
    sizes = look_sizes(10, 5)
    runs = [ends(rng, NOISES["normal"], 0.0, sizes, 1, lost=0.1) for _ in range(repetitions)]
    return [*rows, *_summary("5 looks, up to 10 seeds, 1 in 10 pairs diverged", runs, 0.0)]


def _summary(head: str, runs: list[list[Conclusion]], effect: float) -> Iterator[Row]:
    """Rows for whole verifications: one wrong comparison makes a verification wrong."""
    covered = [all(e.interval.low <= effect <= e.interval.high for e in run) for run in runs]
    yield row(f"{head}: coverage of all intervals", covered)
    better = [[e.interval.low > 0 for e in run] for run in runs]
    if effect:
        yield row(f"{head}: power", [float(np.mean(run)) for run in better])
        yield row(f"{head}: seeds", [float(np.mean([e.pairs for e in run])) for run in runs])
    else:
        wrong = [any(e.interval.low > 0 or e.interval.high < 0 for e in run) for run in runs]
        yield row(f"{head}: false answers", wrong)


def equivalence(repetitions: int = 4_000) -> list[Row]:
    """Rate of "equivalent" if the true difference equals the margin, 1 sd."""
    rng, sizes = np.random.default_rng(4), look_sizes(25, 5)
    rule = Rule(nominal_level(sizes, 1), 1.0)
    equivalent = [
        conclude(rng.normal(1.0, 1.0, 25), sizes, rule).interval.inside(1.0)
        for _ in range(repetitions)
    ]
    return [row("5 looks, up to 25 seeds, difference at the margin: says equivalent", equivalent)]


def correctness(
    rng: np.random.Generator, seeds: int, images: int, effect: float, tastes: float, spread: float
) -> NDArray[np.int8]:
    """Paired correctness (seeds, images), -1, 0 or 1, by probit models with random images.

    Args:
        rng: source of the draws.
        seeds: number of pairs.
        images: number of test images.
        effect: effect of the best design, on the latent scale.
        tastes: standard deviation of the interaction between image and network.
        spread: standard deviation of trainings, on the latent scale.
    """
    difficulty = rng.normal(MEAN, DIFFICULTY, images).astype(np.float32)
    right = []
    for shift in (effect, 0.0):
        network = difficulty + rng.normal(shift, tastes, images).astype(np.float32)
        latent = rng.standard_normal((seeds, images), dtype=np.float32)
        latent += network + rng.normal(0.0, spread, (seeds, 1)).astype(np.float32)
        right.append((latent > 0).astype(np.int8))
    return right[0] - right[1]


MEAN, DIFFICULTY = 0.9, 2.0
"""Latent mean and spread of the images: an accuracy of 65%, most images clear."""


def true_points(effect: float, tastes: float, spread: float) -> float:
    """The difference over all images and seeds, in points."""
    scale = np.sqrt(DIFFICULTY**2 + tastes**2 + spread**2 + 1.0)
    return 100 * float(ndtr((MEAN + effect) / scale) - ndtr(MEAN / scale))


IMAGES = (
    ("10,000 images, 20 seeds", 10_000, 20, 0.5, 0.03, 1_000),
    ("180 images, 10 seeds", 180, 10, 0.7, 0.05, 4_000),
    ("180 images, 10 seeds, images suit networks alike", 180, 10, 0.0, 0.05, 4_000),
    ("1,000 images, 5 seeds, trainings differ more", 1_000, 5, 0.5, 0.15, 2_000),
)
"""Name, images, seeds, tastes, spread, repetitions."""


def over_images(divide: int = 1) -> list[Row]:
    """Coverage of the difference over all images, by population of the intervals and by looks."""
    rows = []
    for number, (name, images, seeds, tastes, spread, repetitions) in enumerate(IMAGES):
        true = true_points(0.05, tastes, spread)
        kinds: list[tuple[str, Over, int]] = [
            ("over seeds", "seeds", 1),
            ("over images", "images", 1),
            ("over images, 5 looks", "images", 5),
        ]
        covered: dict[str, list[bool]] = {label: [] for label, *_ in kinds}
        rng = np.random.default_rng([5, number])
        for _ in range(max(repetitions // divide, 2)):
            values = np.int8(100) * correctness(rng, seeds, images, 0.05, tastes, spread)
            for label, over, looks in kinds:
                sizes = look_sizes(seeds, looks)
                rule = Rule(nominal_level(sizes, 1), _NO_MARGIN, over)
                interval = conclude(values, sizes, rule, resolution=100 / images).interval
                covered[label].append(interval.low <= true <= interval.high)
        rows += [row(f"{name}: {label}: coverage", covered[label]) for label in covered]
    return rows


def printed_seeds(repetitions: int = 4_000) -> list[Row]:
    """How often the printed (upper) number of seeds has a true power of at least 0.8.

    A printed number is large enough exactly if its spread does not reach that power with one seed
    fewer than the true spread requires.
    """
    rows = []
    for pairs in (2, 3, 5, 10):
        for comparisons in (1, 4):
            sizes = look_sizes(pairs, 5)
            confidence = 1 - nominal_level(sizes, comparisons)
            needed = seeds_needed(1.0, confidence, TARGET_DIFFERENCE) or 0
            rng = np.random.default_rng([6, pairs, comparisons])
            enough = []
            for _ in range(repetitions):
                sd = float(rng.standard_normal(pairs).std(ddof=1))
                upper = sd_limits(sd, pairs - 1)[1]
                enough.append(power(TARGET_DIFFERENCE, upper, needed - 1, confidence) < 0.8)
            head = f"seeds needed, from {pairs} pairs, {comparisons} comparisons"
            rows.append(row(f"{head}: power at least 0.8", enough))
    return rows


def rows(divide: int = 1) -> Iterator[Row]:
    """All rows, each over its usual number of repetitions divided by ``divide``."""
    yield from fresh_seeds(4_000 // divide)
    yield from sequential(10_000 // divide)
    yield from equivalence(4_000 // divide)
    yield from over_images(divide)
    yield from printed_seeds(4_000 // divide)


if __name__ == "__main__":
    began = time.perf_counter()
    for new in rows():
        print(f"{new.value:8.4f} ± {new.error:.4f}  {new.repetitions:6,}  {new.name}", flush=True)
    print(f"{time.perf_counter() - began:.0f} s")
