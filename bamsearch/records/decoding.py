"""Decodes JSON to values and checks their types; see :mod:`bamsearch.records.codec`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from bamsearch.errors import InvalidValueError
from bamsearch.records.hints import Mark, Misfit, PlainTable, Range, marks_of, named_fields, shown
from bamsearch.records.scalars import (
    any_number,
    any_value,
    boolean,
    expected_object,
    integer,
    number,
    string,
    unexpected,
)

_Convert = Callable[[Any], Any]


def decode(kind: Any, content: Any) -> Any:
    """Decode JSON content as a value of a type.

    Args:
        kind: a dataclass, or a type built of dataclasses, tuples, mappings, unions, literals,
            numbers, text and Any. A value that already is a dataclass of the type is unchanged.
        content: content from :func:`parse_json`.

    Raises:
        Misfit: the content is not of this type.
    """
    return _decoder(kind)(content)


@cache
def _decoder(kind: Any) -> _Convert:
    make = _BY_ORIGIN.get(get_origin(kind))
    if make is not None:
        return make(get_args(kind))
    if is_dataclass(kind):
        return _dataclass_decoder(kind)
    return _table_decoder(kind) if is_typeddict(kind) else _SIMPLE[kind]


def _annotated_decoder(args: tuple[Any, ...]) -> _Convert:
    kind, *marks = args
    ranges = [mark for mark in marks if isinstance(mark, Range)]
    tables = [mark for mark in marks if isinstance(mark, PlainTable)]
    convert = _decoder(tables[0].keys if tables else kind)
    if Mark.ROW in marks:
        convert = _row_decoder(kind)
    if Mark.OPAQUE in marks:
        return expected_object
    if Mark.ANY_FLOAT in marks:
        convert = any_number
    if Mark.BARE in marks:
        convert = _bare_decoder(convert)
    if not ranges:
        return convert
    limits = ranges[0]
    if kind is int:
        return lambda value: integer(value, limits)

    def checked(value: Any) -> Any:
        decoded = convert(value)
        if not limits.has(decoded):
            size = "" if isinstance(decoded, int | float) else "a length "
            raise Misfit(f"is {shown(value)}, expected {size or 'a number '}{limits}")
        return decoded

    return checked


def _bare_decoder(several: _Convert) -> _Convert:
    return lambda value: several(value if isinstance(value, list) else [value])


def _union_decoder(kinds: tuple[Any, ...]) -> _Convert:
    optional = NoneType in kinds
    converts = [_decoder(kind) for kind in kinds if kind is not NoneType]

    def convert(value: Any) -> Any:
        if value is None and optional:
            return None
        for attempt in converts[:-1]:
            try:
                return attempt(value)
            except Misfit:
                continue
        return converts[-1](value)

    return convert


def _literal_decoder(choices: tuple[Any, ...]) -> _Convert:
    def convert(value: Any) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise Misfit(f"is {shown(value)}, expected one of {', '.join(map(str, choices))}")
        return value

    return convert


def _list_decoder(origin: Any, kinds: tuple[Any, ...]) -> _Convert:
    make = tuple if origin is tuple else list
    same = origin is not tuple or (len(kinds) == 2 and kinds[1] is Ellipsis)
    converts = [_decoder(kind) for kind in kinds if kind is not Ellipsis]

    def convert(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise unexpected(value, "a list")
        if not same and len(value) != len(converts):
            raise Misfit(f"has {len(value)} items, expected {len(converts)}")
        items, index = [], 0
        try:
            for index, item in enumerate(value):
                items.append(converts[0 if same else index](item))
        except Misfit as misfit:
            misfit.path.insert(0, index)
            raise
        return make(items)

    return convert


def _mapping_decoder(args: tuple[Any, ...]) -> _Convert:
    key, item = args
    if get_origin(key) is tuple:
        split = len(get_args(key))
        rows = _decoder(tuple[tuple[(*get_args(key), *get_args(item))], ...])  # type: ignore[misc]
        return lambda value: {row[:split]: row[split:] for row in rows(value)}
    name, convert = _decoder(key), _decoder(item)

    def whole(value: Any) -> Any:
        return {name(k): at_key(k, convert, v) for k, v in expected_object(value).items()}

    return whole


def _dataclass_decoder(kind: Any) -> _Convert:
    named = {name: (field, _decoder(hint)) for name, field, hint in named_fields(kind)}
    needed = [
        name
        for name, field, hint in named_fields(kind)
        if (field.default is MISSING and field.default_factory is MISSING)
        or Mark.NEEDED in marks_of(hint)
    ]

    def convert(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        values = {}
        for name, item in expected_object(value).items():
            if name not in named:
                raise _under(name, Misfit("is unknown"))
            field, inner = named[name]
            values[field.name] = at_key(name, inner, item)
        missing = next((name for name in needed if name not in value), None)
        if missing is not None:
            raise _under(missing, Misfit("is missing"))
        return _made(kind, values)

    return convert


def _row_decoder(kind: Any) -> _Convert:
    named = [(field.name, _decoder(hint)) for _, field, hint in named_fields(kind)]
    convert = _dataclass_decoder(kind)

    def row(value: Any) -> Any:
        if not isinstance(value, list) or len(value) > len(named):
            raise unexpected(value, f"a list of {', '.join(name for name, _ in named)}")
        return convert({name: item for (name, _), item in zip(named, value, strict=False)})

    return row


def _table_decoder(kind: Any) -> _Convert:
    hints = get_type_hints(kind, include_extras=True)
    converts = {name: _decoder(hint) for name, hint in hints.items()}
    # Not __required_keys__, which is wrong where annotations are text.
    needed = [n for n, hint in hints.items() if kind.__total__ and get_origin(hint) != NotRequired]

    def convert(value: Any) -> Any:
        for name in needed:
            if name not in expected_object(value):
                raise _under(name, Misfit("is missing"))
        return {
            k: at_key(k, converts.get(k, any_value), v) for k, v in expected_object(value).items()
        }

    return convert


def _made(kind: Any, values: dict[str, Any]) -> Any:
    try:
        return kind(**values)
    except InvalidValueError as error:
        raise Misfit(str(error), is_value=False) from error


def at_key(key: str, convert: _Convert, value: Any) -> Any:
    """Convert the value of a key; a :class:`Misfit` then names the key too."""
    try:
        return convert(value)
    except InvalidValueError as error:
        raise _under(key, Misfit(str(error), is_value=False)) from error
    except Misfit as misfit:
        raise _under(key, misfit) from None


def _under(key: str, misfit: Misfit) -> Misfit:
    misfit.path.insert(0, key)
    return misfit


_SIMPLE: dict[Any, _Convert] = {
    int: integer,
    float: number,
    bool: boolean,
    str: string,
    Any: any_value,
}

_BY_ORIGIN: dict[Any, Callable[[tuple[Any, ...]], _Convert]] = {
    Annotated: _annotated_decoder,
    Union: _union_decoder,
    UnionType: _union_decoder,
    Literal: _literal_decoder,
    NotRequired: lambda args: _decoder(args[0]),
    tuple: partial(_list_decoder, tuple),
    list: partial(_list_decoder, list),
    Sequence: partial(_list_decoder, list),
    Mapping: _mapping_decoder,
    dict: _mapping_decoder,
}
