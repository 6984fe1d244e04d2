"""One short training of a design: what it reaches, and that a kill changes nothing of it."""

import os
import signal
from pathlib import Path

import pytest

from bamsearch.data.loading import load_data
from bamsearch.records import Design, Insertion
from bamsearch.score.trained import train_once
from bamsearch.training.recipe import find_recipe

NETS = Path(__file__).parents[1] / "training" / "nets.py"
DESIGN = Design(f"{NETS}:small", (3, 8, 8), (Insertion("3", 4, 1),), num_classes=10)
RECIPE = find_recipe("short").changed(epochs=2)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_it_is_the_training_of_that_seed(train, digits):
    training = train_once(DESIGN, digits, RECIPE, seed=4)
    trained = train(DESIGN, digits, RECIPE, seed=4, device="cpu")
    assert (training.right, training.images) == (trained.right, trained.images)
    assert training.percent == pytest.approx(100 * trained.accuracy)
    assert training.curve == pytest.approx([100 * row.validation_accuracy for row in trained.rows])
    assert train_once(DESIGN, digits, RECIPE, seed=5).curve != training.curve


def test_an_interrupted_training_is_resumed_and_its_folder_removed(digits, tmp_path):
    checkpoints = tmp_path / "training"

    def interrupt(progress):
        if progress.epoch == 1 and progress.step:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_once(DESIGN, digits, RECIPE, seed=4, checkpoints=checkpoints, watch=interrupt)
    assert (checkpoints / "checkpoint.pt").is_file()
    epochs = []
    training = train_once(
        DESIGN,
        digits,
        RECIPE,
        seed=4,
        checkpoints=checkpoints,
        watch=lambda p: epochs.append(p.epoch),
    )
    assert epochs[0] == 1
    whole = train_once(DESIGN, digits, RECIPE, seed=4)
    assert (training.right, training.curve) == (whole.right, whole.curve)
    assert not checkpoints.exists()


def test_another_training_in_its_folder_gives_way(train, digits, tmp_path):
    checkpoints = tmp_path / "training"
    train(DESIGN, digits, RECIPE, seed=1, device="cpu", output=checkpoints)
    training = train_once(DESIGN, digits, RECIPE, seed=4, checkpoints=checkpoints)
    assert training.curve == train_once(DESIGN, digits, RECIPE, seed=4).curve


def test_one_that_was_killed_at_its_very_end_is_not_trained_again(train, digits, tmp_path):
    checkpoints = tmp_path / "training"
    trained = train(DESIGN, digits, RECIPE, seed=4, device="cpu", output=checkpoints)
    training = train_once(
        DESIGN,
        digits,
        RECIPE,
        seed=4,
        checkpoints=checkpoints,
        watch=lambda p: pytest.fail("trained again"),
    )
    assert training.right == trained.right
    assert not checkpoints.exists()
