"""Verification look by look: with planted results in the place of trainings."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bamsearch.errors import DivergedError
from bamsearch.evidence.verify import run as running
from bamsearch.evidence.verify.looks import nominal_level
from bamsearch.evidence.verify.run import run_verify
from bamsearch.evidence.verify.trainings import TEST_FILE, HeldOutResult
from bamsearch.records import Evidence
from bamsearch.records.run_files import read_record

IMAGES = 176  # of the digits' test split

# Images right, per seed: found is far over the base, and never distinguishable from the other two.
RIGHT = {
    "base": [80, 81, 80, 79, 80, 81, 79, 80, 81, 80],
    "other": [118, 124, 121, 117, 125, 119, 123, 118, 122, 120],
    "found": [120, 121, 119, 120, 122, 118, 120, 121, 119, 120],
}


class Killed(BaseException):
    """The process ends."""


class Planted:
    """Stands in for trainings and tests; notes both. ``kill_at`` ends it before that event."""

    def __init__(self, monkeypatch):
        self.events = []
        self.kill_at = None
        monkeypatch.setattr(running, "train_one", self.train)
        monkeypatch.setattr(running, "evaluate_one", self.test)

    def note(self, event):
        if self.kill_at == len(self.events):
            raise Killed
        self.events.append(event)

    def train(self, planned, seed, network, watch=None):
        if not planned.place(seed, network).exists():
            self.note(("train", network.name, seed))
            planned.place(seed, network).mkdir(parents=True)

    def test(self, planned, seed, network, images):
        self.note(("test", network.name, seed))
        right = RIGHT.get(network.name, RIGHT["other"])[seed % 10]
        reached = HeldOutResult(np.arange(IMAGES) < right)
        (planned.place(seed, network) / TEST_FILE).write_text(reached.to_json())
        return reached

    def of(self, kind, name):
        return [seed for event, who, seed in self.events if (event, who) == (kind, name)]


@pytest.fixture
def planted(monkeypatch):
    return Planted(monkeypatch)


@pytest.fixture
def sequence(plan):
    """A plan of up to ten seeds in five looks: at 3, 5, 7, 8 and 10."""

    def make(**others):
        usual = {"seeds": 10, "looks": 5, "margin": 0.01}
        return plan(**(usual | others))

    return make


def undated(evidence):
    openings = tuple(replace(opening, date="") for opening in evidence.openings)
    return replace(evidence, openings=openings)


def test_a_decided_comparison_is_trained_no_further(planted, sequence, run):
    planned = sequence()
    evidence = run_verify(planned)
    rivals = [network.name for network in planned.chosen.networks[1:-1]]
    assert planted.of("train", "base") == [10_000, 10_001, 10_002]
    for name in (*rivals, "found"):
        assert planted.of("train", name) == list(range(10_000, 10_010))
        assert planted.of("test", name) == list(range(10_000, 10_010))
    differences = {difference.against: difference for difference in evidence.differences}
    base = differences.pop("base")
    # 40, 40 and 39 images of 176, over three seeds.
    assert base.points == pytest.approx(100 * np.mean([40, 40, 39]) / IMAGES, abs=1e-3)
    assert (base.seeds, base.verdict) == (3, "better")
    assert {difference.seeds for difference in differences.values()} == {10}
    assert {difference.verdict for difference in differences.values()} == {"not distinguished"}
    assert evidence.seeds == tuple(range(10_000, 10_010))
    remaining = "1 comparison is" if len(rivals) == 1 else f"{len(rivals)} comparisons are"
    assert f"Look 5 of 5 at 176 test images: all seeds are used, but {remaining} undecided." in (
        evidence.remarks
    )
    assert read_record(run).evidence == evidence


def test_it_ends_when_all_is_decided(planted, sequence, monkeypatch):
    monkeypatch.setitem(RIGHT, "other", RIGHT["base"])
    evidence = run_verify(sequence())
    assert {difference.seeds for difference in evidence.differences} == {3}
    assert evidence.seeds == (10_000, 10_001, 10_002)
    assert "Look 1 of 5 at 176 test images: every comparison is decided." in evidence.remarks
    assert len(evidence.openings) == 1


def test_every_look_is_an_opening(planted, sequence):
    evidence = run_verify(sequence())
    assert [opening.seeds for opening in evidence.openings] == [3, 5, 7, 8, 10]
    assert {(opening.plan, opening.images) for opening in evidence.openings} == {(0, IMAGES)}
    assert evidence.openings[0].concluded.startswith("base: better, +22.54 [")
    assert all(
        opening.date and opening.command == "bamsearch verify" for opening in evidence.openings
    )
    (plan,) = evidence.plans
    assert (plan.first, plan.seeds, plan.looks) == (10_000, 10, (3, 5, 7, 8, 10))
    assert plan.recipe["epochs"] == 1
    assert plan.networks[0] == "base: no BAM"
    again = run_verify(sequence())
    assert again == evidence, "nothing was read again"
    assert Evidence.from_json(evidence.to_json()) == evidence


def test_killed_again_and_again_nothing_is_done_or_counted_twice(planted, sequence):
    kills = 0
    while True:
        planted.kill_at = len(planted.events) + 7
        try:
            evidence = run_verify(sequence())
        except Killed:
            kills += 1
            assert len(planted.events) < 200
        else:
            break
    assert kills > 5
    assert len(planted.events) == len(set(planted.events)), "nothing was done twice"
    assert [opening.seeds for opening in evidence.openings] == [3, 5, 7, 8, 10]
    assert all(opening.concluded for opening in evidence.openings)


def test_a_killed_sequence_equals_one_that_was_not(planted, sequence, run):
    whole = run_verify(sequence())
    events = len(planted.events)
    for path in (run / "verify").iterdir():
        (path / TEST_FILE).unlink()
        path.rmdir()
    (run / "evidence.json").unlink()
    planted.kill_at = events + events // 2
    with pytest.raises(Killed):
        run_verify(sequence())
    planted.kill_at = None
    assert undated(run_verify(sequence())) == undated(whole)


def test_a_look_is_written_before_an_image_is_read(planted, sequence, run):
    planned = sequence()
    planted.kill_at = 3 * len(planned.chosen.networks)  # all of look 1 trained, none tested
    with pytest.raises(Killed):
        run_verify(planned)
    evidence = read_record(run).evidence
    assert [(opening.seeds, opening.concluded) for opening in evidence.openings] == [(3, "")]
    assert evidence.differences == ()
    # Whoever plans again after that has seen the test split.
    assert sequence(seeds=20).exploratory


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"seeds": 20},
            "up to 10 seeds, not up to 20; looks at 3, 5, 7, 8, 10 seeds, not looks at",
        ),
        ({"looks": 1}, r"\(looks at 3, 5, 7, 8, 10 seeds, not one look at 10 seeds\)"),
        ({"first": 20_000}, r"\(seeds from 10000, not from 20000\)"),
        ({"epochs": 2, "force": True}, r"\(another recipe, not this\)"),
    ],
)
def test_another_plan_after_the_first_look_is_exploratory(planted, sequence, run, changes, says):
    first = run_verify(sequence())
    assert sequence().exploratory == ""
    planned = sequence(**changes)
    assert planned.exploratory.startswith("Exploratory: the test split was first opened under")
    assert re.search(says, planned.exploratory)
    evidence = run_verify(planned)
    assert evidence.exploratory == planned.exploratory
    # The first plan still counts, and no opening is lost.
    assert evidence.plan_for(planned.data.facts.hash) == first.plans[0] == evidence.plans[0]
    assert len(evidence.plans) == 2
    assert evidence.openings[:5] == first.openings
    assert {opening.plan for opening in evidence.openings[5:]} == {1}
    back = run_verify(sequence())
    assert (back.exploratory, back.differences) == ("", first.differences)
    assert back.openings == evidence.openings


def test_evidence_of_an_older_bamsearch_is_an_opening_without_a_plan(planted, sequence, run):
    before = run_verify(sequence(looks=1))
    old = Evidence(
        before.data, before.data_hash, 0.95, before.accuracies, before.differences, "bamsearch old"
    )
    (run / "evidence.json").write_text(old.to_json())
    planned = sequence(first=20_000)
    assert planned.exploratory == ""
    evidence = run_verify(planned)
    assert evidence.openings[0].command == "bamsearch old"
    assert (evidence.openings[0].plan, evidence.openings[0].date) == (None, "")
    assert [opening.seeds for opening in evidence.openings[1:]] == [3, 5, 7, 8, 10]


def test_other_test_images_have_a_plan_of_their_own(planted, sequence, run):
    evidence = run_verify(sequence())
    other = tuple(replace(plan, data_hash="another") for plan in evidence.plans)
    (run / "evidence.json").write_text(replace(evidence, plans=other).to_json())
    assert sequence(looks=1).exploratory == ""


@pytest.mark.parametrize(("expect", "seeds"), [("not-worse", 3), ("better", 5), (None, 5)])
def test_an_expectation_that_is_proven_ends_the_base(planted, sequence, monkeypatch, expect, seeds):
    # 22.7, 20.5 and 16.5 points at the first look: 20 +- 27 is above -30, but not above 0.
    monkeypatch.setitem(RIGHT, "base", [80, 85, 90, 85, 85, 85, 85, 85, 85, 85])
    evidence = run_verify(sequence(margin=30.0, expect=expect))
    assert evidence.differences[0].seeds == seeds
    assert evidence.differences[0].low > (-30 if expect == "not-worse" else 0)


def test_a_look_without_enough_pairs_is_passed(planted, sequence, monkeypatch):
    def train(planned, seed, network, watch=None):
        if (network.name, seed) in (("base", 10_000), ("base", 10_001)):
            raise DivergedError("the loss is nan")
        planted.train(planned, seed, network)

    monkeypatch.setattr(running, "train_one", train)
    evidence = run_verify(sequence())
    assert [opening.concluded == "too few pairs" for opening in evidence.openings[:2]] == [
        True,
        False,
    ]
    base = evidence.differences[0]
    assert (base.against, base.seeds, base.verdict) == ("base", 3, "better")  # seeds 2, 3 and 4
    assert evidence.remarks[-1] == "Diverged and excluded from the pairs: base, seed 10000, 10001."


def test_intervals_over_images_are_wider(planted, sequence):
    over_seeds = run_verify(sequence(looks=1))
    over_images = run_verify(sequence(looks=1, over="images"))
    assert (over_seeds.over, over_images.over) == ("seeds", "images")
    assert over_images.exploratory == ""
    for seeds, images in zip(over_seeds.differences, over_images.differences, strict=True):
        assert images.points == seeds.points
        assert images.high >= seeds.high
        assert images.seeds_needed is None
    assert over_images.accuracies["found"].high > over_seeds.accuracies["found"].high


def test_accuracies_hold_at_every_look_too(planted, sequence):
    one_look = run_verify(sequence(looks=1)).accuracies["found"]
    five = run_verify(sequence()).accuracies["found"]
    # Ten seeds, t with nine degrees of freedom: at 0.05, and at the level of five looks.
    values = 100 * np.array(RIGHT["found"]) / IMAGES
    for accuracy, level in ((one_look, 0.05), (five, nominal_level((3, 5, 7, 8, 10), 1))):
        half = stats.t.ppf(1 - level / 2, 9) * values.std(ddof=1) / 10**0.5
        resolved = stats.t.ppf(1 - level / 2, 9) * (100 / IMAGES) / 10**0.5
        assert accuracy.high - accuracy.mean == pytest.approx(max(half, resolved), abs=1e-3)


def test_seeds_needed_are_a_range(planted, sequence):
    difference = run_verify(sequence(looks=1)).differences[1]
    assert difference.verdict == "not distinguished"
    assert difference.seeds_at_least < difference.seeds_needed
