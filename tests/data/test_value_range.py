"""A user's images of more than 8 bits: one value range for the whole set."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from bamsearch.data import duplicates
from bamsearch.data.loading import load_data, same_data
from bamsearch.errors import DataError, InvalidValueError
from bamsearch.records import DataFacts
from bamsearch.records.formats import Format

TWELVE = (0.0, 4095.0)


@pytest.fixture
def image_data(tmp_path):
    """``own(most)``: two classes of six 16-bit images, each of one grey value up to most."""

    def write(most: int) -> str:
        for label, name in enumerate(("ant", "bee")):
            (tmp_path / "own" / name).mkdir(parents=True, exist_ok=True)
            for number in range(6):
                value = most * (6 * label + number) // 11
                Image.fromarray(np.full((4, 4), value, np.uint16)).save(
                    tmp_path / "own" / name / f"{number}.png"
                )
        return f"imagefolder:{tmp_path / 'own'}"

    return write


def levels(data) -> list[int]:
    splits = (data.train, data.validation, data.test())
    images = torch.cat([split.images for split in splits])
    return sorted(images.unique().tolist())


def test_no_image_is_scaled_by_itself(image_data):
    assert levels(load_data(image_data(65535))) == [round(k * 255 / 11) for k in range(12)]


def test_twelve_bits_in_sixteen_need_a_range(image_data):
    name = image_data(4095)
    with pytest.raises(DataError, match=r"bee/5\.png has 16-bit values, 0 to 4095 in 12 such im"):
        load_data(name)
    data = load_data(name, value_range=TWELVE)
    assert levels(data) == [round(4095 * k // 11 / 4095 * 255) for k in range(12)]
    assert data.facts.value_range == TWELVE


def test_a_range_is_part_of_the_identity(image_data):
    name = image_data(65535)
    plain = load_data(name).facts
    hashes = {plain.hash}
    for value_range in ((0, 65535), (0, 60000), (1, 60000)):
        facts = load_data(name, value_range=value_range).facts
        assert facts.value_range == value_range
        assert not same_data(facts, plain)
        # What a record says is had again, without another look at the pixels.
        again = load_data(name, value_range=value_range, recorded=facts.hash).facts
        assert again == facts
        hashes.add(facts.hash)
    assert len(hashes) == 4


def test_records_keep_the_range_and_old_ones_have_none():
    facts = DataFacts("digits", (3, 8, 8), 10, 8, 1, 1, "c:0", 0)
    format = Format(DataFacts, "data", DataError, "load it again")
    content = json.loads(format.text(facts))
    assert "value_range" not in content
    assert format.value(content, "file") == facts
    named = replace(facts, value_range=TWELVE)
    assert format.parse(format.text(named), "file") == named
    for wrong in ([1, 0], [0], "ab", 3):
        with pytest.raises(DataError, match=r"value[_ ]range"):
            format.value(content | {"value_range": wrong}, "file")


def test_a_record_from_before_ranges_is_refused_where_it_took_one_for_granted(
    image_data, monkeypatch
):
    name = image_data(4095)
    with monkeypatch.context() as patched:
        patched.setattr("bamsearch.data.loading.Levels.check", lambda self: None)
        old = load_data(name).facts
    with pytest.raises(DataError, match="has 16-bit values, 0 to 4095"):
        load_data(name, recorded=old.hash)


@pytest.mark.parametrize(
    "value_range",
    [(1, 1), (2, 1), (0, float("inf")), (float("nan"), 1), (0,), "ab", 5, (10**400, 1)],
)
def test_what_is_not_a_range(image_data, value_range):
    with pytest.raises(InvalidValueError, match="value range") as failure:
        load_data(image_data(65535), value_range=value_range)
    assert "\n" not in str(failure.value)


def test_a_range_without_use(folder):
    for name in (f"imagefolder:{folder(cat=4, dog=4)}", "digits"):
        with pytest.raises(InvalidValueError, match=r"`value_range=0:4095` requires .* omit it"):
            load_data(name, value_range=TWELVE)


def test_eight_bit_images_are_decoded_once_and_others_found_by_their_header(
    image_data, monkeypatch
):
    name = image_data(65535)
    folder = name.partition(":")[2]
    Image.new("RGB", (4, 4), (1, 2, 3)).save(f"{folder}/ant/colour.png")
    loaded = load_data(name).facts
    decoded = []
    read = duplicates.read_photograph
    monkeypatch.setattr(
        duplicates,
        "read_photograph",
        lambda path, *a, **k: decoded.append(path) or read(path, *a, **k),
    )
    assert load_data(name, recorded=loaded.hash).facts == loaded
    assert len(decoded) == 12
    assert "colour.png" not in {path.name for path in decoded}
    decoded.clear()
    assert load_data(name).facts == loaded
    assert len(decoded) == len(set(decoded)) == 13
