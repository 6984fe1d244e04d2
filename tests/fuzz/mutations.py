"""Spoilt files: a whole one, changed in one to three places as values or as bytes."""

import json
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, TypeVar

T = TypeVar("T")

Pick = Callable[[Sequence[T]], T]
"""Chooses one of several: at random, by hypothesis, or by atheris."""

DEEP = "DEEP"
"""Stands for lists nested more deeply than any reader allows; put in as text."""

WILD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 7, 1.5, -0.5, 1e308, 5e-324, 1e400, float("nan")),
    *(2**31, 2**63 - 1, 2**63, -(2**64), 10**300, 10**5000, -0.0),
    *("", "abc", "0", "1e5", "\0", "\ud800", "é\n\x1b[31m<b>", "=1+1", "../../etc", "x" * 5000),
    *([], {}, [[]], [0], {"a": 1}, [None] * 3, ["a", 4, 1], DEEP),
    *("base", "found", "complete", "failed", "stopped", "score", "gflops", "ms", "train"),
]
"""Values that take the place of another."""

_NESTED = "[" * 100_000 + "]" * 100_000


def spoil(content: bytes, pick: Pick) -> bytes:
    """A file's content, corrupted.

    Args:
        content: JSON, lines of JSON, or any other bytes.
        pick: decides everything.
    """
    if pick([True, True, True, False]):
        lines = content.splitlines(keepends=True)
        try:
            whole = [json.loads(content)]
        except ValueError:
            try:
                whole = [json.loads(line) for line in lines]
            except ValueError:
                return spoil_bytes(content, pick)
        number = pick(range(len(whole))) if whole else 0
        whole = [spoil_value(v, pick) if n == number else v for n, v in enumerate(whole)]
        return b"".join(text_of(value) for value in whole)
    return spoil_bytes(content, pick)


def text_of(value: Any) -> bytes:
    """JSON on one line; of numbers of any size, and nested as deeply as wished."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return json.dumps(value).replace(f'"{DEEP}"', _NESTED).encode() + b"\n"
    finally:
        sys.set_int_max_str_digits(limit)


def spoil_value(value: Any, pick: Pick) -> Any:
    """A value as JSON holds it, changed in one to three places."""
    value = deepcopy(value)
    for _ in range(pick([1, 1, 2, 3])):
        places = list(_places(value))
        if not places:
            return deepcopy(pick(WILD))
        inside, key = pick(places)
        how = pick(["replace", "alike", "alike", "alike", "delete", "add", "swap", "double"])
        if how == "replace":
            inside[key] = deepcopy(pick(WILD))
        elif how == "alike":
            kind = type(inside[key])
            inside[key] = deepcopy(pick([value for value in WILD if type(value) is kind] or WILD))
        elif how == "delete":
            del inside[key]
        elif how == "add" and isinstance(inside, dict):
            inside["more"] = deepcopy(pick(WILD))
        elif how == "swap":
            other, other_place = pick(places)
            inside[key] = deepcopy(other[other_place])
        elif type(inside[key]) in (int, float) and abs(inside[key]) < 1e15:
            inside[key] = inside[key] * pick([-1, 2, 1e6, 10**6, 0])
    return value


def spoil_bytes(content: bytes, pick: Pick) -> bytes:
    """Bytes, cut short, overwritten, doubled or with others between them."""
    at = pick(range(len(content) + 1))
    end = min(len(content), at + pick([1, 1, 2, 10, 1000]))
    between = pick([b"", b"\0", b"\xff", b"\n", b"]", b'"', b"9" * 5000, b"\xf0\x9f", b"[" * 10**5])
    return pick(
        [
            content[:at],
            content[:at] + between + content[at:],
            content[:at] + between + content[end:],
            content[:end] + content[at:],
            b"",
            between,
        ]
    )


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(list or object, its index or key) of every value inside."""
    result: list[tuple[Any, Any]] = []
    todo = [value] if isinstance(value, dict | list) else []
    while todo:
        inside = todo.pop()
        keys = inside if isinstance(inside, dict) else range(len(inside))
        for key in keys:
            result.append((inside, key))
            if isinstance(inside[key], dict | list):
                todo.append(inside[key])
    return result
