"""The hash tells data apart, and facts are kept in a run."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from bamsearch.data.loading import load_data
from bamsearch.records import DataFacts
from bamsearch.records.codec import decode
from bamsearch.records.hints import Misfit


def hash_of(name, **options):
    return load_data(name, **options).facts.hash


def test_the_hash_is_of_the_data_and_not_of_the_place_or_the_size(fashion, tmp_path_factory):
    first = hash_of(f"fashion-mnist:{fashion}")
    elsewhere = tmp_path_factory.mktemp("other")
    shutil.copytree(fashion / "FashionMNIST", elsewhere / "FashionMNIST")
    assert hash_of(f"fashion-mnist:{elsewhere}") == first
    assert hash_of(f"fashion-mnist:{fashion}", input_size=(32, 32), channels=1) == first


def test_it_changes_with_a_pixel(fashion, write_idx, grey_images):
    before = hash_of(f"fashion-mnist:{fashion}")
    pixels = grey_images(100)
    pixels[99, 27, 27] += 1
    write_idx(fashion / "FashionMNIST" / "raw" / "train-images-idx3-ubyte", pixels)
    assert hash_of(f"fashion-mnist:{fashion}") != before


def test_it_changes_with_a_label(fashion, write_idx):
    before = hash_of(f"fashion-mnist:{fashion}")
    labels = np.arange(100) % 10
    labels[[0, 1]] = labels[[1, 0]]
    write_idx(fashion / "FashionMNIST" / "raw" / "train-labels-idx1-ubyte", labels)
    assert hash_of(f"fashion-mnist:{fashion}") != before


def test_it_changes_with_the_split_and_with_the_kind(fashion):
    before = hash_of(f"fashion-mnist:{fashion}")
    assert hash_of(f"fashion-mnist:{fashion}", split_seed=1) != before
    shutil.copytree(fashion / "FashionMNIST", fashion / "MNIST")
    assert hash_of(f"mnist:{fashion}") != before


def test_a_published_test_split_is_not_in_it(fashion, write_idx, grey_images):
    before = hash_of(f"fashion-mnist:{fashion}")
    pixels = grey_images(20)[::-1]
    write_idx(fashion / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte", pixels)
    assert hash_of(f"fashion-mnist:{fashion}") == before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "cat" / "00.png").rename(root / "cat" / "renamed.png"),
        lambda root: (root / "cat").rename(root / "tiger"),
        lambda root: (root / "cat" / "00.png").unlink(),
        lambda root: (root / "cat" / "00.png").rename(root / "dog" / "cat.png"),
        lambda root: Image.effect_noise((12, 8), 90).save(root / "cat" / "00.png"),
    ],
    ids=["file", "class", "gone", "moved", "size"],
)
def test_it_changes_with_the_files(folder, change):
    root = folder(cat=20, dog=20)
    before = hash_of(f"imagefolder:{root}")
    assert hash_of(f"imagefolder:{root}") == before
    change(root)
    assert hash_of(f"imagefolder:{root}") != before


def test_a_folder_elsewhere_is_the_same_data(folder):
    root = folder(cat=5, dog=5)
    before = hash_of(f"imagefolder:{root}")
    shutil.copytree(root, root.parent / "copy")
    assert hash_of(f"imagefolder:{root.parent / 'copy'}") == before


FACTS = DataFacts("digits", (3, 8, 8), 10, 1445, 176, 176, "0123456789abcdef", 0)


def test_facts_are_read_as_they_were_written():
    assert decode(DataFacts, json.loads(json.dumps(asdict(FACTS)))) == FACTS


@pytest.mark.parametrize("change", [{"input_shape": [3, 8]}, {"colour": "red"}])
def test_facts_with_a_wrong_part(change):
    with pytest.raises(Misfit, match=next(iter(change))):
        decode(DataFacts, json.loads(json.dumps(asdict(FACTS) | change)))


def test_facts_without_a_part():
    with pytest.raises(Misfit, match="key input_shape is missing"):
        decode(DataFacts, {"name": "digits"})


def test_a_seed_is_recorded():
    facts = load_data("digits", split_seed=7).facts
    assert facts.split_seed == 7
    assert replace(facts, hash="") == replace(load_data("digits").facts, hash="", split_seed=7)
