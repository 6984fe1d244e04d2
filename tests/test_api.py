"""``bamsearch.search``: with a module, with a function of a design, kept on disk or not."""

import copy
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
import torchvision

import bamsearch
from bamsearch.api.view import SearchView
from bamsearch.attention.bam import BAM
from bamsearch.errors import InvalidValueError, NothingToDoError, OutputError, RunError, ScoreError
from bamsearch.examples import resnet20
from bamsearch.records import Design

SIZE = (64, 64)
NETS = Path(__file__).parent / "training" / "nets.py"


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
    actual = bamsearch.insert_bam(module, design=result.best.design)
    assert sum(isinstance(part, BAM) for part in actual.modules()) == 1
    after = module.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert result.folder == tmp_path / "run"


def test_resuming_takes_the_options_of_the_run(tmp_path):
    options = {"input_size": SIZE, "score": few_and_late, "compare_random": False}
    first = bamsearch.search("resnet18", trials=6, output=tmp_path / "a", **options)
    same = bamsearch.search("resnet18", output=tmp_path / "a", score=few_and_late, resume=True)
    assert same.trials == first.trials
    longer = bamsearch.search(
        "resnet18", output=tmp_path / "a", score=few_and_late, trials=9, resume=True
    )
    whole = bamsearch.search("resnet18", trials=9, output=tmp_path / "b", **options)
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
    options = {"input_size": SIZE, "budget_gflops": "+2%", "trials": 6}
    result = bamsearch.search("resnet18", **options)
    run = result.record.run
    assert (run.score, run.sampler, run.compare_random) == ("params", "sorted", False)
    assert result.best.design == result.baseline("largest").design
    # The paper default is tried too, as in every search.
    first, paper, *others = [trial.score for trial in result.trials]
    assert [first, *others] == sorted([first, *others], reverse=True)
    # No two differ in d alone.
    places = {tuple((i.site, i.reduction) for i in t.design.insertions) for t in result.trials}
    assert len(places) == 6
    assert paper == result.baseline("paper").score
    # Nothing larger fits: 300 designs drawn from all that fit say so.
    drawn = bamsearch.search("resnet18", **options | {"trials": 300}, sampler="random")
    scores = {trial.score for trial in drawn.trials}
    assert len(scores) > 50
    assert max(scores) <= first
    assert not [score for score in scores if first > score > min(others) and score not in others]
    assert bamsearch.search("resnet18", **options, compare_random=True).baseline("random")


@pytest.mark.parametrize(
    "options",
    [
        {"storage": "postgresql+psycopg://me@nowhere/db"},
        {"resume": True},
        {"budget_gflops": "much"},
        {"objectives": ("params",)},
        {"objectives": ("score", "params")},
        {"objectives": ("score", "gflops"), "sampler": "sorted"},
        {"compare_random": True, "sampler": "random"},
        {"input_size": (64, 64, 64)},
        {"model": torchvision.models.resnet18(), "num_classes": 10},
    ],
)
def test_invalid_arguments(options):
    with pytest.raises(InvalidValueError):
        bamsearch.search(
            **{"model": "resnet18", "input_size": SIZE, "score": "params", "trials": 3} | options
        )


def test_a_result_is_five_lines(tmp_path):
    result = bamsearch.search(
        "resnet18", input_size=64, score="params", trials=5, output=tmp_path / "run"
    )
    assert repr(result).splitlines() == [
        "SearchResult of resnet18 · 3×64×64 · no budget",
        "  5 of 5 trials, score params, sampler sorted, seed 0",
        "  best 12,346,404: layer1 r4 d4, layer2 r4 d4, layer3 r4 d4, layer4 r4 d1, "
        "12.346 M parameters, 0.155 GFLOPs",
        "  base 11,689,512: no BAM, 11.690 M parameters, 0.149 GFLOPs",
        f"  folder {tmp_path / 'run'}",
    ]
    assert "resnet18 · 3×64×64" in result._repr_html_()
    for chart in ("pareto", "curve"):
        assert result.plot(chart)._repr_svg_() == result.plot(chart)
        ElementTree.fromstring(result.plot(chart))
    assert result.plot("curve") != result.plot() in result._repr_html_()
    with pytest.raises(InvalidValueError, match="chart must be one of pareto, curve"):
        result.plot("pie")


def test_a_result_is_a_table():
    result = bamsearch.search("resnet18", input_size=64, score="params", trials=5)
    table = result.to_dataframe()
    trials = table[table["role"] == "trial"]
    assert list(trials["parameters"]) == [trial.params for trial in result.trials]
    assert set(table["role"]) == {"trial", "base", "paper", "largest"}


