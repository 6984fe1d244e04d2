"""Summaries of named models: sites, base cost and published numbers.

torch is imported lazily: cached summaries do not need it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bamsearch.errors import NoSiteError
from bamsearch.profiling import cache
from bamsearch.records import Design, ModelSummary
from bamsearch.text import size_text

if TYPE_CHECKING:
    from bamsearch.graph.base import Base


def summarise(
    model: str,
    size: Sequence[int] | None = None,
    num_classes: int | None = None,
    weights: str | None = None,
    base: Callable[[], Base] | None = None,
) -> ModelSummary:
    """Sites, base cost and published numbers of a MODEL, from the cache if possible.

    Args:
        model: a MODEL, see :mod:`bamsearch.graph.models`.
        size: (H, W) of the input; None is the model's default.
        num_classes: classes of the head; None is the model's default.
        weights: published weights that the model is built for, see :class:`bamsearch.Design`.
        base: gives the built model, if it is needed anyway; called only if the cache has nothing.

    Raises:
        ModelError: the model is unknown, not traceable, or does not accept this input.
    """
    key = cache.summary_key(model, size, num_classes, weights)
    summary = cache.read_summary(key)
    if summary is None:
        summary = _survey(model, size, num_classes, weights, base)
        cache.write(key, summary.to_json(), cache.SUMMARIES)
    return summary


def summarise_base(model: str, base: Base) -> ModelSummary:
    """Summarise a built network, without published numbers and without the cache.

    Raises:
        ModelError: the network is not traceable, or does not accept its input.
    """
    from bamsearch.profiling.counting import count

    network = base.network
    cost = count(network.module, network.input_shape)
    return ModelSummary(
        model, base.input_shape, network.path, network.input_shape, base.sites, cost
    )


def _survey(
    model: str,
    size: Sequence[int] | None,
    num_classes: int | None,
    weights: str | None,
    base: Callable[[], Base] | None,
) -> ModelSummary:
    from bamsearch.graph.base import build_base
    from bamsearch.graph.models import default_input_shape, published

    default = default_input_shape(model)
    shape = (*default[:-2], *size) if size else default
    design = Design(model, shape, num_classes=num_classes, weights=weights)
    summary = summarise_base(model, base() if base else build_base(design, initialise=False))
    numbers = published(model)
    if numbers is None or shape != default or num_classes is not None:
        return summary
    return replace(summary, published_params=numbers.params, published_gmacs=numbers.gmacs)


def check_has_sites(summary: ModelSummary) -> None:
    """Raise NoSiteError if the model has no sites."""
    if not summary.sites:
        size = size_text(summary.input_shape)
        raise NoSiteError(
            f"{summary.model} has no spatial bottleneck at {size}: the resolution of its feature "
            "map never changes, so it has no site for BAM"
        )
