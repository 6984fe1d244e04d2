"""Frozen values that cross floors, processes and the disk. Standard library only.

Everything that lasts is one of these: live modules never leave the process that made them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from bamsearch.errors import DesignError, InvalidValueError

Kind = Literal["stem", "bottleneck", "head", "block"]
Layout = Literal["NCHW", "NHWC", "NCTHW", "NTHWC"]
Variant = Literal["paper", "official"]
Init = Literal["paper", "identity"]

DESIGN_VERSION = 1
"""Format of ``design.json``; raised only when an older bamsearch could misread a newer file."""


@dataclass(frozen=True, slots=True)
class Site:
    """A feature map after which BAM can be inserted.

    Attributes:
        name: dotted path of the outermost module whose output the map is (``layer1``); the
            operation's own path where no module ends there; ``name@2`` for a module's second call.
        channels: C of the map.
        height: H of the map at the given input.
        width: W of the map at the given input.
        stride: how much smaller than the network's input the map is.
        layout: order of the axes.
        kind: ``bottleneck`` (just before a spatial reduction), ``stem`` (the same, with at most one
            weighted layer before it), ``head`` (the last feature map), ``block`` (inside a stage).
        reducer: what shrinks the map next (``layer2``; the global pooling after a head); None for
            blocks, and for the head of a network that pools nothing.
        frames: T of a video map, else None.
    """

    name: str
    channels: int
    height: int
    width: int
    stride: int
    layout: Layout
    kind: Kind
    reducer: str | None = None
    frames: int | None = None


@dataclass(frozen=True, slots=True)
class Insertion:
    """BAM after one site, with its own reduction and dilation.

    Raises:
        InvalidValueError: reduction or dilation is not a positive integer.
    """

    site: str
    reduction: int = 16
    dilation: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.site, str) or not self.site:
            raise InvalidValueError(f"a site is named by its dotted path, not {self.site!r}")
        check_positive("reduction", self.reduction)
        check_positive("dilation", self.dilation)


@dataclass(frozen=True, slots=True)
class Design:
    """A model and where BAM goes in it, with which r and d: all that is needed to build it again.

    Attributes:
        model: a MODEL as on the command line: ``resnet101``, ``timm:NAME``, ``package:factory``.
        input_shape: shape of one input without the batch: (C, H, W), or (C, T, H, W) for video.
        insertions: one a site; empty is the base network.
        variant: which BAM, see :class:`bamsearch.BAM`.
        init: how it starts, see :class:`bamsearch.BAM`.
        num_classes: classes of the model's head; None is the model's own default.

    Raises:
        InvalidValueError: a site twice, an unknown variant or init, an impossible shape.
    """

    model: str
    input_shape: tuple[int, ...]
    insertions: tuple[Insertion, ...] = ()
    variant: Variant = "paper"
    init: Init = "paper"
    num_classes: int | None = None

    def __post_init__(self) -> None:
        # Lists are what callers and JSON have; a frozen value holds tuples.
        object.__setattr__(self, "input_shape", check_input_shape(self.input_shape))
        object.__setattr__(self, "insertions", tuple(self.insertions))
        if not isinstance(self.model, str) or not self.model:
            raise InvalidValueError(f"a design names its model, not {self.model!r}")
        check_choice("variant", self.variant, get_args(Variant))
        check_choice("init", self.init, get_args(Init))
        if self.num_classes is not None:
            check_positive("num_classes", self.num_classes)
        names = [insertion.site for insertion in self.insertions]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidValueError(f"site {twice} is in the design twice: a site takes one BAM")

    def to_json(self) -> str:
        """The design as indented JSON text, the content of ``design.json``."""
        return json.dumps({"bamsearch_design": DESIGN_VERSION} | asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "design.json") -> Design:
        """Read what :meth:`to_json` wrote.

        Args:
            text: the JSON text.
            source: what to call it in errors, usually its path.

        Raises:
            DesignError: not JSON, cut short, keys missing or unknown, or made by a newer bamsearch.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise DesignError(
                f"{source} is not a whole JSON file (line {error.lineno}: {error.msg}): "
                "write it again with 'bamsearch insert MODEL -o DIR'"
            ) from error
        if not isinstance(content, dict) or "bamsearch_design" not in content:
            raise DesignError(f"{source} is no bamsearch design: it has no key 'bamsearch_design'")
        version = content.pop("bamsearch_design")
        if not isinstance(version, int) or version > DESIGN_VERSION:
            raise DesignError(
                f"{source} has design format {version!r}, this bamsearch reads up to "
                f"{DESIGN_VERSION}: pip install --upgrade bamsearch"
            )
        try:
            content["insertions"] = tuple(Insertion(**item) for item in content["insertions"])
            return cls(**content)
        except (KeyError, TypeError, InvalidValueError) as error:
            raise DesignError(f"{source} is not a valid design: {error}") from error


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network costs for one input, counted, not timed.

    Attributes:
        params: number of parameters.
        macs: fvcore's total, 1 multiply-add = 1: convolution, linear, matrix products and
            attention, plus its norm and pooling terms.
        conv_linear_macs: the part that torchvision publishes: no norm, no pooling.
        by_module: dotted path to macs; "" is the whole. Empty for a closed form.
        uncounted: operators that took part but are not counted, with how often.
        counter: what counted: ``fvcore``, ``FlopCounterMode`` or ``closed form``.
    """

    params: int
    macs: int
    conv_linear_macs: int
    by_module: Mapping[str, int] = field(default_factory=dict)
    uncounted: Mapping[str, int] = field(default_factory=dict)
    counter: str = "closed form"

    def __add__(self, other: Cost) -> Cost:
        """This cost and another's; tables and counter are this one's."""
        return Cost(
            self.params + other.params,
            self.macs + other.macs,
            self.conv_linear_macs + other.conv_linear_macs,
            self.by_module,
            self.uncounted,
            self.counter,
        )


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What is known of a model before any design: where BAM can go and what the base costs.

    Attributes:
        model: the MODEL.
        input_shape: one input without the batch.
        part: the part that sites and costs are of: "" for the whole model, ``backbone.body`` for
            a detector, which resizes inside and whose cost depends on what it finds.
        part_input: what the part is given, equal to input_shape for the whole.
        sites: all sites, in network order.
        base: cost of the part without BAM.
        published_params: what torchvision publishes for the whole model; None where it does not,
            or where input or classes are not those that it publishes for.
        published_gmacs: likewise, 10^9 multiply-adds of convolution, linear and attention.
    """

    model: str
    input_shape: tuple[int, ...]
    part: str
    part_input: tuple[int, ...]
    sites: tuple[Site, ...]
    base: Cost
    published_params: int | None = None
    published_gmacs: float | None = None

    def to_json(self) -> str:
        """The summary as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelSummary:
        """Read what :meth:`to_json` wrote; any error is a ValueError, KeyError or TypeError."""
        content = json.loads(text)
        content["sites"] = tuple(Site(**site) for site in content["sites"])
        content["base"] = Cost(**content["base"])
        for key in ("input_shape", "part_input"):
            content[key] = tuple(content[key])
        return cls(**content)


def check_positive(name: str, value: object) -> int:
    """Return value if it is an integer of at least 1, else raise InvalidValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidValueError(f"{name} must be an integer of at least 1, not {value!r}")
    return value


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise InvalidValueError unless value is one of choices."""
    if value not in choices:
        raise InvalidValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def check_input_shape(shape: Any) -> tuple[int, ...]:
    """Return shape as a tuple of 3 or 4 positive integers, else raise InvalidValueError."""
    try:
        checked = tuple(check_positive("each size in input_shape", size) for size in shape)
    except TypeError:
        raise InvalidValueError(f"input_shape must be (C, H, W), not {shape!r}") from None
    if len(checked) not in (3, 4):
        raise InvalidValueError(
            f"input_shape must be (C, H, W) or (C, T, H, W) without the batch, not {checked}"
        )
    return checked
