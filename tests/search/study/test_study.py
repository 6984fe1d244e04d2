"""A run's trials: each takes its turn once, keeps every budget, and says so to Optuna."""

import random
from dataclasses import replace

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from bamsearch.records import Run
from bamsearch.space.feasible import feasible
from bamsearch.study.baselines import first_designs, list_baselines
from bamsearch.study.loop import score_evaluator, score_trials
from bamsearch.study.request import SearchPlan
from bamsearch.study.run import open_study
from bamsearch.study.storage import open_storage
from bamsearch.study.studies import baselines_name, create_studies
from bamsearch.study.study import TrialLease, TrialOutcome, Waiting


@pytest.fixture
def storage(runs):
    with open_storage(f"sqlite:///{runs}/study.db", heartbeat=60) as opened:
        yield opened


def made(
    storage,
    planned: SearchPlan,
    *,
    single_process: bool = True,
    prepare: bool = True,
    new: bool = True,
):
    run = replace(planned.run, name="run")
    planned = replace(planned, run=run)
    if new:
        create_studies(storage, run)
    study = open_study(planned, storage, "sqlite://", single_process=single_process)
    if prepare:
        compared = list_baselines(planned.feasible, seed=run.seed, random=0)
        study.prepare(first_designs(planned.feasible, run.sampler), compared)
    return study


def toy_run(toys, seed: int) -> SearchPlan | None:
    """A random small space with one or two budgets, and one of the samplers."""
    generator = random.Random(seed)
    space = toys.random_space(seed, required=seed % 3 == 0)
    budgets = toys.random_budgets(seed, space, 1 + seed % 2)
    fitting = [p for p in toys.brute_force(space, budgets) if not space.inserts_nothing(p)]
    if not fitting:
        return None
    sampler = ["gp", "tpe", "nsga2", "random", "exhaustive"][seed % 5]
    most = len(fitting) if sampler == "exhaustive" else min(len(fitting), 12)
    objectives = ("score", budgets[0].quantity) if seed % 4 == 1 else ("score",)
    objectives = ("score",) if "memory" in objectives else objectives
    run = Run(
        name="run",
        summary=space.summary,
        variant="paper",
        init="paper",
        num_classes=None,
        space={},
        with_stem=False,
        budgets=tuple(budgets),
        score="x:y",
        objectives=objectives,
        sampler=sampler,
        seed=generator.randrange(100),
        trials=generator.randint(1, most) if sampler != "exhaustive" else min(most, 30),
        designs=space.designs,
        feasible_designs=len(fitting),
    )
    return SearchPlan(run, feasible(space, budgets))


