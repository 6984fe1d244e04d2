"""What searches that train are said to take, by hand from the seconds of a step."""

from __future__ import annotations

from pathlib import Path

import pytest

from bamsearch.data.loading import load_data
from bamsearch.study.estimate import design_seconds
from bamsearch.study.request import SearchRequest, plan_search
from bamsearch.training import timing
from bamsearch.training.recipe import find_recipe

NETS = Path(__file__).parents[2] / "training" / "nets.py"
# Digits: 1,445 images to train on, 22 batches of 64; 176 to validate on.
STEPS, LOOK = 22, 176 / 64 / 3


def planned(score, **others):
    data = load_data("digits")
    request = SearchRequest(
        f"{NETS}:small",
        data=data.facts,
        input_size=(8, 8),
        num_classes=10,
        score=score,
        recipe=find_recipe("short").changed(epochs=4),
        **others,
    )
    return plan_search(request), data


def test_of_a_training_it_is_the_mean_of_a_small_and_a_large_design(monkeypatch):
    seconds = iter([1.0, 3.0])
    monkeypatch.setattr(timing, "step_seconds", lambda *args, **options: next(seconds))
    assert design_seconds(*planned("train")) == pytest.approx(4 * 2.0 * (STEPS + LOOK))
