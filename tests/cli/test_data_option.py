"""--data sets what networks get, and refuses what contradicts it."""

import json
import struct
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from bamsearch.records import Run

NET = "bamsearch.examples:resnet20"


@pytest.fixture
def refused(bamsearch_cli):
    """``refused(*line)`` is the one line on stderr of a command that exits with 2."""

    def run(*line: str) -> str:
        result = bamsearch_cli(*line)
        assert (result.exit_code, result.stdout) == (2, ""), result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
        assert "unexpected" not in result.stderr
        return result.stderr

    return run


@pytest.fixture
def image_data(tmp_path):
    """A folder of three classes, five images of each."""
    for label, name in enumerate(("ant", "bee", "cat")):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(5):
            image = Image.new("RGB", (9, 9), (label, number, 0))
            image.save(tmp_path / "own" / name / f"{number}.png")
    return f"imagefolder:{tmp_path / 'own'}"


def test_sites_are_those_at_the_datas_size(bamsearch_cli):
    result = bamsearch_cli("sites", NET, "--data", "digits", "--json")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["input_shape"] == [3, 8, 8]
    heights = {site["name"]: site["height"] for site in content["sites"]}
    assert (heights["layer1"], heights["layer2"], heights["layer3"]) == (8, 4, 2)


def test_a_design_is_for_the_data(bamsearch_cli, tmp_path, image_data):
    folder = tmp_path / "kept"
    result = bamsearch_cli("insert", NET, "--data", image_data, "-o", str(folder))
    assert result.exit_code == 0, result.stderr
    design = json.loads((folder / "design.json").read_text())
    assert design["input_shape"] == [3, 224, 224]
    assert design["num_classes"] == 3
    result = bamsearch_cli("insert", NET, "--data", image_data, "--input-size", "32x48", "--json")
    assert json.loads(result.stdout)["input_shape"] == [3, 32, 48]


def test_images_are_read_for_a_search_and_not_for_sizes(
    bamsearch_cli, refused, tmp_path, image_data
):
    for path in (tmp_path / "own").glob("*/*.png"):
        path.write_bytes(b"spoilt")
    for line in (("sites", NET), ("insert", NET), ("profile", NET, "--no-time")):
        assert bamsearch_cli(*line, "--data", image_data, "--input-size", "8").exit_code == 0
    assert "15 of 15 images cannot be read" in refused("search", NET, "--data", image_data, *SEARCH)


def test_the_same_command_again_has_the_data(bamsearch_cli):
    result = bamsearch_cli("insert", NET, "--data", "digits")
    assert f"bamsearch insert {NET} --data digits -o" in result.stderr


def test_profile_counts_the_network_that_is_for_the_data(bamsearch_cli, image_data):
    line = ("profile", NET, "--no-time", "--json", "--data")
    digits = json.loads(bamsearch_cli(*line, "digits").stdout)
    folder = json.loads(bamsearch_cli(*line, image_data, "--input-size", "8").stdout)
    params = [content["networks"][0]["params"] for content in (digits, folder)]
    assert params[0] - params[1] == (64 + 1) * (10 - 3)


@pytest.mark.parametrize("command", ["sites", "insert", "profile", "search"])
def test_another_size_or_number_of_classes_is_refused(refused, image_data, command):
    said = refused(command, NET, "--data", "digits", "--input-size", "32")
    assert "--data digits has images of 8x8, but --input-size is 32x32" in said
    said = refused(command, NET, "--data", "digits", "--num-classes", "100")
    assert "--data digits has 10 classes, but --num-classes is 100" in said
    assert "has 3 classes, but --num-classes is 10" in refused(
        command, NET, "--data", image_data, "--num-classes", "10"
    )


def test_the_same_size_and_classes_do_not_contradict(bamsearch_cli):
    line = ["sites", NET, "--data", "digits", "--input-size", "8", "--num-classes", "10"]
    assert bamsearch_cli(*line).exit_code == 0


def test_images_are_not_clips(refused):
    said = refused("sites", "r3d_18", "--data", "digits")
    assert "--data digits has inputs of 3x8x8, but r3d_18 takes 3x16x8x8" in said


def test_a_download_needs_a_name(refused):
    assert "add --data NAME" in refused("sites", NET, "--download")


def test_data_that_are_not_there_and_cannot_be_fetched(
    refused, bamsearch_cli, tmp_path, monkeypatch
):
    name = f"fashion-mnist:{tmp_path}"
    assert "add --download" in refused("sites", NET, "--data", name)

    def offline(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    result = bamsearch_cli("sites", NET, "--data", name, "--download")
    assert (result.exit_code, result.stdout) == (2, "")
    # torchvision tells of each attempt; ours is the last line
    last = result.stderr.splitlines()[-1]
    assert last.startswith("bamsearch: error: fashion-mnist cannot be downloaded")
    assert "Traceback" not in result.stderr


SEARCH = ("--score", "params", "--trials", "2", "--no-random")


def test_a_run_keeps_its_data_and_is_not_resumed_with_others(
    bamsearch_cli, refused, tmp_path, image_data
):
    folder = tmp_path / "run"
    result = bamsearch_cli("search", NET, "--data", "digits", *SEARCH, "-o", str(folder))
    assert result.exit_code == 0, result.stderr
    run = Run.from_json((folder / "run.json").read_text())
    assert run.summary.input_shape == (3, 8, 8)
    assert run.num_classes == 10
    assert run.data is not None
    assert (run.data.name, run.data.classes, run.data.test) == ("digits", 10, 176)
    resume = ("search", "--resume", str(folder), "--trials", "3")
    assert bamsearch_cli(*resume, "--data", "digits").exit_code == 0
    said = refused(*resume, "--data", image_data)
    assert "has --data digits (3x8x8, " in said
    assert f"not {image_data} (3x224x224, " in said


def test_a_run_without_data_takes_none_later(bamsearch_cli, refused, tmp_path):
    folder = tmp_path / "run"
    line = ("search", NET, "--input-size", "8", *SEARCH, "-o", str(folder))
    assert bamsearch_cli(*line).exit_code == 0
    text = (folder / "run.json").read_text()
    assert Run.from_json(text).data is None
    # as it was written before there were data
    content = json.loads(text)
    del content["data"]
    assert Run.from_json(json.dumps(content)) == Run.from_json(text)
    said = refused("search", "--resume", str(folder), "--data", "digits")
    assert "has --data none, not digits" in said


def write_fashion(root, first_pixel=0):
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 100), ("t10k", 10)):
        pixels = np.full((count, 28, 28), first_pixel, np.uint8)
        for file, values in (("images-idx3", pixels), ("labels-idx1", np.arange(count) % 10)):
            head = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            content = head + values.astype(np.uint8).tobytes()
            (raw / f"{part}-{file}-ubyte").write_bytes(content)
    return f"FashionMNIST:{root}"


def test_the_same_data_may_have_moved_but_not_changed(bamsearch_cli, refused, tmp_path):
    here, elsewhere = write_fashion(tmp_path / "here"), write_fashion(tmp_path / "there")
    other = write_fashion(tmp_path / "other", first_pixel=1)
    folder = str(tmp_path / "run")
    result = bamsearch_cli("search", NET, "--data", here, *SEARCH, "-o", folder)
    assert result.exit_code == 0, result.stderr
    assert bamsearch_cli("search", "--resume", folder, "--data", elsewhere).exit_code == 0
    assert f"has --data {here} (3x28x28, " in refused("search", "--resume", folder, "--data", other)
