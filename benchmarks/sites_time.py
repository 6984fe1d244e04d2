"""Time of ``find_sites`` for every torchvision classifier.

OMP_NUM_THREADS=1 python benchmarks/sites_time.py [--repeats N] [MODEL ...]
"""

import argparse
import gc
import statistics
import sys
import time

import torchvision
from machine import write

from bamsearch import find_sites
from bamsearch.graph.models import build_model, default_input_shape

LIMIT, LIMITS = 10.0, {"resnet101": 1.5}


def seconds(name: str, repeats: int) -> tuple[list[float], int]:
    """Times of find_sites on one model, and the number of sites."""
    module, shape = build_model(name, initialise=False), default_input_shape(name)
    times, sites = [], []
    for _ in range(repeats):
        gc.collect()
        start = time.perf_counter()
        sites = find_sites(module, shape)
        times.append(time.perf_counter() - start)
    return times, len(sites)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("models", nargs="*")
    options = parser.parse_args()
    names = options.models or torchvision.models.list_models(module=torchvision.models)
    seconds("resnet18", 1)  # torch loads some modules on first use
    measured = {}
    for name in names:
        measured[name] = seconds(name, options.repeats)
        print(f"{name} {statistics.median(measured[name][0]):.2f} s", file=sys.stderr)
    medians = {name: statistics.median(times) for name, (times, _) in measured.items()}
    rows = "\n".join(
        f"| {name} | {measured[name][1]} | {medians[name]:.2f} | {max(measured[name][0]):.2f} |"
        for name in sorted(medians, key=lambda name: -medians[name])
    )
    text = f"""\
# Time of `find_sites`

All {len(measured)} torchvision classifiers at their default input size, {options.repeats} calls
each in one process, slowest first. The limit is {LIMIT:.0f} s, for resnet101
{LIMITS["resnet101"]} s.

| model | sites | median s | slowest s |
| --- | --- | --- | --- |
{rows}
"""
    record = {name: [round(second, 4) for second in times] for name, (times, _) in measured.items()}
    if not options.models:  # a subset is not recorded
        write("sites_time", {"seconds": record}, text)
    late = [name for name in medians if medians[name] > LIMITS.get(name, LIMIT)]
    if late:
        sys.exit(f"over the limit: {', '.join(late)}")


if __name__ == "__main__":
    main()
