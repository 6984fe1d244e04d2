"""Time of a report of 10,000 trials, and the sizes of its files.

    OMP_NUM_THREADS=1 python benchmarks/report_time.py

Synthetic runs of resnet101 under 8 GFLOPs: 10,000 trials and 10,000 of random search, drawn
uniformly from the feasible designs; the score is the number of BAMs plus noise. Each report is
written by a new process from the record on disk, as by `bamsearch report`, and the whole process is
timed.

Writes report_time.json and report_time.md next to this file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from machine import write

from bamsearch.profiling.costs import DesignCosts
from bamsearch.records import RunRecord, Trial
from bamsearch.records.run_files import RUN_FILE, TRIALS_FILE, trial_line
from bamsearch.study.request import SearchPlan, SearchRequest, plan_search

TRIALS = 10_000
REPEATS = 3
TARGET_S, TARGET_MB = 10.0, 4.0


def synthetic(space: str, trials: int = TRIALS) -> RunRecord:
    """A run with random scores."""
    request = SearchRequest(
        "resnet101", {"gflops": "8"}, space=space, score="params", trials=trials
    )
    planned = plan_search(request, command="synthetic, by benchmarks/report_time.py")
    run = replace(planned.run, name="synthetic")
    rng = np.random.default_rng(0)
    searched, random = drawn(planned, rng, trials), drawn(planned, rng, trials)
    base = run.summary.base
    first = Trial(0, run.design(()), 0.0, base.params, base.macs)
    later = [("random", replace(trial, number=trial.number + 1)) for trial in random]
    return RunRecord(run, tuple(searched), (("base", first), *later))


def drawn(planned: SearchPlan, rng: np.random.Generator, number: int) -> list[Trial]:
    costs = DesignCosts(planned.run.summary)
    trials = []
    for at, row in enumerate(planned.feasible.sample(rng, number)):
        insertions = planned.space.insertions(tuple(row.tolist()))
        cost = costs.cost(insertions)
        score = float(len(insertions) + rng.normal())
        trials.append(
            Trial(at, planned.run.design(insertions), score, cost.params, cost.macs, seconds=1.0)
        )
    return trials


def save(record: RunRecord, folder: Path) -> None:
    folder.mkdir()
    (folder / RUN_FILE).write_text(record.run.to_json(), encoding="utf-8")
    lines = [trial_line(trial, None) for trial in record.trials]
    lines += [trial_line(trial, kind) for kind, trial in record.baselines]
    (folder / TRIALS_FILE).write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Write reports, and the times they take."""
    content: dict[str, object] = {}
    rows = []
    for space in ("stages", "blocks"):
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory) / "run"
            save(synthetic(space), folder)
            command = [sys.executable, "-m", "bamsearch", "report", str(folder), "-q"]
            times = []
            for _ in range(REPEATS):
                start = perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                times.append(perf_counter() - start)
            sizes = {
                path.name: path.stat().st_size / 1e6
                for path in sorted((folder / "report").iterdir())
            }
        content[space] = {"seconds": times, "megabytes": sizes}
        met = median(times) < TARGET_S and sizes["report.html"] < TARGET_MB
        rows.append(
            f"| `{space}` | {median(times):.1f} | {max(times):.1f} | {sizes['report.html']:.2f} | "
            f"{sizes['trials.csv']:.2f} | {'yes' if met else '**no**'} |"
        )
    text = (
        "# A report of 10,000 trials\n\n"
        "Written by `OMP_NUM_THREADS=1 python benchmarks/report_time.py`: `bamsearch report` of a\n"
        "synthetic run of resnet101 with 10,000 trials and 10,000 of random search, all formats,\n"
        f"{REPEATS} times, including the start of Python.\n\n"
        f"The target is under {TARGET_S:.0f} s and under {TARGET_MB:.0f} MB of HTML.\n\n"
        "| space | seconds, median | longest | report.html, MB | trials.csv, MB | target |\n"
        "| --- | ---: | ---: | ---: | ---: | --- |\n" + "\n".join(rows) + "\n"
    )
    write("report_time", content, text)


if __name__ == "__main__":
    main()
