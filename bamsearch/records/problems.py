"""The problem of a search or an audit: a network, its search space and its budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from bamsearch.records.budgets import Budget
from bamsearch.records.choices import Init, Variant
from bamsearch.records.costs import ModelSummary
from bamsearch.records.designs import Design, Insertion
from bamsearch.records.hints import PlainTable, Positive
from bamsearch.records.tables import SpaceTable


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
    space: Annotated[Mapping[str, Any], PlainTable(SpaceTable)]
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
