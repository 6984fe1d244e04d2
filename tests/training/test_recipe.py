"""Recipes: what the table says, and what options change."""

import pytest

from bamsearch.errors import InvalidValueError
from bamsearch.training.recipe import DEFAULT_RECIPE, FINE_TUNE, RECIPES, Recipe, find_recipe


def test_the_papers_recipes_are_the_papers():
    cifar, imagenet = RECIPES["paper-cifar"], RECIPES["paper-imagenet"]
    for recipe in (cifar, imagenet):
        assert (recipe.lr, recipe.momentum, recipe.weight_decay) == (0.1, 0.9, 1e-4)
        assert (recipe.schedule, recipe.warmup, recipe.label_smoothing) == ("step", 0, 0)
    assert (cifar.epochs, cifar.batch_size, cifar.milestones) == (300, 128, (150, 225))
    assert (imagenet.epochs, imagenet.batch_size, imagenet.milestones) == (90, 256, (30, 60))


def test_the_table_is_by_name_and_has_the_defaults():
    assert all(recipe.name == name for name, recipe in RECIPES.items())
    assert {DEFAULT_RECIPE, FINE_TUNE} <= set(RECIPES)
    assert RECIPES[FINE_TUNE].new_lr_factor == 1


def test_options_change_what_they_name_alone():
    recipe = RECIPES["short"]
    changed = recipe.changed(batch_size=8, lr=0.5, precision="bf16-mixed")
    assert (changed.batch_size, changed.lr, changed.precision) == (8, 0.5, "bf16-mixed")
    assert changed.changed(batch_size=64, lr=0.1, precision="32") == recipe
    assert recipe.changed() == recipe


def test_other_epochs_keep_the_shape_of_the_schedule():
    # 150 and 225 of 300 are a half and three quarters
    assert RECIPES["paper-cifar"].changed(epochs=20).milestones == (10, 15)
    long = Recipe("r", epochs=10, batch_size=1, lr=1.0, warmup=2.0)
    assert long.changed(epochs=5).warmup == 1.0


def test_it_is_the_same_after_json():
    for recipe in RECIPES.values():
        assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"epochs": 0}, "epochs must be an integer of at least 1"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"lr": 0.0}, "lr of 0"),
        ({"lr": float("nan")}, "lr of nan"),
        ({"momentum": 1.0}, "momentum of 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing of -0.1"),
        ({"warmup": 3.0}, "warmup of 3.0 epochs is longer than the training, 2 epochs"),
        ({"schedule": "linear"}, "schedule must be one of step, cosine"),
        ({"augment": "mixup"}, "augment must be one of"),
        ({"milestones": (1,)}, "milestones require the schedule step"),
    ],
)
def test_values_out_of_range_are_refused(wrong, says):
    with pytest.raises(InvalidValueError, match=says):
        Recipe(**({"name": "r", "epochs": 2, "batch_size": 4, "lr": 0.1} | wrong))


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(InvalidValueError, match=r"'paper-cifer': did you mean paper-cifar\?"):
        find_recipe("paper-cifer")
