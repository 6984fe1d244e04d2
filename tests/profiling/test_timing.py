"""Timing with clocks that are told what to say: no test waits, none asks the time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import nn

from bamsearch.errors import DeviceError, InvalidValueError
from bamsearch.profiling import timing
from bamsearch.profiling.timing import paired_ratio, time_model, time_pair
from bamsearch.records import DeviceFacts, PairedTiming, Timing

SHAPE = (3, 4, 4)


class Net(nn.Module):
    """A network that says its name to whoever listens."""

    def __init__(self, name: str = "a") -> None:
        super().__init__()
        self.name = name
        self.layer = nn.Linear(3, 2)

    def forward(self, image):
        HEARD.append((self.name, image.shape[0]))
        return self.layer(image.mean((-2, -1)))


HEARD: list[tuple[str, int]] = []


class FakeClock:
    """A clock that runs the call once, sees which network it was, and says what it is told.

    Args:
        says: milliseconds per call, from the network's name and the number of the sample.
    """

    def __init__(self, says: Callable[[str, int], float]) -> None:
        self.says = says
        self.order: list[str] = []
        self.repeats: list[int] = []

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        HEARD.clear()
        run()
        name = HEARD[-1][0]
        self.order.append(name)
        self.repeats.append(repeats)
        return self.says(name, len(self.order) - 1)


class Script:
    """A clock without a network: one time after the other."""

    def __init__(self, times: Iterator[float]) -> None:
        self.times = times
        self.repeats: list[int] = []

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        self.repeats.append(repeats)
        return next(self.times)


def warm_up(times: Iterator[float]) -> tuple[int, list[int]]:
    clock = Script(times)
    return timing._warm_up(clock, lambda: None), clock.repeats


def after_warm_up(clock: FakeClock, wanted: int) -> list[str]:
    return clock.order[-wanted:]


def constant(ms: float) -> FakeClock:
    return FakeClock(lambda name, number: ms)


# One model.


def test_samples_are_the_clocks_in_its_order():
    clock = FakeClock(lambda name, number: 100.0 + number)
    timed = time_model(Net(), SHAPE, samples=7, clock=clock)
    last = len(clock.order)
    assert timed.samples == tuple(100.0 + n for n in range(last - 7, last))


def test_what_a_time_depends_on_is_with_it():
    timed = time_model(
        Net(),
        SHAPE,
        samples=3,
        clock=constant(20.0),
        batch_size=5,
        dtype="bfloat16",
        memory_format="channels_last",
        train=True,
    )
    assert HEARD[-1] == ("a", 5)
    assert (timed.input_shape, timed.batch_size, timed.dtype) == (SHAPE, 5, "bfloat16")
    assert (timed.memory_format, timed.mode, timed.train) == ("channels_last", "eager", True)
    assert timed.calls_per_sample == 1
    assert (timed.device.kind, timed.device.threads) == ("cpu", 1)
    assert timed.device.versions["torch"] == torch.__version__


@pytest.mark.parametrize("samples", [0, -1, 2.5, True])
def test_samples_must_be_a_positive_integer(samples):
    with pytest.raises(InvalidValueError, match="samples must be an integer of at least 1"):
        time_model(Net(), SHAPE, samples=samples, clock=constant(1.0))
    with pytest.raises(InvalidValueError, match="samples must be an integer of at least 1"):
        time_pair(Net(), Net(), SHAPE, samples=samples, clock=constant(1.0))


def test_what_fails_after_warm_up_is_a_device_error_too():
    def says(name, number):
        if number == 12:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return 20.0

    with pytest.raises(DeviceError, match=r"^Net with a batch of 1 does not fit into the memory"):
        time_model(Net(), SHAPE, clock=FakeClock(says))


def test_the_caller_has_everything_as_it_was():
    class Random(Net):
        def forward(self, image):
            return super().forward(nn.functional.dropout(image + torch.rand(()), training=True))

    cudnn = torch.backends.cudnn
    threads = torch.get_num_threads()

    def state():
        flags = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
        return torch.get_num_threads(), torch.is_grad_enabled(), flags

    model = Random().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(7)
    wanted = torch.rand(3)
    with torch.no_grad():
        torch.manual_seed(7)
        here = state()
        timed = time_model(
            model, SHAPE, samples=2, train=True, threads=threads + 1, clock=constant(20.0)
        )
        assert state() == here
        assert torch.equal(torch.rand(3), wanted)
    assert timed.device.threads == threads + 1
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_threads_come_back_after_an_error():
    threads = torch.get_num_threads()
    with pytest.raises(DeviceError):
        time_model(nn.Conv2d(5, 1, 1), SHAPE, threads=threads + 1, clock=constant(1.0))
    assert torch.get_num_threads() == threads


def test_the_devices_own_clock_is_taken_where_none_is_given():
    timed = time_model(Net(), SHAPE, samples=2)
    assert len(timed.samples) == 2
    assert min(timed.samples) > 0


# Statistics of samples.


def of(samples) -> Timing:
    facts = DeviceFacts("cpu", "a processor", 1, None, {})
    return Timing(tuple(samples), 1, SHAPE, 1, "float32", "contiguous", "eager", False, facts)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 30, 31])
def test_median_and_interquartile_range_are_numpys(number):
    samples = np.random.default_rng(number).gamma(3.0, size=number)
    timed = of(samples)
    assert timed.median == pytest.approx(np.median(samples))
    assert timed.iqr == pytest.approx(np.subtract(*np.percentile(samples, [75, 25])))


def test_median_and_interquartile_range_by_hand():
    timed = of([3.0, 1.0, 2.0, 5.0, 4.0])
    assert (timed.median, timed.iqr) == (3.0, 2.0)


@pytest.mark.parametrize(
    ("samples", "noisy"),
    [
        ([10.0], False),
        ([10.0, 10.5, 10.0, 9.5, 10.0], False),
        ([9.0, 9.5, 10.0, 10.5, 11.0], False),  # 1.0 of 10: just 10%
        ([9.0, 9.4, 10.0, 10.5, 11.0], True),
        ([10.0] * 20 + [90.0] * 4, False),  # a burst in a sixth
        ([10.0] * 20 + [90.0] * 10, True),
    ],
)
def test_noisy_from_a_tenth(samples, noisy):
    assert of(samples).noisy is noisy


# Warm-up and the length of a sample.


@pytest.mark.parametrize(
    ("duration", "calls"),
    [
        (500.0, 1),
        (10.0, 1),
        (9.99, 3),  # aims at 20 ms
        (3.0, 7),
        (1.0, 10),  # at most ten times as many as before, and that is enough
        (0.5, 40),
        (0.01, 1_000),
        (1e-4, 100_000),
    ],
)
def test_a_sample_is_as_many_calls_as_make_ten_milliseconds(duration, calls):
    repeats, samples = warm_up(itertools.repeat(duration))
    assert repeats == calls
    assert duration * repeats >= 10 - 1e-9
    assert all(now <= 10 * before for before, now in itertools.pairwise(samples))


@pytest.mark.parametrize("duration", [0.0, 1e-9])
def test_a_clock_that_stands_still_is_not_waited_for(duration):
    repeats, samples = warm_up(itertools.repeat(duration))
    assert repeats == 100_000
    assert len(samples) < 100


def test_warm_up_ends_with_the_second_window_if_all_is_steady():
    _, samples = warm_up(itertools.repeat(20.0))
    assert len(samples) == 10


def test_a_slow_first_call_does_not_set_the_length():
    repeats, _ = warm_up(itertools.chain([900.0], itertools.repeat(0.5)))
    assert repeats == 10 or 0.5 * repeats >= 10


def test_warm_up_continues_while_times_fall():
    falling = [20.0 + 80.0 * 0.85**number for number in range(30)]
    _, samples = warm_up(itertools.chain(falling, itertools.repeat(20.0)))
    last = falling[: len(samples)][-10:] if len(samples) <= 30 else [20.0]
    assert 20 < len(samples) < 45
    assert np.median(last) < 1.15 * 20.0


def test_a_steady_drift_is_not_taken_for_noise():
    _, samples = warm_up(20.0 * (1 + 0.01 * number) for number in itertools.count())
    assert sum(20.0 * (1 + 0.01 * number) for number in range(len(samples))) >= 5_000


def test_noise_does_not_keep_warm_up_going():
    lengths = []
    for seed in range(50):
        noise = np.random.default_rng(seed)
        _, samples = warm_up(20.0 * noise.lognormal(0, 0.3) for _ in itertools.count())
        lengths.append(len(samples))
    assert np.median(lengths) <= 20
    assert max(lengths) <= 60


def test_warm_up_is_bounded_in_time():
    _, samples = warm_up(100.0 * 1.1**number for number in itertools.count())
    assert sum(100.0 * 1.1**number for number in range(len(samples) - 1)) < 5_000
    assert len(warm_up(itertools.repeat(6_000.0))[1]) == 1


# Pairs.


def pairs_timed(pairs: int, seed: int) -> list[str]:
    clock = FakeClock(lambda name, number: 20.0)
    time_pair(Net("a"), Net("b"), SHAPE, samples=pairs, seed=seed, clock=clock)
    assert set(clock.order[:10]) == {"a"}
    assert set(clock.order[10:20]) == {"b"}
    timed = "".join(after_warm_up(clock, 2 * pairs))
    return [timed[start : start + 2] for start in range(0, len(timed), 2)]


def test_two_models_are_timed_in_pairs_of_random_order():
    timed = pairs_timed(400, seed=0)
    assert set(timed) == {"ab", "ba"}
    # Four deviations of a fair coin, sqrt(400) / 2 = 10 each: of the order, and of its changes.
    assert abs(timed.count("ab") - 200) < 40
    changes = sum(now != before for before, now in itertools.pairwise(timed))
    assert abs(changes - 399 / 2) < 40


def test_the_seed_decides_the_order():
    assert pairs_timed(40, seed=1) == pairs_timed(40, seed=1) != pairs_timed(40, seed=2)


@pytest.mark.parametrize(("samples", "taken"), [(1, 6), (6, 6), (7, 7), (40, 40)])
def test_there_are_six_pairs_or_more(samples, taken):
    pair = time_pair(Net("a"), Net("b"), SHAPE, samples=samples, clock=constant(20.0))
    assert len(pair.a.samples) == len(pair.b.samples) == taken


def test_the_shorter_of_the_two_sets_the_number_of_calls():
    clock = FakeClock(lambda name, number: 1.0 if name == "a" else 4.0)
    pair = time_pair(Net("a"), Net("b"), SHAPE, samples=6, clock=clock)
    assert pair.a.calls_per_sample == pair.b.calls_per_sample == 10
    assert set(clock.repeats[-12:]) == {10}
    assert (pair.a.median, pair.b.median, pair.ratio) == (1.0, 4.0, 4.0)


def test_a_pair_has_its_samples_conditions_and_ratio():
    clock = FakeClock(lambda name, number: {"a": 100.0, "b": 103.0}[name] + number % 3)
    pair = time_pair(Net("a"), Net("b"), SHAPE, samples=10, clock=clock, batch_size=2, seed=5)
    low, ratio, high = paired_ratio(pair.a.samples, pair.b.samples, seed=5)
    assert (pair.low, pair.ratio, pair.high) == (low, ratio, high)
    assert pair.ratio == np.median(np.array(pair.b.samples) / np.array(pair.a.samples))
    assert (pair.confidence, pair.a.batch_size, pair.b.batch_size) == (0.95, 2, 2)
    assert pair.distinguished


def test_equal_times_are_not_distinguished():
    pair = time_pair(Net("a"), Net("b"), SHAPE, clock=constant(20.0))
    assert (pair.low, pair.ratio, pair.high) == (1.0, 1.0, 1.0)
    assert not pair.distinguished


def drifting(kind: str, rate: float) -> Callable[[str, int], float]:
    growth = {
        "linear": lambda number: 1 + rate * number,
        "geometric": lambda number: (1 + rate) ** number,
    }[kind]
    return lambda name, number: {"a": 100.0, "b": 103.0}[name] * growth(number)


def simulated(says: Callable[[str, int], float], monkeypatch) -> list[PairedTiming]:
    """100 comparisons of 40 pairs, whose samples are numbered from 0."""
    monkeypatch.setattr(timing, "_warm_up", lambda clock, run: 1)
    a, b = Net("a"), Net("b")
    return [
        time_pair(a, b, SHAPE, samples=40, seed=seed, clock=FakeClock(says)) for seed in range(100)
    ]


def ratios_of(pair: PairedTiming) -> np.ndarray:
    return np.array(pair.b.samples) / np.array(pair.a.samples)


def held(pairs: list[PairedTiming], ratio: float) -> int:
    return sum(pair.low <= ratio <= pair.high for pair in pairs)


@pytest.mark.parametrize("kind", ["linear", "geometric"])
@pytest.mark.parametrize("rate", [1e-3, -1e-3, 1e-4])
def test_a_drift_is_inside_the_interval(kind, rate, monkeypatch):
    pairs = simulated(drifting(kind, rate), monkeypatch)
    # A B is off by the drift, B A by as much to the other side.
    off = ratios_of(pairs[0]) / 1.03 - 1
    assert abs(off).min() > 0.9 * abs(rate)
    assert 5 < (off > 0).sum() < 35
    assert 90 <= held(pairs, 1.03) <= 99
    # Seeds err to either side.
    assert np.mean([pair.ratio for pair in pairs]) == pytest.approx(1.03, rel=0.4 * abs(rate))


@pytest.mark.parametrize(
    ("period", "slow"), [(2, {1}), (4, {1, 2}), (4, {0, 3})], ids=["2", "4: B B", "4: A A"]
)
def test_a_periodic_disturbance_does_not_bias_the_ratio(period, slow, monkeypatch):
    """In the order A B B A a period of 4 samples would hit B alone, and make every ratio 1.2.

    One half of each pair is slow. Heads, a coin says that it is B's: the ratio is 1.2, else 1/1.2.
    The interval leaves out 1 where at least 27 of 40 coins agree, as then 97.5% of resamples have
    such a majority: 2 P(Binomial(40, 1/2) >= 27) = 3.8%.
    """
    pairs = simulated(lambda name, number: 24.0 if number % period in slow else 20.0, monkeypatch)
    assert {round(ratio, 9) for ratio in ratios_of(pairs[0])} == {1.2, round(1 / 1.2, 9)}
    assert 90 <= held(pairs, 1.0) <= 99


def test_a_b_a_b_would_not_cancel_it(monkeypatch):
    monkeypatch.setattr(timing, "_warm_up", lambda clock, run: 1)
    says = drifting("geometric", 1e-3)
    a = [says("a", 2 * number) for number in range(40)]
    b = [says("b", 2 * number + 1) for number in range(40)]
    assert paired_ratio(a, b)[1] == pytest.approx(1.03 * 1.001)


def test_both_move_in_memory_before_each_pair_in_any_order(monkeypatch):
    moved = []
    monkeypatch.setattr(timing.Workload, "move", lambda work: moved.append(work.module.name))
    clock = FakeClock(lambda name, number: 20.0)
    time_pair(Net("a"), Net("b"), SHAPE, samples=200, clock=clock)
    turns = ["".join(turn) for turn in zip(moved[::2], moved[1::2], strict=True)]
    assert len(turns) == 200
    assert 70 < turns.count("ab") < 130
    assert turns.count("ab") + turns.count("ba") == 200
    # The order of moving is independent of the order of timing: 100 of 200 agree, sd 7.
    timed = "".join(after_warm_up(clock, 400))
    agree = sum(turn == timed[2 * n : 2 * n + 2] for n, turn in enumerate(turns))
    assert 70 < agree < 130
    moved.clear()
    time_model(Net("a"), SHAPE, samples=8, clock=clock)
    assert not moved


def noisy_pair(seed: int, ratio: float, pairs: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Times in the order A B B A: a drift, noise that both halves share, its own, and bursts."""
    random = np.random.default_rng(seed)
    number = np.arange(2 * pairs)
    drift = 1 + random.uniform(-2e-3, 2e-3) * number
    shared = np.repeat(random.lognormal(0, 0.15, pairs), 2)
    noise = random.lognormal(0, 0.02, 2 * pairs)
    bursts = np.where(random.random(2 * pairs) < 0.08, random.uniform(1.5, 4.0, 2 * pairs), 1.0)
    times = (20.0 * drift * shared * noise * bursts).reshape(-1, 4)
    a, b = times[:, [0, 3]].ravel(), times[:, [1, 2]].ravel()
    return a, ratio * b


