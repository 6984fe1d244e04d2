"""Files with weights as training scripts write them: wrapped, prefixed, with an average beside.

Nothing in a file is executed: ``torch.load`` gets ``weights_only=True``, and besides tensors only
plain values are let in that scripts keep with them (argparse's options, numpy's numbers, paths).
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
"""Keys of a moving average of the weights: what a script validates and publishes."""

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
    *((_SCALAR, f"numpy.{room}.multiarray.scalar") for room in ("core", "_core")),
]
"""What may be in a file besides tensors: none of it runs code when it is made."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Tensors by name, and the keys of the file that lead to them: ``model.state_dict``."""

    where: str
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file with weights.

    Attributes:
        path: the file.
        stored: all that may be weights, an average first.
    """

    path: Path
    stored: tuple[Stored, ...]

    @property
    def has_bam(self) -> bool:
        """Whether they are of a network with BAM."""
        return any("bam" in key.split(".") for one in self.stored for key in one.tensors)

    def state_for(self, module: nn.Module) -> dict[str, Tensor]:
        """The weights under the names of a network, without a prefix and what is of others.

        What was taken off or left out is logged. Weights of another network come as they are.

        Args:
            module: the network.

        Raises:
            WeightsError: several networks that the names fit.
        """
        needed = {key for key in module.state_dict() if not key.endswith(_COUNTER)}
        for one in self.stored:
            prefix = self._prefix(one.tensors, needed)
            if prefix is None:
                continue
            state, rest = _parted(one.tensors, prefix, module)
            self._tell(one.where, prefix, rest)
            return state
        return dict(self.stored[0].tensors)

    def _prefix(self, tensors: Mapping[str, Tensor], needed: set[str]) -> str | None:
        """What stands before each needed name; None where it is not all there."""
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
                f"{self.path} has several such networks, below {names}: save the state_dict of one"
            )
        return (averages or whole)[0]

    def _tell(self, where: str, prefix: str, rest: list[str]) -> None:
        others = " or ".join(one.where for one in self.stored if one.where not in ("", where))
        said = [f"took {where}"] if where else []
        if where.split(".")[0] in _AVERAGES:
            said[0] += " (a moving average)" + (f", not {others}" if others else "")
        said += [f"without the prefix {prefix}"] if prefix else []
        if rest:
            more = f" and {len(rest) - 2} more" if len(rest) > 2 else ""
            said.append(f"left out {', '.join(rest[:2])}{more}")
        if said:
            _log.info("%s: %s", self.path, "; ".join(said))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file of weights, ``.safetensors`` or what ``torch.load(weights_only=True)`` reads.

    Raises:
        WeightsError: no such file, not readable without running code in it, or without tensors.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: give DEFAULT, a published name or a file")
    content = _content(path)
    stored = tuple(_stored(content))
    if not stored:
        raise WeightsError(f"{path} holds no tensors by name: save model.state_dict()")
    return Checkpoint(path, stored)


def load_all(module: nn.Module, path: Path, of: str) -> None:
    """Load a file into a network that it has all weights of.

    Args:
        module: the network, which is changed.
        path: the file.
        of: name of the network.

    Raises:
        WeightsError: as :func:`read_checkpoint`, or weights of another network.
    """
    state = with_counters(module, read_checkpoint(path).state_for(module))
    misfit = misfit_text(module, state)
    if misfit:
        raise WeightsError(f"{path} is not the weights of {of}: {misfit}")
    copy_into(module, state, str(path))


def copy_into(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy weights into a network, as its own dtypes; none of them is NaN or infinite then.

    Args:
        module: the network; nothing in it is changed where an error is raised.
        state: names and shapes are the network's; some may be missing.
        source: where they are from.

    Raises:
        WeightsError: NaN or infinite weights, or tensors that are no dense numbers.
    """
    own = module.state_dict()
    converted = {}
    for key, value in state.items():
        try:
            converted[key] = value.to(own[key].dtype)
            check_finite({key: converted[key]}, source)
        except (RuntimeError, TypeError) as error:
            raise WeightsError(
                f"{source} has {key} as {value.dtype}, {value.layout}, which is not read: "
                "save model.state_dict() of a plain float model"
            ) from error
    module.load_state_dict(converted, strict=False)


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Raise WeightsError where a tensor has a NaN or infinite value, naming the first one."""
    for key, value in state.items():
        if not value.isfinite().all():
            raise WeightsError(
                f"{source} has NaN or infinite weights in {key}: take an earlier checkpoint"
            )


def with_counters(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state, with the network's own counts of batches where it has none."""
    own = module.state_dict()
    missing = own.keys() - state.keys()
    return {**state, **{key: own[key] for key in missing if key.endswith(_COUNTER)}}


def misfit_text(module: nn.Module, state: Mapping[str, Tensor]) -> str:
    """How names and shapes differ from a network's; empty where they do not."""
    own = module.state_dict()
    missing = sorted(own.keys() - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
    parts = [
        f"{len(keys)} {what} (such as {keys[0]})"
        for what, keys in (("missing", missing), ("unknown", unexpected), ("misshapen", shapes))
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
        # torch.load has its own long advice to turn the check off; a state_dict needs none.
        raise WeightsError(
            f"{path} cannot be read with weights_only=True ({_reason(path, error)}): save "
            "model.state_dict(), or a .safetensors file"
        ) from error


def _is_safetensors(path: Path) -> bool:
    """Whether a file is one, whatever its name: a length of 8 bytes, then JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < 2**32


def _check_stored(path: Path) -> None:
    """Refuse a compressed archive: torch writes none, and a small one may be huge in memory."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(record.file_size for record in archive.infolist())
    if size > path.stat().st_size:
        raise WeightsError(f"{path} is compressed: save it with torch.save, or as .safetensors")


def _reason(path: Path, error: Exception) -> str:
    """The Python objects in the file, as far as torch can list them; else the error's class."""
    names: list[str] = []
    with suppress(Exception):
        names = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    if not names:
        return type(error).__name__
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"it holds Python objects, {', '.join(names[:3])}{more}"


def _stored(content: Any, where: str = "", depth: int = 0) -> Iterator[Stored]:
    """Dictionaries of tensors: averages first, then by the usual names, then the file's own."""
    if not isinstance(content, Mapping) or depth > _DEPTH:
        return
    for key in (*_AVERAGES, *_WRAPPERS):
        yield from _stored(content.get(key), f"{where}.{key}".lstrip("."), depth + 1)
    tensors = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if tensors:
        yield Stored(where, tensors)


def _parted(
    tensors: Mapping[str, Tensor], prefix: str, module: nn.Module
) -> tuple[dict[str, Tensor], list[str]]:
    """What is the network's without the prefix, and the names of what is of others.

    A tensor beside the network's modules is of others (a loss, a counter); one inside of them, or a
    BAM, tells of another network, and stays. Auxiliary heads that torchvision's builders add only
    when given weights are left out without a word.
    """
    own = module.state_dict().keys()
    parts = {key.split(".")[0] for key in own} | {"bam"}
    state, rest = {}, []
    for key, value in tensors.items():
        name = key.removeprefix(prefix)
        first = name.split(".")[0]
        if not key.startswith(prefix):
            rest.append(key)
        elif name in own or first in parts or first.isdigit():
            state[name] = value
        elif not name.startswith(_AUXILIARY):
            rest.append(key)
    return state, rest