@pytest.mark.parametrize("single_process", [True, False])
def test_budgets_are_kept_by_every_design_that_is_scored(toys, runs, single_process):
    """Random spaces, budgets and samplers; the design's cost is added up again, by hand."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seen: set[str] = set()
    for seed in range(25):
        planned = toy_run(toys, 2 * seed + (not single_process))
        if planned is None or planned.run.trials > 60:
            continue
        run, space = planned.run, planned.space
        seen.add(run.sampler)
        url = f"sqlite:///{runs}/{seed}.db"
        with open_storage(url, heartbeat=60) as storage:
            create_studies(storage, run)
            study = open_study(planned, storage, "sqlite://", single_process=single_process)
            study.prepare(first_designs(planned.feasible, run.sampler)[:2], [("base", ())])
            generator = random.Random(seed)

            def score(design, generator=generator):
                if generator.random() < 0.1:
                    raise ValueError("bad luck")
                return generator.random()

            assert score_trials(study, score_evaluator(score, study.run))
            main = optuna.load_study(study_name="run", storage=storage)
            finished = [trial for (kind, _), trial in study.finished() if kind is None]
        assert len(finished) == run.trials
        assert len({trial.design for trial in finished}) == run.trials
        for trial in finished:
            assert trial.design.insertions
            for budget in run.budgets:
                spent = sum(
                    option.cost(budget.quantity)
                    for choice in space.choices
                    for option in choice.options
                    for insertion in trial.design.insertions
                    if (choice.name, option.reduction, option.dilation)
                    == (insertion.site, insertion.reduction, insertion.dilation)
                )
                assert budget.base + spent <= budget.limit
        for trial in main.trials:
            assert set(trial.constraints) == {budget.quantity for budget in run.budgets}
            assert all(value <= 0 for value in trial.constraints.values())
    assert seen == {"gp", "tpe", "nsga2", "random", "exhaustive"}


def test_what_the_dashboard_shows(engine, storage):
    planned = engine.planned(sampler="random", trials=3, objectives=("score", "gflops", "params"))
    study = made(storage, planned)
    assert score_trials(study, score_evaluator(engine.score, study.run))
    main = optuna.load_study(study_name="run", storage=storage)
    assert main.metric_names == ["score", "gflops", "params"]
    assert [d.name for d in main.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    base = planned.space.summary.base
    limit = planned.run.budgets[0].limit
    for trial, (_, record) in zip(main.trials, study.finished(), strict=False):
        attrs = trial.user_attrs
        assert (attrs["params"], attrs["macs"]) == (record.params, record.macs)
        assert trial.values == [record.score, float(record.macs), float(record.params)]
        assert trial.constraints == {"gflops": float(record.macs - limit)}
        assert base.params < record.params
        # one parameter per choice: off, or r and d
        assert set(trial.params) == {"layer1", "layer2", "layer3"}
        labels = {i.site: f"r{i.reduction} d{i.dilation}" for i in record.design.insertions}
        assert {k: v for k, v in trial.params.items() if v != "off"} == labels
    assert len(main.best_trials) >= 1


def test_the_base_comes_first_and_the_other_references_last(engine, storage):
    study = made(storage, engine.planned(sampler="random", trials=2))
    kinds = []
    while isinstance(lease := study.take(), TrialLease):
        kinds.append(lease.baseline)
        study.finish(lease, TrialOutcome(engine.score(study.run.design(lease.insertions))))
    assert lease is None
    assert kinds == ["base", None, None, "paper", "largest"]


def test_what_has_a_score_is_not_scored_again(engine, storage):
    """The largest and the paper's default are tried first, and are references too."""
    study = made(storage, engine.planned(sampler="gp", trials=3))
    scored = []

    def score(design):
        scored.append(design)
        if len(scored) == 3:
            raise ValueError("not this one")
        return engine.score(design)

    assert score_trials(study, score_evaluator(score, study.run))
    # the base, three trials
    assert len(scored) == len(set(scored)) == 4
    by_kind = {key[0]: trial for key, trial in study.finished()}
    trials = [trial for key, trial in study.finished() if key[0] is None]
    assert by_kind["largest"].score == trials[0].score
    assert (by_kind["paper"].score, by_kind["paper"].reason) == (None, trials[1].reason)
    assert trials[1].reason == "ValueError: not this one"


def test_a_worker_waits_while_others_run(engine, storage):
    planned = engine.planned(sampler="gp", trials=1)
    first = made(storage, planned, single_process=False)
    two, three, four = (
        made(storage, planned, single_process=False, new=False, prepare=False) for _ in range(3)
    )
    base, second_trial, paper = first.take(), two.take(), three.take()
    assert [base.baseline, second_trial.baseline, paper.baseline] == ["base", None, "paper"]
    # what is left, the largest, is the design that the second scores
    assert isinstance(four.take(), Waiting)
    assert two.finish(second_trial, TrialOutcome(1.0))
    largest = four.take()
    assert (largest.baseline, largest.cached) == ("largest", TrialOutcome(1.0))


def test_a_trial_that_was_taken_away_is_not_finished(engine, storage):
    planned = engine.planned(sampler="random", trials=2)
    first = made(storage, planned, single_process=False)
    other = made(storage, planned, single_process=False, new=False, prepare=False)
    lease = first.take()
    # as after too long without a heartbeat
    storage.set_trial_state_values(lease.trial_id, TrialState.FAIL)
    again = other.take()
    assert (again.baseline, again.insertions) == (lease.baseline, lease.insertions)
    assert other.finish(again, TrialOutcome(2.0))
    assert not first.finish(lease, TrialOutcome(1.0))
    assert not first.finish(lease, TrialOutcome(reason="late"))
    first.requeue()
    bases = [trial for key, trial in first.finished() if key[0] == "base"]
    assert [trial.score for trial in bases] == [2.0]


def test_a_trial_given_back_keeps_its_place(engine, storage):
    planned = engine.planned(sampler="gp", trials=4)
    study = made(storage, planned)
    base = study.take()
    study.finish(base, TrialOutcome(0.0))
    largest = study.take()
    study.requeue()
    assert study.take().insertions == largest.insertions
    study.requeue()
    study.requeue()
    lease = study.take()
    assert lease.insertions == largest.insertions
    assert study.finish(lease, TrialOutcome(1.0))
    assert [trial.retries for _, trial in study.finished()] == [2, 0]
    assert study.take().insertions != largest.insertions