@pytest.mark.parametrize("ratio", [1.0, 1.03])
def test_the_interval_holds_the_true_ratio(ratio):
    held = 0
    for seed in range(100):
        low, middle, high = paired_ratio(*noisy_pair(seed, ratio), seed=seed)
        assert low <= middle <= high
        held += low <= ratio <= high
    assert 90 <= held <= 99


def test_three_percent_are_detected():
    result = sum(paired_ratio(*noisy_pair(seed, 1.03), seed=seed)[0] > 1 for seed in range(100))
    assert result >= 90


def test_unpaired_times_would_not_find_them():
    """What pairing is for: the medians on their own are further off than the difference."""
    pairs = [noisy_pair(seed, 1.03) for seed in range(100)]
    alone = [np.median(b) / np.median(a) for a, b in pairs]
    together = [paired_ratio(a, b)[1] for a, b in pairs]
    assert np.std(together) < 0.5 * np.std(alone)


def test_the_interval_is_scipys_percentile_bootstrap_by_hand():
    a, b = noisy_pair(3, 1.0)
    ratios = b / a
    random = np.random.default_rng(0)
    medians = np.median(random.choice(ratios, (20_000, len(ratios))), axis=1)
    low, middle, high = paired_ratio(a, b)
    assert middle == np.median(ratios)
    assert low == pytest.approx(np.percentile(medians, 2.5), abs=2e-3)
    assert high == pytest.approx(np.percentile(medians, 97.5), abs=2e-3)


def test_the_same_seed_gives_the_same_interval():
    a, b = noisy_pair(3, 1.0)
    assert paired_ratio(a, b, seed=1) == paired_ratio(a, b, seed=1)
