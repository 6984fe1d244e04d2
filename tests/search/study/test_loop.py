"""A search that is interrupted anywhere ends as one that is not."""

import random
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.storages import RDBStorage

from bamsearch.errors import ScoreError
from bamsearch.records import Design
from bamsearch.study.folder import RunFolder
from bamsearch.study.run import SearchOptions, run_search

SAMPLERS = ["gp", "tpe", "nsga2", "sorted", "random"]
TRIALS = 10


class Killed(BaseException):
    """What no code may catch: after it nothing is written any more."""


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_interrupted_search_continues_as_if_it_had_not_been(engine, runs, sampler):
    planned = engine.planned(sampler=sampler, trials=TRIALS, compare_random=True)
    whole = engine.search(runs / "whole", planned)
    calls = 0

    def score(design: Design) -> float:
        nonlocal calls
        calls += 1
        # the base, the first two designs, a proposal, the same again, a later one, a reference
        if calls in (1, 3, 5, 9, 10, 13, 19):
            raise KeyboardInterrupt
        return engine.score(design)

    interrupted = 0
    while True:
        try:
            resumed = engine.search(runs / "parts", planned, score)
            break
        except KeyboardInterrupt:
            interrupted += 1
    assert interrupted == 7
    assert len(whole.trials) == TRIALS
    assert engine.own(resumed) == engine.own(whole)
    assert engine.compared(resumed) == engine.compared(whole)
    assert {kind for kind, _ in whole.baselines} == {"base", "paper", "largest", "random"}


def test_an_interrupt_that_python_drops_ends_the_search(engine, runs, monkeypatch):
    dropped = []
    monkeypatch.setattr(sys, "unraisablehook", lambda error: dropped.append(error.exc_type))
    before = signal.getsignal(signal.SIGINT)

    class Thing:
        pass

    def score(design: Design) -> float:
        thing = Thing()
        if design.insertions:
            # What is raised while a weak reference is cleared is printed and forgotten.
            _watched = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        del thing
        return engine.score(design)

    with pytest.raises(KeyboardInterrupt):
        engine.search(runs / "a", engine.planned(trials=TRIALS), score)
    assert dropped == [KeyboardInterrupt]
    assert len(RunFolder(runs / "a").read_record().trials) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_an_exhaustive_search_resumes(engine, runs):
    planned = engine.planned(space="paper")
    assert planned.run.sampler == "exhaustive"
    whole = engine.search(runs / "whole", planned)
    calls = 0

    def score(design: Design) -> float:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return engine.score(design)

    with pytest.raises(KeyboardInterrupt):
        engine.search(runs / "parts", planned, score)
    resumed = engine.search(runs / "parts", None, score)
    assert engine.own(resumed) == engine.own(whole)
    # every design of the space but the base, each once
    encoding = {planned.space.encoding(trial.design.insertions) for trial in resumed.trials}
    assert len(encoding) == len(resumed.trials) == planned.feasible.count - 1
    assert not any(planned.space.inserts_nothing(option) for option in encoding)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_more_trials_later_are_as_good_as_at_once(engine, runs, sampler):
    planned = engine.planned(sampler=sampler, trials=TRIALS)
    whole = engine.search(runs / "whole", planned)
    # one is fewer than there are first designs
    for trials in (1, 6, TRIALS):
        fewer = replace(planned, run=replace(planned.run, trials=trials))
        record = engine.search(runs / "parts", fewer)
        assert engine.own(record) == engine.own(whole)[:trials]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_failed_is_kept_and_never_proposed_again(engine, runs, sampler):
    planned = engine.planned(sampler=sampler, trials=TRIALS)
    calls = 0

    def score(design: Design) -> float:
        nonlocal calls
        calls += 1
        if calls in interrupted:
            raise KeyboardInterrupt
        value = engine.score(design)
        if value > 0:
            raise ValueError(f"no score above 0\nbut {value}")
        return value

    interrupted: set[int] = set()
    whole = engine.search(runs / "whole", planned, score)
    calls, interrupted = 0, {4, 8, 11}
    for _ in interrupted:
        with pytest.raises(KeyboardInterrupt):
            engine.search(runs / "parts", planned, score)
    resumed = engine.search(runs / "parts", planned, score)
    failed = [trial for trial in whole.trials if trial.state == "failed"]
    assert 2 <= len(failed) < TRIALS
    assert all(trial.reason.endswith(": ValueError: no score above 0") for trial in failed)
    assert all(trial.score is None for trial in failed)
    assert len({trial.design for trial in whole.trials}) == TRIALS
    assert engine.own(resumed) == engine.own(whole)


