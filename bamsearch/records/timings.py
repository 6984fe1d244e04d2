"""What was measured on a device, and what the device was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median, quantiles

from bamsearch.records.choices import DType, MemoryFormat, Mode

NOISY = 0.10
"""Interquartile range over median from which a timing is called noisy."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What a time was measured on, with all that could change it.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``mps``.
        name: of the processor or the GPU.
        threads: torch's threads on a CPU; None on a GPU.
        driver: of the GPU, where it says so.
        versions: of torch, torchvision, CUDA and cuDNN, where they are there.
        cudnn_benchmark: whether cuDNN chose its algorithms by trying them; None on others.
        tf32: whether float32 products may be rounded to TF32; None where there is no such thing.
    """

    kind: str
    name: str
    threads: int | None
    driver: str | None
    versions: Mapping[str, str]
    cudnn_benchmark: bool | None = None
    tf32: bool | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """Time of one call of a model, as samples.

    Attributes:
        samples: milliseconds a call, in the order in which they were taken.
        calls_per_sample: over how many calls each sample is the mean.
        input_shape: one input without the batch.
        batch_size: inputs in one call.
        dtype: of weights and input.
        memory_format: of weights and input.
        mode: eager, compiled or a replayed CUDA graph.
        train: forward and backward, else forward.
        device: what it ran on.
    """

    samples: tuple[float, ...]
    calls_per_sample: int
    input_shape: tuple[int, ...]
    batch_size: int
    dtype: DType
    memory_format: MemoryFormat
    mode: Mode
    train: bool
    device: DeviceFacts

    @property
    def median(self) -> float:
        """Milliseconds a call."""
        return median(self.samples)

    @property
    def iqr(self) -> float:
        """The interquartile range, in milliseconds; 0 for a single sample."""
        if len(self.samples) < 2:
            return 0.0
        low, _, high = quantiles(self.samples, n=4, method="inclusive")
        return high - low

    @property
    def noisy(self) -> bool:
        """Whether the interquartile range is over 10 % of the median."""
        return self.iqr > NOISY * self.median


@dataclass(frozen=True, slots=True)
class PairedTiming:
    """Two models timed in turn.

    Attributes:
        a: the one to compare with.
        b: the one compared.
        ratio: median over the pairs of time(b) / time(a).
        low: lower end of its interval.
        high: upper end.
        confidence: of the interval.
    """

    a: Timing
    b: Timing
    ratio: float
    low: float
    high: float
    confidence: float

    @property
    def distinguished(self) -> bool:
        """Whether the interval leaves out 1: one of the two is faster."""
        return not self.low <= 1 <= self.high


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak memory of one forward pass, or of one training step without an optimizer.

    Attributes:
        bytes: how much; None where it cannot be measured.
        method: what was read, and so what is in the number.
        reason: why there is no number; None where there is one.
        already: bytes in ``bytes`` that the process held before, such as another model.
        input_shape: one input without the batch.
        batch_size: inputs at once.
        dtype: of weights and input.
        memory_format: of weights and input.
        train: a training step, else inference.
        device: what it ran on.
    """

    bytes: int | None
    method: str
    reason: str | None
    already: int
    input_shape: tuple[int, ...]
    batch_size: int
    dtype: DType
    memory_format: MemoryFormat
    train: bool
    device: DeviceFacts
