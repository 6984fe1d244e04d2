"""``train``, ``verify`` and ``audit``: dry runs, views, resuming, and the options of commands."""

from contextlib import contextmanager
from inspect import getdoc, signature

import click
import pytest
import torch

import bamsearch
from bamsearch.cli.main import cli
from bamsearch.errors import InvalidValueError, OutputError
from bamsearch.training.progress import TrainingView

MODEL = "bamsearch.examples:resnet20"
DIGITS = {"data": "digits", "epochs": 1, "device": "cpu"}
SMALL = {"input_size": (8, 8), "num_classes": 10}


class Noted(TrainingView):
    """Writes down what it is told; optionally interrupts a training."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.told, self.calls, self.stop_after = [], 0, stop_after

    def execute(self, model):
        self.told.append(model)

    @contextmanager
    def work(self, title):
        self.told.append(title)
        yield

    def plan(self, plan, estimate):
        self.told.append("planned")
        self.planned, self.estimate = plan, estimate

    @contextmanager
    def train(self, title, recipe):
        self.told.append(title)
        yield self.watch

    def watch(self, progress):
        self.calls += 1
        if self.calls == self.stop_after:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_dry_run_of_train_writes_nothing(here):
    view = Noted()
    planned = bamsearch.train(MODEL, **DIGITS, output="auto", dry_run=True, view=view)
    assert view.told == [f"loading {MODEL} and its data", "planned"]
    assert str(view.planned.folder.path) == "trained/resnet20-001"
    assert (planned.rows, planned.images) == ((), 176)
    assert planned.accuracy != planned.accuracy
    assert list(here.iterdir()) == []


def test_the_same_call_resumes_a_training(here):
    options = DIGITS | {"output": "out", "seed": 3, "epochs": 2}
    whole = bamsearch.train(MODEL, **options | {"output": "auto"})
    assert (here / "trained" / "resnet20-001" / "model.safetensors").is_file()
    with pytest.raises(KeyboardInterrupt):
        bamsearch.train(MODEL, **options, view=Noted(stop_after=3))
    assert not (here / "out" / "model.safetensors").exists()
    resumed = bamsearch.train(MODEL, **options)
    assert resumed.rows[-1].validation_loss == whole.rows[-1].validation_loss
    with pytest.raises(OutputError, match="already has a training: continue with `resume=out`"):
        bamsearch.train(MODEL, **options)
    assert len(bamsearch.train(MODEL, **options | {"epochs": 1}, force=True).rows) == 1


def test_a_training_of_a_module_is_resumed_without_options(here):
    torch.manual_seed(0)
    module = bamsearch.build(bamsearch.Design(MODEL, (3, 8, 8), num_classes=10))
    with pytest.raises(KeyboardInterrupt):
        bamsearch.train(module, **DIGITS, lr=0.2, output="out", view=Noted(stop_after=2))
    with pytest.raises(InvalidValueError, match="`weights` is for a MODEL"):
        bamsearch.train(module, **DIGITS, weights="DEFAULT")
    with pytest.raises(bamsearch.BamsearchError, match="resume it from Python"):
        bamsearch.train(output="out", resume=True)
    trained = bamsearch.train(module, output="out", resume=True, device="cpu")
    assert trained.rows[0].lr < trained.rows[-1].lr or len(trained.rows) == 1


def test_verify_tells_its_view(here, capsys):
    bamsearch.search(MODEL, score="params", trials=2, output="run", compare_random=False, **SMALL)
    view = Noted()
    options = DIGITS | {"seeds": 2, "looks": 1}
    planned = bamsearch.verify("run", **options, dry_run=True, view=view)
    assert view.told[0] == "loading run and its data"
    assert view.told[-2:] == ["timing a few steps of each network", "planned"]
    assert (planned.differences, planned.seeds) == ((), (10000, 10001))
    assert view.estimate.trainings == len(view.planned.trainings)
    assert not (here / "run" / "verify").exists()
    bamsearch.verify("run", **options, dry_run=True, verbose=True)
    assert f"at most {view.estimate.trainings} trainings, 0 done" in capsys.readouterr().err


def test_an_audit_has_a_usual_folder_and_a_name(here):
    options = DIGITS | {"designs": 8, "seeds": 2, "scores": ("params",), "dry_run": True}
    view = Noted()
    bamsearch.audit(MODEL, **options, view=view)
    assert str(view.planned.folder.path) == "audits/resnet20-digits-001"
    bamsearch.audit(MODEL, **options, view=view, name="mine", budgets={"params": "+5%"})
    assert str(view.planned.folder.path) == "audits/mine"
    with pytest.raises(InvalidValueError, match="`name` and `output`: choose one"):
        bamsearch.audit(MODEL, **options, name="mine", output="there")
    bamsearch.search(MODEL, score="params", trials=2, output="run", **SMALL)
    with pytest.raises(InvalidValueError, match="`space` is set by run run: leave it out"):
        bamsearch.audit("run", **options, space="paper")
    assert list(here.iterdir()) == [here / "run"]


@pytest.mark.parametrize("name", ["train", "verify", "audit"])
def test_a_command_has_the_options_and_defaults_of_its_function(name):
    function = getattr(bamsearch, name)
    parameters = signature(function).parameters
    assert all(f"\n    {parameter}: " in getdoc(function) for parameter in parameters)
    command = cli.get_command(None, name)
    for option in command.params:
        elsewhere = option.name in ("as_json", "scores") or option.name.startswith("budget_")
        if elsewhere or not option.expose_value or isinstance(option, click.Argument):
            continue
        assert option.name in parameters
        default = parameters[option.name].default
        if option.show_default is True and default is not None:
            assert option.default == default, option.name
