"""The comparison of stored and requested options."""

from dataclasses import dataclass, replace

from bamsearch.records.comparison import FieldDifference, first_difference


@dataclass(frozen=True)
class Options:
    seed: int = 0
    size: tuple[int, int] | None = (32, 32)
    recipe: dict[str, object] | None = None
    command: str = "a"


def test_records_with_equal_fields_agree():
    stored = {"seed": 0, "size": [32, 32], "recipe": None, "command": "a"}
    assert first_difference(Options(), Options()) is None
    assert first_difference(stored, Options()) is None


def test_the_first_difference_is_named_with_both_values():
    other = replace(Options(), size=(64, 32), command="b")
    assert first_difference(Options(), other) == FieldDifference("size", "32, 32", "64, 32")
    assert first_difference(Options(), other, ignoring=["size"]) == ("command", "a", "b")
    assert first_difference(Options(), other, ignoring=["size", "command"]) is None


def test_nested_and_missing_fields():
    stored = Options(recipe={"lr": 0.1, "epochs": 2})
    other = Options(recipe={"lr": 0.2, "epochs": 2})
    assert first_difference(stored, other) == ("recipe lr", "0.1", "0.2")
    assert first_difference(stored, other, ignoring=["recipe lr"]) is None
    assert first_difference({"a": 1}, {"a": 1, "b": 2}) == ("b", "none", "2")
    assert first_difference({"a": {"b": 1}}, {"a": None}) == ("a", "b 1", "none")
    sites = {"insertions": [{"site": "a", "r": 16}, {"site": "b", "r": 8}]}
    assert first_difference(sites, {}) == ("insertions", "site a r 16, site b r 8", "none")
