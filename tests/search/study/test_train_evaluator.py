"""Searches that train: on digits, with a network of a blink."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from scipy import stats

from bamsearch.api.search import search
from bamsearch.data.loading import load_data
from bamsearch.errors import (
    DataError,
    InvalidValueError,
    NothingToDoError,
    OutputError,
    TrainingError,
)
from bamsearch.records.run_files import LEARNED_FILE
from bamsearch.sampler import training_analysis
from bamsearch.sampler.training_analysis import trainings_of
from bamsearch.score.trained import train_once
from bamsearch.study import store, study, train_evaluator
from bamsearch.study.folder import RunFolder
from bamsearch.study.request import SearchRequest, plan_of_run, plan_search
from bamsearch.study.resume import with_trials
from bamsearch.study.run import SearchOptions, run_search
from bamsearch.study.train_evaluator import CHECKPOINTS_FOLDER
from bamsearch.training.recipe import find_recipe

NETS = Path(__file__).parents[2] / "training" / "nets.py"
MODEL = f"{NETS}:small"
RECIPE = find_recipe("short").changed(epochs=1)
TRIALS = 10


def planned(**others):
    data = load_data("digits").facts
    usual = {"data": data, "input_size": (8, 8), "num_classes": 10, "recipe": RECIPE}
    return plan_search(SearchRequest(MODEL, **(usual | {"trials": TRIALS} | others)))


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from bamsearch.data.loading import load_data
from bamsearch.study.folder import RunFolder
from bamsearch.study.request import SearchRequest, plan_search
from bamsearch.study.run import SearchOptions, run_search
from bamsearch.training.recipe import find_recipe

torch.set_num_threads(1)
seen = set()

def kill(design, progress):
    seen.add(design)
    if len(seen) == 3 and progress.step > 10:
        os.kill(os.getpid(), signal.SIGKILL)

recipe, data = find_recipe("short").changed(epochs=1), load_data("digits").facts
planned = plan_search(
    SearchRequest(
        sys.argv[1], data=data, input_size=(8, 8), num_classes=10, recipe=recipe, trials=4
    )
)
folder = RunFolder(Path(sys.argv[2]))
run_search(planned, folder, SearchOptions(follow=kill))
"""


def lines(record):
    trials = [*record.trials, *(trial for _, trial in record.baselines)]
    return [(t.design, t.seed, t.score, t.curve, t.state) for t in trials]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("trained") / "run")
    return folder, run_search(planned(), folder, SearchOptions())


def test_with_data_a_search_trains(searched):
    _, record = searched
    assert record.run.score == "train"
    assert record.run.recipe == RECIPE.to_dict()
    assert not record.run.compare_random
    assert len(record.trials) == TRIALS
    assert record.finished


def test_a_score_is_the_accuracy_of_one_training_with_its_seed(searched):
    _, record = searched
    trial = record.trials[3]
    result = train_once(trial.design, load_data("digits"), RECIPE, seed=trial.seed)
    assert trial.score == result.percent == 100 * result.right / 176
    assert trial.curve == result.curve


def test_the_base_is_trained_three_times_and_no_work_is_done_twice(searched):
    _, record = searched
    base = [trial.seed for kind, trial in record.baselines if kind == "base"]
    assert base == [0, 1, 2]
    runs = [(trial.design, trial.seed) for trial in record.trials]
    assert len(set(runs)) == len(runs)
    # The largest that fits is a trial and a reference: one training.
    largest = record.baseline("largest")
    assert largest is not None
    twin = next(t for t in record.trials if (t.design, t.seed) == (largest.design, 0))
    raw = next(trial for kind, trial in record.baselines if kind == "largest")
    assert (raw.score, raw.curve) == (twin.score, twin.curve)


def test_what_was_learnt_is_there_and_ranks(searched):
    folder, record = searched
    learned = record.analysis
    assert learned is not None
    assert learned.trainings == len(trainings_of(record))
    best = record.best
    assert best is not None
    by_design = {estimate.insertions: estimate.mean for estimate in learned.ranking}
    assert best.score == max(by_design.values())
    assert json.loads((folder.path / "best" / "design.json").read_text())["insertions"] == [
        {"site": i.site, "reduction": i.reduction, "dilation": i.dilation}
        for i in best.design.insertions
    ]


