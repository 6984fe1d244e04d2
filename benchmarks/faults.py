"""Kills, full disks, signals and second processes: does a repeated command end as undisturbed?

A command is disturbed at one of its file operations and then run again unchanged, without
``--force`` and without manual repairs. It must end like the undisturbed command: with the same
files except for dates and durations, without lost or doubled results, and without leftovers. Charts
are replaced by their text, because rendering takes seconds and touches no files.

    OMP_NUM_THREADS=1 python benchmarks/faults.py [--kills N] [--seed S] [--only COMMAND] [--add]

It needs Linux and a C compiler, and exits with 1 after any failure. ``--only``, ``--fault``
and ``--at`` repeat one case; ``--add`` continues the table of an earlier campaign.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from fault_cases import COMMANDS, NET, WORKERS, Command, content, finished, plain, unfinished
from fault_server import Ended, Fault, Process, in_server
from machine import HERE, write

ERRORS = {
    "open": ("ENOSPC", "EACCES", "EMFILE", "EIO"),
    "write": ("ENOSPC", "EIO"),
    "fsync": ("EIO", "ENOSPC"),
    "truncate": ("EIO",),
    "rename": ("EACCES", "ENOSPC", "EIO"),
    "unlink": ("EACCES", "EIO"),
    "rmdir": ("EACCES",),
    "mkdir": ("ENOSPC", "EACCES", "EIO"),
}
"""Possible errors of each file operation."""

KINDS = ("kill", "error", "SIGINT", "SIGTERM", "two at once", "database locked", "worker paused")
VERDICTS = ("lost", "doubled", "stuck", "different", "refused", "first end")
_LOCKED = 2.0
_BEATS = 6.0


@dataclass(frozen=True)
class Case:
    """A command and the fault to inject."""

    command: Command
    kind: str
    fault: Fault

    def again(self) -> str:
        """The command that repeats the case."""
        words = f"--only '{self.command.name}' --fault '{self.kind}' --at {self.fault.at}"
        value = f" --value {self.fault.value}" if self.fault.value else ""
        half = " --half" if self.fault.action == "half" else ""
        return f"python benchmarks/faults.py {words}{value}{half}"


@dataclass
class Undisturbed:
    """The behaviour of a command without faults."""

    template: Path
    operations: tuple[tuple[str, str], ...]
    content: dict[str, object]
    finished: Counter[str]
    out: str


@dataclass
class Campaign:
    """Runs cases in a separate folder, and counts their outcomes.

    Args:
        folder: folder for templates, logs and the running command.
    """

    folder: Path
    tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    complete: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    _undisturbed: dict[str, Undisturbed] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """Working directory of the commands."""
        return self.folder / "work"

    def undisturbed(self, command: Command) -> Undisturbed:
        """The behaviour of a command without faults; it is run once."""
        if command.name not in self._undisturbed:
            template = self.folder / f"template {len(self._undisturbed)}"
            template.mkdir()
            (template / "net.py").write_text(NET)
            for text in command.before:
                self._reset(template)
                self._must(self._start(text).wait())
                shutil.rmtree(template)
                shutil.copytree(self.work, template)
            self._reset(template)
            ended = self._must(self._start(command.text).wait())
            self._undisturbed[command.name] = Undisturbed(
                template,
                ended.operations,
                content(self.work),
                finished(self.work),
                plain(ended.out),
            )
        return self._undisturbed[command.name]

    def counts(self) -> dict[str, object]:
        """The cases and their outcomes, for JSON."""
        return {
            "tried": [[*key, number] for key, number in self.tried.items()],
            "wrong": [[*key, number] for key, number in self.wrong.items()],
            "complete": self.complete,
            "seconds": round(self.seconds),
            "failures": self.failures,
        }

    def add(self, counts: Mapping[str, Any]) -> None:
        """Add the :meth:`counts` of another campaign."""
        for command, kind, number in counts["tried"]:
            self.tried[command, kind] += number
        for command, kind, verdict, number in counts["wrong"]:
            self.wrong[command, kind, verdict] += number
        self.complete += counts["complete"]
        self.seconds += counts["seconds"]
        self.failures += counts["failures"]

    def run(self, case: Case) -> list[str]:
        """Run a case; return its failures, each as VERDICT: reason."""
        expected = self.undisturbed(case.command)
        self._reset(expected.template)
        text = case.command.text
        if case.kind == "two at once":
            faulty = self._two(text, case.fault.at / 1000)
        elif case.kind == "database locked":
            faulty = self._locked(text)
        elif case.kind == "worker paused":
            faulty = self._paused(text, case.fault)
        else:
            faulty = [self._start(text, case.fault).wait()]
        before = finished(self.work)
        wrong = list(_first_end(case.kind, faulty))
        again = self._start(text).wait()
        wrong += self._outcome(
            expected, before, again, [*faulty, again], paused=case.kind == "worker paused"
        )
        self.tried[case.command.name, case.kind] += 1
        for verdict in {failure.partition(":")[0] for failure in wrong}:
            self.wrong[case.command.name, case.kind, verdict] += 1
        if wrong:
            at = expected.operations[case.fault.at - 1 : case.fault.at]
            where = f"at {' '.join(at[0])}" if at and case.kind != "two at once" else ""
            self.failures.append(f"{case.again()}  # {where}: {'; '.join(wrong)}")
            print(self.failures[-1], flush=True)
        return wrong

    def _outcome(
        self,
        expected: Undisturbed,
        before: Counter[str],
        again: Ended,
        all_ended: Sequence[Ended],
        *,
        paused: bool,
    ) -> Iterator[str]:
        files, now = content(self.work), finished(self.work)
        same = files == expected.content
        if paused:  # a worker may finish another trial first: all trials, in any order
            same = files.keys() == expected.content.keys() and now == expected.finished
        if lost := before - now:
            yield f"lost: {next(iter(lost))[:200]}"
        if doubled := now - expected.finished:
            yield f"doubled: {next(iter(doubled))[:200]}"
        if any(ended.code is None for ended in all_ended):
            yield "stuck: no end"
        if waiting := list(unfinished(self.work)):
            yield f"stuck: {', '.join(waiting)}"
        if again.code == 2 and same and "already" in again.err:
            # The result was complete; the command refuses, as it would without a fault.
            self.complete += 1
        elif again.code not in (0, None):
            yield f"refused: {again.code}, {again.err.strip().splitlines()[-1:]}"
        elif again.code == 0 and plain(again.out) != expected.out:
            yield f"different: it prints {_difference(expected.out, plain(again.out))}"
        if not same:
            yield f"different: {_changed(expected.content, files)}"

    def _two(self, text: str, after: float) -> list[Ended]:
        first = self._start(text)
        time.sleep(after)
        second = self._start(text)
        return [first.wait(), second.wait()]

    def _locked(self, text: str) -> list[Ended]:
        """Another program locks the database for a while, as soon as it exists."""
        process = self._start(text)
        path = self.work / "runs" / "run" / "study.db"
        while not path.exists():
            time.sleep(0.01)
        connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(_LOCKED)
        connection.rollback()
        connection.close()
        return [process.wait()]

    def _paused(self, text: str, fault: Fault) -> list[Ended]:
        """A process is paused while it scores, a worker takes over its trial, then it continues."""
        first = self._start(text, fault)
        os.waitpid(first.pid, os.WUNTRACED)
        time.sleep(_BEATS)
        worker = self._start("worker run --storage sqlite:///shared.db").wait()
        os.kill(first.pid, signal.SIGCONT)
        return [first.wait(), worker]

    def _start(self, text: str, fault: Fault | None = None) -> Process:
        return Process(text.split(), self.work, self.folder, fault)

    def _reset(self, template: Path) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(template, self.work)

    def _must(self, ended: Ended) -> Ended:
        if ended.code != 0:
            raise SystemExit(f"an undisturbed command failed with {ended.code}: {ended.err}")
        return ended


def _first_end(kind: str, ended: Sequence[Ended]) -> Iterator[str]:
    """Failures of the disturbed processes themselves."""
    expected = {
        "kill": (-signal.SIGKILL, 0),
        "error": (0, 2),
        "SIGINT": (130, 0),
        "SIGTERM": (130, -signal.SIGTERM, 0),
        "two at once": (0, 2),
        "database locked": (0,),
        "worker paused": (0,),
    }[kind]
    for process in ended:
        lines = process.err.strip().splitlines()
        errors = [line for line in lines if line.startswith("bamsearch: error")]
        if process.code not in expected or (process.code == 2 and len(errors) != 1):
            yield f"first end: {process.code}, {lines[-1:]}"
        elif "Traceback" in process.err:
            yield f"first end: a traceback, {lines[-1:]}"


def _difference(old: str, new: str) -> str:
    pairs = zip_longest(old.splitlines(), new.splitlines(), fillvalue="")
    was, now = next(pair for pair in pairs if pair[0] != pair[1])
    return f"{now[:150]!r}, not {was[:150]!r}"


def _changed(was: dict[str, object], now: dict[str, object]) -> str:
    missing, more = was.keys() - now.keys(), now.keys() - was.keys()
    if missing or more:
        return f"missing {sorted(missing)[:3]}, more {sorted(more)[:3]}"
    name = next(name for name in was if was[name] != now[name])
    return f"{name}, {_difference(str(was[name]), str(now[name]))}"


def spread(operations: Sequence[tuple[str, str]], rng: random.Random) -> list[int]:
    """Numbers of all operations: first one of each kind, then a second of each, and so on."""
    kinds: dict[tuple[str, str], list[int]] = {}
    for number, (call, path) in enumerate(operations, start=1):
        kind = call, re.sub(r"-\w{8}$|[\d]+|\.tmp\w+", "", path)
        kinds.setdefault(kind, []).append(number)
    for numbers in kinds.values():
        rng.shuffle(numbers)
    rounds = [[n for n in turn if n is not None] for turn in zip_longest(*kinds.values())]
    for turn in rounds:
        rng.shuffle(turn)
    return [number for turn in rounds for number in turn]


def cases(
    campaign: Campaign, commands: Sequence[Command], numbers: dict[str, int], seed: int
) -> list[Case]:
    """The cases, in random order.

    Args:
        campaign: the campaign, which has the operations of the commands.
        commands: commands to disturb.
        numbers: kind of fault → number of cases, over all commands.
        seed: random seed.
    """
    rng = random.Random(seed)
    made = []
    whole = sum(command.share for command in COMMANDS)
    for command in commands:
        operations = campaign.undisturbed(command).operations
        for kind in ("kill", "error", "SIGINT", "SIGTERM"):
            wanted = round(numbers.get(kind, 0) * command.share / whole)
            order = spread(operations, rng)
            for number in range(wanted):
                at = order[number % len(order)]
                made.append(Case(command, kind, _fault(kind, at, operations[at - 1][0], rng)))
        pairs = round(numbers.get("two at once", 0) * command.share / whole)
        for _ in range(pairs):
            made.append(Case(command, "two at once", Fault("count", rng.randrange(400))))
    made += [Case(COMMANDS[0], "database locked", Fault())] * numbers.get("database locked", 0)
    if paused := numbers.get("worker paused", 0):
        operations = campaign.undisturbed(WORKERS).operations
        marks = [n for n, (_, path) in enumerate(operations, start=1) if path == "mark"]
        for at in rng.choices(marks, k=paused):
            made.append(Case(WORKERS, "worker paused", Fault("signal", at, signal.SIGSTOP)))
    rng.shuffle(made)
    return made


def _fault(kind: str, at: int, call: str, rng: random.Random) -> Fault:
    if kind == "kill":
        return Fault(rng.choice(("kill", "half")) if call == "write" else "kill", at)
    if kind == "error":
        return Fault("error", at, getattr(errno, rng.choice(ERRORS[call])))
    return Fault("signal", at, getattr(signal, kind))


def in_processes(campaign: Campaign, made: Sequence[Case], jobs: int, end: float) -> None:
    """Run cases in several processes, each with a separate folder.

    Args:
        campaign: counts the outcomes of all.
        made: the cases.
        jobs: number of processes.
        end: time of the monotonic clock after which no case starts.
    """
    start = time.monotonic()
    folders = [campaign.folder / f"process {number}" for number in range(jobs)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        if os.fork() == 0:
            try:
                alone = Campaign(folder)
                for case in made[number::jobs]:
                    if time.monotonic() < end:
                        alone.run(case)
                alone.seconds = time.monotonic() - start
                (folder / "counts.json").write_text(json.dumps(alone.counts()))
            finally:
                os._exit(0)
    for _ in folders:
        os.wait()
    for folder in folders:
        campaign.add(json.loads((folder / "counts.json").read_text()))


def table(campaign: Campaign) -> str:
    """Cases and failures as a Markdown table."""
    lines = [f"| command | fault | tried | {' | '.join(VERDICTS)} |", "|---|---|" + "--:|" * 7]
    for name, kind in sorted(campaign.tried, key=lambda key: (KINDS.index(key[1]), key[0])):
        counts = [campaign.wrong[name, kind, verdict] for verdict in VERDICTS]
        row = [f"`{name}`", kind, campaign.tried[name, kind], *counts]
        lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines) + "\n"


def report(campaign: Campaign) -> str:
    """The table, and the meaning of its columns."""
    kills = sum(n for (_, kind), n in campaign.tried.items() if kind == "kill")
    wrong = Counter[str]()
    for (_, kind, verdict), number in campaign.wrong.items():
        wrong[verdict] += number if kind == "kill" else 0
    totals = [f"{wrong[verdict]} {verdict}" for verdict in VERDICTS[:-1]]
    minutes = campaign.seconds / 60
    failed = "".join(f"- `{line}`\n" for line in campaign.failures)
    return f"""# Faults

