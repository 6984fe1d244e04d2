"""What takes long says what it does, on stderr, also into a pipe."""

import pytest
from PIL import Image

from bamsearch.data import ticker
from bamsearch.records import LatencyEntry, LatencyTable

NET = "bamsearch.examples:resnet20"


@pytest.fixture
def image_data(tmp_path):
    for label, name in enumerate(("ant", "bee")):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(4):
            image = Image.new("RGB", (8, 8), (90 * label, 9 * number, 0))
            image.save(tmp_path / "own" / name / f"{number}.png")
    return f"imagefolder:{tmp_path / 'own'}"


def test_times_that_a_budget_needs_are_announced(bamsearch_cli, monkeypatch):
    def measure(module, *, summary, reductions, dilations, sites, progress, **how):
        progress(0, 5)
        progress(5, 5)
        entries = tuple(
            LatencyEntry(site, r, d, 0.1) for site in sites for r in reductions for d in dilations
        )
        return LatencyTable(summary.model, summary.input_shape, "", 1.0, entries)

    monkeypatch.setattr("bamsearch.profiling.latency.measure_latency", measure)
    line = ("search", NET, "--budget-ms", "+20%", "--device", "cpu", "-n")
    result = bamsearch_cli(*line)
    assert result.exit_code == 0, result.stderr
    announcement = (
        f"timing {NET} and its BAMs on cpu, for the budget in milliseconds: 5 measurements\n"
    )
    assert result.stderr.startswith(announcement)
    assert "timing" not in bamsearch_cli(*line, "-q").stderr


def test_listing_and_reading_say_how_far_they_are(bamsearch_cli, image_data, monkeypatch):
    monkeypatch.setattr(ticker, "FIRST_SECONDS", 0)
    result = bamsearch_cli("train", NET, "--data", image_data, "-n")
    assert result.exit_code == 0, result.stderr
    folder = image_data.partition(":")[2]
    assert f"listing {folder}: 1 files\nreading {folder}: 0 of 8 images\n" in result.stderr


@pytest.mark.parametrize("work", ["folders._entries", "duplicates.read_photograph"])
def test_ctrl_c_ends_it(bamsearch_cli, image_data, monkeypatch, work):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"bamsearch.data.{work}", interrupt)
    result = bamsearch_cli("train", NET, "--data", image_data, "-n")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "interrupted" in result.stderr
