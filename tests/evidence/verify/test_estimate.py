"""What is said before anything is trained."""

from dataclasses import replace
from itertools import count

import pytest

from bamsearch.evidence.verify.trainings import estimate_verify
from bamsearch.records.training_analysis import AccuracyEstimate, TrainingAnalysis
from bamsearch.training.timing import TIMED_STEPS

LEARNED_ESTIMATE = AccuracyEstimate((), 90.0, 89.0, 91.0, 2, 0.1)


def test_the_time_is_that_of_a_few_steps(plan):
    planned = plan(seeds=3, epochs=2)
    networks = len(planned.chosen.networks)
    reads = []
    ticks = count(step=2.0)

    def clock() -> float:
        reads.append(next(ticks))
        return reads[-1]

    measured = estimate_verify(planned, clock)
    # 1,445 images in batches of 64 are 22 steps of 2 s; 2 x 176 + 176 images are seen forward only.
    training = 2.0 * (2 * 22 + (2 * 176 + 176) / 64 / 3)
    assert measured.seconds == pytest.approx(networks * 3 * training)
    assert (measured.done, measured.trainings) == (0, 3 * networks)
    assert len(reads) == networks * (TIMED_STEPS + 1)


def test_what_a_search_measured_is_assumed(plan):
    planned = plan(seeds=5)
    assumed = estimate_verify(planned)
    assert (assumed.run_sd, assumed.measured) == ((0.29, 1.32), False)
    ranking = tuple(LEARNED_ESTIMATE for _ in range(10))
    learned = TrainingAnalysis(20, 0.58, 0.95, (), ranking)
    measured = estimate_verify(replace(planned, record=replace(planned.record, analysis=learned)))
    # 20 trainings of 10 designs: chi-square with 10 degrees of freedom, 15.987 and 4.865.
    assert measured.run_sd == pytest.approx(
        (0.58 * (10 / 15.987) ** 0.5, 0.58 * (10 / 4.865) ** 0.5), rel=1e-4
    )
    assert measured.measured
    # A difference that is detected is in proportion to the spread.
    for estimate in (assumed, measured):
        assert estimate.detectable[1] / estimate.detectable[0] == pytest.approx(
            estimate.run_sd[1] / estimate.run_sd[0]
        )


def test_it_writes_nothing_and_reads_no_test_image(plan, run, monkeypatch):
    planned = plan()
    monkeypatch.setattr(planned.data, "test", lambda: pytest.fail("the test split"))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    estimate_verify(planned)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
