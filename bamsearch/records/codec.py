"""Encodes values as JSON and decodes them, by their type hints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import GenericAlias, NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from bamsearch.errors import InvalidValueError
from bamsearch.records.hints import MOST_FLOAT, Key, Mark, Misfit, Range, shown

MOST_DEPTH = 64
"""Largest nesting depth of lists and objects in a value of any type."""


class _Field(NamedTuple):
    """A field of a dataclass, or a key of a TypedDict."""

    name: str
    hint: Any
    needed: bool
    left_out: object
    """Value with which it is left out; a unique object if it never is."""


@cache
def _fields_of(kind: Any) -> dict[str, _Field]:
    """The fields by their names in JSON."""
    hints = get_type_hints(kind, include_extras=True)
    if is_typeddict(kind):
        # Not __required_keys__, which is wrong where annotations are text.
        return {
            key: _Field(key, hint, get_origin(hint) is not NotRequired, object())
            for key, hint in hints.items()
        }
    named = {}
    for field in (field for field in fields(kind) if field.init):
        hint = hints[field.name]
        marks = get_args(hint) if get_origin(hint) is Annotated else ()
        key = next((mark.name for mark in marks if isinstance(mark, Key)), field.name)
        no_default = field.default is MISSING and field.default_factory is MISSING
        left_out = field.default if Mark.SPARSE in marks else object()
        named[key] = _Field(field.name, hint, no_default or Mark.NEEDED in marks, left_out)
    return named


def encode(kind: Any, value: Any) -> Any:
    """Encode a value of type ``kind`` as JSON content."""
    origin, args = get_origin(kind), get_args(kind)
    content = value
    if value is None:
        pass
    elif origin is Annotated:
        content = encode(args[0], value)
        if Mark.ROW in args:
            content = list(content.values())
        elif Mark.BARE in args and len(content) == 1:
            content = content[0]
    elif origin in (Union, UnionType):
        content = encode(next(arg for arg in args if arg is not NoneType), value)
    elif origin in (Mapping, dict):
        content = {key: encode(args[1], item) for key, item in value.items()}
        if get_origin(args[0]) is tuple:
            content = [[*key, *item] for key, item in content.items()]
    elif origin in (tuple, list, Sequence):
        each = args[0] if origin is not tuple or args[-1] is Ellipsis else Any
        content = [encode(each, item) for item in value]
    elif is_dataclass(kind):
        content = _encode_dataclass(kind, value)
    return content


def _encode_dataclass(kind: Any, value: Any) -> dict[str, Any]:
    return {
        key: encode(field.hint, getattr(value, field.name))
        for key, field in _fields_of(kind).items()
        if getattr(value, field.name) != field.left_out
    }


def decode(kind: Any, value: Any) -> Any:
    """Decode JSON content as a value of a type.

    Args:
        kind: a dataclass or a TypedDict, or a type built of these, tuples, mappings, unions,
            literals, numbers, text and Any. A dataclass of the type is returned unchanged.
        value: parsed JSON.

    Raises:
        Misfit: the content is not of this type.
    """
    of_origin = _DECODERS.get(get_origin(kind))
    if of_origin is not None:
        return of_origin(value, *get_args(kind))
    if is_dataclass(kind) or is_typeddict(kind):
        return _decode_object(kind, value)
    return _decode_any(value) if kind is Any else _decode_scalar(kind, value)


def decode_at(key: str | int, kind: Any, value: Any) -> Any:
    """Decode the value of a key; a :class:`Misfit` then names the key too."""
    try:
        return decode(kind, value)
    except Misfit as misfit:
        misfit.path.insert(0, key)
        raise


def expected_object(value: Any) -> dict[str, Any]:
    """The value, which must be a JSON object."""
    if not isinstance(value, dict):
        raise _unexpected(value, "an object")
    return value


def _decode_annotated(value: Any, kind: Any, *marks: Any) -> Any:
    if Mark.OPAQUE in marks:
        return expected_object(value)
    if Mark.ANY_FLOAT in marks and isinstance(value, float):
        return value
    if Mark.BARE in marks and not isinstance(value, list):
        value = [value]
    if Mark.ROW in marks:
        names = list(_fields_of(kind))
        if not isinstance(value, list) or len(value) > len(names):
            raise _unexpected(value, f"a list of {', '.join(names)}")
        value = dict(zip(names, value, strict=False))
    limits = next((mark for mark in marks if isinstance(mark, Range)), None)
    if kind is int and type(value) is int and limits is not None:
        if not limits.has(value):
            raise _unexpected(value, f"an integer {limits}")
        return value if limits.high is not None else _decode_scalar(int, value)
    decoded = decode(next(filter(is_typeddict, marks), kind), value)
    if limits is not None and not limits.has(decoded):
        noun = "a number" if isinstance(decoded, int | float) else "a length"
        raise _unexpected(value, f"{noun} {limits}")
    return decoded


def _decode_union(value: Any, *kinds: Any) -> Any:
    if value is None and NoneType in kinds:
        return None
    *others, last = [kind for kind in kinds if kind is not NoneType]
    for kind in others:
        try:
            return decode(kind, value)
        except Misfit:
            continue
    return decode(last, value)


def _decode_literal(value: Any, *choices: Any) -> Any:
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise _unexpected(value, f"one of {', '.join(map(str, choices))}")
    return value


def _decode_tuple(value: Any, *kinds: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _unexpected(value, "a list")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise Misfit(f"has {len(value)} items, expected {len(kinds)}")
    return tuple(map(decode_at, range(len(value)), kinds, value))


def _decode_list(value: Any, kind: Any) -> list[Any]:
    return list(_decode_tuple(value, kind, Ellipsis))


def _decode_mapping(value: Any, key_kind: Any, kind: Any) -> dict[Any, Any]:
    if get_origin(key_kind) is tuple:
        split = len(get_args(key_kind))
        row_kind = GenericAlias(tuple, (*get_args(key_kind), *get_args(kind)))
        return {row[:split]: row[split:] for row in _decode_list(value, row_kind)}
    return {
        decode(key_kind, key): decode_at(key, kind, item)
        for key, item in expected_object(value).items()
    }


def _decode_object(kind: Any, value: Any) -> Any:
    """A dataclass, or a TypedDict, which may have keys of any type besides its own."""
    if not is_typeddict(kind) and isinstance(value, kind):
        return value
    named, values = _fields_of(kind), {}
    for key, item in expected_object(value).items():
        field = named.get(key)
        if field is not None:
            values[field.name] = decode_at(key, field.hint, item)
        elif is_typeddict(kind):
            values[key] = decode_at(key, Any, item)
        else:
            raise Misfit("is unknown", key)
    missing = next((key for key, field in named.items() if field.needed and key not in value), None)
    if missing is not None:
        raise Misfit("is missing", missing)
    if is_typeddict(kind):
        return values
    try:
        return kind(**values)
    except InvalidValueError as error:
        raise Misfit(str(error), is_value=False) from error


def _decode_any(value: Any, depth: int = 0) -> Any:
    if depth > MOST_DEPTH:
        raise Misfit("is nested too deeply")
    if isinstance(value, list | tuple | dict):
        for item in value.values() if isinstance(value, dict) else value:
            _decode_any(item, depth + 1)
        for key in value if isinstance(value, dict) else ():
            _decode_scalar(str, key)
        return value
    kind = type(value)
    return None if value is None else _decode_scalar(kind if kind in _SCALARS else str, value)


_SCALARS: dict[type, tuple[type | UnionType, str]] = {
    bool: (bool, "true or false"),
    int: (int, "an integer"),
    float: (int | float, "a finite number"),
    str: (str, "a string"),
}
"""Accepted type, and its name, for each type."""


def _decode_scalar(kind: type, value: Any) -> Any:
    accepted, name = _SCALARS[kind]
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise _unexpected(value, name)
    if isinstance(value, float) and not abs(value) <= MOST_FLOAT:
        raise _unexpected(value, name)
    if isinstance(value, int) and abs(value) >= 2**63:
        raise _unexpected(value, "an integer of at most 64 bits")
    if isinstance(value, str) and "\0" in value:
        raise Misfit(f"is {shown(value)}, which has a NUL character")
    return value


def _unexpected(value: Any, expected: str) -> Misfit:
    return Misfit(f"is {shown(value)}, expected {expected}")


_DECODERS: dict[Any, Callable[..., Any]] = {
    Annotated: _decode_annotated,
    Union: _decode_union,
    UnionType: _decode_union,
    Literal: _decode_literal,
    NotRequired: lambda value, kind: decode(kind, value),
    tuple: _decode_tuple,
    list: _decode_list,
    Sequence: _decode_list,
    Mapping: _decode_mapping,
    dict: _decode_mapping,
}
