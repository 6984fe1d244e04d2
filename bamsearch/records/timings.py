"""Measurements on a device, and latency tables: the time that each BAM adds to a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median, quantiles

from bamsearch.errors import InvalidValueError
from bamsearch.records.arguments import DType, Init, MemoryFormat, Mode, Variant, check_positive
from bamsearch.records.designs import Insertion
from bamsearch.records.formats import Format, Stored
from bamsearch.records.hints import MOST_MS, Milliseconds, Positive

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
        low, high: its interval.
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


POOR_R2 = 0.9
POOR_ERROR = 0.10
"""R² below which, and relative error above which, an additive latency table is called poor."""


@dataclass(frozen=True, slots=True)
class LatencyEntry:
    """Milliseconds that one BAM adds.

    Raises:
        InvalidValueError: r or d is not a positive integer, or ms is negative or not finite.
    """

    site: str
    reduction: int
    dilation: int
    ms: float

    def __post_init__(self) -> None:
        check_positive("reduction", self.reduction)
        check_positive("dilation", self.dilation)
        if not 0 <= self.ms <= MOST_MS:
            raise InvalidValueError(f"a time must be between 0 ms and one year, not {self.ms!r}")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A design with the latency predicted by a table and the one measured against the base.

    Attributes:
        insertions: the design.
        predicted_ms: prediction of the table.
        measured_ms: paired ratio times the table's base.
        low_ms, high_ms: 95% interval of measured_ms.
    """

    insertions: tuple[Insertion, ...]
    predicted_ms: float
    measured_ms: Milliseconds
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True)
class LatencyFit:
    """Quality of an additive table's predictions for whole models.

    Attributes:
        r2: 1 - (sum of squared errors) / (sum of squares about the mean of the measured times);
            below 0 if the mean predicts better. None if all measured times are equal.
        worst: largest absolute error, relative to the measured time of the whole model.
        designs: designs that it was measured on.
    """

    r2: float | None
    worst: float
    designs: tuple[HeldOut, ...]

    @property
    def poor(self) -> bool:
        """Whether the table is too poor to rule out designs: R² < 0.9 or an error over 10%."""
        return self.worst > POOR_ERROR or (self.r2 is not None and self.r2 < POOR_R2)

    @property
    def within(self) -> int:
        """Number of predictions inside the interval of the measured time."""
        return sum(
            design.low_ms <= design.predicted_ms <= design.high_ms for design in self.designs
        )


@dataclass(frozen=True, slots=True)
class LatencyConditions:
    """Conditions under which the times of a latency table were measured.

    Attributes:
        variant: variant of BAM.
        init: initialisation of BAM: the gate of ``identity`` takes time too.
        batch_size: inputs per call.
        dtype: data type of weights and input.
        memory_format: memory format of weights and input.
        mode: eager, compiled or a replayed CUDA graph.
        train: forward and backward rather than forward only.
        device: the device.
    """

    variant: Variant
    init: Init
    batch_size: Positive
    dtype: DType
    memory_format: MemoryFormat
    mode: Mode
    train: bool
    device: DeviceFacts


@dataclass(frozen=True, slots=True)
class LatencyTable(Stored):
    """Time that each BAM adds to a base network, assumed to be additive.

    Attributes:
        model: the MODEL.
        input_shape: shape of one input of the MODEL, without the batch.
        part: timed part, as in :class:`ModelSummary`.
        base_ms: milliseconds of one call of that part without BAM.
        entries: one for each (site, r, d).
        conditions: conditions; None if the times came from a file.
        error: error on whole models; None if none were measured.

    Raises:
        InvalidValueError: a (site, r, d) twice, or a base_ms that is not positive and finite.
    """

    model: str
    input_shape: tuple[Positive, ...]
    part: str
    base_ms: float
    entries: tuple[LatencyEntry, ...]
    conditions: LatencyConditions | None = None
    error: LatencyFit | None = None
    # An index, because a search makes 10^5 predictions.
    _ms: dict[tuple[str, int, int], float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.base_ms <= MOST_MS:
            raise InvalidValueError(f"the base must take more than 0 ms, not {self.base_ms!r}")
        times: dict[tuple[str, int, int], float] = {}
        for entry in self.entries:
            key = (entry.site, entry.reduction, entry.dilation)
            if key in times:
                raise InvalidValueError(f"{_at(*key)} has two times in the latency table")
            times[key] = entry.ms
        object.__setattr__(self, "_ms", times)

    def predict(self, insertions: Iterable[Insertion]) -> float:
        """Predicted milliseconds: the time of the base plus the times of the BAMs.

        Raises:
            InvalidValueError: a (site, r, d) that the table has no time for.
        """
        total = self.base_ms
        for insertion in insertions:
            key = (insertion.site, insertion.reduction, insertion.dilation)
            ms = self._ms.get(key)
            if ms is None:
                raise InvalidValueError(
                    f"the latency table has no time for {_at(*key)}: "
                    "measure it for this r and d, or add the row to the file"
                )
            total += ms
        return total


LatencyTable.FORMAT = Format(
    LatencyTable,
    "latency table",
    InvalidValueError,
    "measure it again",
    indent=None,
    file="the latency table",
)


def _at(site: str, reduction: int, dilation: int) -> str:
    return f"{site} with r={reduction}, d={dilation}"
