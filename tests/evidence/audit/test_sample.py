"""The sample of an audit, by going through every design of a small space."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from bamsearch.evidence.audit.sample import draw_sample
from bamsearch.profiling.summary import summarise
from bamsearch.records import Budget
from bamsearch.space.feasible import feasible
from bamsearch.space.space import read_space, search_space
from bamsearch.study.baselines import paper_default


@pytest.fixture(scope="module")
def space():
    """Three sites of resnet20 on small images, up to 17 options each."""
    summary = summarise("bamsearch.examples:resnet20", (16, 16), 10)
    return search_space(read_space("stages"), summary)


def under(space, percent: int):
    base = space.summary.base.macs
    return feasible(space, [Budget("gflops", "", base * (100 + percent) // 100, base)])


def every(fit) -> list[tuple[int, ...]]:
    numbers = product(*(range(len(choice.options)) for choice in fit.space.choices))
    return [encoding for encoding in numbers if fit.fits(encoding)]


def sites(encoding) -> tuple[bool, ...]:
    return tuple(number > 0 for number in encoding)


def test_base_largest_and_paper_default_come_first_and_all_fit(space):
    fit = under(space, 6)
    sample = draw_sample(fit, 40, 0)
    assert len(set(sample.encodings)) == len(sample.encodings) == len(sample.in_band) == 40
    assert sample.encodings[0] == (0,) * len(space.choices)
    assert sample.encodings[1] == fit.largest()
    paper = paper_default(fit)
    if paper is not None:
        assert sample.encodings[2] == space.encoding(paper)
    assert all(fit.fits(encoding) for encoding in sample.encodings)


def test_the_band_is_the_dearest_quarter_of_all_that_fits(space):
    fit = under(space, 6)
    sample = draw_sample(fit, 40, 0)
    added = {encoding: space.added(encoding, "gflops") for encoding in every(fit)}
    threshold = np.quantile(list(added.values()), 0.75)
    assert sample.threshold == round(threshold)
    assert sample.in_band == tuple(added[encoding] >= threshold for encoding in sample.encodings)
    share = sum(value >= threshold for value in added.values()) / len(added)
    assert 0.25 <= share < 0.5
    # Half is drawn there, and of the other half what happens to lie there.
    assert sum(sample.in_band) >= 18


def test_sets_of_sites_are_drawn_evenly(space):
    fit = feasible(space, [])
    sample = draw_sample(fit, 67, 1)
    drawn = sample.encodings[3:]
    counts = Counter(sites(encoding) for encoding in drawn)
    uniform = Counter(sites(encoding) for encoding in every(fit))
    # Most designs have every site; one design in hundreds has a single site.
    assert uniform[True, True, True] / sum(uniform.values()) > 0.8
    assert counts[True, True, True] < len(drawn) / 2
    alone = [(True, False, False), (False, True, False), (False, False, True)]
    assert min(counts[site] for site in alone) >= 3


def test_it_is_a_function_of_its_seed_and_a_longer_one_continues(space):
    fit = under(space, 6)
    first = draw_sample(fit, 30, 4)
    assert draw_sample(fit, 30, 4) == first
    assert draw_sample(fit, 40, 4).encodings[:30] == first.encodings
    assert draw_sample(fit, 30, 5).encodings != first.encodings


def test_fewer_where_no_more_fit(space):
    fit = under(space, 1)
    sample = draw_sample(fit, fit.count + 100, 0)
    assert sorted(sample.encodings) == sorted(every(fit))


def test_a_space_too_large_to_list_is_sampled(space):
    counted = feasible(space, [], listed=10)
    sample = draw_sample(counted, 20, 0)
    assert len(set(sample.encodings)) == 20
    assert all(counted.fits(encoding) for encoding in sample.encodings)
    assert len({sites(encoding) for encoding in sample.encodings}) >= 6