def test_a_kill_after_any_write_loses_and_doubles_nothing(engine, runs, monkeypatch):
    """Every write to the database or the folder is once the last one."""
    planned = engine.planned(sampler="tpe", trials=3)
    whole = engine.search(runs / "whole", planned)
    remaining = -1
    writes = [
        (RDBStorage, "create_new_study"),
        (RDBStorage, "set_study_user_attr"),
        (RDBStorage, "set_study_system_attr"),
        (RDBStorage, "_create_new_trial"),
        (RDBStorage, "set_trial_state_values"),
        (RDBStorage, "set_trial_user_attr"),
        (RunFolder, "_write"),
        (RunFolder, "append"),
    ]

    def counted(method):
        def write(*args, **kwargs):
            nonlocal remaining
            if remaining == 0:
                raise Killed  # whatever is tried after it
            result = method(*args, **kwargs)
            remaining -= 1
            if remaining == 0:
                raise Killed
            return result

        return write

    for owner, name in writes:
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    kills = 0
    while True:
        remaining, kills = kills + 1, kills + 1
        try:
            engine.search(runs / str(kills), planned)
        except Killed:
            remaining = -1
            resumed = engine.search(runs / str(kills), planned)
            assert engine.own(resumed) == engine.own(whole), kills
            assert engine.compared(resumed) == engine.compared(whole), kills
        else:
            break
    # run.json, 2 studies, 2 names and the run, 2 and 3 queued trials, then trials and lines
    assert kills > 25


def test_a_kill_while_a_kill_is_repaired(engine, runs, monkeypatch):
    """The trial that was running has failed, and its copy was never made."""
    planned = engine.planned(sampler="random", trials=5)
    whole = engine.search(runs / "whole", planned)

    def killed_at(number: int):
        calls = 0

        def score(design: Design) -> float:
            nonlocal calls
            calls += 1
            if calls == number:
                raise Killed
            return engine.score(design)

        return score

    for number in (1, 3):
        path = runs / str(number)
        with monkeypatch.context() as patch:
            patch.setattr("bamsearch.study.store.retry", _killed)
            with pytest.raises(Killed):
                engine.search(path, planned, killed_at(number))
        resumed = engine.search(path, planned)
        assert engine.own(resumed) == engine.own(whole)
        assert engine.compared(resumed) == engine.compared(whole)


def _killed(*args: object) -> None:
    raise Killed


SCRIPT = """
import math, sys, time
from pathlib import Path
from bamsearch.study.folder import RunFolder
from bamsearch.study.request import plan_of_run
from bamsearch.study.run import SearchOptions, run_search

def score(design):
    time.sleep(0.03)
    terms = ((n + 1) * (7 * i.reduction + i.dilation) for n, i in enumerate(design.insertions))
    return math.sin(sum(terms))

folder = RunFolder(Path(sys.argv[1]))
print("ready", flush=True)
run_search(plan_of_run(folder.read_run()), folder, SearchOptions(score=score))
"""


@pytest.mark.parametrize("sampler", ["gp", "nsga2"])
def test_kill_9_at_any_moment(engine, preloaded, runs, sampler):
    planned = engine.planned(sampler=sampler, trials=16)
    whole = engine.search(runs / "whole", planned)
    folder = RunFolder(runs / "parts")
    folder.create(replace(planned.run, name=folder.name))
    generator = random.Random(sampler)
    kills = 0
    while True:
        process = subprocess.Popen(
            [preloaded / "python", "-W", "error", "-c", SCRIPT, str(folder.path)],
            stdout=subprocess.PIPE,
        )
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            if kills < 3:
                time.sleep(generator.uniform(0.05, 0.7))
                process.kill()
            process.stdout.read()  # until the process behind it is gone too
        kills += process.returncode == -signal.SIGKILL
        if process.returncode != -signal.SIGKILL:
            break
    assert process.returncode == 0
    assert kills >= 1
    assert engine.own(folder.read_record()) == engine.own(whole)
    assert engine.compared(folder.read_record()) == engine.compared(whole)


