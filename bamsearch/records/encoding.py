"""Encodes values as JSON by their types; see :mod:`bamsearch.records.codec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from bamsearch.records.hints import Mark, marks_of, named_fields

_Convert = Callable[[Any], Any]


def encode(kind: Any, value: Any) -> Any:
    """Encode a value of type ``kind`` as JSON content."""
    return _encoder(kind)(value)


@cache
def _encoder(kind: Any) -> _Convert:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _annotated_encoder(args[0], args[1:])
    if origin in (Union, UnionType):
        inner = _encoder(next(arg for arg in args if arg is not NoneType))
        return lambda value: None if value is None else inner(value)
    if origin in (tuple, list, Sequence):
        same = origin is not tuple or args[-1] is Ellipsis
        inner = _encoder(args[0]) if same else _as_it_is
        return lambda value: [inner(item) for item in value]
    if origin in (Mapping, dict):
        inner = _encoder(args[1])
        if get_origin(args[0]) is tuple:
            return lambda value: [[*key, *inner(item)] for key, item in value.items()]
        return lambda value: {key: inner(item) for key, item in value.items()}
    return _dataclass_encoder(kind) if is_dataclass(kind) else _as_it_is


def _annotated_encoder(kind: Any, marks: tuple[Any, ...]) -> _Convert:
    convert = _encoder(kind)
    if Mark.ROW in marks:
        return lambda value: list(convert(value).values())
    if Mark.BARE in marks:
        return lambda value: convert(value)[0] if len(value) == 1 else convert(value)
    return convert


def _dataclass_encoder(kind: Any) -> _Convert:
    named = [
        (name, field.name, _encoder(hint), _left_out(hint, field))
        for name, field, hint in named_fields(kind)
    ]

    def convert(value: Any) -> Any:
        items = ((name, inner, getattr(value, field), out) for name, field, inner, out in named)
        return {name: inner(item) for name, inner, item, out in items if item != out}

    return convert


def _left_out(hint: Any, field: Field[Any]) -> Any:
    """The value with which a field is omitted; a unique object if it never is."""
    return field.default if Mark.SPARSE in marks_of(hint) else object()


def _as_it_is(value: Any) -> Any:
    return value
