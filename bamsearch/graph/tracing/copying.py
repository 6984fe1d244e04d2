"""Copy models that :func:`copy.deepcopy` alone cannot copy.

Stored feature maps and the weights of the old ``weight_norm`` are copied without autograd history;
locks, open files and generators are shared with the original; modules wrapped by
``torch.compile`` are copied without the wrapper, which would run the code of the original.
"""

from __future__ import annotations

import copy
import functools
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from bamsearch.errors import ModelError, first_line

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""Attributes of a module that hold hooks of its calls."""

Memo = dict[int, Any]


def copy_model(
    module: nn.Module, memo: Memo | None = None, device: torch.device | None = None
) -> nn.Module:
    """Deep-copy a module.

    Args:
        module: the model, or a part of it; not modified.
        memo: existing copies by the id of the original, as for ``copy.deepcopy``.
        device: device for copies of tensors that forward stored; None keeps theirs.

    Returns:
        The copy, unwrapped from ``torch.compile``. Objects that cannot be copied (locks, open
        files, generators) are shared.

    Raises:
        ModelError: lazy parameters, TorchScript, or an object that cannot be copied.
    """
    refuse_uncopyable(module)
    memo = dict(memo or {})
    keep = []  # the memo identifies objects by id: they must outlive it
    for child in module.modules():
        for value in _plain_values(child):
            for tensor in _tensors(value, set()):
                if id(tensor) not in memo and not tensor.is_leaf:
                    detached = tensor.detach()
                    memo[id(tensor)] = detached.clone() if device is None else detached.to(device)
                    keep.append(tensor)
    try:
        return _copy(module, dict(memo))
    except Exception:
        _share_what_cannot_be_copied(module, memo)
    try:
        return _copy(module, memo)
    except Exception as error:
        raise ModelError(
            f"{type(module).__name__} cannot be copied: {first_line(error)}. "
            "Give it a __deepcopy__, or remove that object before inserting"
        ) from error


def meta_copy(module: nn.Module) -> nn.Module:
    """Copy a module to the meta device, in eval mode, without copying its weights."""
    refuse_uncopyable(module)
    memo: Memo = {}
    for tensor in [*module.parameters(), *module.buffers()]:
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = (
            nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
        )
    copied = copy_model(module, memo, torch.device("meta"))
    # User hooks must not run; the nodes of backward hooks would hide outputs.
    remove_hooks(copied)
    # to(): a module may override it to move tensors that are neither parameters nor buffers.
    return copied.to("meta").eval()


def remove_hooks(module: nn.Module, keep: tuple[str, ...] = ("bamsearch",)) -> None:
    """Remove all call hooks of a module and its submodules, except those of the packages in keep.

    bamsearch's hooks run attached BAMs.
    """
    for child in module.modules():
        for name in HOOKS:
            hooks = getattr(child, name)
            for key, hook in list(hooks.items()):
                if str(getattr(hook, "__module__", "")).partition(".")[0] not in keep:
                    del hooks[key]


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside a ``torch.compile`` wrapper; any other module itself."""
    while _is_compiled(module):
        module = cast(nn.Module, module._orig_mod)
    return module


def _is_compiled(module: nn.Module) -> bool:
    # Looked up, not imported: importing torch._dynamo takes seconds, and wrappers have loaded it.
    frames = sys.modules.get("torch._dynamo.eval_frame")
    return frames is not None and isinstance(module, frames.OptimizedModule)


def refuse_uncopyable(module: nn.Module) -> None:
    """Raise ModelError for uninitialised lazy parameters and TorchScript modules."""
    for path, child in module.named_modules():
        name = path or type(module).__name__
        if isinstance(child, torch.jit.ScriptModule):
            raise ModelError(
                f"{name} is a TorchScript module, whose forward cannot be changed: "
                "pass the model from before torch.jit.script or torch.jit.trace"
            )
        tensors = (*child._parameters.values(), *child._buffers.values())
        if any(nn.parameter.is_lazy(tensor) for tensor in tensors):
            raise ModelError(
                f"{name} has lazy parameters: run the model once on an input, then insert BAM"
            )


def _copy(module: nn.Module, memo: Memo) -> nn.Module:
    # Each module has a dozen empty containers, whose deep copies take most of the time.
    for child in module.modules():
        for value in vars(child).values():
            if _is_empty(value):
                memo.setdefault(id(value), type(value)())
    # Innermost first: the inside of a wrapper is copied before objects that refer to the wrapper.
    for child in reversed(list(module.modules())):
        if _is_compiled(child):
            memo[id(child)] = copy.deepcopy(unwrapped(child), memo)
    return copy.deepcopy(module, memo)


def _plain_values(module: nn.Module) -> list[Any]:
    """A module's attributes, buffers and hooks: all but parameters and children."""
    values = (v for name, v in vars(module).items() if name not in ("_parameters", "_modules"))
    return [value for value in values if not _is_empty(value)]


def _is_empty(value: Any) -> bool:
    return type(value) in (dict, OrderedDict, set) and not value


def _parts(value: Any) -> list[Any]:
    """The objects that a container or a plain object refers to."""
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, types.MethodType):
        return [value.__self__]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, type | nn.Module | torch.Tensor | types.FunctionType | types.ModuleType):
        return []
    return list(getattr(value, "__dict__", {}).values())


def _tensors(value: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    """The tensors in an attribute, without parameters."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        if not isinstance(value, nn.Parameter):
            yield value
        return
    for part in _parts(value):
        yield from _tensors(part, seen)


def _share_what_cannot_be_copied(module: nn.Module, memo: Memo) -> None:
    """Add the innermost objects that cannot be copied to memo, so that copies share them."""
    trial = dict(memo)
    for child in module.modules():
        trial[id(child)] = child
        trial.update((id(parameter), parameter) for parameter in child.parameters(recurse=False))
    for child in module.modules():
        for value in _plain_values(child):
            for stuck in _stuck(value, trial, set()):
                memo[id(stuck)] = trial[id(stuck)] = stuck


def _stuck(value: Any, memo: Memo, seen: set[int]) -> list[Any]:
    """The innermost objects in value that cannot be copied."""
    if id(value) in seen:
        return []
    seen.add(id(value))
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:
        inner = [stuck for part in _parts(value) for stuck in _stuck(part, memo, seen)]
        return inner or [value]
    return []
