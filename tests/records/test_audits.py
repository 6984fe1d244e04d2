"""The record of an audit: read and written, its trainings, and what a search cites of it."""

import json
from dataclasses import replace
from math import asin, pi

import pytest

from bamsearch.errors import RunError
from bamsearch.records import Audit, Budget, Cost, Insertion, Run, cited
from bamsearch.records.audit_files import (
    AuditTraining,
    audits_of,
    find_audit,
    read_audit,
    read_trainings,
)


def written(folder, audit: Audit) -> None:
    folder.mkdir(parents=True)
    (folder / "audit.json").write_text(audit.to_json())


def test_it_is_read_as_it_was_written(audit):
    text = audit.to_json()
    again = Audit.from_json(text)
    assert again == audit
    assert again.to_json() == text
    begun = replace(audit, agreements=(), ceilings=(), effects=(), default=None, verdict="")
    assert Audit.from_json(begun.to_json()) == begun
    assert (audit.finished, begun.finished) == (True, False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.pop("seeds"), "seeds"),
        (lambda c: c.update(more=1), "more"),
        (lambda c: c.update(bamsearch_audit=99), "format 99"),
        (lambda c: c["designs"][0].pop("macs"), "macs"),
        (lambda c: c["designs"][1]["insertions"].append(["a", 0, 1]), "reduction"),
    ],
)
def test_what_is_not_an_audit_is_said(audit, change, says):
    content = json.loads(audit.to_json())
    change(content)
    with pytest.raises(RunError, match=says):
        Audit.from_json(json.dumps(content), "there")
    with pytest.raises(RunError, match="there is not a whole JSON file"):
        Audit.from_json(audit.to_json()[:-9], "there")


def test_a_mean_needs_every_seed(audit):
    assert [design.mean for design in audit.designs] == [80.5, 83.75, 81.5, None, 83.0, 80.75]
    assert audit.ceiling("band").highest_tau == pytest.approx(2 / pi * asin(0.9293))
    assert audit.ceiling("space").highest_tau is None
    assert audit.ceiling("size") is None


def test_a_training_is_a_line():
    line = (
        '{"design": [["layer1", 4, 2]], "seed": 0, "right": 7412, "images": 10000, '
        '"curve": [70.5, 74.12], "seconds": 48.2}\n'
    )
    training = AuditTraining.from_line(line)
    assert training == AuditTraining(
        (Insertion("layer1", 4, 2),), 0, 7412, 10000, (70.5, 74.12), 48.2
    )
    assert training.percent == pytest.approx(74.12)
    assert training.to_line() == line
    diverged = '{"design": [], "seed": 3, "diverged": true}\n'
    assert AuditTraining.from_line(diverged) == AuditTraining((), 3)
    assert AuditTraining((), 3).to_line() == diverged
    assert AuditTraining((), 3).percent is None


def test_a_corrupt_last_line_is_left_out_and_one_in_between_is_refused(tmp_path):
    path = tmp_path / "trainings.jsonl"
    lines = [AuditTraining((), seed, 5, 10).to_line() for seed in range(3)]
    path.write_text("".join(lines) + lines[0][:20])
    result, whole = read_trainings(tmp_path)
    assert [training.seed for training in result] == [0, 1, 2]
    assert whole == len("".join(lines))
    path.write_text(lines[0] + lines[1][:20] + "\n" + lines[2])
    with pytest.raises(RunError, match="line 2 is not a"):
        read_trainings(tmp_path)
    path.write_text(lines[0] + '{"seed": 1}\n')
    with pytest.raises(RunError, match="line 2 is not a"):
        read_trainings(tmp_path)
    path.write_text('{"design": [], "seed": 1, "right": 11, "images": 10}\n')
    with pytest.raises(RunError, match=r"0\.\.images"):
        read_trainings(tmp_path)
    path.unlink()
    assert read_trainings(tmp_path) == ([], 0)


def test_finished_audits_of_the_network_oldest_first(audit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    newer = replace(audit, name="b", created="2027-01-01T00:00:00+00:00")
    other = replace(audit.summary, base=Cost(1001, 100_000, 90_000))
    for name, training in {
        "b": newer,
        "c": audit,
        "begun": replace(audit, agreements=()),
        "other": replace(audit, summary=other),
        "plain": replace(audit, variant="official"),
        "started": replace(audit, init="identity"),
        "spaced": replace(audit, space=dict(audit.space) | {"name": "blocks"}),
        "stemmed": replace(audit, with_stem=not audit.with_stem),
    }.items():
        written(tmp_path / "audits" / name, training)
    (tmp_path / "audits" / "spoilt").mkdir()
    (tmp_path / "audits" / "spoilt" / "audit.json").write_text("{")
    assert audits_of(audit) == [audit, newer]
    # A space is asked with tuples, and read with lists.
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in audit.space.items()}
    assert audits_of(replace(audit, space=values)) == [audit, newer]
    assert [listed.summary for listed in audits_of(replace(audit, summary=other))] == [other]
    assert read_audit(find_audit("b")) == newer
    assert find_audit(str(tmp_path / "audits" / "c")) == tmp_path / "audits" / "c"
    assert find_audit("nowhere") is None
    with pytest.raises(RunError, match="no audit at nowhere"):
        read_audit(tmp_path.relative_to(tmp_path) / "nowhere")


def test_what_a_search_cites(audit):
    result = cited(audit, "params", audit.budgets)
    assert (result.name, result.data, result.setting) == ("net-digits-001", "digits", "band")
    assert (result.tau, result.low, result.high, result.designs) == (0.31, 0.05, 0.52, 5)
    assert (result.another_seed, result.budgets, result.same_budgets) == (0.45, True, True)
    assert not cited(audit, "params", (Budget("gflops", "+9%", 109_000, 100_000),)).same_budgets
    assert cited(audit, "zico", ()) is None
    # Nothing in the band: what is said of the whole space.
    agreements = tuple(agreement for agreement in audit.agreements if agreement.setting != "band")
    assert cited(replace(audit, agreements=agreements), "params", ()).setting == "space"


def test_a_run_keeps_what_it_cites_and_older_ones_have_none(audit):
    run = Run(
        **{name: getattr(audit, name) for name in ("name", "summary", "variant", "init")},
        **{name: getattr(audit, name) for name in ("num_classes", "space", "with_stem", "budgets")},
        score="params",
        objectives=("score",),
        sampler="gp",
        seed=0,
        trials=3,
        designs=25,
        feasible_designs=25,
        audit=cited(audit, "params", audit.budgets),
    )
    assert Run.from_json(run.to_json()) == run
    content = json.loads(run.to_json())
    del content["audit"]
    assert Run.from_json(json.dumps(content)) == replace(run, audit=None)
