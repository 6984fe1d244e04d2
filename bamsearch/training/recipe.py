"""Recipes: how a network is trained. A visible table, and the few options that change an entry.

No torch here: ``bamsearch train --help`` lists them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Literal, get_args

from bamsearch.errors import InvalidValueError
from bamsearch.records import check_choice, check_positive
from bamsearch.records.codec import Format
from bamsearch.records.encoding import encode

Schedule = Literal["step", "cosine"]
Augment = Literal["none", "crop", "flip-crop", "resized-crop"]
Precision = Literal["32", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """SGD, a schedule of its learning rate, and what is done to the images.

    Attributes:
        name: of the entry in :data:`RECIPES` that it is, or was made from.
        epochs: how often each image is seen.
        batch_size: images a step, in all processes together. What is left of an epoch after the
            last whole batch is not used in it.
        lr: learning rate, at its highest.
        momentum: of SGD.
        nesterov: Nesterov's form of it.
        weight_decay: of all parameters, as in the papers: norms and biases are no exception.
        schedule: ``step`` divides the rate by 10 at the milestones, ``cosine`` lets it fall to 0
            along half a cosine.
        milestones: epochs after which ``step`` divides.
        warmup: epochs in which the rate rises to ``lr`` in a straight line, from a hundredth.
        label_smoothing: share of the target that goes to all classes evenly.
        augment: ``crop`` moves each image by up to an eighth of its size (4 of 32 pixels) over
            black, ``flip-crop`` also mirrors half of them, ``resized-crop`` takes 8 to 100 % of
            the area, resizes and mirrors.
        new_lr_factor: with trained weights, the rate of parameters that start at random (BAM's,
            and a head of other classes) is ``lr`` times this.
        precision: of the arithmetic; the mixed ones are torch's autocast.

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
                raise InvalidValueError(f"{name} of {value!r}: give a number from {low} to {most}")
        if not self.lr:
            raise InvalidValueError("lr of 0: nothing would be learnt")
        if self.warmup > self.epochs:
            raise InvalidValueError(f"warmup of {self.warmup} epochs: there are {self.epochs}")
        if self.milestones and self.schedule != "step":
            raise InvalidValueError(f"milestones are for the schedule step, not {self.schedule}")

    def changed(
        self,
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        lr: float | None = None,
        precision: Precision | None = None,
    ) -> Recipe:
        """The recipe with other values; None keeps one.

        With other epochs, milestones and warm-up stay at the same share of the training. The rate
        does not follow the batch size: that is the caller's to decide.
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
        """The recipe as JSON takes it."""
        found: dict[str, Any] = encode(Recipe, self)
        return found

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Recipe:
        """Read what :meth:`to_dict` made.

        Raises:
            InvalidValueError: a key or value that does not fit.
        """
        return _FORMAT.value(dict(content), "the recorded recipe")


_FORMAT: Format[Recipe] = Format(Recipe, "recipe", InvalidValueError, "start anew with --recipe")


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
"""Name → recipe.

``short``
    ours: a first look at small images. It leaves out what would suit one data set and not another
    (a mirrored digit is no digit).
``paper-cifar``
    BAM on CIFAR-100 (arXiv 1807.06514): epochs, batch, rates and weight decay. The authors' code is
    for ImageNet alone: the plain momentum of 0.9 is taken from there, and whether it was Nesterov's
    form on CIFAR-100 we do not know. Crops by 4 pixels and mirroring, as usual there.
``paper-imagenet``
    BAM on ImageNet: the paper, and the authors' ``train_imagenet.py`` (plain momentum, rate divided
    by 10 every 30 epochs). Their crops are taken from whole photographs, ours from what the data
    set gives, which is cut to a square already.
``fine-tune``
    ours: for ``--weights``. New parameters learn at the rate of the others: BAM that learnt ten
    times as fast ended below no BAM (benchmarks/fine_tune_rate.md).
"""

DEFAULT_RECIPE = "short"
FINE_TUNE = "fine-tune"


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InvalidValueError: there is none.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(RECIPES)}"
        raise InvalidValueError(f"no recipe is called {name!r}: {hint}")
    return RECIPES[name]
