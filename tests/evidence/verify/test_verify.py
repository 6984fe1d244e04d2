"""Real trainings of a small network, and what is said of them."""

import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from bamsearch.data.loading import load_data
from bamsearch.errors import DataError, DivergedError, InvalidValueError, RunError, TrainingError
from bamsearch.evidence.verify import trainings
from bamsearch.evidence.verify.run import run_verify
from bamsearch.evidence.verify.summary import evidence_of, has_base
from bamsearch.evidence.verify.trainings import HeldOutResult, estimate_verify
from bamsearch.graph.designs import load
from bamsearch.records.run_files import read_record
from bamsearch.training import engine
from bamsearch.training.progress import TrainingView

KILLED = """
import os, signal, sys
from contextlib import nullcontext
import torch
from bamsearch.evidence.verify.request import VerifyRequest, plan_verify
from bamsearch.evidence.verify.run import run_verify
from bamsearch.training.progress import TrainingView

torch.set_num_threads(1)
wanted = sys.argv[2]

class Killing(TrainingView):
    def train(self, title, recipe):
        def watch(progress):
            if title.startswith(wanted) and progress.step == 20:
                os.kill(os.getpid(), signal.SIGKILL)
        return nullcontext(watch)

request = VerifyRequest(
    sys.argv[1], "digits", seeds=2, epochs=1, device="cpu", command="bamsearch verify"
)
run_verify(plan_verify(request), Killing())
"""


@pytest.fixture(scope="module")
def verified(searched, tmp_path_factory):
    """The run after a verify of two seeds that nothing interrupted."""
    from bamsearch.evidence.verify.request import VerifyRequest, plan_verify

    folder = tmp_path_factory.mktemp("verified") / "small"
    shutil.copytree(searched, folder)
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        request = VerifyRequest(
            str(folder), "digits", seeds=2, epochs=1, device="cpu", command="bamsearch verify"
        )
        planned = plan_verify(request)
        read = planned.data.test
        patch.setattr(planned.data, "test", lambda: calls.append(1) or read())
        run_verify(planned)
        torch.set_num_threads(before)
    assert calls == [1], "the test split is read once"
    return folder


def undated(folder):
    """The evidence without the dates of its openings."""
    evidence = read_record(folder).evidence
    openings = tuple(replace(opening, date="") for opening in evidence.openings)
    return replace(evidence, openings=openings)


def copied(verified, run):
    shutil.rmtree(run)
    shutil.copytree(verified, run)


def test_the_evidence_is_of_the_test_images(verified):
    evidence = read_record(verified).evidence
    digits = load_data("digits")
    images, labels = digits.test().on("cpu")
    accuracies = {}
    for folder in sorted((verified / "verify").iterdir()):
        metadata = json.loads((folder / "train.json").read_text())
        mean, std = (torch.tensor(metadata[key])[:, None, None] for key in ("mean", "std"))
        with torch.no_grad():
            right = load(folder).eval()((images / 255 - mean) / std).argmax(1) == labels
        accuracies[folder.name] = 100 * float(right.double().mean())
        assert json.loads((folder / "test.json").read_text())["right"] == int(right.sum())
    assert set(accuracies) >= {"10000-base", "10001-base", "10000-found", "10001-found"}
    result = [accuracies["10000-found"], accuracies["10001-found"]]
    base = [accuracies["10000-base"], accuracies["10001-base"]]
    first = evidence.differences[0]
    assert first.against == "base"
    assert first.points == pytest.approx(np.mean(result) - np.mean(base), abs=1e-4)
    assert evidence.accuracies["base"].mean == pytest.approx(np.mean(base), abs=1e-4)
    assert (evidence.data, evidence.data_hash) == ("digits", digits.facts.hash)
    assert evidence.command == "bamsearch verify"


def test_every_network_of_a_seed_sees_the_same(verified):
    for folder in (verified / "verify").iterdir():
        metadata = json.loads((folder / "train.json").read_text())
        assert str(metadata["seed"]) == folder.name.partition("-")[0]
        assert metadata["recipe"]["epochs"] == 1
        assert metadata["weights"] is None


@pytest.mark.parametrize("wanted", ["training 3 of", "training 1 of"])
def test_killed_and_run_again(verified, run, plan, preloaded, wanted):
    line = [preloaded / "python", "-c", KILLED, str(run), wanted]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (run / "evidence.json").exists()
    run_verify(plan())
    assert undated(run) == undated(verified)
    for folder in (verified / "verify").iterdir():
        for name in ("model.safetensors", "test.json"):
            assert (run / "verify" / folder.name / name).read_bytes() == (
                folder / name
            ).read_bytes()


