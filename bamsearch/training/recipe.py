"""Training recipes: a table, and the few options that override an entry.

No torch here: ``bamsearch train --help`` lists the recipes.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal, get_args

from bamsearch.errors import InvalidValueError
from bamsearch.records import check_choice, check_positive
from bamsearch.records.codec import encode
from bamsearch.records.formats import Format

Schedule = Literal["step", "cosine"]
Augment = Literal["none", "crop", "flip-crop", "resized-crop"]
Precision = Literal["32", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """SGD with a learning rate schedule and augmentation.

    Attributes:
        name: name of the entry in :data:`RECIPES` that the recipe is, or is derived from.
        epochs: number of epochs.
        batch_size: images per step over all processes. Images after the last whole batch of an
            epoch are dropped.
        lr: maximum learning rate.
        momentum: momentum of SGD.
        nesterov: use Nesterov momentum.
        weight_decay: weight decay of all parameters, including norms and biases as in the papers.
        schedule: ``step`` divides the rate by 10 at the milestones, ``cosine`` anneals it to 0
            along half a cosine.
        milestones: epochs after which ``step`` divides the rate.
        warmup: epochs in which the rate rises linearly to ``lr``, from 1% of it.
        label_smoothing: label smoothing, 0..1.
        augment: ``crop`` shifts each image by up to an eighth of its size (4 of 32 pixels) with
            black padding, ``flip-crop`` also flips half of the images, ``resized-crop`` crops 8 to
            100% of the area, resizes and flips.
        new_lr_factor: factor on ``lr`` for randomly initialised parameters of a pretrained network
            (BAM's, and a head with other classes).
        precision: numeric precision; the mixed ones use torch's autocast.

    Raises:
        InvalidValueError: a value out of range, or an unknown name.
    """

    name: str
    epochs: int
    batch_size: int
    lr: float
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    schedule: Schedule = "cosine"
    milestones: tuple[int, ...] = ()
    warmup: float = 0.0
    label_smoothing: float = 0.0
    augment: Augment = "none"
    new_lr_factor: float = 1.0
    precision: Precision = "32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        check_positive("epochs", self.epochs)
        check_positive("batch_size", self.batch_size)
        check_choice("schedule", self.schedule, get_args(Schedule))
        check_choice("augment", self.augment, get_args(Augment))
        check_choice("precision", self.precision, get_args(Precision))
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not (low <= value < high and isfinite(value)):
                most = f"{high:g}"
                raise InvalidValueError(f"{name} of {value!r}: use a number from {low} to {most}")
        if not self.lr:
            raise InvalidValueError("lr of 0: nothing would be learned")
        if self.warmup > self.epochs:
            raise InvalidValueError(
                f"warmup of {self.warmup} epochs is longer than the training, {self.epochs} epochs"
            )
        if self.milestones and self.schedule != "step":
            raise InvalidValueError(f"milestones require the schedule step, not {self.schedule}")

    def changed(
        self,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        precision: Precision | None = None,
    ) -> Recipe:
        """The recipe with other values; None keeps a value.

        With other epochs, milestones and warm-up are scaled. The learning rate is not scaled with
        the batch size: that is up to the caller.
        """
        stretch = 1.0 if epochs is None else epochs / self.epochs
        return replace(
            self,
            epochs=self.epochs if epochs is None else epochs,
            batch_size=self.batch_size if batch_size is None else batch_size,
            lr=self.lr if lr is None else lr,
            precision=self.precision if precision is None else precision,
            milestones=tuple(round(milestone * stretch) for milestone in self.milestones),
            warmup=self.warmup * stretch,
        )

    def to_dict(self) -> dict[str, Any]:
        """The recipe in JSON types."""
        content: dict[str, Any] = encode(Recipe, self)
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Recipe:
        """Inverse of :meth:`to_dict`.

        Raises:
            InvalidValueError: an invalid key or value.
        """
        return _FORMAT.value(dict(content), "the recorded recipe")


_FORMAT: Format[Recipe] = Format(Recipe, "recipe", InvalidValueError, "start again with `recipe`")


_RANGES = (
    ("batch_size", 1, 2**31),
    ("epochs", 1, 2**31),
    ("lr", 0, 1e38),
    ("momentum", 0, 1),
    ("weight_decay", 0, float("inf")),
    ("warmup", 0, float("inf")),
    ("label_smoothing", 0, 1),
    ("new_lr_factor", 0, float("inf")),
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("short", epochs=5, batch_size=64, lr=0.1, weight_decay=5e-4, warmup=1.0),
        Recipe(
            "paper-cifar",
            epochs=300,
            batch_size=128,
            lr=0.1,
            schedule="step",
            milestones=(150, 225),
            augment="flip-crop",
        ),
        Recipe(
            "paper-imagenet",
            epochs=90,
            batch_size=256,
            lr=0.1,
            schedule="step",
            milestones=(30, 60),
            augment="resized-crop",
        ),
        Recipe("fine-tune", epochs=10, batch_size=64, lr=0.01, augment="flip-crop"),
    )
}
"""Recipes by name.

``short``
    bamsearch's recipe for a quick result on small images. It has no augmentation, which depends on
    the data set (a mirrored digit is not a digit).
``paper-cifar``
    BAM on CIFAR-100 (arXiv 1807.06514): epochs, batch size, rates and weight decay. The authors'
    code covers only ImageNet: the plain momentum of 0.9 is taken from it, and may have been
    Nesterov momentum on CIFAR-100. Crops by 4 pixels and flips, as usual on CIFAR.
``paper-imagenet``
    BAM on ImageNet: the paper, and the authors' ``train_imagenet.py`` (plain momentum, rate divided
    by 10 every 30 epochs). The authors crop whole photographs; here crops are taken from the square
    images of the data set.
``fine-tune``
    bamsearch's recipe for ``--weights``. New parameters have the same learning rate as the others:
    with ten times the rate, BAM ended below no BAM (benchmarks/fine_tune_rate.md).
"""

DEFAULT_RECIPE = "short"
FINE_TUNE = "fine-tune"


def find_recipe(name: str) -> Recipe:
    """The recipe with a name.

    Raises:
        InvalidValueError: unknown name.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(RECIPES)}"
        raise InvalidValueError(f"no recipe is called {name!r}: {hint}")
    return RECIPES[name]


def check_starts_from(recipe: Recipe, weights: object) -> None:
    """Raise InvalidValueError for the recipe fine-tune without trained weights."""
    if recipe.name == FINE_TUNE and weights is None:
        raise InvalidValueError(
            f"recipe {FINE_TUNE} requires trained weights: add `weights`, or use another recipe"
        )