def test_a_reason_without_an_end_is_an_end(engine, storage):
    """Killed between the two: the score has failed, and is not tried again."""
    planned = engine.planned(sampler="random", trials=2)
    study = made(storage, planned)
    study.finish(study.take(), TrialOutcome(0.0))
    lease = study.take()
    storage.set_trial_user_attr(lease.trial_id, "reason", "ValueError")
    again = made(storage, planned, new=False)
    assert score_trials(again, score_evaluator(engine.score, again.run))
    trials = [trial for key, trial in again.finished() if key[0] is None]
    assert [trial.reason for trial in trials] == ["ValueError", None]
    assert len({trial.design for trial in trials}) == 2


def test_alone_what_another_left_doubled_is_withdrawn(engine, storage):
    """Two workers had stored the same proposal, and were killed before one took it back."""
    planned = engine.planned(sampler="random", trials=3)
    study = made(storage, planned)
    study.finish(study.take(), TrialOutcome(0.0))
    lease = study.take()
    study.finish(lease, TrialOutcome(1.0))
    encoding = planned.space.encoding(lease.insertions)
    for _ in range(2):
        study._store.add(lease.insertions, encoding, None)
    again = made(storage, planned, new=False)
    assert score_trials(again, score_evaluator(engine.score, again.run))
    trials = [trial for key, trial in again.finished() if key[0] is None]
    assert len(trials) == len({trial.design for trial in trials}) == 3


def test_heartbeats_are_sent_while_a_score_runs(engine, runs):
    import time

    planned = engine.planned(sampler="random", trials=1, heartbeat=1)
    with open_storage(f"sqlite:///{runs}/db", heartbeat=1) as storage:
        first = made(storage, planned, single_process=False)
        lease = first.take()
        with first.heartbeats(lease):
            time.sleep(4)  # without them, three seconds are death
            ids = storage._get_stale_trial_ids(
                storage.get_study_id_from_name(baselines_name("run"))
            )
        assert ids == []
        assert first.finish(lease, TrialOutcome(1.0))


def test_one_too_many_is_withdrawn(engine, storage):
    """Two workers stored a proposal each, when one was missing."""
    planned = engine.planned(sampler="random", trials=2)
    study = made(storage, planned, single_process=False)
    drawn = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    for encoding in drawn:
        study._store.add(planned.space.insertions(encoding), encoding, None)
    assert score_trials(study, score_evaluator(engine.score, study.run))
    trials = [trial.design.insertions for key, trial in study.finished() if key[0] is None]
    assert trials == [planned.space.insertions(encoding) for encoding in drawn[:2]]
    withdrawn = study._store.own()[2]
    assert withdrawn.state == TrialState.FAIL
    assert withdrawn.user_attrs["withdrawn"]


def test_an_answer_that_is_lost_while_a_trial_is_taken(engine, storage, monkeypatch):
    """It is running then, and nobody scores it."""
    for single_process in (True, False):
        planned = engine.planned(sampler="random", trials=1)
        study = made(storage, planned, single_process=single_process, new=single_process)

        def gone(*args):
            raise StorageInternalError

        with monkeypatch.context() as patch:
            patch.setattr(study, "_superfluous", gone)
            with pytest.raises(StorageInternalError):
                study.take()
        taken = study.take()
        assert taken.baseline == "base"
        base = [t for t in study._store.baselines() if t._trial_id == taken.trial_id]
        assert "deaths" not in base[0].user_attrs
        study.requeue()


def test_a_design_that_is_scored_already_is_given_back(engine, storage):
    """Both had looked before either had taken it, as its trial and as a reference."""
    planned = engine.planned(sampler="gp", trials=1)
    first, other = (made(storage, planned, single_process=False, new=new) for new in (True, False))
    first.finish(first.take(), TrialOutcome(0.0))
    taken = first.take()
    (largest,) = (t for t in other._store.baselines() if t.user_attrs["reference"] == "largest")
    assert other._take(largest) is None
    states = [t.state for t in other._store.baselines() if t.user_attrs["reference"] == "largest"]
    assert states == [TrialState.FAIL, TrialState.WAITING]
    assert first.finish(taken, TrialOutcome(2.0))
    assert score_trials(other, score_evaluator(engine.score, other.run))
    assert {key[0]: trial.score for key, trial in other.finished()}["largest"] == 2.0
