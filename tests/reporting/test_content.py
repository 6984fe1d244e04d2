"""What a report says, against numbers worked out by hand from tests/reporting/conftest.py."""

import json
from dataclasses import replace

import numpy as np
import pytest

from bamsearch.errors import RunError
from bamsearch.records import DataFacts, Evidence, Insertion, RunRecord
from bamsearch.records.run_files import read_record, trial_line
from bamsearch.records.runs import Finalist
from bamsearch.reporting.content import make_report
from bamsearch.reporting.run_statistics import importances


def by_role(report):
    return {row.role: row for row in report.comparison}


def test_the_comparison_has_every_row_and_its_numbers(record):
    rows = make_report(record, "net-001").comparison
    assert [row.role for row in rows] == ["base", "paper", "largest", "random", "found"]
    assert [row.label for row in rows] == [
        "base",
        "paper default (r16 d4)",
        "largest that fits",
        "best of 2 random",
        "best design",
    ]
    assert [row.score for row in rows] == [1.0, 4.0, 6.0, 8.0, 9.0]
    assert [row.params for row in rows] == [1000, 1200, 1900, 1100, 1100]
    assert [row.macs for row in rows] == [100_000, 102_000, 102_000, 101_000, 101_000]
    assert not any(row.note or row.latency or row.accuracy for row in rows)


def test_a_paper_default_over_the_budget_has_costs_and_no_score(record):
    # r = 16 at 8 and 16 channels is h = 1 at both: DESIGN's closed form by hand.
    def params(c, h):
        return 3 * c * h + 18 * h * h + 5 * h + 3 * c + 3

    def macs(c, h, size):
        return size * (c * h + 18 * h * h + h) + 2 * c * h + c * size + 2 * c + 2 * size

    run = replace(record.run, budgets=(replace(record.run.budgets[0], limit=100_500),))
    others = tuple(baseline for baseline in record.baselines if baseline[0] != "paper")
    rows = by_role(make_report(replace(record, run=run, baselines=others), "net-001"))
    assert rows["paper"].note == "over the budget: not scored"
    assert rows["paper"].score is None
    assert rows["paper"].params == 1000 + params(8, 1) + params(16, 1)
    assert rows["paper"].macs == 100_000 + macs(8, 1, 64) + macs(16, 1, 16)


def test_references_that_are_not_there_yet(record):
    rows = by_role(make_report(replace(record, baselines=()), "net-001"))
    assert rows["base"].macs == 100_000
    assert rows["base"].note == "not scored"
    assert rows["largest"].note == rows["random"].note == "not scored yet"
    run = replace(record.run, compare_random=False)
    rows = by_role(make_report(replace(record, run=run, baselines=()), "net-001"))
    assert rows["random"].note == "left out with --no-random"
    failed = tuple((k, replace(t, score=None, reason="no")) for k, t in record.baselines[:3])
    assert by_role(make_report(replace(record, baselines=failed), "x"))["paper"].note == (
        "failed: no"
    )


def test_latency_is_the_paired_ratio(record):
    best = record.best
    finalists = (Finalist(best.design, 11.0, 10.5, 11.5, kept=True, base_ms=10.0),)
    rows = by_role(make_report(replace(record, finalists=finalists), "net-001"))
    latency = rows["found"].latency
    assert (latency.ratio, latency.low, latency.high, latency.ms) == (1.1, 1.05, 1.15, 11.0)
    assert rows["base"].latency.ratio == 1.0
    assert rows["base"].latency.ms == 10.0
    assert rows["paper"].latency is None
    older = replace(finalists[0], base_ms=None)
    rows = by_role(make_report(replace(record, finalists=(older,)), "net-001"))
    assert rows["found"].latency is rows["base"].latency is None


def test_sites_of_what_was_found(record):
    # The best is layer2 with r = 4: C = 16, h = 4, on 4x4.
    (row,) = make_report(record, "net-001").sites
    assert (row.site.name, row.insertion.reduction, row.insertion.dilation) == ("layer2", 4, 2)
    assert row.params == 3 * 16 * 4 + 18 * 16 + 5 * 4 + 3 * 16 + 3
    assert row.macs == 16 * (16 * 4 + 18 * 16 + 4) + 2 * 16 * 4 + 16 * 16 + 2 * 16 + 2 * 16
    assert row.ms is None
    assert row.same_as is None


