"""The public function ``insert``: BAM in a MODEL, with its exact cost."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bamsearch.data.resolving import check_model_fits_data, resolve
from bamsearch.errors import InvalidValueError
from bamsearch.graph.placement import plan_insertions
from bamsearch.profiling.costs import DesignCost, cost_of
from bamsearch.profiling.summary import check_has_sites, summarise
from bamsearch.records import DataFacts, Design, How, Init, Insertion, ModelSummary, Variant
from bamsearch.records.arguments import checked

if TYPE_CHECKING:
    from bamsearch.graph.base import Base, Inserted
    from bamsearch.graph.weights import Loaded


@dataclass(frozen=True, slots=True, eq=False)
class InsertResult:
    """BAM in a MODEL.

    Attributes:
        design: the design.
        summary: sites and cost of the model without BAM.
        cost: exact cost of the design.
        loaded: the pretrained weights; None if they are random.
        inserted: the network, compared with the model; None if it was not built.
    """

    design: Design
    summary: ModelSummary
    cost: DesignCost
    loaded: Loaded | None
    inserted: Inserted | None

    def save(
        self, folder: str | os.PathLike[str], *, force: bool = False, dry_run: bool = False
    ) -> list[Path]:
        """Write the design, and the network's weights unless they are random.

        Args:
            folder: see :func:`bamsearch.save`.
            force: replace existing files.
            dry_run: write nothing.

        Returns:
            The files.

        Raises:
            InvalidValueError: the pretrained network was not built.
            OutputError: the files exist and force is False, or the folder is not writable.
        """
        from bamsearch.graph.designs import DESIGN_FILE, WEIGHTS_FILE, save

        if self.loaded and not self.inserted:
            raise InvalidValueError("the network with its weights was not built: use build=True")
        module = self.inserted.module if self.loaded and self.inserted else None
        if not dry_run:
            return save(self.design, folder, module, force=force)
        return [Path(folder) / name for name in [DESIGN_FILE, WEIGHTS_FILE][: 2 if module else 1]]


@checked
def insert(  # noqa: PLR0913
    model: str,
    sites: str | Sequence[str] = "paper",
    *,
    reduction: int = 16,
    dilation: int = 4,
    overrides: Sequence[Insertion] = (),
    variant: Variant = "paper",
    init: Init | None = None,
    how: How = "auto",
    weights: str | None = None,
    input_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    data: str | None = None,
    download: bool = False,
    seed: int = 0,
    build: bool = True,
) -> InsertResult:
    """Insert BAM into a MODEL and count its exact cost, as ``bamsearch insert`` does.

    :func:`bamsearch.insert_bam` inserts into any module.

    Args:
        model: a MODEL, see :mod:`bamsearch.graph.models`.
        sites: a placement or names of sites, see :func:`bamsearch.insert_bam`.
        reduction: r of every BAM.
        dilation: d of every BAM.
        overrides: other r and d at single sites; sites outside the placement are added.
        variant: see :class:`bamsearch.BAM`.
        init: see :class:`bamsearch.BAM`; None is ``identity`` with weights, else ``paper``.
        how: see :func:`bamsearch.insert_bam`.
        weights: ``DEFAULT``, the name of published weights, or a file; None is random.
        input_size: (H, W) of the input; None is the model's default.
        num_classes: classes of the head; None is the model's default.
        data: data set that determines input size and classes, see :func:`bamsearch.search`.
        download: download missing data.
        seed: random seed of weights that are not loaded.
        build: build the network and compare it with the model; False returns the cost alone.

    Raises:
        NoSiteError: the placement has no site in this model.
        InvalidValueError: an unknown site or placement, or r or d out of range.
        ModelError: as :func:`bamsearch.insert_bam`.
        WeightsError: see :func:`bamsearch.graph.weights.build_with_weights`.
        DataError: the data do not exist, or do not fit the model.
    """
    if not sites:
        raise InvalidValueError(f"`sites` is empty: 'bamsearch sites {model}' lists the sites")
    input_size, num_classes, facts = resolve(
        data, input_size, num_classes, download=download, contents=False
    )
    loaded = published = None
    if weights is not None:
        loaded = _load(model, weights, input_size, num_classes, seed)
        num_classes, published = loaded.num_classes, loaded.published

    @cache
    def base() -> Base:
        from bamsearch.graph.base import Base, base_to_examine

        shape = _shape(model, input_size)
        if loaded is not None:
            return Base(loaded.module, shape)
        return base_to_examine(Design(model, shape, num_classes=num_classes))

    needed = base if build or loaded else None
    summary = _summary(facts, model, input_size, num_classes, published, needed)
    insertions = plan_insertions(
        summary.sites, sites, reduction=reduction, dilation=dilation, overrides=overrides
    )
    start = init or ("paper" if weights is None else "identity")
    design = Design(
        *(model, summary.input_shape, insertions, variant, start, num_classes, published), how
    )
    cost = cost_of(summary, design)
    inserted = None
    if build:
        from bamsearch.graph.designs import insert_checked

        inserted = insert_checked(design, base())
        design = replace(design, how=inserted.how)
    return InsertResult(design, summary, cost, loaded, inserted)


def summarise_model(
    model: str,
    input_size: tuple[int, int] | None = None,
    num_classes: int | None = None,
    *,
    data: str | None = None,
    download: bool = False,
) -> ModelSummary:
    """The sites and cost of a MODEL, for the arguments see :func:`insert`."""
    input_size, num_classes, facts = resolve(
        data, input_size, num_classes, download=download, contents=False
    )
    return _summary(facts, model, input_size, num_classes)


def _summary(facts: DataFacts | None, *options: Any) -> ModelSummary:
    summary = summarise(*options)
    check_model_fits_data(facts, summary)
    check_has_sites(summary)
    return summary


def _load(
    model: str,
    weights: str,
    input_size: tuple[int, int] | None,
    num_classes: int | None,
    seed: int,
) -> Loaded:
    import torch

    from bamsearch.graph.weights import build_with_weights

    torch.manual_seed(seed)
    return build_with_weights(model, weights, _shape(model, input_size), num_classes=num_classes)


def _shape(model: str, input_size: tuple[int, int] | None) -> tuple[int, ...]:
    from bamsearch.graph.models import default_input_shape

    shape = default_input_shape(model)
    return (*shape[:-2], *input_size) if input_size else shape
