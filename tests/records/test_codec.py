"""The codec: what each type hint writes, reads and refuses; expectations by hand."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from bamsearch.errors import InvalidValueError, RunError
from bamsearch.records.codec import MOST_DEPTH, decode, encode
from bamsearch.records.formats import MOST_BYTES, Format, parse_json, read_bytes
from bamsearch.records.hints import (
    AnyNatural,
    Key,
    Mark,
    Misfit,
    Positive,
    Range,
    Share,
)


class Facts(TypedDict):
    name: str
    size: NotRequired[Positive]


@dataclass(frozen=True)
class Point:
    x: int
    y: float = 0.5

    def __post_init__(self) -> None:
        if self.x == 13:
            raise InvalidValueError("x of 13 brings bad luck")


@dataclass(frozen=True)
class Everything:
    flag: bool
    kind: Literal["a", "b"] | None
    points: tuple[Point, ...]
    rows: tuple[Annotated[Point, Mark.ROW], ...]
    pair: tuple[str, int]
    share: Share
    table: Annotated[Mapping[str, Any], Facts]
    by_pair: Mapping[tuple[str, str], tuple[int, int]]
    draws: Mapping[str, Annotated[tuple[float | None, ...], Mark.BARE]]
    named: Annotated[str, Key("other name")] = "n"
    sparse: Annotated[str, Mark.SPARSE] = "s"
    needed: Annotated[int, Mark.NEEDED] = 3
    loss: Annotated[float, Mark.ANY_FLOAT] = 0.0
    count: AnyNatural = 0
    more: Mapping[str, Any] = field(default_factory=dict)


VALUE = Everything(
    True,
    "a",
    (Point(1),),
    (Point(1, 2.5), Point(2)),
    ("p", 4),
    0.25,
    {"name": "n", "else": [1]},
    {("a", "b"): (1, 2)},
    {"one": (1.5,), "two": (1.0, None)},
    count=17**33,
)
WRITTEN = {
    "flag": True,
    "kind": "a",
    "points": [{"x": 1, "y": 0.5}],
    "rows": [[1, 2.5], [2, 0.5]],
    "pair": ["p", 4],
    "share": 0.25,
    "table": {"name": "n", "else": [1]},
    "by_pair": [["a", "b", 1, 2]],
    "draws": {"one": 1.5, "two": [1.0, None]},
    "other name": "n",
    "needed": 3,
    "loss": 0.0,
    "count": 17**33,
    "more": {},
}
FORMAT: Format[Everything] = Format(Everything, "thing", RunError, "try again", key="thing")


def test_every_kind_of_field_is_written_and_read():
    assert encode(Everything, VALUE) == WRITTEN
    assert list(encode(Everything, VALUE)) == list(WRITTEN)
    assert decode(Everything, json.loads(json.dumps(WRITTEN))) == VALUE
    assert FORMAT.parse(FORMAT.text(VALUE), "t.json") == VALUE
    assert FORMAT.parse(FORMAT.text(VALUE).encode(), "t.json") == VALUE
    assert json.loads(FORMAT.text(VALUE)) == {"thing": 1} | WRITTEN


def test_a_table_may_have_other_keys_even_numbers_as_in_a_damaged_checkpoint():
    assert decode(Facts, {"name": "n", 3: 1}) == {"name": "n", 3: 1}


def test_defaults_may_be_left_out():
    content = {key: v for key, v in WRITTEN.items() if key not in ("other name", "count", "more")}
    result = decode(Everything, content)
    assert (result.named, result.sparse, result.count, result.more) == ("n", "s", 0, {})
    assert decode(Everything, WRITTEN | {"rows": [[1]]}).rows == (Point(1),)


def test_an_integer_stays_one_where_a_float_is_meant():
    result = decode(Everything, WRITTEN | {"share": 1})
    assert type(result.share) is int
    assert decode(Everything, WRITTEN | {"loss": float("inf")}).loss == float("inf")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"flag": 1}, "key flag is 1, expected true or false"),
        ({"kind": "c"}, "key kind is 'c', expected one of a, b"),
        ({"kind": []}, "key kind is a list of 0, expected one of a, b"),
        ({"points": {}}, "key points is an object, expected a list"),
        ({"points": [{"x": "abc"}]}, "key points[0].x is 'abc', expected an integer"),
        ({"points": [{"x": True}]}, "key points[0].x is true, expected an integer"),
        ({"points": [{"x": 1.0}]}, "key points[0].x is 1.0, expected an integer"),
        ({"points": [{"x": 2**63}]}, "expected an integer of at most 64 bits"),
        ({"points": [{"y": 1}]}, "key points[0].x is missing"),
        ({"points": [{"x": 1, "z": 1}]}, "key points[0].z is unknown"),
        ({"points": [{"x": 13}]}, "key points[0]: x of 13 brings bad luck"),
        ({"points": [{"x": 1, "y": float("nan")}]}, "y is nan, expected a finite number"),
        ({"points": [{"x": 1, "y": None}]}, "y is null, expected a finite number"),
        ({"rows": [[1, 2, 3]]}, "key rows[0] is a list of 3, expected a list of x, y"),
        ({"rows": [[]]}, "key rows[0].x is missing"),
        ({"pair": ["p"]}, "key pair has 1 items, expected 2"),
        ({"pair": ["p", "q"]}, "key pair[1] is 'q', expected an integer"),
        ({"pair": ["\0", 1]}, "which has a NUL character"),
        ({"share": 1.5}, "key share is 1.5, expected a number from 0 to 1"),
        ({"table": {}}, "key table.name is missing"),
        ({"table": {"name": "n", "size": 0}}, "table.size is 0, expected an integer of at least 1"),
        ({"table": {"name": "n", "deep": float("inf")}}, "table.deep is inf, expected a finite"),
        ({"by_pair": [["a", "b", 1]]}, "key by_pair[0] has 3 items, expected 4"),
        ({"draws": {"one": "x"}}, "key draws.one[0] is 'x', expected a finite number"),
        ({"count": -1}, "expected an integer of at least 0"),
        ({"other name": 7}, "key other name is 7, expected a string"),
        ({"a\n\x1b[31m": 7}, "key a\\n\\x1b[31m is unknown"),
        ({"named": "n"}, "key named is unknown"),
    ],
)
def test_what_does_not_fit_is_named(change, says):
    with pytest.raises(RunError) as raised:
        FORMAT.parse(json.dumps({"thing": 1} | WRITTEN | change), "runs/x/t.json")
    text = str(raised.value)
    assert text.startswith("runs/x/t.json is not a valid thing: key ")
    assert text.endswith("; try again")
    assert says in text
    assert text.isprintable()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "t is not a whole JSON file (Expecting value"),
        (b"\xff", "t is not UTF-8 at byte 0"),
        ("[" * 100_000, "t is nested too deeply"),
        ('{"thing": ' + "9" * 5000 + "}", "t has a number of 5,000 digits"),
        ("[]", "t is not a bamsearch thing: key 'thing' is missing"),
        ('{"thing": 1e400}', "t has thing format inf, this bamsearch reads up to 1: pip install"),
        ('{"thing": 1}', "t is not a valid thing: key flag is missing"),
    ],
)
def test_what_is_not_a_record_at_all(text, says):
    with pytest.raises(RunError) as raised:
        FORMAT.parse(text, "t")
    assert str(raised.value).startswith(says)


def test_a_long_value_is_shortened():
    with pytest.raises(Misfit) as raised:
        decode(Point, {"x": "y" * 10_000})
    assert len(str(raised.value)) < 100
    with pytest.raises(Misfit) as raised:
        decode(Point, {"x" * 10_000: 1})
    assert len(str(raised.value)) < 300


def test_plain_values_nest_as_deeply_as_said():
    def nested(levels: int) -> Any:
        return [nested(levels - 1)] if levels else 1

    assert decode(Mapping[str, Any], {"a": nested(MOST_DEPTH)})
    with pytest.raises(Misfit, match="key a is nested too deeply"):
        decode(Mapping[str, Any], {"a": nested(MOST_DEPTH + 1)})
    with pytest.raises(Misfit, match="expected a string"):
        decode(Any, {"a": object()})


def test_ranges_count_what_has_a_length():
    some = Annotated[tuple[int, ...], Range(1, 2)]
    assert decode(some, [1, 2]) == (1, 2)
    for wrong in ([], [1, 2, 3]):
        with pytest.raises(Misfit, match="expected a length from 1 to 2"):
            decode(some, wrong)


def test_a_large_file_is_not_read(tmp_path):
    path = tmp_path / "large.json"
    path.write_bytes(b" " * 11)
    with pytest.raises(Misfit, match="has more than 10 bytes"):
        read_bytes(path, 10)
    with open(path, "wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(RunError, match=r"large\.json has more than 67,108,864 bytes; try again"):
        FORMAT.read(path)


def test_no_value_that_json_does_not_know_is_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        FORMAT.text(decode(Everything, WRITTEN | {"loss": float("nan")}))
    assert parse_json("[1, 2.5]") == [1, 2.5]
