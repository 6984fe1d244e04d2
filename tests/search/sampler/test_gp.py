"""What GPProposer proposes: always allowed, reproducibly, and far better than at random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bamsearch.records import Budget, Cost, ModelSummary, Site
from bamsearch.sampler.gp import GPSampler
from bamsearch.space.choices import Encoding
from bamsearch.space.feasible import Counted, Feasible, Listed, feasible
from bamsearch.space.space import parse_space, search_space

Objective = Callable[[Encoding], float]

# resnet50 at 224 x 224, without its stem.
MAPS = {"layer1": (256, 56), "layer2": (512, 28), "layer3": (1024, 14), "layer4": (2048, 7)}
BASE = Cost(25_557_032, 4_111_512_576, 4_089_184_256)


def designs(
    names: str = "layer1 layer2 layer3",
    limit: int = 4_200_000_000,
    reductions: tuple[int, ...] = (4, 8, 16, 32),
    dilations: tuple[int, ...] = (1, 2, 4, 6),
    listed: int = 500_000,
) -> Feasible:
    kinds = {"layer4": "head"}
    sites = tuple(
        Site(name, channels, side, side, 224 // side, "NCHW", kinds.get(name, "bottleneck"), "x")
        for name, (channels, side) in MAPS.items()
    )
    summary = ModelSummary("resnet50", (3, 224, 224), "", (3, 224, 224), sites, BASE)
    content = {
        "name": "test",
        "sites": names.split(),
        "reductions": list(reductions),
        "dilations": list(dilations),
    }
    space = search_space(parse_space(content, "test"), summary)
    return feasible(space, [Budget("gflops", "test", limit, BASE.macs)], listed)


def additive(space: Feasible, seed: int) -> Objective:
    """Effects of BAM, of log2 r and of log2 d at each choice, drawn."""
    rng = np.random.default_rng([seed, 5])
    tables = []
    for choice in space.space.choices:
        on, r, d, bend = rng.normal(size=4)
        tables.append(
            [
                0.0
                if option.off
                else on
                + 0.5 * r * (np.log2(option.reduction) - 3.5)
                + 0.5 * d * np.log2(option.dilation)
                + 0.3 * bend * (np.log2(option.reduction) - 3.5) ** 2
                for option in choice.options
            ]
        )
    return lambda encoding: float(sum(table[n] for table, n in zip(tables, encoding, strict=True)))


def searched(sampler: GPSampler, score: Objective, number: int) -> list[tuple[Encoding, float]]:
    observed: list[tuple[Encoding, float]] = []
    for _ in range(number):
        encoding = sampler.suggest(observed, {encoding for encoding, _ in observed})
        if encoding is None:
            break
        observed.append((encoding, score(encoding)))
    return observed


@pytest.mark.parametrize(
    ("space", "objectives", "number"),
    [
        (designs(), ("score",), 120),
        (designs(), ("score", "gflops"), 112),
        (designs("layer*", 4_400_000_000), ("score",), 25),
        (designs("layer*", listed=10), ("score", "params"), 25),
    ],
    ids=["listed", "two objectives", "long list", "counted"],
)
def test_a_resumed_search_continues_the_same(space, objectives, number) -> None:
    score = additive(space, 0)
    noise = np.random.default_rng(0).normal(size=number)
    sampler = GPSampler(space, objectives, seed=3)
    observed: list[tuple[Encoding, float]] = []
    for value in noise:
        excluded = {encoding for encoding, _ in observed}
        encoding = sampler.suggest(observed, excluded)
        if len(observed) % 4 == 0 or number - len(observed) <= 10:
            assert encoding == GPSampler(space, objectives, seed=3).suggest(observed, excluded)
        assert encoding is not None
        observed.append((encoding, score(encoding) + float(value)))


def test_earlier_suggestions_do_not_matter() -> None:
    space = designs()
    observed = searched(GPSampler(space, seed=1), additive(space, 1), 30)
    used = GPSampler(space, seed=1)
    used.suggest(observed, {encoding for encoding, _ in observed})
    used.suggest(observed[:7], {observed[9][0]})
    for number in (1, 12, 12, 30):
        excluded = {encoding for encoding, _ in observed[: number + 2]}
        fresh = GPSampler(space, seed=1).suggest(observed[:number], excluded)
        assert used.suggest(observed[:number], excluded) == fresh


def test_what_is_being_scored_elsewhere_counts() -> None:
    """Each of several workers goes elsewhere, and none depends on what it proposed before."""
    space = designs()
    observed = searched(GPSampler(space, seed=1), additive(space, 1), 12)
    done = {encoding for encoding, _ in observed}
    used, running, alone = GPSampler(space, seed=1), set[Encoding](), list[Encoding]()
    for _ in range(4):
        encoding = used.suggest(observed, done | running)
        assert encoding is not None
        assert encoding == GPSampler(space, seed=1).suggest(observed, done | running)
        running.add(encoding)
        alone.append(encoding)
    assert len(running) == 4
    # Where the others run is known to be taken: not simply the next best.
    plain = GPSampler(space, seed=1)
    plain.suggest(observed, done)
    ranked = [tuple(row.tolist()) for row in plain._ranking.tables[0]]
    assert alone != [encoding for encoding in ranked if encoding not in done][:4]


def test_another_seed_is_another_search() -> None:
    space = designs()
    first, second = (searched(GPSampler(space, seed=n), lambda _: 0.0, 3) for n in (0, 1))
    assert first != second


@pytest.mark.parametrize("kind", [Listed, Counted])
@pytest.mark.parametrize("scores", ["constant", "normal", "huge", "outlier", "tiny"])
def test_suggestions_are_feasible_new_and_have_bam(kind, scores) -> None:
    space = designs("layer*", listed=500_000 if kind is Listed else 10)
    assert isinstance(space, kind)
    rng = np.random.default_rng(0)
    value = {
        "constant": lambda: 7.0,
        "normal": rng.normal,
        "huge": lambda: rng.normal() * 1e300,
        "outlier": lambda: rng.normal() if rng.random() < 0.9 else -1e6,
        "tiny": lambda: 1e3 + 1e-9 * rng.normal(),
    }[scores]
    sampler = GPSampler(space, seed=0)
    # The base was scored; the largest is being scored elsewhere, or has failed.
    observed: list[tuple[Encoding, float]] = [((0, 0, 0, 0), value())]
    excluded = {(0, 0, 0, 0), space.largest()}
    for _ in range(25):
        encoding = sampler.suggest(observed, excluded)
        assert encoding is not None
        assert space.fits(encoding)
        assert any(encoding)
        assert encoding not in excluded
        excluded.add(encoding)
        observed.append((encoding, float(value())))


def test_a_small_set_is_exhausted() -> None:
    space = designs("layer1 layer2", 4_190_000_000, (8, 16, 32), (1, 4))
    assert isinstance(space, Listed)
    every = {tuple(row) for row in space.table.tolist()} - {(0, 0)}
    assert 10 < len(every) < 40
    sampler = GPSampler(space)
    observed = searched(sampler, lambda encoding: float(sum(encoding)), 100)
    assert {encoding for encoding, _ in observed} == every
    assert len(observed) == len(every)
    assert sampler.suggest(observed[:-1], every) is None


def test_a_set_is_exhausted_beyond_one_by_one() -> None:
    space = designs("layer1 layer2", 4_260_000_000)
    assert isinstance(space, Listed)
    assert 120 < space.count < 300
    observed = searched(GPSampler(space), additive(space, 0), 400)
    assert len({encoding for encoding, _ in observed}) == len(observed) == space.count - 1


@pytest.mark.parametrize("values", [{}, {"reductions": (16,)}, {"dilations": (4,)}])
def test_a_single_choice_is_searched(values) -> None:
    space = designs("layer2", **values)
    observed = searched(GPSampler(space), additive(space, 0), 100)
    assert len(observed) == space.count - 1


def regret(space: Listed, score: Objective, observed: list[tuple[Encoding, float]]) -> float:
    values = [score(tuple(row)) for row in space.table.tolist() if any(row)]
    best = max(score(encoding) for encoding, _ in observed)
    return (max(values) - best) / (max(values) - float(np.mean(values)))


@pytest.mark.parametrize("outlier", [0.0, -1e6])
def test_it_is_far_better_than_random(outlier: float) -> None:
    space = designs()
    assert isinstance(space, Listed)
    assert space.count == 741
    ours, random = [], []
    for seed in range(8):
        score = additive(space, seed)
        first = tuple(space.table[seed + 7].tolist())
        observed = [(first, score(first) + outlier)]
        sampler = GPSampler(space, seed=seed)
        for _ in range(19):
            encoding = sampler.suggest(observed, {encoding for encoding, _ in observed})
            observed.append((encoding, score(encoding)))
        ours.append(regret(space, score, observed))
        for drawn in range(10):
            rows = space.sample(np.random.default_rng([seed, drawn]), 20).tolist()
            random.append(regret(space, score, [(tuple(row), 0.0) for row in rows]))
    assert np.mean(random) > 0.15
    assert np.mean(ours) < 0.15 * np.mean(random)


def test_a_plateau_is_left() -> None:
    """Where designs with one BAM or two tie, and all but one in 5,000 are no better."""
    space = designs("layer*", 10**12)

    def score(encoding: Encoding) -> float:
        return -abs(sum(choice > 0 for choice in encoding) - 1.0) + (encoding[2] > 0)

    for seed in range(3):
        sampler = GPSampler(space, seed=seed)
        observed = [(encoding, score(encoding)) for encoding in ((0, 0, 0, 0), space.largest())]
        for _ in range(70):
            encoding = sampler.suggest(observed, {encoding for encoding, _ in observed})
            assert encoding is not None
            observed.append((encoding, score(encoding)))
        assert max(score for _, score in observed) == 1.0


def test_the_unit_of_the_score_does_not_matter() -> None:
    space = designs()
    score = additive(space, 2)
    plain = searched(GPSampler(space), score, 15)
    # Powers of two change no digit.
    scaled = searched(GPSampler(space), lambda encoding: 2.0**40 * score(encoding), 15)
    assert [encoding for encoding, _ in plain] == [encoding for encoding, _ in scaled]


def covered(points: list[tuple[float, float]]) -> float:
    """The area between (score 0, cost 1) and the front of points of (score, cost), both in 0..1."""
    area, highest = 0.0, 0.0
    for score, cost in sorted(points, key=lambda point: point[1]):
        if score > highest:
            area += (score - highest) * (1 - cost)
            highest = score
    return area


def test_two_objectives_cover_the_front() -> None:
    """If the score grows with the size, only the largest designs are best."""
    space = designs()
    assert isinstance(space, Listed)
    every = [tuple(row) for row in space.table.tolist()]
    reached: dict[str, list[float]] = {"both": [], "score": [], "random": []}
    for seed in range(6):
        alone = additive(space, seed)

        def score(encoding: Encoding, alone=alone) -> float:
            return alone(encoding) + 2 * space.space.added(encoding, "params") / 1e6

        values = np.array([score(encoding) for encoding in every])
        low, high = values.min(), values.max()

        def point(encoding: Encoding, score=score, low=low, high=high) -> tuple[float, float]:
            cost = space.space.added(encoding, "gflops") / float(space.slacks[0])
            return (score(encoding) - low) / (high - low), cost

        front = covered([point(encoding) for encoding in every if any(encoding)])
        both = searched(GPSampler(space, ("score", "gflops"), seed=seed), score, 40)
        only = searched(GPSampler(space, seed=seed), score, 40)
        rows = space.sample(np.random.default_rng(seed), 40).tolist()
        for name, proposed in (
            ("both", [encoding for encoding, _ in both]),
            ("score", [encoding for encoding, _ in only]),
            ("random", [tuple(row) for row in rows]),
        ):
            reached[name].append(covered([point(encoding) for encoding in proposed]) / front)
    missing = {name: 1 - float(np.mean(result)) for name, result in reached.items()}
    assert missing["random"] > 0.1
    assert missing["both"] < 0.01
    assert missing["both"] < 0.3 * missing["score"]
