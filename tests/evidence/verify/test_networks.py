"""Which designs of a run are trained."""

from dataclasses import replace

import pytest

from bamsearch.errors import NothingToDoError
from bamsearch.evidence.verify.networks import choose
from bamsearch.records import Insertion
from bamsearch.records.run_files import read_record
from bamsearch.study.request import plan_of_run


@pytest.fixture
def record(searched):
    return read_record(searched)


def with_designs(record, best, **baselines):
    """The run with other designs; each name takes insertions as (site, r, d)."""

    def trial(original, design, score):
        sites = [Insertion(*site) for site in design]
        return replace(original, design=record.run.design(sites), score=score)

    first = record.trials[0]
    others = [(kind, trial(first, design, 0.5)) for kind, design in baselines.items()]
    return replace(record, trials=(trial(first, best, 9.0),), baselines=tuple(others))


def test_every_role_is_a_network_of_its_own(record):
    designs = {
        "base": [],
        "paper": [("1", 16, 4)],
        "largest": [("1", 4, 1), ("3", 4, 1)],
        "random": [("3", 8, 2)],
    }
    chosen = choose(with_designs(record, [("1", 4, 2)], **designs))
    assert [network.roles for network in chosen.networks] == [
        ("base",),
        ("paper",),
        ("largest",),
        ("random",),
        ("found",),
    ]
    for network in chosen.networks[:4]:
        placed = [(i.site, i.reduction, i.dilation) for i in network.design.insertions]
        assert placed == designs[network.name]
    assert chosen.comparisons == 4
    assert chosen.remarks == ()


def test_equal_networks_are_trained_once(record):
    # 8 channels: r 8 and 16 both have h = 1. 8x8: from d = 8 on only padding is read.
    same = with_designs(
        record,
        [("1", 8, 8)],
        paper=[("1", 16, 9)],
        largest=[("1", 4, 1)],
        random=[("1", 4, 1)],
    )
    chosen = choose(same)
    assert [network.roles for network in chosen.networks] == [
        ("base",),
        ("largest", "random"),
        ("paper", "found"),
    ]
    assert [network.name for network in chosen.networks] == ["base", "largest", "found"]
    assert chosen.networks[-1].design == same.best.design
    assert chosen.designs["paper"].insertions == (Insertion("1", 16, 9),)
    assert chosen.comparisons == 2
    assert chosen.remarks == (
        "One network, trained once: largest that fits and random.",
        "One network, trained once: paper default and found.",
    )


def test_without_a_random_search_a_feasible_design_is_drawn(record):
    alone = replace(record, baselines=tuple(r for r in record.baselines if r[0] != "random"))
    chosen = choose(alone)
    drawn = chosen.designs["random"]
    assert drawn == choose(alone).designs["random"]
    feasible = plan_of_run(record.run).feasible
    assert feasible.fits(feasible.space.encoding(drawn.insertions))
    assert drawn.insertions
    said = "The random design is drawn from the feasible designs: there was no random search."
    assert said in chosen.remarks


def test_what_the_run_has_no_score_of_is_left_out_and_said(record):
    chosen = choose(with_designs(record, [("1", 4, 2)], random=[("3", 8, 2)]))
    assert [network.name for network in chosen.networks] == ["base", "random", "found"]
    assert "The paper default has no score in the run and is not trained." in chosen.remarks


def test_the_base_alone_is_nothing_to_verify(record):
    with pytest.raises(NothingToDoError, match="is the base itself") as caught:
        choose(with_designs(record, []))
    assert caught.value.exit_code == 3
    with pytest.raises(NothingToDoError, match="has no score yet: 'bamsearch search --resume"):
        choose(replace(record, trials=(), baselines=()))
