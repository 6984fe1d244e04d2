"""Placements: which of a model's sites get BAM. No torch here: sites are plain values."""

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
"""So many names are looked at for one like a name that is not there: each takes time."""


def place(sites: Sequence[Site], placement: str | Sequence[str]) -> list[Site]:
    """The sites that a placement names, in network order.

    Args:
        sites: all sites of the model.
        placement: ``paper`` (the deepest three bottlenecks that are no stem; reproduces every
            published placement), ``bottlenecks`` (all that are no stem), ``stages`` (these and the
            last feature map), ``blocks`` (these and every block's output), or names of sites.

    Raises:
        InvalidValueError: no such placement or site.
        NoSiteError: the placement has no site in this model.
    """
    if not isinstance(placement, str):
        by_name = _by_name(sites)
        return [_named(by_name, name) for name in placement]
    if placement not in _KINDS:
        raise InvalidValueError(
            f"no placement is called {placement!r}: one of {', '.join(PLACEMENTS)}, or site names"
        )
    chosen = [site for site in sites if site.kind in _KINDS[placement]]
    if placement == "paper":
        chosen = chosen[-_PAPER_SITES:]
    if not sites:
        raise NoSiteError(
            "no spatial bottleneck: the feature map keeps one resolution, so BAM has no place"
        )
    if not chosen:
        there = ", ".join(f"{site.name} ({site.kind})" for site in sites[:4])
        raise NoSiteError(f"no site in placement {placement!r}; name one: {there}")
    return chosen


def plan(
    sites: Sequence[Site],
    placement: str | Sequence[str] = "paper",
    *,
    reduction: int = 16,
    dilation: int = 4,
    overrides: Sequence[tuple[str, int | None, int | None]] = (),
) -> tuple[Insertion, ...]:
    """What goes where: one r and d for a placement, and others at single sites.

    Args:
        sites: all sites of the model.
        placement: as :func:`place`.
        reduction: r of every BAM that has no other.
        dilation: d of every BAM that has no other.
        overrides: (site, r, d), None for the common one; a site outside the placement joins it.

    Raises:
        InvalidValueError: no such placement or site, a site twice, r or d out of range.
        NoSiteError: the placement has no site in this model.
    """
    chosen = {
        site.name: Insertion(site.name, reduction, dilation) for site in place(sites, placement)
    }
    twice = [name for name, count in Counter(name for name, _, _ in overrides).items() if count > 1]
    if twice:
        raise InvalidValueError(f"site {twice[0]} is given its own r and d twice: give it once")
    by_name = _by_name(sites)
    for name, own_reduction, own_dilation in overrides:
        site = _named(by_name, name)
        chosen[site.name] = Insertion(
            site.name,
            reduction if own_reduction is None else own_reduction,
            dilation if own_dilation is None else own_dilation,
        )
    return tuple(chosen[site.name] for site in sites if site.name in chosen)


def why_not_paper(site: Site, sites: Sequence[Site]) -> str | None:
    """Why the ``paper`` placement leaves a site out; None if it does not."""
    if site.kind == "stem":
        return "stem"
    if site.kind == "block":
        return "inside a stage"
    if site.kind == "neck":
        return "decoder or pyramid: only by name"
    if site.kind == "head":
        return "only global pooling follows" if site.reducer else "last feature map"
    bottlenecks = (other for other in reversed(sites) if other.kind == "bottleneck")
    deepest = list(islice(bottlenecks, _PAPER_SITES))  # Of thousands, no more are looked at.
    return None if site in deepest else f"not among the deepest {_PAPER_SITES}"


def _by_name(sites: Sequence[Site]) -> dict[str, Site]:
    return {site.name: site for site in sites}


def _named(sites: Mapping[str, Site], name: str) -> Site:
    found = sites.get(name)
    if found is None:
        names = list(sites)
        near = difflib.get_close_matches(name, names[:_COMPARED], n=3, cutoff=0.5) or names[:3]
        raise InvalidValueError(
            f"no site is called {name!r}: did you mean {', '.join(near)}? "
            "'bamsearch sites MODEL' lists all"
        )
    return found
