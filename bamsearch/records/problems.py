"""The problem of a search or an audit: a network with its costs, a search space and budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from bamsearch.errors import InvalidValueError
from bamsearch.records.arguments import How, Init, Variant
from bamsearch.records.designs import Design, Insertion, Site
from bamsearch.records.formats import Format, Stored
from bamsearch.records.hints import Amount, Mark, Positive, Range

Quantity = Literal["gflops", "params", "memory", "ms"]
"""Quantities that a budget can limit; ``gflops`` are fvcore's, 1 multiply-add = 1 FLOP."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit that all scored designs meet.

    Attributes:
        quantity: the limited quantity.
        text: the limit as typed: ``8``, ``45M``, ``+2%``.
        limit: largest feasible value, in multiply-adds, parameters, bytes or nanoseconds.
        base: cost of the base network, in the same unit.
    """

    quantity: Quantity
    text: str
    limit: Amount
    base: Amount

    @property
    def slack(self) -> int:
        """Cost that all BAMs together may add; negative if the base is over the budget."""
        return self.limit - self.base

    def admits(self, cost: float) -> bool:
        """Whether a total cost, in the unit of the limit, is within the budget."""
        return cost <= self.limit


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of a network for one input: counted, not timed.

    Attributes:
        params: number of parameters.
        macs: fvcore's total, 1 multiply-add = 1: convolution, linear, matrix products and
            attention, plus its norm and pooling terms.
        conv_linear_macs: the part that torchvision publishes: no norm, no pooling.
        by_module: dotted path to macs; "" is the whole. Empty for a closed form.
        uncounted: operators that were executed but not counted, with their numbers of calls.
        counter: counter: ``fvcore``, ``FlopCounterMode`` or ``closed form``.
    """

    params: Amount
    macs: Amount
    conv_linear_macs: Amount
    by_module: Mapping[str, int] = field(default_factory=dict)
    uncounted: Mapping[str, int] = field(default_factory=dict)
    counter: str = "closed form"

    def __add__(self, other: Cost) -> Cost:
        """The sum of two costs; tables and counter are those of the first."""
        return Cost(
            self.params + other.params,
            self.macs + other.macs,
            self.conv_linear_macs + other.conv_linear_macs,
            self.by_module,
            self.uncounted,
            self.counter,
        )


@dataclass(frozen=True, slots=True)
class ModelSummary(Stored):
    """Sites of a model and costs of its base, known before any design.

    Attributes:
        model: the MODEL.
        input_shape: shape of one input without the batch.
        part: part of the model that sites and costs refer to: "" for the whole model,
            ``backbone.body`` for a detector, which resizes inside and whose cost depends on its
            detections.
        part_input: input shape of the part, equal to input_shape for the whole.
        sites: all sites, in network order.
        base: cost of the part without BAM.
        published_params: parameters of the whole model as published by torchvision; None if it
            publishes none for this input and these classes.
        published_gmacs: likewise, 10^9 multiply-adds of convolution, linear and attention.
        how: method of inserting BAM, if a check has chosen it; in JSON only if not ``auto``.
    """

    model: str
    input_shape: Annotated[tuple[Positive, ...], Range(3, 4)]
    part: str
    part_input: tuple[Positive, ...]
    sites: tuple[Site, ...]
    base: Cost
    published_params: Positive | None = None
    published_gmacs: float | None = None
    how: Annotated[How, Mark.SPARSE] = "auto"


ModelSummary.FORMAT = Format(
    ModelSummary,
    "model summary",
    InvalidValueError,
    "count the model again",
    indent=None,
    file="the summary",
)


class SpaceTable(TypedDict):
    """A search space's file, see :mod:`bamsearch.space.space`."""

    name: str
    description: NotRequired[str]
    sites: NotRequired[str | list[str]]
    reductions: NotRequired[list[Positive]]
    dilations: NotRequired[list[Positive]]
    optional: NotRequired[bool]
    together: NotRequired[bool]
    at: NotRequired[dict[str, dict[str, Any]]]


class RecipeTable(TypedDict):
    """A training recipe, see :class:`bamsearch.training.recipe.Recipe`."""

    name: str
    epochs: Positive
    batch_size: Positive
    lr: float
    precision: str


@dataclass(frozen=True, slots=True)
class Problem:
    """The fields that a :class:`Run` and an :class:`Audit` share.

    Attributes:
        name: name of the run, also of its Optuna study, or of the audit.
        summary: summary of the model.
        variant: variant of BAM.
        init: initialisation of BAM.
        num_classes: classes of the model's head.
        space: parsed file of the search space.
        with_stem: whether the stem is added to the space.
        budgets: budgets that all designs meet.
    """

    name: str
    summary: ModelSummary
    variant: Variant
    init: Init
    num_classes: Positive | None
    space: Annotated[Mapping[str, Any], SpaceTable]
    with_stem: bool
    budgets: tuple[Budget, ...]

    @property
    def model(self) -> str:
        """The MODEL."""
        return self.summary.model

    def design(self, insertions: Sequence[Insertion]) -> Design:
        """Insertions as a design of the model."""
        return Design(
            self.model,
            self.summary.input_shape,
            tuple(insertions),
            self.variant,
            self.init,
            self.num_classes,
            how=self.summary.how,
        )
