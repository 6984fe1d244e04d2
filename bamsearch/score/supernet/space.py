"""What a supernet must be able to become."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bamsearch.errors import DesignError, InvalidValueError
from bamsearch.records import Design, Insertion, check_positive
from bamsearch.records.codec import Format
from bamsearch.records.hints import Positive

Rule = tuple[Sequence[int], Sequence[int]]
"""The reductions and the dilations of a site."""


@dataclass(frozen=True, slots=True)
class SlotSpace:
    """A base network, and the r and d that each site may have.

    A site may always be without BAM: a space that forbids it just never asks for that.

    Attributes:
        base: a design without BAM: model, input, classes, variant and init of all designs.
        sites: by name, in network order.

    Raises:
        InvalidValueError: a base with BAM, no site, or a site without an r or a d.
    """

    base: Design
    sites: Mapping[str, Rule]

    def __post_init__(self) -> None:
        if self.base.insertions:
            raise InvalidValueError(
                f"the base has BAM at {self.base.insertions[0].site}: give it without"
            )
        if not self.sites:
            raise InvalidValueError("a supernet of no site is its base: give at least one site")
        object.__setattr__(self, "sites", {n: _rule(n, *rule) for n, rule in self.sites.items()})

    def widest(self) -> Design:
        """The design with the smallest r at every site, and the site's first d."""
        placed = [Insertion(name, min(r), d[0]) for name, (r, d) in self.sites.items()]
        return replace(self.base, insertions=tuple(placed))

    def to_dict(self) -> dict[str, Any]:
        """The space as JSON takes it."""
        sites = {name: [list(numbers) for numbers in rule] for name, rule in self.sites.items()}
        return {"base": json.loads(self.base.to_json()), "sites": sites}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SlotSpace:
        """Read what :meth:`to_dict` made.

        Raises:
            DesignError: it is not that.
        """
        stored = {key: content[key] for key in ("base", "sites") if key in content}
        found = _FORMAT.value(stored, "the space of a supernet")
        try:
            return cls(Design.from_json(json.dumps(found.base), "the base"), found.sites)
        except InvalidValueError as error:
            raise DesignError(f"what a supernet is of cannot be read: {error}") from error


_Numbers = tuple[Positive, ...]


@dataclass(frozen=True, slots=True)
class _Stored:
    base: Mapping[str, Any]
    sites: Mapping[str, tuple[_Numbers, _Numbers]]


_FORMAT: Format[_Stored] = Format(_Stored, "space", DesignError, "train it anew")


def _rule(site: str, reductions: Sequence[int], dilations: Sequence[int]) -> Rule:
    for name, values in (("reduction", reductions), ("dilation", dilations)):
        if not values:
            raise InvalidValueError(f"site {site} has no {name}: give at least one")
        for value in values:
            check_positive(f"a {name} of {site}", value)
    return tuple(reductions), tuple(dilations)
