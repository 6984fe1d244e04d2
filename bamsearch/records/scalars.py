"""Checks of JSON numbers, strings and objects; a :class:`Misfit` describes an error."""

from __future__ import annotations

from typing import Any

from bamsearch.records.hints import MOST_FLOAT, Misfit, Range, shown

MOST_DEPTH = 64
"""Largest nesting depth of lists and objects in a value of any type."""

_LARGEST = 2**63


def expected_object(value: Any) -> dict[str, Any]:
    """The value, which must be a JSON object."""
    if not isinstance(value, dict):
        raise unexpected(value, "an object")
    return value


def any_value(value: Any, depth: int = 0) -> Any:
    """A value of any JSON type, nested at most :data:`MOST_DEPTH` deep."""
    if depth > MOST_DEPTH:
        raise Misfit("is nested too deeply")
    if isinstance(value, list | tuple):
        for item in value:
            any_value(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            string(key)
            any_value(item, depth + 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number(value)
    elif value is not None:
        (boolean if isinstance(value, bool) else string)(value)
    return value


def integer(value: Any, limits: Range | None = None) -> int:
    """An integer within limits, by default those of 64 bits."""
    if type(value) is not int:
        raise unexpected(value, "an integer")
    if limits is not None and not limits.has(value):
        raise unexpected(value, f"an integer {limits}")
    if abs(value) >= _LARGEST and (limits is None or limits.high is None):
        raise unexpected(value, "an integer of at most 64 bits")
    return value


def number(value: Any) -> int | float:
    """A finite number, possibly an integer."""
    if isinstance(value, int) and not isinstance(value, bool):
        return integer(value)
    if not isinstance(value, float) or not abs(value) <= MOST_FLOAT:
        raise unexpected(value, "a finite number")
    return value


def any_number(value: Any) -> int | float:
    """A number, possibly infinite or nan."""
    return value if isinstance(value, float) else number(value)


def boolean(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise unexpected(value, "true or false")
    return value


def string(value: Any) -> str:
    """Text without NUL, which is invalid in paths."""
    if not isinstance(value, str):
        raise unexpected(value, "a string")
    if "\0" in value:
        raise Misfit(f"is {shown(value)}, which has a NUL character")
    return value


def unexpected(value: Any, wanted: str) -> Misfit:
    """The misfit of a value of another type than expected."""
    return Misfit(f"is {shown(value)}, expected {wanted}")