def test_a_design_that_kills_is_tried_three_more_times(engine, runs):
    planned = engine.planned(sampler="random", trials=3)
    victim = engine.search(runs / "whole", planned).trials[1].design
    seen = 0

    def score(design: Design) -> float:
        nonlocal seen
        if design == victim:
            seen += 1
            raise Killed
        return engine.score(design)

    for _ in range(4):
        study = RunFolder(runs / "parts").study
        with pytest.MonkeyPatch.context() as patch:
            # killed for good: nobody lets the trial wait again
            patch.setattr("bamsearch.study.study.SearchStudy.requeue", lambda self: None)
            with pytest.raises(Killed):
                engine.search(runs / "parts", planned, score)
        assert study.exists()
    record = engine.search(runs / "parts", planned, score)
    assert seen == 4
    assert [trial.state for trial in record.trials] == ["complete", "failed", "complete"]
    assert record.trials[1].reason == "its worker died 4 times"


def test_a_score_that_never_works_ends_the_search(engine, runs):
    planned = engine.planned(sampler="random", trials=30)

    def score(design: Design) -> float:
        raise RuntimeError("no such layer")

    with pytest.raises(
        ScoreError, match=r"^the first 10 designs all failed: .*: no such layer\. Fix"
    ):
        engine.search(runs / "run", planned, score)
    record = RunFolder(runs / "run").read_record()
    assert len(record.trials) + len(record.baselines) == 10
    assert record.best is None


def test_ten_failures_after_a_success_do_not(engine, runs):
    planned = engine.planned(sampler="random", trials=14)
    engine.search(runs / "run", replace(planned, run=replace(planned.run, trials=1)))

    def score(design: Design) -> float:
        raise RuntimeError

    record = engine.search(runs / "run", planned, score)
    assert [trial.state for trial in record.trials] == ["complete"] + 13 * ["failed"]
    assert "RuntimeError" in record.trials[1].reason


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_number_is_a_failure(engine, runs, value):
    planned = engine.planned(sampler="random", trials=2)
    scores = iter([1.0, value, 2.0, 3.0, 4.0, 5.0])
    record = engine.search(runs / "run", planned, lambda design: next(scores))
    assert f"is {value}, not a finite number" in record.trials[0].reason
    assert record.trials[1].score == 2.0


def test_stop_is_checked_between_trials(engine, runs):
    planned = engine.planned(sampler="random", trials=6)
    stops = iter([False, False, False, True])
    folder = RunFolder(runs / "run")
    how = SearchOptions(score=engine.score, stop=lambda: next(stops))
    # the base is the first
    assert len(run_search(planned, folder, how).trials) == 2
    assert len(engine.search(runs / "run", planned).trials) == 6


def test_the_clock_may_be_set_back(engine, runs, monkeypatch):
    planned = engine.planned(sampler="tpe", trials=16)
    whole = engine.search(runs / "whole", planned)

    class Backwards:
        now_ = 2_000_000_000.0

        @classmethod
        def now(cls):
            from datetime import datetime

            cls.now_ -= 60
            return datetime.fromtimestamp(cls.now_)

    with monkeypatch.context() as patch:
        patch.setattr("optuna.storages._rdb.storage.datetime", Backwards)
        for trials in (7, 12, 16):
            part = replace(planned, run=replace(planned.run, trials=trials))
            record = engine.search(runs / "parts", part)
    assert engine.own(record) == engine.own(whole)


def test_watch_sees_each_trial_once(engine, runs):
    planned = engine.planned(sampler="random", trials=4, compare_random=True)
    seen: list[tuple[object, int]] = []

    def watch(trials) -> None:
        seen.extend((kind, trial.number) for kind, trial in trials)

    folder = RunFolder(Path(runs / "run"))
    part = replace(planned, run=replace(planned.run, trials=2))
    run_search(part, folder, SearchOptions(score=engine.score, watch=watch))
    first = len(seen)
    record = run_search(planned, folder, SearchOptions(score=engine.score, watch=watch))
    # the earlier part of a run comes first again
    assert sorted(map(str, seen[first : 2 * first])) == sorted(map(str, seen[:first]))
    again = seen[first:]
    assert len(again) == len(set(again)) == len(record.trials) + len(record.baselines)
