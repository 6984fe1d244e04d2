"""Sites, insertions and designs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, get_args

from bamsearch.errors import DesignError, InvalidValueError
from bamsearch.records.arguments import (
    How,
    Init,
    Kind,
    Layout,
    Variant,
    check_choice,
    check_input_shape,
    check_positive,
)
from bamsearch.records.formats import Format, Stored
from bamsearch.records.hints import Mark, Natural, Positive

# BAM's multiply-adds are below 20 times that; sums of them over sites fit 64 bits.
_MOST_WORK = 2**55


@dataclass(frozen=True, slots=True)
class Site:
    """A feature map after which BAM can be inserted.

    Attributes:
        name: dotted path of the outermost module whose output is the map (``layer1``); the path of
            the operation if no module ends there; ``name@2`` for a module's second call.
        channels: C of the map.
        height: H of the map for the given input.
        width: W of the map for the given input.
        stride: ratio of the network's input size to the size of the map.
        layout: order of the axes.
        kind: ``bottleneck`` (just before a spatial reduction), ``stem`` (the same, with at most one
            weighted layer before it), ``head`` (the last feature map), ``block`` (inside a stage),
            ``neck`` (a decoder's or pyramid's map; in no placement, only by name).
        reducer: module that shrinks the map next (``layer2``; the global pooling after a head);
            None for blocks, necks, and the head of a network without pooling.
        frames: T of a video map, otherwise None.

    Raises:
        InvalidValueError: a map so large that the costs of BAM exceed 64 bits.
    """

    name: str
    channels: Positive
    height: Positive
    width: Positive
    stride: Natural
    layout: Layout
    kind: Kind
    reducer: str | None = None
    frames: Positive | None = None

    def __post_init__(self) -> None:
        work = self.channels**2 * self.height * self.width * (self.frames or 1)
        if work > _MOST_WORK:
            raise InvalidValueError(f"site {self.name} is larger than costs can be counted for")


@dataclass(frozen=True, slots=True)
class Insertion:
    """BAM after one site, with its reduction and dilation.

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


Insertions = tuple[Annotated[Insertion, Mark.ROW], ...]
"""In JSON a list of ``[site, reduction, dilation]``."""


@dataclass(frozen=True, slots=True)
class Design(Stored):
    """A model and its BAM insertions: everything needed to rebuild the network.

    Attributes:
        model: a MODEL as on the command line: ``resnet101``, ``timm:NAME``, ``package:factory``.
        input_shape: shape of one input without the batch: (C, H, W), or (C, T, H, W) for video.
        insertions: at most one per site; empty for the base network.
        variant: variant of BAM, see :class:`bamsearch.BAM`.
        init: initialisation of BAM, see :class:`bamsearch.BAM`.
        num_classes: classes of the model's head; None: the model's default.
        weights: torchvision's published weights that the network is built for, if any. The design
            does not contain them, but torchvision builds some models differently for them:
            GoogLeNet and Inception normalise their input, segmentation has auxiliary heads,
            detectors have frozen norms.
        how: method of insertion, see :func:`bamsearch.insert_bam`; in JSON only if not ``auto``.

    Raises:
        InvalidValueError: a site twice, an unknown variant, init or how, an impossible shape.
    """

    model: str
    input_shape: tuple[int, ...]
    insertions: Annotated[tuple[Insertion, ...], Mark.NEEDED] = ()
    variant: Variant = "paper"
    init: Init = "paper"
    num_classes: int | None = None
    weights: str | None = None
    how: Annotated[How, Mark.SPARSE] = "auto"

    def __post_init__(self) -> None:
        # Callers and JSON give lists; a frozen value has tuples.
        object.__setattr__(self, "input_shape", check_input_shape(self.input_shape))
        if not isinstance(self.insertions, Collection):
            raise InvalidValueError(f"a design has Insertions, not {self.insertions!r}")
        object.__setattr__(self, "insertions", tuple(self.insertions))
        if not isinstance(self.model, str) or not self.model:
            raise InvalidValueError(f"the model of a design must be a name, not {self.model!r}")
        check_choice("variant", self.variant, get_args(Variant))
        check_choice("init", self.init, get_args(Init))
        check_choice("how", self.how, get_args(How))
        if self.num_classes is not None:
            check_positive("num_classes", self.num_classes)
        if self.weights is not None and not isinstance(self.weights, str):
            raise InvalidValueError(f"weights must be a published name, not {self.weights!r}")
        strange = [
            insertion for insertion in self.insertions if not isinstance(insertion, Insertion)
        ]
        if strange:
            raise InvalidValueError(f"a design has Insertions, not {strange[0]!r}")
        names = Counter(insertion.site for insertion in self.insertions)
        twice = next((name for name, count in names.items() if count > 1), None)
        if twice is not None:
            raise InvalidValueError(f"site {twice} is in the design twice: a site takes one BAM")


Design.FORMAT = Format(
    Design,
    "design",
    DesignError,
    "write it again with 'bamsearch insert MODEL -o DIR'",
    key="bamsearch_design",
    file="design.json",
)