def test_an_interrupted_search_continues_as_if_it_had_not_been(searched, tmp_path):
    folder, done = searched
    again = RunFolder(tmp_path / "run")
    seen = []
    run_search(
        planned(), again, SearchOptions(stop=lambda: len(seen) > 5 or seen.append(1) is not None)
    )
    part = again.read_record()
    assert 0 < len(part.trials) < TRIALS
    record = run_search(plan_of_run(again.read_run()), again, SearchOptions())
    assert lines(record) == lines(done)
    assert (again.path / LEARNED_FILE).read_bytes() == (folder.path / LEARNED_FILE).read_bytes()


def test_killed_and_resumed(searched, preloaded, tmp_path):
    _, done = searched
    folder = RunFolder(tmp_path / "run")
    line = [preloaded / "python", "-c", KILLED, MODEL, str(folder.path)]
    killed = subprocess.run(line, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(folder.read_record().trials) < 4
    record = run_search(plan_of_run(folder.read_run()), folder, SearchOptions())
    assert lines(replace(record, baselines=())) == lines(
        replace(done, trials=done.trials[:4], baselines=())
    )


def test_a_training_that_was_interrupted_resumes(searched, tmp_path, monkeypatch):
    _, done = searched
    folder = RunFolder(tmp_path / "run")
    seen = []

    def interrupt(design, progress):
        seen.append(design)
        if len(set(seen)) == 3 and progress.step > 10 and not progress.rows:
            os.kill(os.getpid(), signal.SIGINT)

    few = planned(trials=4)
    with pytest.raises(KeyboardInterrupt):
        run_search(few, folder, SearchOptions(follow=interrupt))
    at_work = list((folder.path / CHECKPOINTS_FOLDER).iterdir())
    assert len(at_work) == 1
    assert (at_work[0] / "checkpoint.pt").is_file()
    begun = []
    record = run_search(
        plan_of_run(folder.read_run()),
        folder,
        SearchOptions(follow=lambda design, progress: begun.append(progress.step)),
    )
    assert begun[0] > 10
    expected = [line for line in lines(done) if line[:2] in {line[:2] for line in lines(record)}]
    assert sorted(map(str, lines(record))) == sorted(map(str, expected))
    assert not (folder.path / CHECKPOINTS_FOLDER).exists()


def test_a_training_that_cannot_win_is_stopped(searched, tmp_path, monkeypatch):
    monkeypatch.setattr(train_evaluator, "cannot_win", lambda curve, *others: bool(curve))
    folder = RunFolder(tmp_path / "run")
    two = RECIPE.changed(epochs=2)
    record = run_search(planned(recipe=two, trials=10), folder, SearchOptions())
    stopped = [trial for trial in record.trials if trial.state == "stopped"]
    # Eight trainings are needed to know what one will reach; the first of the base is among them.
    assert [trial.state for trial in record.trials] == ["complete"] * 7 + ["stopped"] * 3
    base = next(trial for kind, trial in record.baselines if kind == "base")
    ended = [trial.curve for trial in (base, *record.trials[:7])]
    line = stats.linregress(*zip(*ended, strict=True))
    for trial in stopped:
        assert trial.score is None
        assert len(trial.curve) == 1
        expected = line.intercept + line.slope * trial.curve[0]
        assert trial.expected == pytest.approx(expected, abs=1e-4)
    assert record.analysis is not None
    assert record.analysis.trainings == 13
    assert all(trial.state == "complete" for trial in record.complete)


def test_more_trials_than_designs_are_more_seeds(tmp_path):
    space = tmp_path / "one.toml"
    space.write_text('name = "one"\nsites = "stages"\nreductions = [4]\ndilations = [1]\n')
    folder = RunFolder(tmp_path / "run")
    record = run_search(planned(space=str(space), trials=7), folder, SearchOptions())
    designs = {trial.design for trial in record.trials}
    assert record.run.feasible_designs - 1 < 7
    assert len(record.trials) == 7
    assert len(designs) <= record.run.feasible_designs - 1
    assert max(trial.seed or 0 for trial in record.trials) > 0


def test_a_search_stops_when_it_has_seen_enough_and_stays_stopped(searched, tmp_path, monkeypatch):
    """Regrets by the number of trainings: below until at the sixth, the base's among them."""
    _, done = searched
    seen = []

    def regret(feasible, trainings, seed):
        first = [t for t in trainings if any(t[0]) or not t[2]]
        seen.append(len(first))
        return 1.0 if len(first) < 6 else 0.1

    monkeypatch.setattr(study, "expected_regret", regret)
    monkeypatch.setattr(training_analysis, "expected_regret", regret)
    folder = RunFolder(tmp_path / "run")
    record = run_search(planned(until=0.2), folder, SearchOptions())
    assert lines(record)[:5] == lines(done)[:5]
    assert len(record.trials) == 5
    assert record.finished
    assert record.analysis is not None
    assert record.analysis.regret == 0.1
    assert record.analysis.remarks[-1] == "Expected regret of stopping here: 0.10 points."
    # The base has its further seeds all the same.
    assert [t.seed for kind, t in record.baselines if kind == "base"] == [0, 1, 2]
    assert run_search(plan_of_run(folder.read_run()), folder, SearchOptions()) == record
    more = with_trials(plan_of_run(folder.read_run()), None, 0.05)
    assert len(run_search(more, folder, SearchOptions()).trials) == TRIALS


@pytest.mark.parametrize("until", [0.0, -1.0, float("inf"), float("nan")])
def test_until_is_points_above_zero(until):
    with pytest.raises(InvalidValueError, match=r"`until=.*: give points above 0, such as 0.2"):
        planned(until=until)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(InvalidValueError, match="score params is not an accuracy"):
        planned(score="params", recipe=None, until=0.2)
    with pytest.raises(InvalidValueError, match="score train needs data: give `data=NAME`"):
        planned(data=None, score="train")
    with pytest.raises(InvalidValueError, match="for scores that train, not for params"):
        planned(score="params")
    with pytest.raises(NothingToDoError, match="is a detector"):
        plan_search(SearchRequest("ssd300_vgg16", data=load_data("digits").facts, num_classes=10))


def test_other_data_under_the_same_name_are_noticed(searched, tmp_path):
    folder, _ = searched
    run = folder.read_run()
    assert run.data is not None
    changed = replace(run, data=replace(run.data, hash="0" * 16), name="")
    other = RunFolder(tmp_path / "run")
    with pytest.raises(DataError, match="has changed since run run started"):
        run_search(plan_of_run(changed), other, SearchOptions())


def test_whatever_a_network_raises_in_training_is_a_failed_trial(tmp_path, monkeypatch):
    def raises(design, data, recipe, **others):
        if design.insertions:
            raise IndexError("my own")
        return train_once(design, data, recipe, **others)

    monkeypatch.setattr(train_evaluator, "train_once", raises)
    folder = RunFolder(tmp_path / "run")
    record = run_search(planned(trials=2), folder, SearchOptions())
    assert [trial.reason for trial in record.trials] == ["IndexError: my own"] * 2


def test_the_reason_of_a_diverged_training_has_no_option_that_search_lacks(tmp_path):
    folder = RunFolder(tmp_path / "run")
    record = run_search(planned(trials=1, recipe=RECIPE.changed(lr=1e30)), folder, SearchOptions())
    (trial,) = record.trials
    assert re.search(r"loss is \w+ in epoch 1, .* at a learning rate of [\d.e+]+$", trial.reason)


def test_a_full_disk_ends_the_search_and_fails_no_design(searched, tmp_path, monkeypatch):
    _, done = searched

    def full(*args, **others):
        raise OutputError("no space left")

    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(train_evaluator, "train_once", full)
        with pytest.raises(OutputError, match="no space left"):
            run_search(planned(trials=2), folder, SearchOptions())
    record = run_search(plan_of_run(folder.read_run()), folder, SearchOptions())
    assert [trial.state for trial in record.trials] == ["complete"] * 2
    assert {line[:4] for line in lines(record)} <= {line[:4] for line in lines(done)}


DISK = {
    "in the training": lambda: OSError(errno.ENOSPC, "No space left on device", "checkpoint.pt"),
    "behind another error": lambda: caused(ValueError("spoilt"), OSError(errno.EIO, "I/O error")),
    "another process": lambda: TrainingError(
        "another process trains in train/0: wait until it ends"
    ),
}


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("kind", DISK)
def test_an_error_of_the_disk_is_not_the_design_s(tmp_path, monkeypatch, kind):
    def broken(*args, **others):
        raise DISK[kind]()

    folder = RunFolder(tmp_path / "run")
    monkeypatch.setattr(train_evaluator, "train_once", broken)
    with pytest.raises((OSError, TrainingError)):
        run_search(planned(trials=2), folder, SearchOptions())
    record = folder.read_record()
    assert record.trials == ()
    assert record.baselines == ()


KILLED_TWICE = """
import os, signal, sys
from pathlib import Path
from bamsearch.study.folder import RunFolder
from bamsearch.study.request import plan_of_run
from bamsearch.study.run import SearchOptions, run_search

first = []

def kill(design, progress):
    first.append(progress.epoch)
    if progress.epoch > first[0] or (sys.argv[2] == "at once"):
        os.kill(os.getpid(), signal.SIGKILL)

folder = RunFolder(Path(sys.argv[1]))
run_search(plan_of_run(folder.read_run()), folder, SearchOptions(follow=kill))
"""


@pytest.mark.parametrize(("when", "state"), [("an epoch later", "complete"), ("at once", "failed")])
def test_kills_count_only_while_a_training_gets_no_further(
    preloaded, tmp_path, when, state, monkeypatch
):
    """With MOST_RETRIES kills each one epoch further, and then with as many at the same place."""
    monkeypatch.setattr(store, "MOST_RETRIES", 1)
    folder = RunFolder(tmp_path / "run")
    run_search(
        planned(trials=1, recipe=RECIPE.changed(epochs=4)), folder, SearchOptions(stop=lambda: True)
    )
    code = KILLED_TWICE.replace("first = []", "first = []\nfrom bamsearch.study import store")
    code = code.replace("folder = Run", "store.MOST_RETRIES = 1\nfolder = Run")
    for _ in range(3):
        command = [preloaded / "python", "-c", code, str(folder.path), when]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    record = run_search(plan_of_run(folder.read_run()), folder, SearchOptions())
    base = [trial for kind, trial in record.baselines if kind == "base"]
    assert base[0].state == state


def test_a_corrupt_checkpoint_of_a_search_is_trained_again(searched, tmp_path):
    _, done = searched
    trial = done.trials[0]
    train_once(
        trial.design, load_data("digits"), RECIPE, seed=trial.seed, checkpoints=tmp_path / "whole"
    )
    assert not (tmp_path / "whole").exists()

    def interrupt(progress):
        if progress.step > 10:
            raise KeyboardInterrupt

    checkpoints = tmp_path / "place"
    subject = (trial.design, load_data("digits"), RECIPE)
    with pytest.raises(KeyboardInterrupt):
        train_once(*subject, seed=trial.seed, checkpoints=checkpoints, watch=interrupt)
    (checkpoints / "checkpoint.pt").write_bytes(b"spoilt")
    assert train_once(*subject, seed=trial.seed, checkpoints=checkpoints).curve == trial.curve


def test_what_trainings_say_is_written_by_the_resume(searched, tmp_path):
    folder, record = searched
    again = RunFolder(shutil.copytree(folder.path, tmp_path / "run"))
    (again.path / LEARNED_FILE).unlink()
    (again.path / "best" / "design.json").unlink()
    assert run_search(plan_of_run(again.read_run()), again, SearchOptions()) == record
    for name in (LEARNED_FILE, "best/design.json"):
        assert (again.path / name).read_bytes() == (folder.path / name).read_bytes()


def test_from_python():
    result = search(MODEL, data="digits", epochs=1, trials=2, space="paper")
    assert result.record.run.score == "train"
    assert result.best is not None
