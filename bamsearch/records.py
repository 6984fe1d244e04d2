"""Frozen values that cross floors, processes and the disk. Standard library only.

Everything that lasts is one of these: live modules never leave the process that made them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median, quantiles
from typing import Any, Literal, get_args

from bamsearch.errors import DesignError, InvalidValueError

Kind = Literal["stem", "bottleneck", "head", "block"]
Layout = Literal["NCHW", "NHWC", "NCTHW", "NTHWC"]
Variant = Literal["paper", "official"]
Init = Literal["paper", "identity"]
DType = Literal["float32", "bfloat16", "float16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Mode = Literal["eager", "compile", "cudagraph"]

DESIGN_VERSION = 1
"""Format of ``design.json``; raised only when an older bamsearch could misread a newer file."""

NOISY = 0.10
"""Interquartile range over median from which a timing is called noisy."""

POOR_R2 = 0.9
POOR_ERROR = 0.10
"""R² below which, and relative error above which, an additive latency table is called poor."""


@dataclass(frozen=True, slots=True)
class Site:
    """A feature map after which BAM can be inserted.

    Attributes:
        name: dotted path of the outermost module whose output the map is (``layer1``); the
            operation's own path where no module ends there; ``name@2`` for a module's second call.
        channels: C of the map.
        height: H of the map at the given input.
        width: W of the map at the given input.
        stride: how much smaller than the network's input the map is.
        layout: order of the axes.
        kind: ``bottleneck`` (just before a spatial reduction), ``stem`` (the same, with at most one
            weighted layer before it), ``head`` (the last feature map), ``block`` (inside a stage).
        reducer: what shrinks the map next (``layer2``; the global pooling after a head); None for
            blocks, and for the head of a network that pools nothing.
        frames: T of a video map, else None.
    """

    name: str
    channels: int
    height: int
    width: int
    stride: int
    layout: Layout
    kind: Kind
    reducer: str | None = None
    frames: int | None = None


@dataclass(frozen=True, slots=True)
class Insertion:
    """BAM after one site, with its own reduction and dilation.

    Raises:
        InvalidValueError: reduction or dilation is not a positive integer.
    """

    site: str
    reduction: int = 16
    dilation: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.site, str) or not self.site:
            raise InvalidValueError(f"a site is named by its dotted path, not {self.site!r}")
        check_positive("reduction", self.reduction)
        check_positive("dilation", self.dilation)


@dataclass(frozen=True, slots=True)
class Design:
    """A model and where BAM goes in it, with which r and d: all that is needed to build it again.

    Attributes:
        model: a MODEL as on the command line: ``resnet101``, ``timm:NAME``, ``package:factory``.
        input_shape: shape of one input without the batch: (C, H, W), or (C, T, H, W) for video.
        insertions: one a site; empty is the base network.
        variant: which BAM, see :class:`bamsearch.BAM`.
        init: how it starts, see :class:`bamsearch.BAM`.
        num_classes: classes of the model's head; None is the model's own default.
        weights: torchvision's published weights that the network is built for, if any. The design
            does not hold them, but with them torchvision builds some models otherwise: GoogLeNet
            and Inception normalise their input, segmentation has auxiliary heads, detectors have
            frozen norms.

    Raises:
        InvalidValueError: a site twice, an unknown variant or init, an impossible shape.
    """

    model: str
    input_shape: tuple[int, ...]
    insertions: tuple[Insertion, ...] = ()
    variant: Variant = "paper"
    init: Init = "paper"
    num_classes: int | None = None
    weights: str | None = None

    def __post_init__(self) -> None:
        # Lists are what callers and JSON have; a frozen value holds tuples.
        object.__setattr__(self, "input_shape", check_input_shape(self.input_shape))
        object.__setattr__(self, "insertions", tuple(self.insertions))
        if not isinstance(self.model, str) or not self.model:
            raise InvalidValueError(f"a design names its model, not {self.model!r}")
        check_choice("variant", self.variant, get_args(Variant))
        check_choice("init", self.init, get_args(Init))
        if self.num_classes is not None:
            check_positive("num_classes", self.num_classes)
        if self.weights is not None and not isinstance(self.weights, str):
            raise InvalidValueError(f"weights are named as published, not {self.weights!r}")
        strange = [one for one in self.insertions if not isinstance(one, Insertion)]
        if strange:
            raise InvalidValueError(f"a design holds Insertions, not {strange[0]!r}")
        names = [insertion.site for insertion in self.insertions]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidValueError(f"site {twice} is in the design twice: a site takes one BAM")

    def to_json(self) -> str:
        """The design as indented JSON text, the content of ``design.json``."""
        return json.dumps({"bamsearch_design": DESIGN_VERSION} | asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = "design.json") -> Design:
        """Read what :meth:`to_json` wrote.

        Args:
            text: the JSON text.
            source: what to call it in errors, usually its path.

        Raises:
            DesignError: not JSON, cut short, keys missing or unknown, or made by a newer bamsearch.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DesignError(
                f"{source} is not a whole JSON file ({error}): "
                "write it again with 'bamsearch insert MODEL -o DIR'"
            ) from error
        if not isinstance(content, dict) or "bamsearch_design" not in content:
            raise DesignError(f"{source} is no bamsearch design: it has no key 'bamsearch_design'")
        version = content.pop("bamsearch_design")
        if type(version) is not int or not 1 <= version <= DESIGN_VERSION:
            raise DesignError(
                f"{source} has design format {version!r}, this bamsearch reads up to "
                f"{DESIGN_VERSION}: pip install --upgrade bamsearch"
            )
        try:
            if not isinstance(content["insertions"], list):
                raise TypeError("its insertions are no list")
            content["insertions"] = tuple(Insertion(**item) for item in content["insertions"])
            return cls(**content)
        except (KeyError, TypeError, InvalidValueError) as error:
            raise DesignError(f"{source} is not a valid design: {error}") from error