def test_a_site_has_its_milliseconds_where_a_table_was_measured(record):
    latency = {"device": "cpu", "batch_size": 1, "dtype": "float32", "mode": "eager"}
    run = replace(record.run, added={("layer2", "r4 d2"): (0, 1_500_000)}, latency=latency)
    report = make_report(replace(record, run=run), "net-001")
    assert report.sites[0].ms == 1.5
    assert report.provenance["timed on"] == "cpu, batch 1, float32, eager"


def test_a_dilation_beyond_the_map_is_said(record):
    best = replace(record.trials[0], design=record.run.design([]), score=99.0)
    best = replace(best, design=replace(best.design, insertions=record.trials[2].design.insertions))
    wide = replace(best.design.insertions[0], dilation=6)
    best = replace(best, design=replace(best.design, insertions=(wide,)))
    report = make_report(replace(record, trials=(best,)), "net-001")
    assert report.sites[0].same_as == 4


def test_the_curves_count_what_failed(record):
    curves = make_report(record, "net-001").curves
    assert curves.search == (5.0, 5.0, 9.0, 9.0)
    assert curves.random == (2.0, 8.0)
    failed = replace(record.trials[1])
    assert make_report(replace(record, trials=(failed,)), "x").curves.search == (None,)


def test_the_front(record):
    # 9.0 at 101,000 is better than 7.0 at the same and 5.0 at 102,000.
    assert [trial.number for trial in make_report(record, "net-001").front] == [3]


def test_health(record):
    health = make_report(record, "net-001").health
    assert (health.designs, health.feasible) == (125, 25)
    assert (health.wanted, health.scored, health.failed) == (4, 3, 1)
    assert health.reasons == (("out of luck", 1),)
    assert health.over_budget == 0
    # Numbers 0 to 6, of which four are in the record and one of those was started twice.
    assert (health.retried, health.withdrawn) == (1, 2)
    assert health.seconds == 2.0
    over = replace(record.trials[0], macs=120_001)
    assert make_report(replace(record, trials=(over,)), "x").health.over_budget == 1


def test_a_search_that_is_not_finished_says_so(record, empty):
    assert make_report(record, "net-001").state == ""
    half = make_report(replace(record, trials=record.trials[:2]), "net-001")
    assert half.state.startswith("Not finished: 2 of 4 trials.")
    nothing = make_report(empty, "net-001")
    assert nothing.state.startswith("Not finished: 0 of 4 trials.")
    assert nothing.answer.headline == "Not known: nothing has a score yet."
    assert nothing.answer.next_step == "bamsearch search --resume net-001 --trials 4"
    assert by_role(nothing)["found"].note == "nothing has a score yet"
    assert nothing.sites == nothing.front == nothing.importances == ()
    # All designs but the base are there: there is nothing more to try.
    few = replace(record.run, trials=100, feasible_designs=5)
    assert make_report(replace(record, run=few), "net-001").state == ""


def test_without_training_nothing_is_known(record):
    answer = make_report(record, "net-001").answer
    assert answer.verdict == "unknown"
    assert answer.headline == "Not known: scores only, no training evidence."
    assert answer.remarks[0] == ("Nothing was trained; snip has not been audited in this budget.")
    sized = replace(record, run=replace(record.run, score="params", sampler="sorted"))
    assert make_report(sized, "net-001").answer.remarks[:2] == (
        "Nothing was trained; params has not been audited in this budget; no zero-cost score "
        "ordered designs significantly better in bamsearch's own audit (reports/audit).",
        "params sees size only: it ignores d, and its best design is always the largest feasible "
        "one. It needs no search; designs that differ only in d tie, with d=4 first. Train to "
        "learn more: --data NAME.",
    )
    assert answer.next_step == "bamsearch verify net-001 --data NAME --dry-run"
    facts = DataFacts("imagefolder:my pictures", (3, 32, 32), 10, 90, 10, 10, "abc", 0)
    with_data = replace(record, run=replace(record.run, data=facts))
    assert make_report(with_data, "net-001").answer.next_step == (
        "bamsearch verify net-001 --data 'imagefolder:my pictures' --dry-run"
    )


def test_the_answer_of_training(trained):
    answer = make_report(trained, "net-001").answer
    assert answer.verdict == "better"
    assert answer.headline == "+0.41 points over base, 95% [+0.12, +0.70], 5 paired seeds."
    assert answer.remarks[0] == (
        "Not distinguishable from paper default: 95% [-0.21, +0.35], 5 paired seeds; "
        "about 14 seeds would detect 0.3 points."
    )
    assert answer.next_step == "bamsearch verify net-001"
    rows = by_role(make_report(trained, "net-001"))
    assert rows["found"].accuracy.mean == 90.41
    assert rows["paper"].accuracy is None
    assert rows["base"].difference.points == 0.41


