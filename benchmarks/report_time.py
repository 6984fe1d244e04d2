"""What a report of 10,000 trials takes, and how large its files are.

    OMP_NUM_THREADS=1 python benchmarks/report_time.py

Made-up runs of resnet101 under 8 GFLOPs: 10,000 trials and 10,000 of random search, drawn
uniformly from what fits, with scores that are noise on the number of BAMs. Each report is written
by a process of its own, from the record on disk, as `bamsearch report` does; all of it counts.

Writes report_time.json and report_time.md beside this file.
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

from bamsearch.profile.costs import DesignCosts
from bamsearch.records import RunRecord, Trial
from bamsearch.records.run_files import RUN_FILE, TRIALS_FILE, trial_line
from bamsearch.searching.request import Planned, Request, plan_search

TRIALS = 10_000
REPEATS = 3
TARGET_S, TARGET_MB = 10.0, 4.0


def made_up(space: str, trials: int = TRIALS) -> RunRecord:
    """A run whose scores are drawn."""
    request = Request("resnet101", {"gflops": "8"}, space=space, score="params", trials=trials)
    planned = plan_search(request, command="made up by benchmarks/report_time.py")
    run = replace(planned.run, name="made-up")
    rng = np.random.default_rng(0)
    own, random = drawn(planned, rng, trials), drawn(planned, rng, trials)
    base = run.summary.base
    first = Trial(0, run.design(()), 0.0, base.params, base.macs)
    later = [("random", replace(one, number=one.number + 1)) for one in random]
    return RunRecord(run, tuple(own), (("base", first), *later))


def drawn(planned: Planned, rng: np.random.Generator, number: int) -> list[Trial]:
    costs = DesignCosts(planned.run.summary)
    found = []
    for at, row in enumerate(planned.feasible.sample(rng, number)):
        insertions = planned.space.insertions(tuple(row.tolist()))
        cost = costs.cost(insertions)
        score = float(len(insertions) + rng.normal())
        found.append(
            Trial(at, planned.run.design(insertions), score, cost.params, cost.macs, seconds=1.0)
        )
    return found


def save(record: RunRecord, folder: Path) -> None:
    folder.mkdir()
    (folder / RUN_FILE).write_text(record.run.to_json(), encoding="utf-8")
    lines = [trial_line(trial, None) for trial in record.trials]
    lines += [trial_line(trial, kind) for kind, trial in record.references]
    (folder / TRIALS_FILE).write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Write reports and what they took."""
    content: dict[str, object] = {}
    rows = []
    for space in ("stages", "blocks"):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "run"
            save(made_up(space), folder)
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
        kept = median(times) < TARGET_S and sizes["report.html"] < TARGET_MB
        rows.append(
            f"| `{space}` | {median(times):.1f} | {max(times):.1f} | {sizes['report.html']:.2f} | "
            f"{sizes['trials.csv']:.2f} | {'yes' if kept else '**no**'} |"
        )
    text = (
        "# A report of 10,000 trials\n\n"
        "`OMP_NUM_THREADS=1 python benchmarks/report_time.py` wrote this: `bamsearch report` of a\n"
        "made-up run of resnet101 with 10,000 trials beside 10,000 of random search, all formats,\n"
        f"{REPEATS} times, from starting Python on.\n\n"
        f"The target is under {TARGET_S:.0f} s and under {TARGET_MB:.0f} MB of HTML.\n\n"
        "| space | seconds, median | longest | report.html, MB | trials.csv, MB | target |\n"
        "| --- | ---: | ---: | ---: | ---: | --- |\n" + "\n".join(rows) + "\n"
    )
    write("report_time", content, text)


if __name__ == "__main__":
    main()