@dataclass(frozen=True, slots=True)
class Cost:
    """What a network costs for one input, counted, not timed.

    Attributes:
        params: number of parameters.
        macs: fvcore's total, 1 multiply-add = 1: convolution, linear, matrix products and
            attention, plus its norm and pooling terms.
        conv_linear_macs: the part that torchvision publishes: no norm, no pooling.
        by_module: dotted path to macs; "" is the whole. Empty for a closed form.
        uncounted: operators that took part but are not counted, with how often.
        counter: what counted: ``fvcore``, ``FlopCounterMode`` or ``closed form``.
    """

    params: int
    macs: int
    conv_linear_macs: int
    by_module: Mapping[str, int] = field(default_factory=dict)
    uncounted: Mapping[str, int] = field(default_factory=dict)
    counter: str = "closed form"

    def __add__(self, other: Cost) -> Cost:
        """This cost and another's; tables and counter are this one's."""
        return Cost(
            self.params + other.params,
            self.macs + other.macs,
            self.conv_linear_macs + other.conv_linear_macs,
            self.by_module,
            self.uncounted,
            self.counter,
        )


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


@dataclass(frozen=True, slots=True)
class LatencyEntry:
    """Milliseconds that one BAM adds.

    Raises:
        InvalidValueError: r or d is no positive integer, ms is negative or not finite.
    """

    site: str
    reduction: int
    dilation: int
    ms: float

    def __post_init__(self) -> None:
        check_positive("reduction", self.reduction)
        check_positive("dilation", self.dilation)
        if not 0 <= self.ms < float("inf"):
            raise InvalidValueError(f"a time must be 0 ms or more, not {self.ms!r}")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A design predicted by a latency table, and measured as a whole model paired with the base.

    Attributes:
        insertions: the design.
        predicted_ms: by the table.
        measured_ms: the paired ratio times the table's base.
        low_ms: lower end of its 95 % interval.
        high_ms: upper end.
    """

    insertions: tuple[Insertion, ...]
    predicted_ms: float
    measured_ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True, slots=True)
class LatencyFit:
    """How well an additive table predicts whole models.

    Attributes:
        r2: 1 - (sum of squared errors) / (sum of squares about the mean of the measured times); it
            is below 0 where the mean would predict better. None where all designs measured alike.
        worst: largest absolute error over the measured time of the whole model.
        designs: what it was measured on.
    """

    r2: float | None
    worst: float
    designs: tuple[HeldOut, ...]

    @property
    def poor(self) -> bool:
        """Whether designs should not be ruled out by the table: R² < 0.9 or an error over 10 %."""
        return self.worst > POOR_ERROR or (self.r2 is not None and self.r2 < POOR_R2)

    @property
    def within(self) -> int:
        """How many predictions lie inside the interval of what was measured: no error is seen."""
        return sum(one.low_ms <= one.predicted_ms <= one.high_ms for one in self.designs)


@dataclass(frozen=True, slots=True)
class LatencyConditions:
    """What the times of a latency table were measured under.

    Attributes:
        variant: which BAM.
        init: and how it starts: the gate of ``identity`` takes time too.
        batch_size: inputs in one call.
        dtype: of weights and input.
        memory_format: of weights and input.
        mode: eager, compiled or a replayed CUDA graph.
        train: forward and backward, else forward.
        device: what it ran on.
    """

    variant: Variant
    init: Init
    batch_size: int
    dtype: DType
    memory_format: MemoryFormat
    mode: Mode
    train: bool
    device: DeviceFacts


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """What each BAM adds to a base network's time, taken to be additive.

    Attributes:
        model: the MODEL.
        input_shape: of one input of the MODEL, without the batch.
        part: the part that is timed, as in :class:`ModelSummary`.
        base_ms: milliseconds of one call of that part without BAM.
        entries: one for every (site, r, d).
        conditions: None for times that came from a file.
        error: on whole models; None where none were measured.

    Raises:
        InvalidValueError: a (site, r, d) twice, or a base_ms that is not positive and finite.
    """

    model: str
    input_shape: tuple[int, ...]
    part: str
    base_ms: float
    entries: tuple[LatencyEntry, ...]
    conditions: LatencyConditions | None = None
    error: LatencyFit | None = None
    # A search asks for 10^5 predictions: looked up, not looked for.
    _ms: dict[tuple[str, int, int], float] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.base_ms < float("inf"):
            raise InvalidValueError(f"the base must take more than 0 ms, not {self.base_ms!r}")
        found: dict[tuple[str, int, int], float] = {}
        for entry in self.entries:
            key = (entry.site, entry.reduction, entry.dilation)
            if key in found:
                raise InvalidValueError(f"{_at(*key)} has two times in the latency table")
            found[key] = entry.ms
        object.__setattr__(self, "_ms", found)

    def predict(self, insertions: Iterable[Insertion]) -> float:
        """Milliseconds of the base with these BAMs: the sum of their times and the base's.

        Raises:
            InvalidValueError: a (site, r, d) that the table has no time for.
        """
        total = self.base_ms
        for one in insertions:
            key = (one.site, one.reduction, one.dilation)
            ms = self._ms.get(key)
            if ms is None:
                raise InvalidValueError(
                    f"the latency table has no time for {_at(*key)}: "
                    "measure it with this r and d, or add the row to the file"
                )
            total += ms
        return total

    def to_json(self) -> str:
        """The table as JSON text."""
        content = asdict(self)
        del content["_ms"]
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> LatencyTable:
        """Read what :meth:`to_json` wrote; any error is a ValueError, KeyError or TypeError."""
        content = json.loads(text)
        content["input_shape"] = tuple(content["input_shape"])
        content["entries"] = tuple(LatencyEntry(**entry) for entry in content["entries"])
        if content["conditions"] is not None:
            device = DeviceFacts(**content["conditions"].pop("device"))
            content["conditions"] = LatencyConditions(**content["conditions"], device=device)
        if content["error"] is not None:
            designs = tuple(
                HeldOut(tuple(Insertion(**one) for one in held.pop("insertions")), **held)
                for held in content["error"].pop("designs")
            )
            content["error"] = LatencyFit(**content["error"], designs=designs)
        return cls(**content)


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """What is known of a model before any design: where BAM can go and what the base costs.

    Attributes:
        model: the MODEL.
        input_shape: one input without the batch.
        part: the part that sites and costs are of: "" for the whole model, ``backbone.body`` for
            a detector, which resizes inside and whose cost depends on what it finds.
        part_input: what the part is given, equal to input_shape for the whole.
        sites: all sites, in network order.
        base: cost of the part without BAM.
        published_params: what torchvision publishes for the whole model; None where it does not,
            or where input or classes are not those that it publishes for.
        published_gmacs: likewise, 10^9 multiply-adds of convolution, linear and attention.
    """

    model: str
    input_shape: tuple[int, ...]
    part: str
    part_input: tuple[int, ...]
    sites: tuple[Site, ...]
    base: Cost
    published_params: int | None = None
    published_gmacs: float | None = None

    def to_json(self) -> str:
        """The summary as JSON text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ModelSummary:
        """Read what :meth:`to_json` wrote; any error is a ValueError, KeyError or TypeError."""
        content = json.loads(text)
        content["sites"] = tuple(Site(**site) for site in content["sites"])
        content["base"] = Cost(**content["base"])
        for key in ("input_shape", "part_input"):
            content[key] = tuple(content[key])
        return cls(**content)


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
    """Return shape as a tuple of 3 or 4 positive integers, else raise InvalidValueError."""
    try:
        checked = tuple(check_positive("each size in input_shape", size) for size in shape)
    except TypeError:
        raise InvalidValueError(f"input_shape must be (C, H, W), not {shape!r}") from None
    if len(checked) not in (3, 4):
        raise InvalidValueError(
            f"input_shape must be (C, H, W) or (C, T, H, W) without the batch, not {checked}"
        )
    return checked


def _at(site: str, reduction: int, dilation: int) -> str:
    return f"{site} with r={reduction}, d={dilation}"
