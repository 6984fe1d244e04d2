"""Check the arguments of public functions against their type hints."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection
from functools import wraps
from numbers import Real
from reprlib import repr as short
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, Unpack, cast, get_args, get_origin
from typing import get_type_hints as hints_of

from bamsearch.errors import InvalidValueError

P = ParamSpec("P")
T = TypeVar("T")

# Stands for torch.nn before torch is loaded, when no value can be a module.
_NO_TORCH = SimpleNamespace(Module=type("Module", (), {}))


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function or class raise InvalidValueError if an argument does not fit its hint."""
    signature = inspect.signature(function)
    annotations = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    hinted = SimpleNamespace(__annotations__=annotations)
    kinds = {parameter.kind: name for name, parameter in signature.parameters.items()}
    variadic = kinds.get(inspect.Parameter.VAR_POSITIONAL)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            arguments = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # raises Python's message for this signature
        torch_nn = sys.modules.get("torch.nn", _NO_TORCH)
        hints = hints_of(hinted, vars(sys.modules[function.__module__]), {"nn": torch_nn})
        for name, value in arguments.items():
            if get_origin(hints[name]) is Unpack:
                fields = hints_of(get_args(hints[name])[0])
                for key in value.keys() & fields.keys():
                    _check(key, value[key], fields[key])
            elif name == variadic:
                for each in value:
                    _check(name, each, hints[name])
            else:
                _check(name, value, hints[name])
        return function(*args, **kwargs)

    return call


def _check(name: str, value: object, hint: Any) -> None:
    if not _fits(value, hint):
        expected = re.sub(r"[\w.]+\.|<class '|'>", "", str(hint)).replace("NoneType", "None")
        if get_origin(hint) is Literal:
            expected = f"one of {', '.join(get_args(hint))}"
        plain = isinstance(value, str | float | int | NoneType)
        kind = short(value) if plain else f"a {type(value).__name__}"
        raise InvalidValueError(f"{name} must be {expected}, not {kind}")


def _fits(value: object, hint: Any) -> bool:
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in args)
    if origin is Literal:
        return isinstance(value, str) and value in args
    if origin in (Any, Callable):
        return origin is Any or callable(value)
    if args and issubclass(origin, Collection):  # Sequence[str], tuple[int, int]
        many = isinstance(value, Collection) and not isinstance(value, str)
        return many and all(_fits(item, args[0]) for item in cast(Any, value))
    # Functions check the kind and the range of numbers themselves.
    return isinstance(value, Real if origin in (int, float) else origin)
