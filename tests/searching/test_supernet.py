"""Searches by a supernet: on digits, with a network of a blink."""

from __future__ import annotations

import os
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bamsearch.searching.run as run_module
from bamsearch.data.loading import load_data
from bamsearch.errors import InvalidValueError, NothingToDoError, RunError
from bamsearch.records import Insertion
from bamsearch.score.supernet.options import SupernetOptions
from bamsearch.score.supernet.scoring import supernet_scorer
from bamsearch.score.supernet.trained import load_supernet
from bamsearch.searching.api import search
from bamsearch.searching.folder import RunFolder
from bamsearch.searching.jobs import FOLDER_VARIABLE
from bamsearch.searching.request import Request, plan_search, planned_again
from bamsearch.searching.run import Work, run_search, work_on
from bamsearch.searching.storage import sqlite_url
from bamsearch.searching.strata import even_draws
from bamsearch.searching.supernet import SUPERNET, plan_of, slot_space
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.recipe import find_recipe

NETS = Path(__file__).parents[1] / "training" / "nets.py"
MODEL = f"{NETS}:small"
RECIPE = find_recipe("short").changed(epochs=2)
OPTIONS = SupernetOptions(paths=1, recalibration=2)
TRIALS = 4


def planned(**others):
    usual = {
        "data": load_data("digits").facts,
        "input_size": (8, 8),
        "num_classes": 10,
        "score": "supernet",
        "recipe": RECIPE,
        "supernet": OPTIONS,
        "trials": TRIALS,
        "sampler": "gp",
    }
    return plan_search(Request(MODEL, **(usual | others)))


def lines(record):
    trials = [*record.trials, *(trial for _, trial in record.references)]
    return [(t.design, t.seed, t.score, t.curve, t.state) for t in trials]


def folder_at(place: Path) -> RunFolder:
    folder = RunFolder(place)
    folder.create()
    return folder


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = folder_at(tmp_path_factory.mktemp("supernet") / "run")
    return folder, run_search(planned(), folder, Work())


def test_every_score_is_that_of_the_one_supernet_in_the_folder(searched):
    folder, record = searched
    assert record.run.supernet == OPTIONS.to_dict()
    assert record.finished
    assert len(record.trials) == TRIALS
    assert len(record.references) == 3 + TRIALS  # base, paper, largest; a random search
    score = supernet_scorer(
        load_supernet(folder.path / SUPERNET), load_data("digits"), device="cpu"
    )
    for trial in (*record.trials[2:], *(trial for _, trial in record.references[:1])):
        assert trial.score == score(trial.design)
        assert trial.seed is None


def test_a_supernet_is_never_the_default_and_is_trained_for_longer():
    assert planned(score=None, supernet=None).run.score == "train"
    run = planned(recipe=None, supernet=None, trials=None).run
    assert (run.recipe or {})["epochs"] == 2 * find_recipe("short").epochs
    assert run.supernet == SupernetOptions().to_dict()
    # As with other scores: all designs, where fewer than 100 fit.
    assert (run.trials, run.sampler) == (run.feasible_designs - 1, "exhaustive")
    assert planned().run.compare_random


def test_interrupted_in_its_training_it_ends_as_if_it_had_not_been(searched, tmp_path):
    _, done = searched
    again = folder_at(tmp_path / "run")
    seen = []

    def follow(design, progress):
        seen.append(design)
        if (progress.epoch, progress.step) == (1, 20):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_search(planned(), again, Work(follow=follow))
    assert set(seen) == {None}
    at = TrainingFolder(again.path / SUPERNET).read_checkpoint()["progress"]
    assert at.epoch == 1
    assert at.step > 0
    assert not again.read_record().trials
    record = run_search(planned_again(again.read_run()), again, Work())
    assert lines(record) == lines(done)


def test_stopped_between_epochs_and_then_between_trials(searched, tmp_path):
    _, done = searched
    again = folder_at(tmp_path / "run")
    asked = []
    stop = Work(stop=lambda: asked.append(1) is None and len(asked) > 1)
    assert not run_search(planned(), again, stop).trials
    at = TrainingFolder(again.path / SUPERNET).read_checkpoint()["progress"]
    assert (at.epoch, at.step) == (1, 0)
    asked = []
    later = Work(stop=lambda: asked.append(1) is None and len(asked) > 4)
    part = run_search(planned_again(again.read_run()), again, later)
    assert 0 < len(part.trials) + len(part.references) < len(lines(done))
    record = run_search(planned_again(again.read_run()), again, Work())
    assert lines(record) == lines(done)


def test_workers_start_after_the_training(searched, tmp_path, monkeypatch):
    folder = folder_at(tmp_path / "run")
    came = []

    def workers(name, url, number, *, log, **_):
        came.append((number, load_supernet(log.parent / SUPERNET).seed))
        return True

    monkeypatch.setattr(run_module, "run_workers", workers)
    run_search(planned(recipe=RECIPE.changed(epochs=1), seed=3), folder, Work(jobs=2))
    assert came == [(2, 3)]


