"""Read weight files as training scripts write them: wrapped, prefixed, with averaged weights.

Nothing in a file is executed: ``torch.load`` runs with ``weights_only=True``, and besides tensors
only plain values that scripts store (argparse options, numpy numbers, paths) are accepted.
"""

from __future__ import annotations

import logging
import pathlib
import warnings
import zipfile
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bamsearch.errors import WeightsError

_log = logging.getLogger(__name__)

_AVERAGES = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "model_ema_state_dict", "ema_model"),
    *("params_ema", "ema"),
)
"""Keys of a moving average of the weights, which is what scripts validate and publish."""

_WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "net", "network", "module"),
    *("params", "weights", "encoder", "backbone"),
)

_DEPTH = 3

_COUNTER = ".num_batches_tracked"
_AUXILIARY = ("aux_classifier.", "aux1.", "aux2.")

_SCALAR = np.float64(0).__reduce__()[0]
_PLAIN: list[Any] = [
    Namespace,
    pathlib.PosixPath,
    np.dtype,
    *(type(np.dtype(letter)) for letter in "?bBhHiIlLqQefdFD"),
    *((_SCALAR, f"numpy.{package}.multiarray.scalar") for package in ("core", "_core")),
]
"""Allowed types besides tensors: constructing them runs no code."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Tensors by name, and the path of keys to them in the file, such as ``model.state_dict``."""

    where: str
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A file with weights.

    Attributes:
        path: the file.
        stored: candidates for the weights, averages first.
    """

    path: Path
    stored: tuple[Stored, ...]

    @property
    def has_bam(self) -> bool:
        """Whether the weights belong to a network with BAM."""
        return any("bam" in key.split(".") for entry in self.stored for key in entry.tensors)

    def state_for(self, module: nn.Module) -> dict[str, Tensor]:
        """Weights under the names of a network, without prefixes and unrelated tensors.

        Removed prefixes and ignored tensors are logged. Weights of another network are returned
        unchanged.
        """
        needed = {key for key in module.state_dict() if not key.endswith(_COUNTER)}
        for entry in self.stored:
            prefix = self._prefix(entry.tensors, needed)
            if prefix is None:
                continue
            state, ignored = _split_state(entry.tensors, prefix, module)
            self._log_choice(entry.where, prefix, ignored)
            return state
        return dict(self.stored[0].tensors)

    def _prefix(self, tensors: Mapping[str, Tensor], needed: set[str]) -> str | None:
        """The common prefix of all needed names; None if some are missing."""
        hits: Counter[str] = Counter()
        for key in tensors:
            parts = key.split(".")
            for start in range(len(parts)):
                if ".".join(parts[start:]) in needed:
                    hits[".".join([*parts[:start], ""]) if start else ""] += 1
        whole = [prefix for prefix, count in hits.items() if count == len(needed)]
        averages = [prefix for prefix in whole if "ema" in prefix.replace("_", ".").split(".")]
        if "" in whole or not whole:
            return "" if whole else None
        if len(averages or whole) > 1:
            names = " and ".join(averages or whole)
            raise WeightsError(
                f"{self.path} has several such networks, under {names}: save the state_dict of one"
            )
        return (averages or whole)[0]

    def _log_choice(self, where: str, prefix: str, ignored: list[str]) -> None:
        paths = (entry.where for entry in self.stored)
        alternatives = " or ".join(path for path in paths if path not in ("", where))
        notes = [f"took {where}"] if where else []
        if where.split(".")[0] in _AVERAGES:
            notes[0] += " (a moving average)" + (f", not {alternatives}" if alternatives else "")
        notes += [f"without the prefix {prefix}"] if prefix else []
        if ignored:
            more = f" and {len(ignored) - 2} more" if len(ignored) > 2 else ""
            notes.append(f"left out {', '.join(ignored[:2])}{more}")
        if notes:
            _log.info("%s: %s", self.path, "; ".join(notes))


def read_checkpoint(path: Path) -> WeightFile:
    """Read a weight file, either ``.safetensors`` or readable by ``torch.load(weights_only=True)``.

    Raises:
        WeightsError: the file is missing, unreadable without running code in it, or has no tensors.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: give DEFAULT, a published name or a file")
    content = _content(path)
    stored = tuple(_stored(content))
    if not stored:
        raise WeightsError(f"{path} holds no tensors by name: save model.state_dict()")
    return WeightFile(path, stored)