@pytest.mark.parametrize(
    ("low", "high", "points", "verdict", "said"),
    [
        (-0.7, -0.1, -0.4, "worse", "-0.40 points under base"),
        (-0.1, 0.7, 0.3, "not distinguished", "Not distinguishable from base"),
        (0.0, 0.7, 0.3, "not distinguished", "Not distinguishable from base"),
    ],
)
def test_verdicts(trained, low, high, points, verdict, said):
    first = replace(trained.evidence.differences[0], low=low, high=high, points=points)
    evidence = replace(trained.evidence, differences=(first,))
    answer = make_report(replace(trained, evidence=evidence), "net-001").answer
    assert answer.verdict == verdict
    assert answer.headline.startswith(said)


def test_equivalent_is_what_lies_within_the_margin(trained):
    first = trained.evidence.differences[0]
    near = replace(first, low=-0.1, high=0.3, points=0.1, equivalent=True)
    evidence = replace(trained.evidence, differences=(near,), margin=0.5)
    answer = make_report(replace(trained, evidence=evidence), "net-001").answer
    assert answer.verdict == "equivalent"
    assert answer.headline == (
        "Equivalent to base within ±0.5 points: 95% [-0.10, +0.30], 5 paired seeds."
    )
    # A significant difference is better or worse, however small.
    small = replace(near, low=0.05)
    evidence = replace(evidence, differences=(small,))
    assert make_report(replace(trained, evidence=evidence), "net-001").answer.verdict == "better"


def test_seeds_that_would_not_be_more_are_not_said(trained):
    paper = replace(trained.evidence.differences[1], seeds_needed=5)
    evidence = replace(trained.evidence, differences=(paper,))
    headline = make_report(replace(trained, evidence=evidence), "net-001").answer.headline
    assert headline == "Not distinguishable from paper default: 95% [-0.21, +0.35], 5 paired seeds."


def test_the_random_design_is_called_what_it_is(trained):
    difference = replace(trained.evidence.differences[0], against="random")
    evidence = replace(trained.evidence, differences=(trained.evidence.differences[0], difference))
    said = make_report(replace(trained, evidence=evidence), "x").answer.remarks[0]
    assert said.startswith("+0.41 points against the best of random search, ")
    unscored = tuple(pair for pair in trained.baselines if pair[0] != "random")
    report = make_report(replace(trained, evidence=evidence, baselines=unscored), "x")
    assert report.answer.remarks[0].startswith("+0.41 points against a random design, ")
    assert by_role(report)["random"].difference == difference


def test_evidence_of_another_design_than_the_best_is_not_shown_as_its_own(trained):
    best = trained.best.design.insertions
    same = replace(trained.evidence, designs={"found": best, "base": ()})
    assert make_report(replace(trained, evidence=same), "net-001").answer.verdict == "better"
    other = replace(same, designs={"found": trained.trials[0].design.insertions})
    report = make_report(replace(trained, evidence=other), "net-001")
    assert report.answer.verdict == "unknown"
    assert report.answer.headline == (
        "Not known: the best design is no longer the one that was trained."
    )
    assert report.answer.next_step == "bamsearch verify net-001 --data NAME --dry-run"
    assert not any(row.accuracy or row.difference for row in report.comparison)
    # A search that went on can find another random one too.
    moved = replace(same, designs={"found": best, "base": best})
    rows = by_role(make_report(replace(trained, evidence=moved), "net-001"))
    assert rows["base"].accuracy is None
    assert rows["found"].accuracy.mean == 90.41


def test_evidence_is_read_as_it_was_written(tmp_path, trained):
    (tmp_path / "run.json").write_text(trained.run.to_json())
    (tmp_path / "evidence.json").write_text(trained.evidence.to_json())
    assert read_record(tmp_path).evidence == trained.evidence
    whole = replace(
        trained.evidence,
        margin=0.5,
        designs={"base": (), "found": (Insertion("layer1", 4, 2),)},
        remarks=("One.",),
    )
    assert Evidence.from_json(whole.to_json()) == whole
    # As it was before there were a margin, designs and remarks.
    older = json.loads(trained.evidence.to_json())
    for key in ("margin", "designs", "remarks"):
        del older[key]
    for difference in older["differences"]:
        del difference["equivalent"]
    assert Evidence.from_json(json.dumps(older)) == trained.evidence
    for text in ("", "[]", "{}", '{"bamsearch_evidence": 2}', '{"bamsearch_evidence": 1}'):
        with pytest.raises(RunError, match=r"evidence\.json"):
            Evidence.from_json(text)
    other = trained.evidence.to_json().replace('"paper"', '"pauper"')
    with pytest.raises(
        RunError, match=r"key differences.* is 'pauper', expected one of base, paper"
    ):
        Evidence.from_json(other)


