"""Timing of steps, by a clock that the test moves."""

from __future__ import annotations

import pytest

from bamsearch.data.loading import load_data
from bamsearch.records import Design
from bamsearch.training import loop
from bamsearch.training.initial_model import build_initial_model
from bamsearch.training.recipe import find_recipe
from bamsearch.training.timing import TIMED_STEPS, step_seconds
from bamsearch.training.trainer import Training


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.mark.parametrize(("batch_size", "steps"), [(64, TIMED_STEPS + 1), (1445, 1)])
def test_the_mean_of_a_few_steps_after_one_that_warms_up(digits, batch_size, steps, monkeypatch):
    taken, times, take_step = [], iter([10.0, 11.0, 13.0, 16.0]), loop._take_step

    def step(trainer, epoch, number, batch):
        taken.append((epoch, number, len(batch[1])))
        return take_step(trainer, epoch, number, batch)

    monkeypatch.setattr(loop, "_take_step", step)

    net = f"{__file__.removesuffix('test_timing.py')}nets.py:small"
    start = build_initial_model(Design(net, (3, 8, 8), num_classes=10), digits)
    recipe = find_recipe("short").changed(batch_size=batch_size)
    training = Training(start, digits, recipe, device="cpu")
    result = step_seconds(training, clock=times.__next__)
    assert taken == [(0, number, batch_size) for number in range(steps)]
    # Between the first reading and the last one: 6 in 3 steps, or 1 in the only one.
    assert result == (2.0 if steps > 1 else 1.0)
