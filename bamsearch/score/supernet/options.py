"""How a supernet is trained and scored. No torch here, as in :mod:`bamsearch.training.recipe`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Literal, get_args

from bamsearch.errors import InvalidValueError
from bamsearch.records import check_choice
from bamsearch.records.codec import Format

Share = Literal["width", "dilation", "none"]

_MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class SupernetOptions:
    """The remedies known for supernets that rank badly; the defaults are the plain sandwich.

    Attributes:
        warmup: epochs in which the base alone is trained, before any BAM.
        paths: designs drawn at random in each step.
        sandwich: whether each step also trains the largest and the smallest design
            (arXiv 1903.05134).
        distil: share of the loss of all but the largest design that is taken against what the
            largest has just predicted instead of the labels, 0..1 (likewise); needs sandwich.
        share: which weights designs share at a site. ``width``: all; r takes the first hidden
            channels of the widest BAM, and every d its 3x3 weights. ``dilation``: each d has 3x3
            weights of its own. ``none``: each r and d has a BAM of its own.
        recalibration: training batches, at most those of an epoch, that give the batch norms of a
            design their statistics before it is scored.
        fine_tune: steps of SGD that a copy of the design is trained for before it is scored.
        fine_tune_lr: their learning rate.

    Raises:
        InvalidValueError: a value out of range, or some that go not together.
    """

    warmup: int = 0
    paths: int = 2
    sandwich: bool = True
    distil: float = 0.0
    share: Share = "width"
    recalibration: int = 16
    fine_tune: int = 0
    fine_tune_lr: float = 0.01

    def __post_init__(self) -> None:
        check_choice("share", self.share, get_args(Share))
        for name, least in (("recalibration", 1), ("warmup", 0), ("paths", 0), ("fine_tune", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (whole and least <= value <= _MOST):
                raise InvalidValueError(
                    f"{name} must be an integer in {least}..{_MOST}, not {value!r}"
                )
        if not (isfinite(self.distil) and 0 <= self.distil <= 1):
            raise InvalidValueError(f"distil of {self.distil!r}: give a number from 0 to 1")
        if not 0 < self.fine_tune_lr <= _MOST:
            raise InvalidValueError(
                f"fine_tune_lr of {self.fine_tune_lr!r}: give one above 0, at most {_MOST}"
            )
        if self.distil and not self.sandwich:
            raise InvalidValueError("distil needs the largest design as teacher: add sandwich")
        if not (self.paths or self.sandwich):
            raise InvalidValueError("no paths and no sandwich: nothing would be trained")

    def check_leaves(self, epochs: int) -> None:
        """Raise InvalidValueError where the warm-up leaves none of a training's epochs."""
        if self.warmup >= epochs:
            raise InvalidValueError(
                f"warmup of {self.warmup} epochs: of {epochs} none is left for BAM"
            )

    def to_dict(self) -> dict[str, Any]:
        """The options as JSON takes them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: object) -> SupernetOptions:
        """Read what :meth:`to_dict` made.

        Raises:
            InvalidValueError: a key or value that does not fit.
        """
        return _FORMAT.value(content, "what a supernet was trained with")


_FORMAT: Format[SupernetOptions] = Format(
    SupernetOptions, "list of options", InvalidValueError, "train it anew"
)


_SWITCH = {"yes": True, "no": False}
_READ: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "bool": _SWITCH.__getitem__,
    "Share": str,
}
_WANTED = {"int": "an integer", "float": "a number", "bool": "yes or no"}

NAMES = tuple(field.name for field in fields(SupernetOptions))
"""What :func:`parse_options` takes."""


def parse_options(texts: Sequence[str]) -> SupernetOptions:
    """The options as they are typed: ``["warmup=1", "share=dilation"]``.

    Raises:
        InvalidValueError: no such option, one that is there twice, or a value out of range.
    """
    found: dict[str, Any] = {}
    kinds = {field.name: str(field.type) for field in fields(SupernetOptions)}
    for text in texts:
        name, equals, value = text.partition("=")
        _check_name(name)
        if not equals:
            raise InvalidValueError(f"supernet option {name} has no value: give {name}=VALUE")
        if name in found:
            raise InvalidValueError(f"supernet option {name} is there twice: give it once")
        try:
            found[name] = _READ[kinds[name]](value)
        except (ValueError, KeyError) as error:
            raise InvalidValueError(
                f"supernet option {name} of {value!r}: give {_WANTED[kinds[name]]}"
            ) from error
    return SupernetOptions(**found)


def make_options(values: Mapping[str, Any]) -> SupernetOptions:
    """The options by name; those that are left out are the defaults.

    Raises:
        InvalidValueError: as :func:`parse_options`.
    """
    for name in values:
        _check_name(name)
    return SupernetOptions(**values)


def _check_name(name: str) -> None:
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
        raise InvalidValueError(f"no option of a supernet is called {name!r}: {hint}")