def load_all(module: nn.Module, path: Path, of: str) -> None:
    """Load a file with all weights of a network."""
    state = with_counters(module, read_checkpoint(path).state_for(module))
    misfit = misfit_text(module, state)
    if misfit:
        raise WeightsError(f"{path} does not hold the weights of {of}: {misfit}")
    copy_into(module, state, str(path))


def copy_into(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy weights into a network, converted to its dtypes, after checking that they are finite.

    Raises:
        WeightsError: NaN or infinite weights, or tensors that are not dense numbers.
    """
    current = module.state_dict()
    converted = {}
    for key, value in state.items():
        try:
            converted[key] = value.to(current[key].dtype)
            check_finite({key: converted[key]}, source)
        except (RuntimeError, TypeError) as error:
            raise WeightsError(
                f"{source} has {key} as {value.dtype}, {value.layout}, which is not supported: "
                "save model.state_dict() of a plain float model"
            ) from error
    module.load_state_dict(converted, strict=False)


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Raise WeightsError for the first tensor with a NaN or infinite value."""
    for key, value in state.items():
        if not value.isfinite().all():
            raise WeightsError(
                f"{source} has NaN or infinite weights in {key}: take an earlier checkpoint"
            )


def with_counters(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state, with missing batch counters filled in from the network."""
    current = module.state_dict()
    missing = current.keys() - state.keys()
    return {**state, **{key: current[key] for key in missing if key.endswith(_COUNTER)}}


def misfit_text(module: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Describe how names and shapes differ from a network's; empty if they match."""
    current = module.state_dict()
    missing = sorted(current.keys() - state.keys())
    unexpected = sorted(state.keys() - current.keys())
    shapes = [key for key in current if key in state and current[key].shape != state[key].shape]
    parts = [
        f"{len(keys)} {problem} (such as {keys[0]})"
        for problem, keys in (("missing", missing), ("unknown", unexpected), ("misshapen", shapes))
        if keys
    ]
    return ", ".join(parts)


def _content(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors" or _is_safetensors(path):
            return load_file(path)
        _check_stored(path)
        with torch.serialization.safe_globals(_PLAIN), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a complete safetensors file: {error}") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    except (MemoryError, WeightsError):
        raise
    except Exception as error:
        # torch.load's own message advises to turn the check off; a state_dict passes it.
        raise WeightsError(
            f"{path} cannot be read with weights_only=True ({_reason(path, error)}): save "
            "model.state_dict(), or a .safetensors file"
        ) from error


def _is_safetensors(path: Path) -> bool:
    """Whether a file has the safetensors header, whatever its name: an 8-byte length, then JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < 2**32


def _check_stored(path: Path) -> None:
    """Refuse compressed archives: torch never writes them, and they may be huge in memory."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(record.file_size for record in archive.infolist())
    if size > path.stat().st_size:
        raise WeightsError(f"{path} is compressed: save it with torch.save, or as .safetensors")


def _reason(path: Path, error: Exception) -> str:
    """The Python objects in the file, if torch can list them; else the class of the error."""
    names: list[str] = []
    with suppress(Exception):
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    if not names:
        return type(error).__name__
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"it holds Python objects, {', '.join(names[:3])}{more}"


def _stored(content: Any, where: str = "", depth: int = 0) -> Iterator[Stored]:
    """Find dictionaries of tensors: averages, then the usual names, then the top level."""
    if not isinstance(content, Mapping) or depth > _DEPTH:
        return
    for key in (*_AVERAGES, *_WRAPPERS):
        yield from _stored(content.get(key), f"{where}.{key}".lstrip("."), depth + 1)
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors:
        yield Stored(where, tensors)


def _split_state(
    tensors: Mapping[str, Tensor], prefix: str, module: nn.Module
) -> tuple[dict[str, Tensor], list[str]]:
    """The network's tensors without the prefix, and the names of ignored ones.

    Tensors outside the network's modules (a loss, a counter) are ignored. Unknown ones inside, or
    in a BAM, mean that the file is for another network, and are kept. Auxiliary heads, which
    torchvision's builders add only for pretrained weights, are dropped silently.
    """
    names = module.state_dict().keys()
    parts = {key.split(".")[0] for key in names} | {"bam"}
    state, ignored = {}, []
    for key, value in tensors.items():
        name = key.removeprefix(prefix)
        first = name.split(".")[0]
        if not key.startswith(prefix):
            ignored.append(key)
        elif name in names or first in parts or first.isdigit():
            state[name] = value
        elif not name.startswith(_AUXILIARY):
            ignored.append(key)
    return state, ignored
