"""Measurements on a device, and facts about the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median, quantiles

from bamsearch.records.choices import DType, MemoryFormat, Mode

NOISY = 0.10
"""Ratio of interquartile range to median above which a timing is called noisy."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device and all settings that can change a measured time.

    Attributes:
        kind: ``cpu``, ``cuda`` or ``mps``.
        name: name of the processor or the GPU.
        threads: torch threads on a CPU; None on a GPU.
        driver: driver version of the GPU, if known.
        versions: versions of torch, torchvision, CUDA and cuDNN, if present.
        cudnn_benchmark: whether cuDNN benchmarks its algorithms; None without cuDNN.
        tf32: whether float32 products may be rounded to TF32; None if unsupported.
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
        samples: milliseconds per call, in the order of measurement.
        calls_per_sample: number of calls that each sample is the mean of.
        input_shape: shape of one input without the batch.
        batch_size: inputs per call.
        dtype: data type of weights and input.
        memory_format: memory format of weights and input.
        mode: eager, compiled or a replayed CUDA graph.
        train: forward and backward rather than forward only.
        device: the device.
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
        """Median of the milliseconds per call."""
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
        """Whether the interquartile range is over 10% of the median."""
        return self.iqr > NOISY * self.median


@dataclass(frozen=True, slots=True)
class PairedTiming:
    """Two models timed alternately.

    Attributes:
        a: the first model, the reference.
        b: the second model.
        ratio: median over the pairs of time(b) / time(a).
        low: lower end of its interval.
        high: upper end.
        confidence: confidence of the interval.
    """

    a: Timing
    b: Timing
    ratio: float
    low: float
    high: float
    confidence: float

    @property
    def distinguished(self) -> bool:
        """Whether the interval excludes 1: one of the models is faster."""
        return not self.low <= 1 <= self.high


@dataclass(frozen=True, slots=True)
class Memory:
    """Peak memory of one forward pass, or of one training step without an optimizer.

    Attributes:
        bytes: peak memory in bytes; None if it cannot be measured.
        method: method of measurement, which determines what is included.
        reason: reason for a missing number; None otherwise.
        already: part of ``bytes`` that the process had allocated before, such as another model.
        input_shape: shape of one input without the batch.
        batch_size: inputs per pass.
        dtype: data type of weights and input.
        memory_format: memory format of weights and input.
        train: a training step rather than inference.
        device: the device.
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
