"""Placements: the selection of a model's sites that get BAM. No torch: sites are plain values."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice

from bamsearch.errors import InvalidValueError, NoSiteError
from bamsearch.records import Insertion, Kind, Site

_KINDS: dict[str, tuple[Kind, ...]] = {
    "paper": ("bottleneck",),
    "bottlenecks": ("bottleneck",),
    "stages": ("bottleneck", "head"),
    "blocks": ("bottleneck", "head", "block"),
}
PLACEMENTS = tuple(_KINDS)
_PAPER_SITES = 3
_COMPARED = 2000
"""Limit on the names compared with an unknown name for suggestions, as each takes time."""


def place(sites: Sequence[Site], placement: str | Sequence[str]) -> list[Site]:
    """The sites of a placement, in network order.

    Args:
        sites: all sites of the model.
        placement: ``paper`` (the three deepest bottlenecks except the stem; reproduces every
            published placement), ``bottlenecks`` (all except the stem), ``stages`` (these and the
            last feature map), ``blocks`` (these and the output of every block), or names of sites.

    Raises:
        InvalidValueError: unknown placement or site.
        NoSiteError: the placement has no site in this model.
    """
    if not isinstance(placement, str):
        by_name = _by_name(sites)
        return [_named(by_name, name) for name in placement]
    if placement not in _KINDS:
        raise InvalidValueError(
            f"unknown placement {placement!r}: use one of {', '.join(PLACEMENTS)}, or site names"
        )
    chosen = [site for site in sites if site.kind in _KINDS[placement]]
    if placement == "paper":
        chosen = chosen[-_PAPER_SITES:]
    if not sites:
        raise NoSiteError(
            "no spatial bottleneck: the resolution of the feature map never changes, so the model "
            "has no site for BAM"
        )
    if not chosen:
        available = ", ".join(f"{site.name} ({site.kind})" for site in sites[:4])
        raise NoSiteError(f"no site in placement {placement!r}: name a site, such as {available}")
    return chosen


def plan_insertions(
    sites: Sequence[Site],
    placement: str | Sequence[str] = "paper",
    *,
    reduction: int = 16,
    dilation: int = 4,
    overrides: Sequence[Insertion] = (),
) -> tuple[Insertion, ...]:
    """The insertions of a placement with common r and d, and overrides at single sites.

    Args:
        sites: all sites of the model.
        placement: as :func:`place`.
        reduction: default r.
        dilation: default d.
        overrides: other r and d at single sites; sites outside the placement are added.
    """
    chosen = {
        site.name: Insertion(site.name, reduction, dilation) for site in place(sites, placement)
    }
    by_name = _by_name(sites)
    for name, count in Counter(override.site for override in overrides).items():
        if count > 1:
            raise InvalidValueError(f"site {name} has two overrides of r and d: give only one")
        _named(by_name, name)
    chosen |= {override.site: override for override in overrides}
    return tuple(chosen[site.name] for site in sites if site.name in chosen)


def why_not_paper(site: Site, sites: Sequence[Site]) -> str | None:
    """Reason why the ``paper`` placement omits a site; None if it includes it."""
    if site.kind == "stem":
        return "stem"
    if site.kind == "block":
        return "inside a stage"
    if site.kind == "neck":
        return "decoder or pyramid: only by name"
    if site.kind == "head":
        return "only global pooling follows" if site.reducer else "last feature map"
    bottlenecks = (other for other in reversed(sites) if other.kind == "bottleneck")
    deepest = list(islice(bottlenecks, _PAPER_SITES))  # lazy: models may have thousands of sites
    return None if site in deepest else f"not among the deepest {_PAPER_SITES}"


def _by_name(sites: Sequence[Site]) -> dict[str, Site]:
    return {site.name: site for site in sites}


def _named(sites: Mapping[str, Site], name: str) -> Site:
    site = sites.get(name)
    if site is None:
        names = list(sites)
        near = difflib.get_close_matches(name, names[:_COMPARED], n=3, cutoff=0.5) or names[:3]
        raise InvalidValueError(
            f"no site is called {name!r}: did you mean {', '.join(near)}? "
            "'bamsearch sites MODEL' lists all"
        )
    return site
