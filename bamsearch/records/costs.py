"""Counted costs of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from bamsearch.errors import InvalidValueError
from bamsearch.records.choices import How
from bamsearch.records.codec import Format
from bamsearch.records.designs import Site
from bamsearch.records.hints import Amount, Mark, Positive, Range


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
class ModelSummary:
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

    def to_json(self) -> str:
        """The summary as JSON text."""
        return _FORMAT.text(self)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "the summary") -> ModelSummary:
        """Read what :meth:`to_json` wrote.

        Raises:
            InvalidValueError: the text is not a model summary.
        """
        return _FORMAT.parse(text, source)


_FORMAT: Format[ModelSummary] = Format(
    ModelSummary, "model summary", InvalidValueError, "count the model again", indent=None
)