def test_the_best_model_is_the_searched_module_or_is_built(monkeypatch):
    options = {"input_size": 32, "score": few_and_late, "trials": 40, "compare_random": False}
    module = resnet20(num_classes=7)
    inserted = bamsearch.search(module, **options).best_model()
    assert torch.equal(inserted.layer1[0].conv1.weight, module.layer1[0].conv1.weight)
    result = bamsearch.search("bamsearch.examples:resnet20", **options, num_classes=3)
    for network, classes in ((inserted, 7), (result.best_model(), 3)):
        paths = [path for path, part in network.named_modules() if isinstance(part, BAM)]
        assert paths == ["bam.layer3"]
        assert network(torch.rand(2, 3, 32, 32)).shape == (2, classes)
    monkeypatch.setattr(type(result), "best", None)
    with pytest.raises(NothingToDoError, match="no trial has a score"):
        result.best_model()
    assert "best" not in repr(result)


def with_network(module: torch.nn.Module, design: Design) -> float:
    """A function of both: the number of BAMs in the network."""
    bams = [part for part in module.modules() if isinstance(part, BAM)]
    assert len(bams) == len(design.insertions)
    return len(bams)


def test_a_function_may_take_the_network():
    result = bamsearch.search(
        "bamsearch.examples:resnet20", input_size=32, score=with_network, trials=20
    )
    assert result.best.score == 3
    with pytest.raises(ScoreError, match=r"takes \(design\) or \(module, design\)"):
        bamsearch.search("resnet18", score=lambda: 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "resnet34"}, "MODEL resnet18, not resnet34"),
        ({"budget_gflops": 8}, "`budget_gflops` none, not 8"),
        ({"input_size": 96}, "`input_size` 64, 64, not 96, 96"),
        ({"seed": 1}, "`seed` 0, not 1"),
        ({"space": "paper"}, "`space` stages, not paper"),
        ({"score": "macs"}, r"`score` \S+:few_and_late, not macs"),
        ({"variant": "official"}, "`variant` paper, not official"),
        ({"num_classes": 5}, "`num_classes` none, not 5"),
    ],
)
def test_a_run_is_not_resumed_with_other_options(options, message, finished_run):
    with pytest.raises(RunError, match=f"has {message}: leave it out"):
        bamsearch.search(**{"model": "resnet18", "output": finished_run, "resume": True} | options)


def test_a_run_is_resumed_with_its_own_options(finished_run):
    result = bamsearch.search(
        "resnet18",
        input_size=64,
        score=few_and_late,
        trials=7,
        output=finished_run,
        resume=True,
        seed=0,
    )
    assert len(result.trials) == 7


def test_what_is_stated_must_agree_even_if_it_is_the_default(tmp_path):
    folder = tmp_path / "run"
    options = {"input_size": SIZE, "score": "params", "trials": 2}
    bamsearch.search("resnet18", output=folder, seed=1, variant="official", **options)
    assert len(bamsearch.search(resume=folder).trials) == 2
    with pytest.raises(RunError, match="`seed` 1, not 0"):
        bamsearch.search(resume=folder, seed=0)
    with pytest.raises(RunError, match="`variant` official, not paper"):
        bamsearch.search(resume=folder, variant="paper", sampler=None)


def test_an_interrupted_search_leaves_a_folder_and_continues_when_repeated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {"input_size": SIZE, "score": few_and_late, "trials": 4, "name": "cut"}

    class View(SearchView):
        def __init__(self):
            self.resumed, self.reports = [], []

        def resume(self, run, folder, *, requested):
            self.resumed.append((folder, requested))

        def report(self, report, folder, files):
            self.reports.append((len(report.record.trials), folder, files[0]))

    def interrupt(trial):
        raise KeyboardInterrupt

    view, folder = View(), Path("runs/cut")
    with pytest.raises(KeyboardInterrupt):
        bamsearch.search("resnet18", callbacks=[interrupt], view=view, **options)
    assert view.reports == [(1, folder, folder / "report/report.md")]
    assert len(bamsearch.search("resnet18", view=view, **options).trials) == 4
    assert view.resumed == [(folder, False)]
    bamsearch.search(resume="cut", view=view)
    assert view.resumed[-1] == (folder, True)
    assert len(bamsearch.search("resnet18", force=True, **options | {"trials": 2}).trials) == 2


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = bamsearch.search("resnet18", input_size=SIZE, score="params", name=True, dry_run=True)
    assert (result.trials, result.folder) == ((), None)
    assert result.estimated_seconds > 0
    assert result.record.run.feasible_designs > 100
    assert list(tmp_path.iterdir()) == []
    module = resnet20(num_classes=10)
    result = bamsearch.search(module, data="digits", epochs=1, device="cpu", dry_run=True)
    assert result.estimated_seconds > 0


