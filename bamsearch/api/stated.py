"""Tells a function which arguments its caller stated, rather than left to their defaults."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def with_stated(function: Callable[Concatenate[frozenset[str], P], T]) -> Callable[P, T]:
    """Call a function with the names of the stated arguments as its first argument.

    An argument of None is not stated.
    """
    shown = signature(function)
    parameters = list(shown.parameters.values())[1:]

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        values = dict(zip((p.name for p in parameters), args, strict=False)) | kwargs
        stated = frozenset(name for name, value in values.items() if value is not None)
        return function(stated, *args, **kwargs)

    call.__signature__ = shown.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call
