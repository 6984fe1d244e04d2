"""Compares the options of an interrupted piece of work with those of its continuation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple


class FieldDifference(NamedTuple):
    """A field in which two records differ.

    Attributes:
        name: name of the field; that of a nested field follows after a space: ``recipe lr``.
        stored: stored value, as text.
        requested: requested value, as text.
    """

    name: str
    stored: str
    requested: str


def first_difference(
    stored: object, requested: object, *, ignoring: Collection[str] = ()
) -> FieldDifference | None:
    """The first field in which two records differ; None if they agree.

    Values are compared as they are stored: a tuple equals a list.

    Args:
        stored: dataclass instance, or mapping from names to values.
        requested: the same; a field that one of them lacks is None there.
        ignoring: names of fields that may differ.
    """
    return _difference("", _plain(stored), _plain(requested), ignoring)


def _difference(
    name: str, stored: Any, requested: Any, ignoring: Collection[str]
) -> FieldDifference | None:
    if not isinstance(stored, dict) or not isinstance(requested, dict):
        same = stored == requested
        return None if same else FieldDifference(name, _text(stored), _text(requested))
    for key in {**stored, **requested}:
        path = f"{name} {key}".lstrip()
        if path not in ignoring:
            pair = stored.get(key), requested.get(key)
            difference = _difference(path, *pair, ignoring)
            if difference is not None:
                return difference
    return None


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return " ".join(f"{name} {_text(item)}" for name, item in value.items())
    return "none" if value is None else str(value)
