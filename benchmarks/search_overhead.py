"""Overhead of a trial besides its score: the proposal, and writing the result.

    OMP_NUM_THREADS=1 python benchmarks/search_overhead.py

Time between finished trials for resnet101 under 8 GFLOPs, with a score that takes no time (params,
a lookup), one process, and the study in a file. The default sampler runs in space `stages` up to
5,000 trials and in `blocks` up to 500. Uniform sampling shows the overhead without the proposal.
Memory is the growth of the resident set from the 100th trial to the last, on Linux.

Writes search_overhead.json and search_overhead.md next to this file.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from resource import getpagesize
from statistics import mean, median, quantiles
from time import perf_counter

from machine import write

from bamsearch.study.folder import RunFolder
from bamsearch.study.request import SearchRequest, plan_search
from bamsearch.study.run import Finished, SearchOptions, run_search

SEARCHES = (("stages", "random", 3_000), ("stages", "gp", 5_000), ("blocks", "gp", 500))
WINDOWS = ((0, 100), (400, 500), (900, 1_000), (2_900, 3_000), (4_900, 5_000))
TARGET_MS = 20.0


def milliseconds(space: str, sampler: str, trials: int) -> tuple[list[float], float]:
    """Times from one finished trial to the next, and the growth of memory in MB."""
    request = SearchRequest(
        "resnet101",
        {"gflops": "8"},
        space=space,
        score="params",
        sampler=sampler,
        trials=trials,
        compare_random=False,
    )
    times: list[float] = []
    pages: list[int] = []

    def watch(finished: list[Finished]) -> None:
        times.extend(perf_counter() for kind, _ in finished if kind is None)
        if len(times) >= 100:
            pages.append(int(Path("/proc/self/statm").read_text().split()[1]))

    with tempfile.TemporaryDirectory() as directory:
        folder = RunFolder(Path(directory) / "run")
        run_search(plan_search(request), folder, SearchOptions(watch=watch))
    grown = (pages[-1] - pages[0]) * getpagesize() / 2**20
    return [1e3 * (b - a) for a, b in pairwise(times)], grown


def main() -> None:
    """Run the searches and write their overhead."""
    content: dict[str, object] = {}
    rows, memory = [], []
    for space, sampler, trials in SEARCHES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            times, grown = pool.submit(milliseconds, space, sampler, trials).result()
        memory.append(f"`{space}` with {sampler} {grown:.0f} MB")
        content[f"{space} {sampler}"] = [round(time, 3) for time in times]
        for start, end in WINDOWS:
            if end <= trials:
                window = times[start:end]
                low, _, high = quantiles(window, n=4)
                rows.append(
                    f"| `{space}` | {sampler} | {start + 1:,} to {end:,} | {median(window):.1f} | "
                    f"{low:.1f} to {high:.1f} | {mean(window):.1f} | {max(window):.0f} |"
                )
        first = times[: min(1_000, trials)]
        rows.append(
            f"| `{space}` | {sampler} | all to {len(first) + 1:,} | **{median(first):.1f}** | "
            f"{quantiles(first, n=4)[0]:.1f} to {quantiles(first, n=4)[2]:.1f} | "
            f"{mean(first):.1f} | {max(first):.0f} |"
        )
    text = (
        "# Overhead of a trial\n\n"
        "Written by `OMP_NUM_THREADS=1 python benchmarks/search_overhead.py`: milliseconds per\n"
        "trial besides its score, for resnet101 under 8 GFLOPs, score params, one process. Each\n"
        "trial is on disk before the next starts.\n\n"
        "| space | sampler | trials | median | quartiles | mean | longest |\n"
        "|---|---|---|---:|---:|---:|---:|\n" + "\n".join(rows) + "\n\n"
        f"Memory from the 100th trial to the last: {', '.join(memory)}.\n\n"
        f"The target is a median below {TARGET_MS:.0f} ms over the first 1,000 trials of\n"
        "`stages`.\n"
    )
    write("search_overhead", content, text)


if __name__ == "__main__":
    main()
