"""Record a network on the meta device, with fake tensors, or with real tensors."""

from __future__ import annotations

import io
import linecache
import logging
import os
import random
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bamsearch.graph.tracing.copying import meta_copy
from bamsearch.graph.tracing.example import Example
from bamsearch.graph.tracing.recording import Recorder, Shape
from bamsearch.graph.tracing.tracer import Trace

# Limits of a real run: total elements of all maps, and of all weights.
_REAL_MAPS = 2**29
_REAL_WEIGHTS = 2**29


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded run of a network, and the settings to repeat it.

    Attributes:
        trace: its trace.
        shapes: shape of each node's output.
        stopped: error and source line where the run stopped; None if it completed.
        network: the copy that ran.
        example: arguments of the call.
        device: ``meta``, or ``cpu`` for real tensors.
        fake: whether it ran with fake tensors.
        default: whether device was the default device during the run.
    """

    trace: Trace
    shapes: dict[fx.Node, Shape]
    stopped: str | None
    network: nn.Module
    example: Example
    device: str
    fake: bool
    default: bool

    def again(self, shape: Shape) -> dict[fx.Node, Shape]:
        """Shapes for another image size, up to where the run stops.

        Args:
            shape: shape of the image, with the batch.

        Returns:
            Shapes by the nodes of this recording, matched by the names of the operations.
        """
        if shape == tuple(self.example.image.shape):
            return self.shapes
        other = _run(self.network, self.example, shape, self.device, self.fake, self.default)
        named = {other.trace.operation[node]: size for node, size in other.shapes.items()}
        operation = self.trace.operation
        return {node: named[operation[node]] for node in self.shapes if operation[node] in named}


def record(model: nn.Module, example: Example) -> Recording:
    """Record a network with the cheapest method that completes.

    Args:
        model: the network; not modified.
        example: arguments of the call.

    Returns:
        The first complete recording, else the longest.
    """
    shape = tuple(example.image.shape)
    meta = meta_copy(model)
    attempts = []
    for fake, default in ((False, True), (False, False), (True, False)):
        attempt = _run(meta, example, shape, "meta", fake, default)
        if attempt.stopped is None:
            return attempt
        attempts.append(attempt)
    longest = max(attempts, key=lambda attempt: len(attempt.shapes))
    maps = sum(torch.Size(size).numel() for size in longest.shapes.values())
    weights = sum(parameter.numel() for parameter in model.parameters())
    if maps > _REAL_MAPS or weights > _REAL_WEIGHTS:
        return longest
    attempt = _run(_real_copy(model), example, shape, "cpu", False, False)
    if attempt.stopped is None or len(attempt.shapes) >= len(longest.shapes):
        return attempt
    return longest


def _run(
    network: nn.Module, example: Example, shape: Shape, device: str, fake: bool, default: bool
) -> Recording:
    recorder = Recorder(network)
    contexts: list[AbstractContextManager[Any]] = [
        torch.device(device) if default else nullcontext(),
        FakeTensorMode(allow_non_fake_inputs=True) if fake else nullcontext(),
    ]
    with isolate_run(), torch.no_grad(), contexts[0], contexts[1]:
        trace, failure = recorder.record(example.at(shape, device))
    stopped = None if failure is None else _failure_text(failure)
    return Recording(trace, recorder.shapes, stopped, network, example, device, fake, default)


def _real_copy(model: nn.Module) -> nn.Module:
    """A copy on the CPU with the model's values, in eval mode."""
    real = meta_copy(model).to_empty(device="cpu")
    values = dict([*model.named_parameters(), *model.named_buffers()])
    with torch.no_grad():
        for name, tensor in [*real.named_parameters(), *real.named_buffers()]:
            # A meta model has no values: zeros, because uninitialised memory may not be finite.
            tensor.zero_() if values[name].is_meta else tensor.copy_(values[name])
    return real


@contextmanager
def isolate_run() -> Iterator[None]:
    """Preserve the random states, and suppress prints, logs and warnings."""
    numpy = sys.modules.get("numpy")
    quiet = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # fake tensors log every failure
    states = random.getstate(), numpy.random.get_state() if numpy is not None else None
    try:
        with (
            torch.random.fork_rng(devices=[]),
            redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(quiet)
        random.setstate(states[0])
        if numpy is not None:
            numpy.random.set_state(states[1])


def _failure_text(error: Exception) -> str:
    """The error, and the line of the network's source where it was raised."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    torch_home = os.path.dirname(torch.__file__) + os.sep
    bamsearch_home = str(Path(__file__).parents[2]) + os.sep
    lines = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith((torch_home, bamsearch_home, "<"))
    ]
    if not lines:
        return reason
    file, line = lines[-1]
    source = linecache.getline(file, line).strip()
    return f"{reason} at {os.path.basename(file)}:{line}: {source}"
