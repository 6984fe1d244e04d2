"""Latency tables: the time that each BAM adds to a network, and the error of predictions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bamsearch.errors import InvalidValueError
from bamsearch.records.choices import DType, Init, MemoryFormat, Mode, Variant, check_positive
from bamsearch.records.codec import Format
from bamsearch.records.designs import Insertion
from bamsearch.records.hints import MOST_MS, Milliseconds, Positive
from bamsearch.records.timings import DeviceFacts

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
        low_ms: lower end of its 95% interval.
        high_ms: upper end.
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
class LatencyTable:
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

    def to_json(self) -> str:
        """The table as JSON text."""
        return _FORMAT.text(self)

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "the latency table") -> LatencyTable:
        """Read what :meth:`to_json` wrote.

        Raises:
            InvalidValueError: the text is not a latency table.
        """
        return _FORMAT.parse(text, source)


_FORMAT: Format[LatencyTable] = Format(
    LatencyTable, "latency table", InvalidValueError, "measure it again", indent=None
)


def _at(site: str, reduction: int, dilation: int) -> str:
    return f"{site} with r={reduction}, d={dilation}"
