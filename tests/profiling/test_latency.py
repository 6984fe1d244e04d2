"""The latency model, with a clock whose times are known by formula."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from bamsearch.attention.bam import BAM
from bamsearch.errors import DeviceError, InvalidValueError, NoSiteError
from bamsearch.graph.base import Base
from bamsearch.graph.sites import find_sites
from bamsearch.profiling import cache, latency
from bamsearch.profiling.latency import additive_fit, bam_alone, measure_latency, same_network
from bamsearch.profiling.summary import summarise_base
from bamsearch.records import (
    DeviceFacts,
    HeldOut,
    Insertion,
    LatencyConditions,
    LatencyEntry,
    LatencyFit,
    LatencyTable,
    ModelSummary,
    Site,
)

SHAPE = (3, 16, 24)
BASE = 100.0


class Mark(nn.Identity):
    """Tells the clock that the network itself runs, not a BAM alone."""


def stage(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.ReLU())


@pytest.fixture(scope="module")
def net() -> nn.Module:
    children = OrderedDict(
        mark=Mark(),
        stem=stage(3, 8),
        one=stage(8, 8),
        pool1=nn.MaxPool2d(2),
        two=stage(8, 16),
        pool2=nn.MaxPool2d(2),
        three=stage(16, 16),
        pool=nn.AdaptiveAvgPool2d(1),
        flat=nn.Flatten(),
        fc=nn.Linear(16, 4),
    )
    return nn.Sequential(children)


@pytest.fixture(scope="module")
def summary(net) -> ModelSummary:
    # "resnet18" so that tables are kept: the name is what says whether they may be.
    result = summarise_base("resnet18", Base(net, SHAPE))
    assert [site.name for site in result.sites] == ["one", "two", "three"]
    return result


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BAMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def bam_ms(bam: BAM) -> float:
    """Channels, h and d all count: 8 channels, h=2, d=1 take 8 + 2/10 + 1/100 ms."""
    return bam.channels + bam.channel.reduce.out_features / 10 + bam.dilation / 100


class FormulaClock:
    """The base takes 100 ms, each BAM what bam_ms says, and together they interact."""

    def __init__(self, interaction: float = 0.0) -> None:
        self.interaction = interaction
        self.known: dict[Callable[[], object], float] = {}

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        if run not in self.known:
            seen: list[nn.Module] = []
            hook = register_module_forward_pre_hook(lambda module, args: seen.append(module))
            run()
            hook.remove()
            bams = [module for module in seen if isinstance(module, BAM)]
            self.known[run] = (
                BASE * any(isinstance(module, Mark) for module in seen)
                + sum(map(bam_ms, bams))
                + self.interaction * (len(bams) > 1)
            )
        return self.known[run]


def measure(net, summary, clock=None, **options) -> LatencyTable:
    options = {"reductions": [4], "dilations": [1], "samples": 3} | options
    return measure_latency(net, summary=summary, clock=clock or FormulaClock(), **options)


def test_an_additive_network_is_predicted_exactly(net, summary) -> None:
    table = measure(net, summary, reductions=[2, 4], dilations=[1, 2], held_out=6)
    assert (table.model, table.input_shape, table.part) == ("resnet18", SHAPE, "")
    assert table.base_ms == BASE
    assert [(e.site, e.reduction, e.dilation) for e in table.entries] == [
        (site, r, d) for site in ("one", "two", "three") for r in (2, 4) for d in (1, 2)
    ]
    by_hand = {
        ("one", 2, 1): 8.41,
        ("one", 4, 2): 8.22,
        ("two", 2, 2): 16.82,
        ("three", 4, 1): 16.41,
    }
    for entry in table.entries:
        key = (entry.site, entry.reduction, entry.dilation)
        assert entry.ms == pytest.approx(by_hand.get(key, entry.ms))
    assert table.predict([Insertion("one", 2, 1), Insertion("three", 4, 1)]) == pytest.approx(
        124.82
    )
    assert table.predict(()) == BASE
    error = table.error
    assert error.r2 == pytest.approx(1)
    assert error.worst == pytest.approx(0)
    assert not error.poor
    assert len({held.insertions for held in error.designs}) == 6
    for held in error.designs:
        assert held.measured_ms == pytest.approx(held.predicted_ms)
        assert held.low_ms == held.measured_ms == held.high_ms


def test_an_interaction_shows_in_the_error(net, summary) -> None:
    # h = C // 8 of 8 and 16 channels: 1 and 2, so one takes 8.11 ms and two 16.21 ms alone.
    # All three designs: 108.11, 116.21 and, with 10 ms of interaction, 134.32; 124.32 is predicted.
    # About their mean, 119.55, they are -11.44, -3.34, 14.77: 1 - 100 / (130.8 + 11.1 + 218.3)
    table = measure(
        net, summary, FormulaClock(10.0), reductions=[8], sites=["one", "two"], held_out=99
    )
    assert len(table.error.designs) == 3
    assert table.error.r2 == pytest.approx(0.7224, abs=1e-4)
    assert table.error.worst == pytest.approx(10 / 134.32)
    assert table.error.poor


def held_out(predicted: float, measured: float) -> HeldOut:
    return HeldOut((Insertion("one", 4, 1),), predicted, measured, measured, measured)


def test_the_fit_by_hand() -> None:
    # mean 370/3; squares about it 1400/3; one error of 10: R² = 1 - 300/1400 = 11/14
    fit = additive_fit([held_out(110, 110), held_out(120, 120), held_out(130, 140)])
    assert fit.r2 == pytest.approx(11 / 14)
    assert fit.worst == pytest.approx(1 / 14)
    # predictions that are wrong everywhere are worse than the mean
    assert additive_fit([held_out(120, 110), held_out(110, 120)]).r2 == pytest.approx(-3)
    assert additive_fit([held_out(90, 120)]) == LatencyFit(None, 0.25, (held_out(90, 120),))
    assert additive_fit([held_out(120, 120)] * 2).r2 is None
    assert additive_fit([]) is None
    wide = HeldOut((Insertion("one", 4, 1),), 90, 120, 85, 130)
    assert (
        additive_fit([wide, held_out(120, 120), held_out(119, 120), held_out(121, 120)]).within == 2
    )
    for r2, worst, poor in ((0.95, 0.05, 0), (0.89, 0.0, 1), (1.0, 0.11, 1), (None, 0.05, 0)):
        assert LatencyFit(r2, worst, ()).poor == bool(poor)


def test_one_network_is_timed_once(net, summary, monkeypatch) -> None:
    built = []
    real = latency.BAM
    monkeypatch.setattr(
        latency, "BAM", lambda c, r, d, **k: built.append((c, r, d)) or real(c, r, d, **k)
    )
    steps = []
    table = measure(
        net,
        summary,
        sites=["three", "three"],  # 16 channels, 4x6
        reductions=[5, 16, 4, 20, 5],  # h = 3, 1, 4, 1
        dilations=[100, 1, 7, 6],  # effective: 6, 1, 6, 6
        held_out=0,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert built == [(16, r, d) for r in (5, 16, 4) for d in (6, 1)]
    assert steps == [(done, 7) for done in range(8)]
    assert len(table.entries) == 16
    ms = {(e.reduction, e.dilation): e.ms for e in table.entries}
    assert ms[16, 6] == ms[20, 100] == pytest.approx(16.16)
    assert ms[5, 1] == pytest.approx(16.31)
    assert table.error is None


def test_sites_with_equal_maps_share_their_times() -> None:
    site = Site("a", 8, 4, 6, 4, "NCHW", "block")
    same = dataclasses.replace(site, name="b", kind="bottleneck", stride=2, reducer="c")
    assert same_network(site, 4, 6) == same_network(same, 4, 7)
    for change in ({"channels": 9}, {"height": 5}, {"width": 7}, {"layout": "NHWC"}, {"frames": 2}):
        assert same_network(dataclasses.replace(site, **change), 4, 1) != same_network(site, 4, 1)
    assert same_network(site, 4, 1) != same_network(site, 8, 1)
    assert same_network(site, 4, 1) != same_network(site, 4, 2)


@pytest.mark.parametrize(
    ("layout", "memory_format", "shape", "seen", "contiguous"),
    [
        ("NCHW", "contiguous", (8, 4, 6), (2, 8, 4, 6), torch.contiguous_format),
        ("NCHW", "channels_last", (8, 4, 6), (2, 8, 4, 6), torch.channels_last),
        ("NHWC", "contiguous", (4, 6, 8), (2, 4, 6, 8), torch.contiguous_format),
        ("NHWC", "channels_last", (8, 4, 6), (2, 4, 6, 8), torch.contiguous_format),
        ("NCTHW", "contiguous", (8, 3, 4, 6), (2, 8, 3, 4, 6), torch.contiguous_format),
        ("NCTHW", "channels_last", (8, 3, 4, 6), (2, 8, 3, 4, 6), torch.channels_last_3d),
        ("NTHWC", "contiguous", (3, 4, 6, 8), (2, 3, 4, 6, 8), torch.contiguous_format),
        ("NTHWC", "channels_last", (8, 3, 4, 6), (2, 3, 4, 6, 8), torch.contiguous_format),
    ],
)
def test_bam_gets_the_map_as_it_lies_in_memory(
    layout, memory_format, shape, seen, contiguous
) -> None:
    site = Site("a", 8, 4, 6, 4, layout, "head", frames=3 if "T" in layout else None)
    module, input_map = bam_alone(
        site, 4, 2, variant="official", init="identity", memory_format=memory_format
    )
    assert input_map == shape
    image = torch.randn(2, *input_map)
    if memory_format == "channels_last":
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        image = image.contiguous(memory_format=formats[image.dim()])
    maps = []
    module.bam.register_forward_pre_hook(lambda bam, args: maps.append(args[0]))
    module.eval()(image)
    assert maps[0].shape == seen
    assert maps[0].is_contiguous(memory_format=contiguous)
    assert (module.bam.variant, module.bam.init, module.bam.dilation) == ("official", "identity", 2)
    assert not maps[0].requires_grad
    # in training the map gets a gradient, and the input keeps none of it
    module.train()(image).sum().backward()
    assert maps[1].grad is not None
    assert image.grad is None


def test_training_and_every_condition_reach_the_measurement(net, summary, monkeypatch) -> None:
    calls = []
    real = latency.time_model

    def note(*args, **options):
        calls.append(options)
        return real(*args, **options)

    monkeypatch.setattr(latency, "time_model", note)
    table = measure(
        net,
        summary,
        sites=["two"],
        held_out=1,
        batch_size=2,
        dtype="bfloat16",
        memory_format="channels_last",
        train=True,
        threads=2,
        variant="official",
        init="identity",
    )
    for options in calls:
        assert isinstance(options.pop("clock"), FormulaClock)
        assert options == {
            "samples": 3,
            "device": "cpu",
            "batch_size": 2,
            "dtype": "bfloat16",
            "memory_format": "channels_last",
            "mode": "eager",
            "train": True,
            "threads": 2,
        }
    assert len(calls) == 2
    facts = table.conditions.device
    assert (facts.kind, facts.threads) == ("cpu", 2)
    assert table.conditions == LatencyConditions(
        "official", "identity", 2, "bfloat16", "channels_last", "eager", True, facts
    )


def test_compiled_code_is_forgotten_between_measurements(net, summary, monkeypatch) -> None:
    forgotten = []
    monkeypatch.setattr(latency.torch.compiler, "reset", lambda: forgotten.append(1))
    monkeypatch.setattr(torch, "compile", lambda module, **options: module)
    measure(net, summary, mode="compile", held_out=1)
    assert len(forgotten) == 1 + 3 + 1
    measure(net, summary, held_out=1)
    assert len(forgotten) == 5


def test_the_callers_model_and_random_numbers_stay(net, summary) -> None:
    net.train()
    state = torch.get_rng_state()
    measure(net, summary, held_out=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in net.modules())
    assert not any(isinstance(module, BAM) for module in net.modules())


def counted(monkeypatch) -> list[int]:
    """One number for every time that something is really measured."""
    runs: list[int] = []
    real = latency._measure
    monkeypatch.setattr(latency, "_measure", lambda *a: runs.append(1) or real(*a))
    return runs


def test_a_table_is_kept_and_measured_again_when_something_changes(
    net, summary, monkeypatch
) -> None:
    runs = counted(monkeypatch)
    first = measure(net, summary, held_out=2)
    for _ in range(2):
        assert measure(net, summary, held_out=2) == first
    assert len(runs) == 1
    other = nn.Sequential(OrderedDict(list(net.named_children())))
    other.three = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.GELU())
    changes = [
        {"reductions": [8]},
        {"dilations": [2]},
        {"sites": ["one"]},
        {"held_out": 3},
        {"seed": 1},
        {"samples": 4},
        {"variant": "official"},
        {"init": "identity"},
        {"batch_size": 2},
        {"dtype": "bfloat16"},
        {"memory_format": "channels_last"},
        {"train": True},
        {"threads": 2},
        {"module": other},
    ]
    for number, change in enumerate(changes, start=2):
        options = {"held_out": 2} | change
        measure(options.pop("module", net), summary, **options)
        assert len(runs) == number, change
    measure(net, summary, held_out=2)
    assert len(runs) == 1 + len(changes)
    measure(net, summary, held_out=2, again=True)
    assert len(runs) == 2 + len(changes)


def test_without_whole_designs_too(net, summary, monkeypatch) -> None:
    runs = counted(monkeypatch)
    larger = summarise_base("resnet18", Base(net, (3, 16, 32)))
    for number, (options, change) in enumerate(
        [
            (summary, {}),
            (larger, {}),
            (dataclasses.replace(summary, model="resnet34"), {}),
            (summary, {"reductions": [8]}),
            (summary, {"dilations": [2]}),
            (summary, {"sites": ["one"]}),
        ],
        start=1,
    ):
        for _ in range(2):
            table = measure(net, options, held_out=0, **change)
            assert (table.model, table.input_shape) == (options.model, options.input_shape)
            assert len(runs) == number, change


def test_another_machine_measures_again(net, summary, monkeypatch) -> None:
    runs = counted(monkeypatch)
    facts = DeviceFacts("cuda", "H100", None, "580.1", {"torch": "2.14", "cuda": "13"}, False, True)
    others = [
        facts,
        dataclasses.replace(facts, name="H200"),
        dataclasses.replace(facts, driver="580.2"),
        dataclasses.replace(facts, versions={"torch": "2.14", "cuda": "13.1"}),
        dataclasses.replace(facts, cudnn_benchmark=True),
        dataclasses.replace(facts, tf32=False),
    ]
    for number, other in enumerate(others, start=1):
        monkeypatch.setattr(latency, "device_facts", lambda *a, other=other: other)
        for _ in range(2):
            assert measure(net, summary, held_out=0).conditions.device == other
        assert len(runs) == number
    for name, changed in (("_source_hash", lambda: "other"), ("version", lambda name: "9.9")):
        monkeypatch.setattr(cache, name, changed)
        measure(net, summary, held_out=0)
    assert len(runs) == len(others) + 2


def test_a_damaged_table_is_measured_again(net, summary, folder, monkeypatch) -> None:
    runs = counted(monkeypatch)
    first = measure(net, summary, held_out=1)
    (path,) = (folder / "latencies").iterdir()
    good = path.read_text()
    text = json.dumps(json.loads(first.to_json()) | {"base_ms": "fast"})
    damages = [
        "",
        good[:-9],
        good.replace("100.0", "101.0"),
        f"{cache._checksum({}, text)}\n{text}",
    ]
    for number, damage in enumerate(damages, start=2):
        path.write_text(damage)
        assert measure(net, summary, held_out=1) == first
        assert len(runs) == number, damage
        assert path.read_text() == good


@pytest.mark.parametrize("name", ["nets.py:net", "Net"])
def test_what_no_version_decides_is_not_kept(net, summary, folder, name) -> None:
    measure(net, dataclasses.replace(summary, model=name), sites=["one"], held_out=0)
    assert not folder.exists()


def test_bad_input(net, summary) -> None:
    for wrong, message in (
        ({"reductions": [0]}, "reduction must be an integer of at least 1"),
        ({"dilations": [1.5]}, "dilation must be an integer of at least 1"),
        ({"reductions": []}, "needs at least one site, one reduction and one dilation"),
        ({"sites": []}, "needs at least one site, one reduction and one dilation"),
        ({"sites": ["four"]}, "no site is called 'four'"),
        ({"held_out": -1}, "held_out must be 0 or more"),
    ):
        with pytest.raises(InvalidValueError, match=message):
            measure(net, summary, **wrong)
    with pytest.raises(NoSiteError):
        measure(net, dataclasses.replace(summary, sites=()))
    other = dataclasses.replace(summary, sites=summary.sites[:2])
    with pytest.raises(
        InvalidValueError, match="summary of resnet18 does not match this Sequential"
    ):
        measure(net, other)
    with pytest.raises(DeviceError, match="device cuda:77 does not exist"):
        measure(net, summary, device="cuda:77")


def test_memory_that_runs_out_is_said(net, summary, monkeypatch) -> None:
    def full(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(BAM, "forward", full)
    with pytest.raises(DeviceError, match="does not fit into the memory of cpu"):
        measure(net, summary)


TABLE = LatencyTable(
    "net",
    (3, 16, 24),
    "backbone",
    12.5,
    (LatencyEntry("one", 4, 1, 0.1), LatencyEntry("one", 4, 2, 0.0)),
    LatencyConditions(
        "paper",
        "paper",
        1,
        "float32",
        "contiguous",
        "eager",
        False,
        DeviceFacts("cpu", "a CPU", 1, None, {"torch": "2.14"}),
    ),
    LatencyFit(0.5, 0.25, (held_out(90, 120), held_out(90, 121))),
)


def test_a_table_round_trips() -> None:
    bare = dataclasses.replace(TABLE, conditions=None, error=None)
    for table in (TABLE, bare):
        read = LatencyTable.from_json(table.to_json())
        assert read == table
        assert read.predict([Insertion("one", 4, 1)]) == 12.6
    for text in ("", "{}", "[]", "null", TABLE.to_json()[:-3]):
        with pytest.raises((ValueError, KeyError, TypeError)):
            LatencyTable.from_json(text)


def test_a_missing_time_is_an_error() -> None:
    for insertion in (Insertion("one", 8, 1), Insertion("one", 4, 4), Insertion("two", 4, 1)):
        option = f"r={insertion.reduction}, d={insertion.dilation}"
        message = f"no time for {insertion.site} with {option}: measure it"
        with pytest.raises(InvalidValueError, match=message):
            TABLE.predict([Insertion("one", 4, 1), insertion])


def test_a_module_alone_is_measured(net) -> None:
    options = {"reductions": 4, "dilations": (1, 2), "samples": 3, "clock": FormulaClock()}
    table = measure_latency(net, SHAPE, **options, held_out=0)
    assert table.model == "torch.nn.modules.container:Sequential"
    assert (table.input_shape, table.base_ms) == (SHAPE, BASE)
    assert [(e.site, e.reduction, e.dilation) for e in table.entries] == [
        (site, 4, d) for site in ("one", "two", "three") for d in (1, 2)
    ]


def test_a_name_is_measured_with_the_papers_options() -> None:
    name = "bamsearch.examples:resnet20"

    class Constant:
        def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
            return 1.0

    table = measure_latency(name, 32, samples=3, held_out=0, clock=Constant())
    assert (table.model, table.input_shape) == (name, (3, 32, 32))
    assert {(e.reduction, e.dilation) for e in table.entries} == {(16, 4)}
    assert {e.site for e in table.entries} == {site.name for site in find_sites(name, 32)}


def test_a_summary_and_another_input_are_refused(net, summary) -> None:
    with pytest.raises(InvalidValueError, match=r"for an input of \(3, 16, 24\), not \(3, 8, 8\)"):
        measure_latency(net, 8, summary=summary)


def test_impossible_tables() -> None:
    for ms in (-0.1, math.nan, math.inf):
        with pytest.raises(InvalidValueError, match="between 0 ms and one year"):
            LatencyEntry("one", 4, 1, ms)
        with pytest.raises(InvalidValueError, match="more than 0 ms"):
            dataclasses.replace(TABLE, base_ms=ms)
    with pytest.raises(InvalidValueError, match="more than 0 ms"):
        dataclasses.replace(TABLE, base_ms=0.0)
    with pytest.raises(InvalidValueError, match="one with r=4, d=2 has two times"):
        dataclasses.replace(TABLE, entries=(*TABLE.entries, LatencyEntry("one", 4, 2, 1.0)))
    for wrong in ((0, 1), (1, 0), (1.5, 1)):
        with pytest.raises(InvalidValueError, match="integer of at least 1"):
            LatencyEntry("one", *wrong, 1.0)