def test_an_interruption_leaves_what_can_be_resumed(verified, run, plan):
    from contextlib import nullcontext

    class Cutting(TrainingView):
        def train(self, title, recipe):
            def watch(progress):
                if title.startswith("training 2 of") and progress.step == 20:
                    os.kill(os.getpid(), signal.SIGINT)

            return nullcontext(watch)

    with pytest.raises(KeyboardInterrupt):
        run_verify(plan(), Cutting())
    assert not (run / "evidence.json").exists()
    run_verify(plan())
    assert undated(run) == undated(verified)


def test_what_is_there_is_neither_trained_nor_tested_again(verified, run, plan, monkeypatch):
    copied(verified, run)
    monkeypatch.setattr(engine, "train", lambda *a, **k: pytest.fail("trained again"))
    planned = plan()
    monkeypatch.setattr(planned.data, "test", lambda: pytest.fail("tested again"))
    estimate = estimate_verify(planned, lambda: pytest.fail("timed again"))
    assert (estimate.seconds, estimate.done) == (0.0, estimate.trainings)
    before = (run / "evidence.json").read_bytes()
    draft = next((run / "verify").iterdir()) / ".writing-test.json-17"
    draft.touch()  # Left by a kill.
    run_verify(planned)
    assert (run / "evidence.json").read_bytes() == before
    assert not draft.exists()


def test_more_seeds_train_those_that_are_new(verified, run, plan, monkeypatch):
    copied(verified, run)
    plain, seeds = engine.train, []

    def spy(training, *args, **options):
        seeds.append(training.seed)
        return plain(training, *args, **options)

    monkeypatch.setattr(engine, "train", spy)
    evidence = run_verify(plan(seeds=3))
    assert set(seeds) == {10002}
    assert evidence.differences[0].seeds == 3


def test_trainings_of_another_kind_are_refused_and_forced(verified, run, plan):
    copied(verified, run)
    for others, says in (
        ({"epochs": 2}, "recipe epochs 1, not 2"),
        ({"recipe": "paper-cifar"}, "recipe name short, not paper-cifar"),
    ):
        for call in (estimate_verify, run_verify):
            with pytest.raises(TrainingError, match=f"{says}.*add `force` to train again"):
                call(plan(**others))
    planned = plan(epochs=2, force=True)
    assert estimate_verify(planned).done == 0
    run_verify(planned)
    metadata = json.loads((run / "verify" / "10000-found" / "train.json").read_text())
    assert metadata["recipe"]["epochs"] == 2
    # Forced or not, it is now the requested evidence.
    assert estimate_verify(plan(epochs=2)).done == len(planned.trainings)


def test_a_run_that_is_worked_on_is_left_alone(plan):
    planned = plan()
    with planned.folder.locked(), pytest.raises(RunError, match="is running on run small"):
        run_verify(planned)


def test_what_diverges_is_said_and_in_no_pair(run, plan, monkeypatch):
    plain = trainings.train_one

    def some(planned, seed, network, watch=None):
        if (seed, network.name) == (10001, "base"):
            raise DivergedError("the loss is nan")
        plain(planned, seed, network, watch)

    monkeypatch.setattr("bamsearch.evidence.verify.run.train_one", some)
    evidence = run_verify(plan(seeds=3))
    pairs = {difference.against: difference.seeds for difference in evidence.differences}
    assert pairs.pop("base") == 2
    assert set(pairs.values()) == {3}
    assert evidence.accuracies["base"].seeds == 2
    assert evidence.remarks[-1] == "Diverged and excluded from the pairs: base, seed 10001."
    assert "base, seed 10001: the loss is nan" in (run / "log.txt").read_text()


def results(planned, **percent):
    """Results by network: percent of 1,000 images for each seed; None is one that diverged."""
    return {
        (name, seed): None if value is None else HeldOutResult(np.arange(1000) < round(10 * value))
        for name, values in percent.items()
        for seed, value in zip(planned.seeds, values, strict=True)
    }


def all_networks(planned, **accuracies):
    names = [network.name for network in planned.chosen.networks]
    return {name: [80.0, 81.0, 82.0] for name in names} | accuracies


def test_differences_by_hand(plan):
    planned = plan(seeds=3, margin=30.0)
    comparisons = planned.chosen.comparisons
    accuracies = all_networks(planned, base=[90.0, 91.0, 92.0], found=[90.5, 92.0, 93.5])
    evidence = evidence_of(planned, results(planned, **accuracies))
    first = evidence.differences[0]
    # 0.5, 1.0 and 1.5: mean 1, deviation 0.5.
    t = stats.t.ppf(1 - 0.025 / comparisons, 2)
    assert first.points == 1.0
    assert first.high - first.points == pytest.approx(t * 0.5 / 3**0.5, abs=1e-4)
    assert first.points - first.low == pytest.approx(t * 0.5 / 3**0.5, abs=1e-4)
    assert (first.seeds, first.detectable, first.equivalent) == (3, 0.3, True)
    assert evidence.margin == 30.0
    base = evidence.accuracies["base"]
    assert (base.mean, base.seeds) == (91.0, 3)
    # t of 97.5% with two degrees of freedom is 4.3027.
    assert base.high - base.mean == pytest.approx(4.3027 / 3**0.5, abs=1e-3)
    roles = [difference.against for difference in evidence.differences]
    assert roles == [r for r in ("base", "paper", "largest", "random") if r in roles]