def test_a_dry_run_of_a_run_from_another_machine_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    options = {"input_size": SIZE, "score": "params", "trials": 2, "storage": url}
    bamsearch.search("resnet18", name="there", **options)
    shutil.rmtree("runs")
    assert bamsearch.search(resume="there", storage=url, dry_run=True).record.run.name == "there"
    assert not Path("runs").exists()
    assert len(bamsearch.search(resume="there", storage=url).trials) == 2
    assert Path("runs/there/run.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a", "output": "b"}, "`resume`, `name` and `output`: choose one"),
        ({"resume": "a", "name": "b"}, "`resume`, `name` and `output`: choose one"),
        ({"resume": "a", "force": True}, "`resume` continues a run, `force` starts it again"),
        ({"resume": True, "name": True}, "resume=True needs output"),
        ({"batch_size": 0}, "batch_size=0: give at least 1"),
    ],
)
def test_options_that_exclude_each_other(options, message):
    with pytest.raises(InvalidValueError, match=message):
        bamsearch.search("resnet18", **options)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "run"
    bamsearch.search("resnet18", input_size=64, score=few_and_late, trials=6, output=folder)
    return folder


DIGITS = {"recipe": "short", "epochs": 1}


def test_a_callback_stops_a_search():
    trials = []

    def third(trial):
        trials.append(trial)
        return len(trials) == 3

    result = bamsearch.search("resnet18", input_size=SIZE, score="params", callbacks=[third])
    assert list(result.trials) == trials
    assert len(trials) == 3
    assert bamsearch.search("resnet18", input_size=SIZE, timeout=0).trials == ()


def test_several_processes_score_what_one_does(tmp_path):
    options = {"input_size": SIZE, "score": "macs", "sampler": "random", "trials": 4}
    two = bamsearch.search("resnet18", jobs=2, output=tmp_path / "two", **options)
    single = bamsearch.search("resnet18", **options)
    scores = [{t.design: t.score for t in result.trials} for result in (single, two)]
    assert scores[0] == scores[1]
    with pytest.raises(InvalidValueError, match="jobs=0: give at least 1"):
        bamsearch.search("resnet18", jobs=0)
    with pytest.raises(InvalidValueError, match="jobs is for names of MODEL, score and data"):
        bamsearch.search(torchvision.models.resnet18(), jobs=2)


def test_a_run_is_not_searched_twice(tmp_path):
    options = {"input_size": SIZE, "score": "params", "trials": 2, "output": tmp_path / "run"}
    before = bamsearch.search("resnet18", **options)
    with pytest.raises(OutputError, match="is a run already: continue with `resume=run`"):
        bamsearch.search("resnet18", **options)
    assert bamsearch.search("resnet18", **options, resume=True).trials == before.trials


def test_a_progress_bar(capsys):
    bamsearch.search("resnet18", input_size=SIZE, score="params", trials=2, verbose=True)
    out, err = capsys.readouterr()
    assert "searching" in err
    assert not out


def test_training_a_model_a_design_and_a_module(tmp_path):
    model, steps = "bamsearch.examples:resnet20", []
    trained = bamsearch.train(
        model, "digits", output=tmp_path / "a", callback=steps.append, **DIGITS
    )
    assert steps
    design = Design(model, trained.design.input_shape, num_classes=10)
    again = bamsearch.train(design, "digits", seed=0, **DIGITS)
    assert again.rows[0].validation_loss == trained.rows[0].validation_loss
    loaded = bamsearch.load(tmp_path / "a")
    weights = trained.module.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in loaded.state_dict().items())
    module = resnet20(num_classes=10)
    before = copy.deepcopy(module.state_dict())
    assert bamsearch.train(module, "digits", **DIGITS).design is None
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    with pytest.raises(InvalidValueError, match="resume=True needs output"):
        bamsearch.train(model, "digits", resume=True)
    done = bamsearch.train(model, "digits", output=tmp_path / "a", resume=True)
    assert done.rows == trained.rows


def test_search_verify_and_audit(tmp_path):
    model = f"{NETS}:small"
    small = {"input_size": (8, 8), "num_classes": 10}
    result = bamsearch.search(model, score="params", trials=2, output=tmp_path / "run", **small)
    evidence = bamsearch.verify(result, "digits", seeds=2, looks=1, **DIGITS)
    assert evidence.differences[0].against == "base"
    assert bamsearch.verify(tmp_path / "run", "digits", seeds=2, looks=1, **DIGITS) == evidence
    audit = bamsearch.audit(
        model,
        "digits",
        output=tmp_path / "a",
        designs=8,
        seeds=2,
        score_seeds=1,
        scores=("params",),
        **DIGITS,
    )
    assert len(audit.designs) == 8
    assert audit.finished
    with pytest.raises(InvalidValueError, match="the result has no folder"):
        bamsearch.verify(bamsearch.search(model, score="params", trials=1, **small), "digits")


@pytest.mark.parametrize("value", [None, ["runs"], torch.nn.Linear(3, 3), object()])
def test_verify_and_audit_refuse_other_types(value, tmp_path):
    with pytest.raises(InvalidValueError, match="run must be"):
        bamsearch.verify(value)
    with pytest.raises(InvalidValueError, match="model must be"):
        bamsearch.audit(value, "digits", output=tmp_path)
    with pytest.raises(InvalidValueError, match="epochs must be"):
        bamsearch.train("resnet18", "digits", epochs=value or "1")
    with pytest.raises(InvalidValueError, match="output must be"):
        bamsearch.audit("resnet18", "digits", output=value or 3)
