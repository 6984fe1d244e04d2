"""Which sites a placement takes; sites are plain values here."""

from __future__ import annotations

from typing import Any

import pytest

from bamsearch.errors import InvalidValueError, NoSiteError
from bamsearch.graph.placement import place, plan_insertions, why_not_paper
from bamsearch.records import Insertion, Kind, Site


def site(name: str, kind: Kind, reducer: str | None = "next") -> Site:
    return Site(name, 8, 4, 4, 1, "NCHW", kind, reducer)


SITES = [
    site("s", "stem"),
    site("a", "bottleneck"),
    site("b0", "block", None),
    site("b", "bottleneck"),
    site("c", "bottleneck"),
    site("d0", "block", None),
    site("d", "bottleneck"),
    site("e", "head"),
]


@pytest.mark.parametrize(
    ("placement", "names"),
    [
        ("paper", "b c d"),
        ("bottlenecks", "a b c d"),
        ("stages", "a b c d e"),
        ("blocks", "a b0 b c d0 d e"),
        (["d", "s"], "d s"),
        (("b0",), "b0"),
        ([], ""),
    ],
)
def test_placements(placement: Any, names: str) -> None:
    assert [s.name for s in place(SITES, placement)] == names.split()


def test_no_site() -> None:
    for placement in ("paper", "bottlenecks", "stages", "blocks"):
        with pytest.raises(NoSiteError, match="no spatial bottleneck") as caught:
            place([], placement)
        assert caught.value.exit_code == 3
    with pytest.raises(
        NoSiteError, match=r"no site in placement 'paper': name a site, such as s \(stem\)"
    ):
        place(SITES[:1], "paper")


def test_unknown_names() -> None:
    with pytest.raises(InvalidValueError, match="unknown placement 'Paper'"):
        place(SITES, "Paper")
    with pytest.raises(InvalidValueError, match="no site is called 'b1': did you mean b"):
        place(SITES, ["b1"])
    with pytest.raises(InvalidValueError, match="no site is called"):
        place([], ["layer1"])


def test_plan() -> None:
    assert plan_insertions(SITES, reduction=8, dilation=2) == (
        Insertion("b", 8, 2),
        Insertion("c", 8, 2),
        Insertion("d", 8, 2),
    )
    # one outside the placement joins in its place
    overrides = [Insertion("d", 16, 1), Insertion("s", 4, 4), Insertion("b", 32, 6)]
    assert plan_insertions(SITES, "paper", overrides=overrides) == (
        Insertion("s", 4, 4),
        Insertion("b", 32, 6),
        Insertion("c", 16, 4),
        Insertion("d", 16, 1),
    )
    assert plan_insertions(SITES, [], overrides=[Insertion("c", 2, 1)]) == (Insertion("c", 2, 1),)


def test_plan_refuses() -> None:
    with pytest.raises(InvalidValueError, match="site b has two overrides of r and d"):
        plan_insertions(SITES, overrides=[Insertion("b", 4), Insertion("b", 16, 2)])
    with pytest.raises(InvalidValueError, match="no site is called"):
        plan_insertions(SITES, overrides=[Insertion("zzz", 4)])
    for bad in (0, -4, 1.5, True):
        with pytest.raises(InvalidValueError, match="reduction"):
            plan_insertions(SITES, reduction=bad)  # type: ignore[arg-type]
        with pytest.raises(InvalidValueError, match="dilation"):
            plan_insertions(SITES, dilation=bad)  # type: ignore[arg-type]


def test_why_paper_leaves_a_site_out() -> None:
    reasons = {s.name: why_not_paper(s, SITES) for s in SITES}
    assert reasons == {
        "s": "stem",
        "a": "not among the deepest 3",
        "b0": "inside a stage",
        "b": None,
        "c": None,
        "d0": "inside a stage",
        "d": None,
        "e": "only global pooling follows",
    }
    left_in = {s.name for s in place(SITES, "paper")}
    assert left_in == {name for name, reason in reasons.items() if reason is None}
    assert why_not_paper(site("e", "head", None), SITES) == "last feature map"