def test_a_half_written_line_is_left_out(tmp_path, record):
    (tmp_path / "run.json").write_text(record.run.to_json())
    whole = trial_line(record.trials[0], None)
    (tmp_path / "trials.jsonl").write_text(whole + whole[:30])
    report = make_report(read_record(tmp_path), "net-001")
    assert report.curves.search == (5.0,)
    assert report.state.startswith("Not finished: 1 of 4")


def test_provenance_and_how_to_reproduce(record):
    report = make_report(record, "net-001")
    assert report.provenance["command"] == record.run.command
    assert report.provenance["seed"] == "7"
    assert report.provenance["versions"] == "bamsearch 0.1.0, torch 2.14.1"
    assert report.provenance["data"] == "none: nothing was trained"
    # Today's default is another score than when the run was made.
    assert record.run.score == "snip"
    again = f"{record.run.command} --score snip"
    assert report.reproduce == (again, "bamsearch report net-001")
    typed = replace(record.run, command=again)
    assert make_report(replace(record, run=typed), "net-001").reproduce[0] == again
    sized = replace(record.run, score="params")
    assert make_report(replace(record, run=sized), "net-001").reproduce[0] == sized.command
    python = replace(record.run, command="")
    report = make_report(replace(record, run=python), "my run")
    assert report.provenance["command"] == "bamsearch.search(...) from Python"
    assert report.reproduce == ("bamsearch report 'my run'",)


def factorial(record: RunRecord, effect) -> RunRecord:
    """A trial for each of 2 x 2 x 3 values, twice: BAM at layer1, r at layer2, d at layer2."""
    trials, number = [], 0
    rng = np.random.default_rng(0)
    for _ in range(2):
        for on in (0, 1):
            for r in (4, 8):
                for d in (1, 2, 4):
                    sites = [("layer1", 4, 1)] * on + [("layer2", r, d)]
                    design = record.run.design([Insertion(*site) for site in sites])
                    score = effect(on, r, d) + 1e-6 * rng.normal()
                    trial = replace(record.trials[0], number=number, design=design, score=score)
                    trials.append(trial)
                    number += 1
    return RunRecord(record.run, tuple(trials))


def test_importance_is_the_share_of_variance_in_a_factorial_design(record):
    # Balanced: sums of squares are 9, 1 and 0 parts of 10 for BAM at layer1, r and d at layer2.
    result = factorial(record, lambda on, r, d: 3.0 * on + 1.0 * (r == 8))
    shares = {
        (importance.sites, importance.aspect): importance for importance in importances(result)
    }
    assert shares[("layer1",), "BAM"].best == "yes"
    assert shares[("layer2",), "r"].best == "8"
    n = 12  # equal designs count once
    assert shares[("layer1",), "BAM"].designs == n
    for key, explained in {(("layer1",), "BAM"): 0.9, (("layer2",), "r"): 0.1}.items():
        by_hand = explained - (1 - explained) / (n - 2)
        assert shares[key].share == pytest.approx(max(by_hand, 0), abs=1e-4)
    assert shares[("layer2",), "d"].share == 0.0


def test_too_few_designs_have_no_importance(record):
    assert importances(record) == ()


@pytest.mark.parametrize(("score", "warned"), [("train", True), ("snip", False)])
def test_trainings_that_the_search_chose_by_carry_a_warning(trained, score, warned):
    """Evidence that lists no seeds is from a bamsearch that took those of the search."""
    record = replace(trained, run=replace(trained.run, score=score))
    answer = make_report(record, "net-001").answer
    said = "Trained with seeds that the search used: the difference is probably too high"
    assert (answer.remarks[0].startswith(said), answer.warnings != ()) == (warned, warned)
    fresh = replace(record, evidence=replace(trained.evidence, seeds=tuple(range(10_000, 10_005))))
    assert make_report(fresh, "net-001").answer.warnings == ()
