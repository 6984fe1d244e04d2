"""The learning rate at every step, by hand."""

from math import cos, pi

import pytest
import torch
from torch.optim import SGD

from bamsearch.training.recipe import RECIPES, Recipe
from bamsearch.training.trainer import make_schedule


def rates(recipe: Recipe, steps: int, factor: float = 1.0) -> list[float]:
    """The rate of every step."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = SGD([{"params": [weight], "lr": recipe.lr * factor}], lr=recipe.lr)
    scheduler = make_schedule(optimizer, recipe, steps)
    result = []
    for _ in range(recipe.epochs * steps):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return result


def test_the_papers_rate_falls_to_a_tenth_at_its_milestones():
    result = rates(RECIPES["paper-cifar"], 2)
    by_epoch = result[::2]
    assert by_epoch == result[1::2]
    assert by_epoch == pytest.approx([0.1] * 150 + [0.01] * 75 + [0.001] * 75)


def test_cosine_falls_along_half_a_cosine():
    recipe = Recipe("r", epochs=2, batch_size=1, lr=0.4)
    assert rates(recipe, 3) == pytest.approx([0.2 * (1 + cos(pi * k / 6)) for k in range(6)])


def test_warm_up_rises_in_a_straight_line_and_then_the_schedule_begins():
    recipe = Recipe("r", epochs=3, batch_size=1, lr=1.0, warmup=1.0)
    rise = [0.01, 0.01 + 0.99 / 4, 0.01 + 0.99 / 2, 0.01 + 0.99 * 3 / 4]
    fall = [0.5 * (1 + cos(pi * k / 8)) for k in range(8)]
    assert rates(recipe, 4) == pytest.approx(rise + fall)


def test_milestones_count_from_the_start_whatever_the_warm_up():
    recipe = Recipe(
        "r", epochs=4, batch_size=1, lr=1.0, warmup=1.0, schedule="step", milestones=(2, 3)
    )
    assert rates(recipe, 2) == pytest.approx([0.01, 0.505, 1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_one_step_is_a_training_too(schedule):
    recipe = Recipe("r", epochs=1, batch_size=1, lr=0.3, warmup=1.0, schedule=schedule)
    assert rates(recipe, 1) == pytest.approx([0.3])


def test_a_group_with_its_own_rate_follows():
    recipe = Recipe("r", epochs=2, batch_size=1, lr=0.4)
    assert rates(recipe, 2, 10.0) == pytest.approx([10 * rate for rate in rates(recipe, 2)])
