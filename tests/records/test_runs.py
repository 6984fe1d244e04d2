"""A run's plain record: read and written, ranked, and its Pareto front; by hand."""

import json
from dataclasses import replace

import pytest

from bamsearch.errors import RunError
from bamsearch.records import (
    AccuracyEstimate,
    Budget,
    Cost,
    Design,
    Insertion,
    ModelSummary,
    Run,
    RunRecord,
    Site,
    TrainingAnalysis,
    Trial,
)
from bamsearch.records.run_files import finalists_text, read_record, trial_line
from bamsearch.records.runs import Finalist

SUMMARY = ModelSummary(
    "net",
    (3, 8, 8),
    "",
    (3, 8, 8),
    (Site("a", 8, 4, 4, 8, "NCHW", "block"), Site("b", 8, 2, 2, 8, "NCHW", "block")),
    Cost(100, 1000, 1000),
)
RUN = Run(
    name="one",
    summary=SUMMARY,
    variant="paper",
    init="paper",
    num_classes=None,
    space={"name": "stages", "sites": "stages", "reductions": [4], "dilations": [1]},
    with_stem=False,
    budgets=(Budget("gflops", "+2%", 1020, 1000),),
    score="params",
    objectives=("score",),
    sampler="gp",
    seed=3,
    trials=10,
    designs=25,
    feasible_designs=17,
    added={("a", "r4 d1"): (5, 7), ("", ""): (50, 70)},
    latency={
        **{"device": "cpu", "batch_size": 1, "dtype": "float32", "mode": "eager"},
        **{"threads": 1, "samples": 3, "base_ms": 1.5, "worst_error": 0.01, "r2": None},
    },
    versions={"bamsearch": "0.1.0"},
)


def trial(number: int, score: float | None, macs: int = 1010, params: int = 110, **rest) -> Trial:
    design = Design("net", (3, 8, 8), (Insertion("a", number + 1, 4),))
    return Trial(
        number, design, score, params, macs, "failed" if score is None else "complete", **rest
    )


def test_a_run_is_read_as_it_was_written():
    assert Run.from_json(RUN.to_json()) == RUN
    assert json.loads(RUN.to_json())["bamsearch_run"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a whole JSON file"),
        ('{"bamsearch_run": 1, "na', "not a whole JSON file"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "not a bamsearch run"),
        ("{}", "key 'bamsearch_run' is missing"),
        ('{"bamsearch_run": 2}', r"format 2, this bamsearch reads up to 1: pip install --upgrade"),
        ('{"bamsearch_run": true}', "format true"),
        ('{"bamsearch_run": "1"}', "format '1'"),
        ('{"bamsearch_run": 0}', "format 0"),
        ('{"bamsearch_run": 1}', "not a valid run: key name is missing"),
    ],
)
def test_what_is_not_a_run(text, said):
    with pytest.raises(RunError, match=said) as raised:
        Run.from_json(text, "here/run.json")
    assert str(raised.value).startswith("here/run.json")


@pytest.mark.parametrize("change", [{"added": [[1]]}, {"budgets": [{}]}, {"colour": "red"}])
def test_a_run_with_a_wrong_part(change):
    content = json.loads(RUN.to_json()) | change
    with pytest.raises(RunError, match="not a valid run"):
        Run.from_json(json.dumps(content))


