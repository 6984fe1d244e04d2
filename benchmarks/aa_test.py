"""Coverage and power of the interval of ``time_pair``, on real networks.

A/A: resnet18 against itself, a ratio of 1. At least 90 of 100 95% intervals must contain 1. Still:
the same, but both copies stay at their addresses in memory; the result is the reason why
``time_pair`` moves them before each pair. Power: 20 equal convolutions against 21, a ratio of 1.05;
how many intervals exclude 1, and how many contain 1.05. Takes about 10 minutes.

    OMP_NUM_THREADS=1 python benchmarks/aa_test.py [--repetitions N] [--pairs N]
"""

import argparse
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from unittest import mock

from machine import write
from torch import nn
from torchvision.models import resnet18

from bamsearch.profiling.timing import time_pair
from bamsearch.profiling.workload import Workload
from bamsearch.records import PairedTiming

NEEDED = 0.90
SHAPE = (3, 32, 32)
WIDTH = 24


@dataclass(frozen=True)
class Repetition:
    """One comparison; times in milliseconds per call."""

    ratio: float
    low: float
    high: float
    a_ms: float
    b_ms: float
    noise: float
    calls: int
    seconds: float

    def contains(self, ratio: float) -> bool:
        return self.low <= ratio <= self.high


def convolutions(number: int) -> nn.Module:
    """A sequence of equal convolutions."""
    body = [nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(number)]
    return nn.Sequential(*body)


def repeat(
    a: nn.Module, b: nn.Module, shape: tuple[int, ...], repetitions: int, pairs: int
) -> list[Repetition]:
    done = []
    for number in range(repetitions):
        start = time.perf_counter()
        pair = time_pair(a, b, shape, samples=pairs, seed=number)
        done.append(_repetition(pair, time.perf_counter() - start))
        if (number + 1) % 10 == 0:
            print(f"{number + 1} of {repetitions}", file=sys.stderr)
    return done


def _repetition(pair: PairedTiming, seconds: float) -> Repetition:
    return Repetition(
        ratio=round(pair.ratio, 5),
        low=round(pair.low, 5),
        high=round(pair.high, 5),
        a_ms=round(pair.a.median, 4),
        b_ms=round(pair.b.median, 4),
        noise=round(pair.a.iqr / pair.a.median, 4),
        calls=pair.a.calls_per_sample,
        seconds=round(seconds, 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=40)
    options = parser.parse_args()
    model = resnet18(weights=None)
    same = repeat(model, model, SHAPE, options.repetitions, options.pairs)
    fewer = max(1, options.repetitions // 5)
    with mock.patch.object(Workload, "move"):
        still = repeat(model, model, SHAPE, fewer, options.pairs)
    other = repeat(
        convolutions(20),
        convolutions(21),
        (WIDTH, *SHAPE[1:]),
        fewer,
        options.pairs,
    )
    held = sum(item.contains(1.0) for item in same)
    content = {
        "pairs": options.pairs,
        "needed": NEEDED,
        "same": [asdict(item) for item in same],
        "still": [asdict(item) for item in still],
        "known": [asdict(item) for item in other],
    }
    write("aa_test", content, _text(same, still, other, options.pairs))
    if held < NEEDED * len(same):
        sys.exit(f"only {held} of {len(same)} intervals contain 1")


def _text(
    same: list[Repetition], still: list[Repetition], other: list[Repetition], pairs: int
) -> str:
    held = sum(item.contains(1.0) for item in same)
    held_still = sum(item.contains(1.0) for item in still)
    detected = sum(item.low > 1.0 for item in other)
    true = sum(item.contains(1.05) for item in other)
    rows = "\n".join(_row(*case) for case in (("same", same), ("still", still), ("known", other)))
    return f"""\
# Coverage of the interval of a paired timing

The 95% interval of `time_pair`, {pairs} pairs, one thread, on cores shared with other work.

- **same**: resnet18 at {SHAPE[-1]}x{SHAPE[-1]} against itself, ratio 1.
  **{held} of {len(same)}** intervals contain 1; at least {NEEDED:.0%} must.
- **still**: the same, without moving the copies in memory: {held_still} of {len(still)}.
  This is why `time_pair` moves both before each pair.
- **known**: 20 equal convolutions against 21, ratio 1.05.
  **{detected} of {len(other)}** intervals lie above 1; {true} contain 1.05.

Time, ratio, half width of the interval and seconds per repetition are medians over the
repetitions. Noise is the interquartile range divided by the median, within a repetition.

| pair | repetitions | ms per call | range | noise | worst | ratio | half width | widest | s |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}
"""


def _row(name: str, repetitions: list[Repetition]) -> str:
    def middle(values: list[float]) -> float:
        return statistics.median(values)

    times = [item.a_ms for item in repetitions]
    noise = [item.noise for item in repetitions]
    halves = [(item.high - item.low) / 2 for item in repetitions]
    cells = [
        name,
        str(len(repetitions)),
        f"{middle(times):.2f}",
        f"{min(times):.2f} to {max(times):.2f}",
        f"{middle(noise):.1%}",
        f"{max(noise):.1%}",
        f"{middle([item.ratio for item in repetitions]):.4f}",
        f"{middle(halves):.2%}",
        f"{max(halves):.2%}",
        f"{middle([item.seconds for item in repetitions]):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
