"""What a search takes for a trial besides its score: the proposal, and writing it down.

    OMP_NUM_THREADS=1 python benchmarks/search_overhead.py

resnet101 under 8 GFLOPs, a score that takes no time (params, looked up), one process, the study in
a file: from one finished trial to the next, on disk. The default sampler in space `stages` up to
5,000 trials and in `blocks` up to 500; uniform sampling beside it, which is all but the proposal.
Memory is the growth of the resident set from the 100th trial to the end, on Linux.

Writes search_overhead.json and search_overhead.md beside this file.
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

from bamsearch.searching.folder import RunFolder
from bamsearch.searching.request import Request, plan_search
from bamsearch.searching.run import Finished, Work, run_search

SEARCHES = (("stages", "random", 3_000), ("stages", "gp", 5_000), ("blocks", "gp", 500))
WINDOWS = ((0, 100), (400, 500), (900, 1_000), (2_900, 3_000), (4_900, 5_000))
TARGET_MS = 20.0


def milliseconds(space: str, sampler: str, trials: int) -> tuple[list[float], float]:
    """Times from one finished trial to the next, and the growth of the memory in MB."""
    request = Request(
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

    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place) / "run")
        run_search(plan_search(request), folder, Work(watch=watch))
    return [1e3 * (b - a) for a, b in pairwise(times)], (
        pages[-1] - pages[0]
    ) * getpagesize() / 2**20


def main() -> None:
    """Run the searches and write what they took."""
    content: dict[str, object] = {}
    rows, memory = [], []
    for space, sampler, trials in SEARCHES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            times, grown = pool.submit(milliseconds, space, sampler, trials).result()
        memory.append(f"`{space}` with {sampler} {grown:.0f} MB")
        content[f"{space} {sampler}"] = [round(one, 3) for one in times]
        for start, end in WINDOWS:
            if end <= trials:
                some = times[start:end]
                low, _, high = quantiles(some, n=4)
                rows.append(
                    f"| `{space}` | {sampler} | {start + 1:,} to {end:,} | {median(some):.1f} | "
                    f"{low:.1f} to {high:.1f} | {mean(some):.1f} | {max(some):.0f} |"
                )
        first = times[: min(1_000, trials)]
        rows.append(
            f"| `{space}` | {sampler} | all to {len(first) + 1:,} | **{median(first):.1f}** | "
            f"{quantiles(first, n=4)[0]:.1f} to {quantiles(first, n=4)[2]:.1f} | "
            f"{mean(first):.1f} | {max(first):.0f} |"
        )
    text = (
        "# What a trial takes besides its score\n\n"
        "`OMP_NUM_THREADS=1 python benchmarks/search_overhead.py` wrote this: resnet101 under\n"
        "8 GFLOPs, score params, one process, every trial on disk before the next.\n"
        "Milliseconds a trial.\n\n"
        "| space | sampler | trials | median | quartiles | mean | longest |\n"
        "|---|---|---|---:|---:|---:|---:|\n" + "\n".join(rows) + "\n\n"
        f"Memory from the 100th trial to the last: {', '.join(memory)}.\n\n"
        f"The target is a median below {TARGET_MS:.0f} ms over the first 1,000 trials of\n"
        "`stages`.\n"
    )
    write("search_overhead", content, text)


if __name__ == "__main__":
    main()