def test_too_few_pairs_are_not_evidence(plan):
    planned = plan(seeds=3)
    accuracies = all_networks(planned, base=[90.0, 91.0, None], found=[None, 92.0, 93.5])
    evidence = evidence_of(planned, results(planned, **accuracies))
    assert not has_base(evidence)
    assert "base" not in [difference.against for difference in evidence.differences]


def test_too_few_pairs_are_an_error(plan, monkeypatch):
    def lost(planned, seed, network, watch=None):
        raise DivergedError("the loss is nan")

    monkeypatch.setattr("bamsearch.evidence.verify.run.train_one", lost)
    with pytest.raises(TrainingError, match="fewer than two pairs with the base remain"):
        run_verify(plan())


def test_the_weights_of_the_base_are_tuned_in_all(verified, run, plan):
    weights = str(verified / "verify" / "10000-base" / "model.safetensors")
    planned = plan(weights=weights)
    assert planned.recipe.name == "fine-tune"
    run_verify(planned)
    for folder in (run / "verify").iterdir():
        metadata = json.loads((folder / "train.json").read_text())
        assert metadata["weights"] == weights
    said = read_record(run).evidence.remarks[0]
    assert "Recipe fine-tune, 1 epoch, fine-tuned from weights" in said


def test_invalid_arguments(plan, run):
    for others, says in (
        ({"seeds": 1}, "`seeds=1`: at least 2 seeds are needed for a confidence interval"),
        ({"margin": 0.0}, "`margin=0`: give points above 0"),
        ({"first": 2**32 - 1}, "the last seed would be over"),
        ({"recipe": "fine-tune"}, "recipe fine-tune requires trained weights"),
    ):
        with pytest.raises(InvalidValueError, match=says):
            plan(**others)


def test_torchrun_is_refused(plan, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InvalidValueError, match="without torchrun"):
        plan()


def test_data_of_another_shape_are_refused(plan, run):
    record = read_record(run)
    summary = replace(record.run.summary, input_shape=(3, 32, 32))
    for changed in (replace(record.run, summary=summary), replace(record.run, num_classes=7)):
        (run / "run.json").write_text(changed.to_json())
        with pytest.raises(DataError, match=r"digits has 3x8x8 and 10 classes: 'bamsearch search"):
            plan()


def test_how_far_a_training_is(verified, run, plan):
    planned = plan()
    base = planned.chosen.networks[0]
    wanted = trainings.training_of(planned, 10000, base).metadata()
    folder = planned.place(10000, base)
    assert engine.state_of(folder, wanted) == "new"
    shutil.copytree(verified / "verify" / "10000-base", folder)
    assert engine.state_of(folder, wanted) == "done"
    (folder / "model.safetensors").unlink()
    assert engine.state_of(folder, wanted) == "started"
    # A kill between the first file and the first checkpoint.
    (folder / "checkpoint.pt").unlink()
    assert engine.state_of(folder, wanted) == "new"


@pytest.mark.parametrize("content", [5, None])
def test_a_corrupt_or_older_result_is_tested_again(verified, run, plan, content):
    copied(verified, run)
    path = run / "verify" / "10000-found" / "test.json"
    before = path.read_text()
    # An older bamsearch wrote how many images were right, and not which.
    older = json.dumps({key: json.loads(before)[key] for key in ("right", "images")})
    path.write_text(before[:content] if content else older)
    run_verify(plan())
    assert path.read_text() == before
    again, once = undated(run), undated(verified)
    assert replace(again, openings=()) == replace(once, openings=())
    assert again.openings == once.openings * 2  # the test split was opened twice


def test_each_image_is_stored_as_it_was_classified():
    correct = np.random.default_rng(0).random(1003) < 0.7
    stored = HeldOutResult(correct).to_json()
    assert len(stored) < 1003 / 4
    again = HeldOutResult.from_json(stored)
    assert np.array_equal(again.correct, correct)
    assert again.points.mean() == pytest.approx(100 * correct.mean())
    content = json.loads(stored)
    for spoilt, says in (
        ("", "Expecting value"),
        ("[]", "is a list of 0, expected an object"),
        (json.dumps({"right": 5, "images": 9}), "key correct is missing"),
        (json.dumps(content | {"right": content["right"] + 1}), "bits and number"),
        (json.dumps(content | {"correct": "!"}), "base64"),
        (json.dumps(content | {"correct": None}), "key correct is null, expected a string"),
        (json.dumps(content | {"images": 10**15}), "bits for 1000000000000000 images"),
    ):
        with pytest.raises(TrainingError, match=says):
            HeldOutResult.from_json(spoilt)