{kills:,} kills: {", ".join(totals)}. All cases took {minutes:.0f} minutes of one process.

{table(campaign)}
A command is disturbed at one of its file operations and then run again unchanged. *Lost*: a
finished result is missing. *Doubled*: a result exists twice. *Stuck*: the command does not end, or
a trial stays running. *Different*: files or output differ from those of the undisturbed command.
*Refused*: the command requires manual repairs or `--force`. *First end*: the disturbed process
ended with an unexpected exit code, or with more than one line. In {campaign.complete} cases the
fault came after all files were written; the second command is then refused, as after any finished
command.
{failed and f"{chr(10)}## Failures{chr(10)}{chr(10)}{failed}"}"""


def options() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = [command.name for command in (*COMMANDS, WORKERS)]
    parser.add_argument("--kills", type=int, default=1000, metavar="N")
    parser.add_argument("--errors", type=int, default=300, metavar="N")
    parser.add_argument("--signals", type=int, default=100, metavar="N", help="number of each kind")
    parser.add_argument("--pairs", type=int, default=60, metavar="N", help="two at once")
    parser.add_argument("--locks", type=int, default=5, metavar="N", help="database locked")
    parser.add_argument("--pauses", type=int, default=5, metavar="N", help="worker paused")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    only = {"choices": names, "metavar": "COMMAND", "help": f"one of {names}; repeatable"}
    parser.add_argument("--only", action="append", **only)
    parser.add_argument("--add", action="store_true", help="add to faults.json")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("--minutes", type=float, metavar="M", help="maximum duration")
    parser.add_argument("--fault", choices=KINDS, default="kill", help="with --at")
    parser.add_argument("--at", type=int, metavar="K", help="run one case, at this operation")
    parser.add_argument("--value", type=int, default=0, metavar="V", help="its errno or signal")
    parser.add_argument("--half", action="store_true", help="kill in the middle of the write")
    return parser.parse_args()


def one_case(chosen: argparse.Namespace, command: Command) -> Case:
    """The case on the command line."""
    actions = {"kill": "half" if chosen.half else "kill", "error": "error"}
    action = actions.get(chosen.fault, "signal" if chosen.value else "count")
    return Case(command, chosen.fault, Fault(action, chosen.at, chosen.value))


def main() -> None:
    """Run the campaign and write its report; a single case is only printed."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        chosen = options()
        in_server(Path(name))
        campaign = Campaign(Path(name))
        commands = [c for c in (*COMMANDS, WORKERS) if c.name in (chosen.only or [c.name])]
        if chosen.at is not None:
            print(campaign.run(one_case(chosen, commands[0])) or "no failures")
            return
        numbers = {"kill": chosen.kills, "error": chosen.errors, "two at once": chosen.pairs}
        numbers |= {"SIGINT": chosen.signals, "SIGTERM": chosen.signals}
        numbers |= {"database locked": chosen.locks, "worker paused": chosen.pauses}
        end = time.monotonic() + 60 * (chosen.minutes or float("inf"))
        commands = [command for command in commands if command is not WORKERS]
        in_processes(campaign, cases(campaign, commands, numbers, chosen.seed), chosen.jobs, end)
        if chosen.add:
            campaign.add(json.loads((HERE / "faults.json").read_text(encoding="utf-8")))
        if chosen.only is None:
            write("faults", campaign.counts(), report(campaign))
        else:
            print(report(campaign))
        if campaign.failures:
            sys.exit(1)


if __name__ == "__main__":
    main()
