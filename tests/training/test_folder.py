"""The files of a training."""

import json

import pytest
import torch

import bamsearch
from bamsearch.errors import InvalidValueError, OutputError, TrainingError
from bamsearch.training.folder import CHECKPOINT_FILE, TrainingFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return TrainingFolder(tmp_path_factory.mktemp("training"), command="bamsearch train …")


@pytest.fixture
def trained(train, digits, design, quick, folder):
    once = quick.changed(epochs=1)
    resume = (folder.path / CHECKPOINT_FILE).exists()
    return train(
        design(("1", 4, 2)), digits, once, seed=2, device="cpu", output=folder, resume=resume
    )


def test_the_folder_is_a_design_with_its_weights(trained, folder):
    again = bamsearch.load(folder.path).eval()
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(again(images), trained.module(images))


def test_train_json_says_what_was_done(trained, folder, digits, quick):
    facts = json.loads((folder.path / "train.json").read_text())
    assert facts["recipe"] == quick.changed(epochs=1).to_dict()
    assert facts["data"]["hash"] == digits.facts.hash
    assert facts["mean"] == list(digits.mean)
    assert (facts["seed"], facts["weights"], facts["processes"]) == (2, None, 1)
    assert facts["command"] == "bamsearch train …"
    assert facts["versions"].keys() >= {"bamsearch", "torch", "torchvision", "lightning-fabric"}
    assert facts["parameters"] == sum(p.numel() for p in trained.module.parameters())


def test_metrics_are_a_row_an_epoch(trained, folder):
    header, row = (folder.path / "metrics.csv").read_text().splitlines()
    assert header == (
        "epoch,lr,train_loss,train_accuracy,validation_loss,validation_accuracy,seconds"
    )
    assert row.startswith("1,0.1,")


def test_a_checkpoint_is_read_without_running_code(trained, folder):
    content = torch.load(folder.path / CHECKPOINT_FILE, weights_only=True)
    assert content["about"]["seed"] == 2
    assert content["progress"]["epoch"] == 1
    assert {"model", "optimizer", "scheduler"} <= content.keys()


def test_nothing_else_is_left(trained, folder):
    assert {path.name for path in folder.path.iterdir()} <= {
        "train.json",
        "design.json",
        "checkpoint.pt",
        "metrics.csv",
        "model.safetensors",
        ".lock",
    }


@pytest.fixture
def training_folder(tmp_path) -> TrainingFolder:
    return TrainingFolder(tmp_path / "kept")


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(training_folder, monkeypatch):
    with training_folder.locked():
        training_folder.write_checkpoint({"step": torch.tensor(1)})

    def full(*args, **kwargs) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"checkpoint.pt cannot be written: .*write failed"):
        training_folder.write_checkpoint({"step": torch.tensor(2)})
    assert torch.load(training_folder.path / CHECKPOINT_FILE, weights_only=True)["step"] == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a training checkpoint"),
        (b"PK\x03\x04 cut short", "is not a training checkpoint"),
    ],
    ids=["empty", "cut"],
)
def test_a_corrupt_checkpoint_is_one_line(training_folder, content, says):
    training_folder.path.mkdir()
    (training_folder.path / CHECKPOINT_FILE).write_bytes(content)
    with pytest.raises(TrainingError, match=says):
        training_folder.read_checkpoint()


def test_a_newer_checkpoint_is_refused(training_folder):
    training_folder.path.mkdir()
    torch.save({"bamsearch_checkpoint": 99}, training_folder.path / CHECKPOINT_FILE)
    with pytest.raises(TrainingError, match=r"has format 99, but this bamsearch reads 1"):
        training_folder.read_checkpoint()


def test_one_process_at_a_time(training_folder):
    with training_folder.locked(), pytest.raises(TrainingError, match=r"another process trains in"):
        TrainingFolder(training_folder.path).locked().__enter__()


def test_tensorboard_is_asked_for_before_the_work(
    train, digits, design, quick, tmp_path, monkeypatch
):
    monkeypatch.setattr("bamsearch.training.folder.find_spec", lambda name: None)
    wanted = TrainingFolder(tmp_path / "run", tensorboard=True)
    with pytest.raises(InvalidValueError, match=r"pip install tensorboard"):
        train(design(), digits, quick, device="cpu", output=wanted)
    assert not wanted.path.exists()


def test_tensorboard_gets_the_epochs(train, digits, design, quick, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    wanted = TrainingFolder(tmp_path / "run", tensorboard=True)
    trained = train(design(), digits, quick, device="cpu", output=wanted)
    events = EventAccumulator(str(wanted.path / "tensorboard")).Reload()
    result = [event.value for event in events.Scalars("validation/accuracy")]
    assert result == pytest.approx([row.validation_accuracy for row in trained.rows])