def test_the_record_has_all_of_a_folder(tmp_path):
    first, two = trial(0, 1.5, memory=7, ms=0.5, seconds=2.0), trial(3, None, reason="no luck")
    base = replace(trial(0, 0.5), design=Design("net", (3, 8, 8), ()))
    (tmp_path / "run.json").write_text(RUN.to_json())
    assert read_record(tmp_path) == RunRecord(RUN)
    lines = [trial_line(base, "base"), trial_line(first, None), trial_line(two, None)]
    (tmp_path / "trials.jsonl").write_text("".join(lines))
    timed = Finalist(first.design, 1.0, 0.9, 1.1, kept=False)
    (tmp_path / "finalists.json").write_text(finalists_text([timed]))
    record = read_record(tmp_path)
    assert record == RunRecord(RUN, (first, two), (("base", base),), (timed,))
    assert record.complete == (first,)
    (tmp_path / "finalists.json").write_text("[{}]")
    with pytest.raises(
        RunError,
        match=r"finalists.json is not a valid list of finalists: key \[0\]\.design is missing",
    ):
        read_record(tmp_path)


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(RunError, match=r"no run at .*: 'bamsearch runs' lists"):
        read_record(tmp_path)
    (tmp_path / "run.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match=r"run\.json is not UTF-8 at byte 0"):
        read_record(tmp_path)


def test_the_ranking_is_by_score_then_by_cost():
    trials = (
        trial(0, 2.0, macs=1015),
        trial(1, 3.0, macs=1020),
        trial(2, None, reason="x"),
        trial(3, 2.0, macs=1010, params=120),
        trial(4, 2.0, macs=1010, params=110),
        trial(5, 2.0, macs=1010, params=110),
        trial(6, -1.0),
    )
    record = RunRecord(RUN, trials)
    assert [estimate.number for estimate in record.ranking()] == [1, 4, 5, 3, 0, 6]
    assert record.best == trials[1]
    assert RunRecord(RUN, trials[2:3]).best is None


def test_the_base_is_ranked_under_a_score_of_the_users_own():
    base = replace(trial(0, 9.0), design=Design("net", (3, 8, 8), ()))
    record = RunRecord(RUN, (trial(1, 1.0),), (("base", base),))
    # all known scores grow with the network
    assert record.best == trial(1, 1.0)
    custom = replace(record, run=replace(RUN, score="mine.py:score"))
    assert custom.best == base
    assert custom.baseline("base") == base
    assert custom.baseline("largest") is None


def test_the_best_random_design_stands_for_its_search():
    scores = [1.0, 3.0, None, 2.0]
    record = RunRecord(
        RUN, (), tuple(("random", trial(number, score)) for number, score in enumerate(scores))
    )
    assert record.baseline("random") == trial(1, 3.0)


def test_with_trainings_a_design_is_there_once_with_its_expected_accuracy():
    run = replace(RUN, score="train")
    first, two = trial(0, 90.0), trial(1, 95.0)
    again = replace(first, number=2, score=92.0, seed=1)
    stopped = replace(trial(3, None), state="stopped")
    record = RunRecord(run, (first, two, again, stopped))
    # the mean, as long as nothing has been learnt
    assert [(t.number, t.score) for t in record.designs(record.trials)] == [(0, 91.0), (1, 95.0)]
    ranking = (AccuracyEstimate(first.design.insertions, 94.0, 93.0, 95.0, 2, 0.6),)
    learned = replace(record, analysis=TrainingAnalysis(4, 0.3, 0.95, (), ranking))
    assert [t.score for t in learned.designs([again])] == [94.0]
    assert [t.score for t in learned.ranking()] == [95.0, 94.0]
    other = RunRecord(RUN, record.trials)
    assert other.designs(record.trials) == [first, two, again]


def test_what_turned_out_too_slow_is_not_ranked():
    first, two = trial(0, 2.0), trial(1, 1.0)
    slow = Finalist(first.design, 5.0, 4.0, 6.0, kept=False)
    fast = Finalist(two.design, 1.0, 0.9, 1.1, kept=True)
    assert RunRecord(RUN, (first, two), (), (slow, fast)).ranking() == [two]


def test_the_front_of_score_and_multiply_adds():
    trials = (
        trial(0, 5.0, macs=1020),  # best score
        trial(1, 4.0, macs=1020),  # as costly, worse
        trial(2, 4.0, macs=1010),  # cheaper
        trial(3, 3.0, macs=1015),  # beaten by 2 in both
        trial(4, 1.0, macs=1001),  # cheapest
        trial(5, 1.0, macs=1001, params=120),  # equal to 4: the first stays
    )
    assert [trial.number for trial in RunRecord(RUN, trials).pareto()] == [0, 2, 4]


def test_the_front_of_the_objectives():
    run = replace(RUN, objectives=("params", "score"))
    trials = (
        trial(0, 5.0, macs=1020, params=130),
        trial(1, 5.0, macs=1001, params=131),  # cheaper in a quantity that is not an objective
        trial(2, 4.0, params=120),
        trial(3, 1.0, params=120),
    )
    assert [trial.number for trial in RunRecord(run, trials).pareto()] == [0, 2]
