"""Time of ``bamsearch insert resnet101``, relative to building the network without bamsearch.

Whole processes are timed in rounds of alternating order (a b c d, d c b a, …), so that other load
on the machine affects all of them alike; ratios are taken within rounds.

    OMP_NUM_THREADS=1 python benchmarks/insert_time.py [--rounds N]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from machine import write

from bamsearch.profiling.timing import paired_ratio

BUILD = "import torch, torchvision; torchvision.models.resnet101()"


@dataclass
class Case:
    """One process to time."""

    letter: str
    name: str
    command: list[str]
    at_most: float | None = None  # limit of the ratio to case a
    warm: bool = False
    seconds: list[float] = field(default_factory=list)

    def run(self, warm_cache: str) -> float:
        with tempfile.TemporaryDirectory() as cold_cache:
            cache = warm_cache if self.warm else cold_cache
            environment = os.environ | {"BAMSEARCH_CACHE": cache}
            start = time.perf_counter()
            subprocess.run(self.command, env=environment, check=True, capture_output=True)
            return time.perf_counter() - start


def cases() -> list[Case]:
    bamsearch = [sys.executable, str(Path(sys.executable).with_name("bamsearch"))]
    insert = [*bamsearch, "insert", "resnet101"]
    return [
        Case("a", "import torch, torchvision; build resnet101", [sys.executable, "-c", BUILD]),
        Case("b", "bamsearch insert resnet101, first run", insert, 2.5),
        Case("c", "bamsearch insert resnet101, second run", insert, 1.5, warm=True),
        Case("d", "bamsearch --help", [*bamsearch, "--help"]),
    ]


def measure(rounds: int) -> list[Case]:
    timed = cases()
    with tempfile.TemporaryDirectory() as warm_cache:
        for number in range(-1, rounds):  # the first round fills the caches
            for case in timed if number % 2 == 0 else reversed(timed):
                seconds = case.run(warm_cache)
                if number >= 0:
                    case.seconds.append(seconds)
            print(f"round {number + 1} of {rounds}", file=sys.stderr)
    return timed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    timed = measure(parser.parse_args().rounds)
    rows, records = [], []
    for case in timed:
        low, middle, high = paired_ratio(timed[0].seconds, case.seconds)
        median = float(np.median(case.seconds))
        spread = float(np.subtract(*np.percentile(case.seconds, [75, 25]))) / median
        against = "1" if case is timed[0] else f"{middle:.2f} [{low:.2f}, {high:.2f}]"
        limit = "" if case.at_most is None else f"{case.at_most}"
        rows.append(
            f"| {case.letter} | `{case.name}` | {median:.2f} | {spread:.0%} | {against} | {limit} |"
        )
        records.append(
            {
                "case": case.letter,
                "what": case.name,
                "seconds": [round(second, 4) for second in case.seconds],
                "ratio": [middle, low, high],
                "at_most": case.at_most,
            }
        )
    table = "\n".join(rows)
    text = f"""\
# Time of `bamsearch insert resnet101`

Whole processes, {len(timed[0].seconds)} rounds of all four, in alternating order.
The ratio is the median of the ratios within a round, with a 95% bootstrap interval.

|   | process | median s | IQR | ratio to a | at most |
| --- | --- | --- | --- | --- | --- |
{table}
"""
    write("insert_time", {"cases": records}, text)
    late = [
        record["case"]
        for record in records
        if record["at_most"] is not None and record["ratio"][0] > record["at_most"]
    ]
    if late:
        sys.exit(f"over the limit: {', '.join(late)}")


if __name__ == "__main__":
    main()