def test_a_worker_asks_the_supernet_of_the_run_and_no_other(searched, tmp_path, monkeypatch):
    source, done = searched
    monkeypatch.chdir(tmp_path)
    folder = folder_at(tmp_path / "run")
    run_search(planned(), folder, Work(stop=lambda: True))
    url = sqlite_url(folder.study)

    def go(name="run", url=url):
        return work_on(name, url, stop=lambda: False)

    with pytest.raises(RunError, match=r"not here: .* copy its supernet/ to runs/run/supernet"):
        go()
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder.path))
    with pytest.raises(RunError, match=r"cannot be asked yet .*: the search trains it first"):
        go()
    other = folder_at(tmp_path / "other")
    run_search(planned(seed=1), other, Work(stop=lambda: True))
    monkeypatch.setenv(FOLDER_VARIABLE, str(source.path))
    with pytest.raises(RunError, match="is the supernet of another run than other"):
        go("other", sqlite_url(other.study))
    _, ended = go()
    assert ended
    record = run_search(planned_again(folder.read_run()), folder, Work())
    scores = {trial.design: trial.score for trial in done.trials}
    shared = [trial for trial in record.trials if trial.design in scores]
    assert shared
    assert all(trial.score == scores[trial.design] for trial in shared)


def test_what_the_supernet_does_not_have_is_a_failed_reference(tmp_path):
    space = tmp_path / "one.toml"
    space.write_text('name = "one"\nsites = ["3"]\nreductions = [4, 8]\ndilations = [1, 2]\n')
    folder = folder_at(tmp_path / "run")
    one = RECIPE.changed(epochs=1)
    plan = planned(space=str(space), recipe=one, trials=None, sampler=None)
    record = run_search(plan, folder, Work())
    paper = next(trial for kind, trial in record.references if kind == "paper")
    assert paper.design.insertions
    assert paper.state == "failed"
    assert paper.reason is not None
    assert "no slot at" in paper.reason
    assert all(trial.score is not None for trial in record.trials)


def test_designs_are_drawn_evenly_over_sets_of_sites():
    feasible = planned().feasible
    draw = even_draws(feasible, np.random.default_rng(0))
    numbers = np.random.default_rng(1)
    drawn = [draw(numbers) for _ in range(4_000)]
    assert all(feasible.fits(picks) for picks in drawn)
    sets = Counter(tuple(pick > 0 for pick in picks) for picks in drawn)
    assert len(sets) == 2 ** len(feasible.space.choices)
    expected = 4_000 / len(sets)
    # Six standard deviations of a count.
    assert all(abs(count - expected) < 6 * expected**0.5 for count in sets.values())
    again = np.random.default_rng(1)
    assert [draw(again) for _ in range(20)] == drawn[:20]


def test_the_plan_is_of_the_designs_that_fit():
    plan, there = planned(), plan_of(planned().run, planned().feasible)
    assert there.smallest.insertions == ()
    assert there.largest.insertions == plan.space.insertions(plan.feasible.largest())
    assert there.options == OPTIONS


def test_slots_are_as_wide_as_what_fits_needs():
    free = planned(space="stages")
    tight = planned(space="stages", budgets={"params": "+4%"})
    for one in (free, tight):
        wanted: dict[str, tuple[set[int], set[int]]] = {}
        table = one.feasible.table  # type: ignore[attr-defined]
        for row in table.tolist():
            for insertion in one.space.insertions(row):
                rule = wanted.setdefault(insertion.site, (set(), set()))
                rule[0].add(insertion.reduction)
                rule[1].add(insertion.dilation)
        found = slot_space(one.feasible).sites
        assert found == {
            site: tuple(map(tuple, map(sorted, rule))) for site, rule in wanted.items()
        }
    assert slot_space(free.feasible).sites != slot_space(tight.feasible).sites


def test_a_site_that_must_have_bam_makes_the_smallest_one_of_it(tmp_path):
    space = tmp_path / "must.toml"
    space.write_text(
        'name = "must"\nsites = "stages"\nreductions = [4, 8]\ndilations = [1]\n'
        '[at."3"]\noptional = false\n'
    )
    one = planned(space=str(space))
    plan = plan_of(one.run, one.feasible)
    assert plan.smallest.insertions == (Insertion("3", 8, 1),)
    numbers = np.random.default_rng(0)
    drawn = [plan.draw(numbers).insertions for _ in range(20)]
    assert all(insertions[-1].site == "3" for insertions in drawn)
    assert {len(insertions) for insertions in drawn} == {1, 2}


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(InvalidValueError, match="score supernet needs data: give --data NAME"):
        planned(data=None)
    for score in ("params", "train"):
        with pytest.raises(InvalidValueError, match=f"for score supernet, not for {score}"):
            planned(score=score, recipe=None)
    with pytest.raises(InvalidValueError, match="warmup of 2 epochs: of 2 none is left for BAM"):
        planned(supernet=replace(OPTIONS, warmup=2))
    with pytest.raises(NothingToDoError, match="is a detector"):
        plan_search(
            Request(
                "ssd300_vgg16", data=load_data("digits").facts, num_classes=10, score="supernet"
            )
        )
    with pytest.raises(InvalidValueError, match="score supernet builds each network"):
        search(torch.nn.Linear(1, 1), data="digits", score="supernet")
    with pytest.raises(InvalidValueError, match="called 'path': did you mean paths"):
        search(MODEL, data="digits", score="supernet", supernet={"path": 1})


def test_from_python():
    found = search(
        MODEL,
        data="digits",
        score="supernet",
        epochs=1,
        supernet={"paths": 0, "recalibration": 1},
        trials=2,
        space="paper",
        compare_random=False,
    )
    assert found.record.run.score == "supernet"
    assert found.best is not None
