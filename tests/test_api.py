"""``bamsearch.search``: with a module, with a function of a design, kept on disk or not."""

import copy

import pytest
import torch
import torchvision

import bamsearch
from bamsearch.attention.bam import BAM
from bamsearch.errors import InvalidValueError
from bamsearch.records import Design

SIZE = (64, 64)


def few_and_late(design: Design) -> float:
    """Highest with one BAM, after layer3."""
    sites = [insertion.site for insertion in design.insertions]
    return -abs(len(sites) - 1) + ("layer3" in sites)


def test_a_module_and_a_function_find_what_can_be_inserted(tmp_path):
    module = torchvision.models.resnet18(num_classes=7)
    before = copy.deepcopy(module.state_dict())
    result = bamsearch.search(
        module,
        input_size=SIZE,
        score=few_and_late,
        trials=40,
        compare_random=False,
        output=tmp_path / "run",
    )
    assert [i.site for i in result.best.design.insertions] == ["layer3"]
    assert result.best.score == 1.0
    found = bamsearch.insert_bam(module, design=result.best.design)
    assert sum(isinstance(part, BAM) for part in found.modules()) == 1
    after = module.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert result.folder == tmp_path / "run"


def test_going_on_takes_what_the_run_was_asked_for(tmp_path):
    given = {"input_size": SIZE, "score": few_and_late, "compare_random": False}
    first = bamsearch.search("resnet18", trials=6, output=tmp_path / "a", **given)
    same = bamsearch.search("resnet18", output=tmp_path / "a", score=few_and_late, resume=True)
    assert same.trials == first.trials
    longer = bamsearch.search(
        "resnet18", output=tmp_path / "a", score=few_and_late, trials=9, resume=True
    )
    whole = bamsearch.search("resnet18", trials=9, output=tmp_path / "b", **given)
    assert [(t.design, t.score) for t in longer.trials] == [
        (t.design, t.score) for t in whole.trials
    ]


def test_nothing_is_left_on_disk_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = bamsearch.search("resnet18", input_size=SIZE, score="params", trials=3)
    assert result.folder is None
    assert len(result.trials) == 3
    assert list(tmp_path.iterdir()) == []


def test_several_objectives_give_a_front():
    result = bamsearch.search(
        "resnet18",
        input_size=SIZE,
        score="params",
        objectives=("score", "gflops"),
        trials=12,
        compare_random=False,
    )
    # Of two objectives there is no order to list designs in.
    assert result.record.run.sampler == "gp"
    costs = {(t.params, t.macs) for t in result.trials}
    front = {
        (params, macs)
        for params, macs in costs
        if not any(p >= params and m <= macs for p, m in costs - {(params, macs)})
    }
    assert 1 < len(front) < len(costs)
    assert {(t.params, t.macs) for t in result.pareto} == front


def test_without_a_score_the_largest_designs_are_listed():
    given = {"input_size": SIZE, "budget_gflops": "+2%", "trials": 6}
    result = bamsearch.search("resnet18", **given)
    run = result.record.run
    assert (run.score, run.sampler, run.compare_random) == ("params", "sorted", False)
    assert result.best.design == result.reference("largest").design
    # The paper default is tried too, as in every search.
    first, paper, *others = [trial.score for trial in result.trials]
    assert [first, *others] == sorted([first, *others], reverse=True)
    # No two differ in d alone.
    places = {tuple((i.site, i.reduction) for i in t.design.insertions) for t in result.trials}
    assert len(places) == 6
    assert paper == result.reference("paper").score
    # Nothing larger fits: 300 designs drawn from all that fit say so.
    drawn = bamsearch.search("resnet18", **given | {"trials": 300}, sampler="random")
    scores = {trial.score for trial in drawn.trials}
    assert len(scores) > 50
    assert max(scores) <= first
    assert not [score for score in scores if first > score > min(others) and score not in others]
    assert bamsearch.search("resnet18", **given, compare_random=True).reference("random")


@pytest.mark.parametrize(
    "given",
    [
        {"storage": "postgresql+psycopg://me@nowhere/db"},
        {"resume": True},
        {"budget_gflops": "much"},
        {"objectives": ("params",)},
        {"objectives": ("score", "params")},
        {"objectives": ("score", "gflops"), "sampler": "sorted"},
    ],
)
def test_what_cannot_be_asked(given):
    with pytest.raises(InvalidValueError):
        bamsearch.search("resnet18", input_size=SIZE, score="params", trials=3, **given)
