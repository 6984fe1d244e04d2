"""Literal types of the records, and checks of arguments."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from numbers import Real
from reprlib import repr as short
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, Unpack, cast, get_args, get_origin
from typing import get_type_hints as hints_of

from bamsearch.errors import InvalidValueError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Kind = Literal["stem", "bottleneck", "head", "block", "neck"]
Layout = Literal["NCHW", "NHWC", "NCTHW", "NTHWC"]
Variant = Literal["paper", "official"]
Init = Literal["paper", "identity"]
How = Literal["auto", "rewrite", "attach"]
"""How BAM is inserted, see :func:`bamsearch.insert_bam`."""

DType = Literal["float32", "bfloat16", "float16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Mode = Literal["eager", "compile", "cudagraph"]
Objective = Literal["score", "gflops", "params", "ms"]
BaselineKind = Literal["base", "paper", "largest", "random"]
"""Baselines of a search."""

InputShape = Sequence[int] | int
"""(C, H, W), or (C, T, H, W) for video, without the batch; 64 is (3, 64, 64)."""

Role = Literal["base", "paper", "largest", "random", "found"]
"""A baseline, or ``found``: the best design."""

# Stands for torch.nn before torch is loaded, when no value can be a module.
_NO_TORCH = SimpleNamespace(Module=type("Module", (), {}))


def check_positive(name: str, value: object) -> int:
    """Return value if it is an integer of at least 1, else raise InvalidValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidValueError(f"{name} must be an integer of at least 1, not {value!r}")
    return value


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise InvalidValueError unless value is one of choices."""
    if value not in choices:
        raise InvalidValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def check_input_shape(shape: Any) -> tuple[int, ...]:
    """Return an :data:`InputShape` as a tuple, or raise InvalidValueError."""
    if isinstance(shape, int):
        shape = (3, shape, shape)
    try:
        checked = tuple(check_positive("each size in input_shape", size) for size in shape)
    except TypeError:
        raise InvalidValueError(f"input_shape must be (C, H, W), not {shape!r}") from None
    if len(checked) not in (3, 4):
        raise InvalidValueError(
            f"input_shape must be (C, H, W) or (C, T, H, W) without the batch, not {checked}"
        )
    return checked


def check_input_size(size: Any) -> tuple[int, int]:
    """Return (H, W), or one number for both, as a tuple, or raise InvalidValueError."""
    sizes = [size, size] if isinstance(size, int) else [*size]
    if len(sizes) != 2:
        raise InvalidValueError(f"input_size must be (H, W), or one number for both, not {size!r}")
    height, width = (check_positive("each size in input_size", each) for each in sizes)
    return height, width


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function or class raise InvalidValueError if an argument does not fit its hint."""
    signature = inspect.signature(function)
    annotations = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    hinted = SimpleNamespace(__annotations__=annotations)
    kinds = {parameter.kind: name for name, parameter in signature.parameters.items()}
    variadic = kinds.get(inspect.Parameter.VAR_POSITIONAL)
    # Inherited fields of a dataclass have the annotations of another module.
    sources: Sequence[Any] = inspect.getmro(function) if isinstance(function, type) else [function]

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            arguments = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # raises Python's message for this signature
        torch_nn = sys.modules.get("torch.nn", _NO_TORCH)
        names: dict[str, Any] = {}
        for each in reversed(sources):
            names |= vars(sys.modules[each.__module__])
        hints = hints_of(hinted, names, {"nn": torch_nn})
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


def parameters_of(request: Callable[P, R]) -> Callable[[Callable[[R], T]], Callable[P, T]]:
    """Give a function of a request the fields of the request's class as checked parameters.

    The class declares and documents them: its ``Attributes`` are the ``Args`` of the function.
    """

    def decorate(function: Callable[[R], T]) -> Callable[P, T]:
        make = checked(request)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            return function(make(*args, **kwargs))

        classes = [each for each in inspect.getmro(cast(type, request)) if each is not object]
        entries = [(inspect.getdoc(each) or "").partition("Attributes:\n")[2] for each in classes]
        args = "\n".join(["Args:", *filter(None, entries), "\n"])
        text, heading, rest = re.split(
            r"^(Returns:|Raises:)", inspect.getdoc(function) or "", maxsplit=1, flags=re.MULTILINE
        )
        call.__doc__ = f"{text}{args}{heading}{rest}"
        returned = inspect.signature(function).return_annotation
        signature = inspect.signature(request).replace(return_annotation=returned)
        vars(call)["__signature__"] = signature
        return call

    return decorate


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
