"""The clocks, with events and timers that are told what to say."""

from __future__ import annotations

import contextlib

import pytest
import torch

from bamsearch.profiling import timing
from bamsearch.profiling.timing import CpuClock, EventClock, clock_for


class Device:
    """A device that is as far in time as what has run on it; its events read that."""

    def __init__(self) -> None:
        self.now = 0.0
        self.synchronised = 0
        self.said: list[str] = []

    def event(self, enable_timing: bool) -> Event:
        assert enable_timing
        return Event(self)

    def synchronize(self) -> None:
        self.synchronised += 1
        self.said.append("synchronize")

    def run(self) -> None:
        self.now += 3.0
        self.said.append("run")


class Event:
    def __init__(self, device: Device) -> None:
        self.device = device

    def record(self) -> None:
        self.device.said.append("record")
        self.at = self.device.now

    def elapsed_time(self, end: Event) -> float:
        assert self.device.said[-1] == "synchronize", "an event is read before it is there"
        return end.at - self.at


@pytest.fixture
def cuda(monkeypatch):
    device = Device()
    monkeypatch.setattr(torch.cuda, "Event", device.event)
    monkeypatch.setattr(torch.cuda, "synchronize", device.synchronize)
    entered = []

    @contextlib.contextmanager
    def current(which):
        entered.append(which)
        yield

    monkeypatch.setattr(torch.cuda, "device", current)
    device.entered = entered
    return device


ORDER = ["synchronize", "record", "run", "run", "run", "run", "record", "synchronize"]


def test_cuda_events_are_around_all_calls_and_nothing_waits_between_them(cuda):
    assert EventClock(torch.device("cuda:1")).milliseconds(cuda.run, 4) == 3.0
    assert cuda.said == ORDER
    assert cuda.entered == [torch.device("cuda:1")]


def test_mps_events_are_around_all_calls(monkeypatch):
    device = Device()
    monkeypatch.setattr(torch.mps, "Event", device.event)
    monkeypatch.setattr(torch.mps, "synchronize", device.synchronize)
    assert EventClock(torch.device("mps")).milliseconds(device.run, 4) == 3.0
    assert device.said == ORDER


def test_the_cpu_clock_gives_the_mean_of_a_call_in_milliseconds(monkeypatch):
    calls = {}

    class Timer:
        def __init__(self, stmt, globals, num_threads):
            calls.update(stmt=stmt, globals=globals, threads=num_threads)

        def timeit(self, number):
            calls["number"] = number
            exec(calls["stmt"], calls["globals"])
            return type("Measurement", (), {"mean": 0.002})

    monkeypatch.setattr(timing, "Timer", Timer)
    ran = []
    assert CpuClock(threads=3).milliseconds(lambda: ran.append(1), 7) == 2.0
    assert (calls["threads"], calls["number"], ran) == (3, 7, [1])


def test_the_real_cpu_clock_runs_with_its_threads_and_gives_back_the_callers():
    before = torch.get_num_threads()
    seen = set()
    calls = []

    def run():
        seen.add(torch.get_num_threads())
        calls.append(1)

    assert CpuClock(threads=before + 1).milliseconds(run, 5) > 0
    assert seen == {before + 1}
    assert torch.get_num_threads() == before
    assert len(calls) >= 5


@pytest.mark.parametrize(
    ("device", "kind"),
    [("cpu", CpuClock), ("cuda", EventClock), ("cuda:1", EventClock), ("mps", EventClock)],
)
def test_every_device_has_its_clock(device, kind):
    clock = clock_for(torch.device(device), threads=2)
    assert type(clock) is kind
    if kind is CpuClock:
        assert clock.threads == 2
    if kind is EventClock:
        assert clock.device == torch.device(device)
