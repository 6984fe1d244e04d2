"""torchvision's sets, from files that the tests write in the formats of each."""

import bz2
import inspect
import json
import pickle
import socket
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_digits

from bamsearch.data.loading import load_data
from bamsearch.data.published import KINDS, find_kind
from bamsearch.errors import DataError, InvalidValueError


@pytest.mark.parametrize("name", KINDS)
def test_torchvision_takes_what_the_table_says(name):
    kind = KINDS[name]
    cls = getattr(torchvision.datasets, kind.cls)
    parameters = inspect.signature(cls).parameters
    options = [kind.train, kind.test or {}, kind.validation or {}]
    wanted = {key for arguments in options for key in arguments}
    wanted |= {"loader"} if kind.reads == "loader" else set()
    wanted |= {"download"} if kind.fetched else set()
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    assert takes_any or wanted <= set(parameters)
    assert (kind.test is None) == (kind.test_images == 0)


def test_fashion_mnist(fashion):
    data = load_data(f"fashion-mnist:{fashion}")
    facts = data.facts
    assert facts.name == f"fashion-mnist:{fashion}"
    assert facts.input_shape == (3, 28, 28)
    assert (facts.train, facts.validation, facts.test) == (90, 10, 20)
    assert data.class_names[0] == "T-shirt/top"
    assert data.validation.labels.bincount().tolist() == [1] * 10
    for split in (data.train, data.validation):
        # the n-th image is full of n, and has the label n % 10
        numbers = split.images[:, 0, 0, 0].long()
        assert torch.equal(numbers % 10, split.labels)
        assert (split.images == numbers[:, None, None, None]).all()
    test = data.test()
    assert test.images[:, 2, 27, 27].tolist() == list(range(20))


@pytest.mark.parametrize("name", ["FashionMNIST", "fashion_mnist", "Fashion-MNIST", "fashionmnist"])
def test_other_spellings_are_the_same_data(fashion, name):
    assert (
        load_data(f"{name}:{fashion}").facts.hash
        == load_data(f"fashion-mnist:{fashion}").facts.hash
    )


def test_the_test_split_is_not_touched_before_it_is_requested(fashion, monkeypatch):
    requested = []
    real = torchvision.datasets.FashionMNIST

    def spy(root, **options):
        requested.append(options["train"])
        return real(root, **options)

    monkeypatch.setattr(torchvision.datasets, "FashionMNIST", spy)
    data = load_data(f"fashion-mnist:{fashion}")
    assert data.facts.test == 20
    assert data.train.images is not None
    assert len(data.mean) == 3
    assert data.validation.images is not None
    assert requested == [True]
    data.test()
    assert requested == [True, False]


def test_a_test_split_that_is_not_the_published_one(fashion, set_published):
    set_published("fashion-mnist", 10_000)
    data = load_data(f"fashion-mnist:{fashion}")
    assert data.facts.test == 10_000
    with pytest.raises(DataError, match="has 20 images, but 10,000 are published"):
        data.test()


def test_a_class_that_the_training_images_lack(fashion, write_idx):
    labels = fashion / "FashionMNIST" / "raw" / "train-labels-idx1-ubyte"
    write_idx(labels, np.arange(100) % 9)
    with pytest.raises(DataError, match="has no image of class Ankle boot"):
        load_data(f"fashion-mnist:{fashion}")


def test_a_label_without_a_class(fashion, write_idx):
    labels = fashion / "FashionMNIST" / "raw" / "train-labels-idx1-ubyte"
    write_idx(labels, np.arange(100) % 11)
    with pytest.raises(DataError, match="labels 0 to 10, but there are 10 classes"):
        load_data(f"fashion-mnist:{fashion}")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: (raw / "train-images-idx3-ubyte").write_bytes(b"\x00\x00"),
        lambda raw: (raw / "t10k-labels-idx1-ubyte").unlink(),
        lambda raw: (raw / "train-images-idx3-ubyte").write_bytes(
            (raw / "train-images-idx3-ubyte").read_bytes()[:1000]
        ),
    ],
    ids=["empty", "missing", "cut"],
)
def test_files_that_are_corrupt(fashion, spoil):
    spoil(fashion / "FashionMNIST" / "raw")
    with pytest.raises(DataError, match=r"is incomplete or damaged .*add `download`") as raised:
        load_data(f"fashion-mnist:{fashion}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", KINDS)
def test_files_that_are_not_there(tmp_path, name):
    if name == "imagenet":
        tmp_path = tmp_path / "nowhere"
    with pytest.raises(DataError, match=f"no {name} in {tmp_path}: .* is missing") as raised:
        load_data(f"{name}:{tmp_path}")
    assert ("add `download`" in str(raised.value)) == KINDS[name].fetched


@pytest.fixture
def offline(monkeypatch):
    """No name is found in the network, and every attempt is counted."""
    tried = []

    def refuse(*args, **kwargs):
        tried.append(args)
        raise URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return tried


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "svhn", "usps", "dtd", "stl10"])
def test_a_download_without_a_network_is_one_line(tmp_path, offline, name):
    with pytest.raises(DataError, match=f"{name} cannot be downloaded into") as raised:
        load_data(f"{name}:{tmp_path}", download=True)
    assert "Name or service not known" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert offline


def test_nothing_is_fetched_unless_asked_for(tmp_path, offline, fashion):
    with pytest.raises(DataError):
        load_data(f"cifar10:{tmp_path}")
    load_data(f"fashion-mnist:{fashion}", download=True)  # all there
    assert offline == []


@pytest.mark.parametrize("name", ["stanford-cars", "imagenet"])
def test_what_torchvision_cannot_fetch(tmp_path, name):
    with pytest.raises(DataError, match=f"torchvision cannot download {name}"):
        load_data(f"{name}:{tmp_path}", download=True)


# other formats


@pytest.fixture
def any_sum(monkeypatch):
    """Files have whatever checksum they should."""
    for module in ("cifar", "svhn", "stl10", "semeion"):
        monkeypatch.setattr(
            f"torchvision.datasets.{module}.check_integrity", lambda path, md5: True
        )


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar(tmp_path, any_sum, set_published, name, classes):
    cls = getattr(torchvision.datasets, KINDS[name].cls)
    base = tmp_path / cls.base_folder
    base.mkdir()
    key = "labels" if name == "cifar10" else "fine_labels"
    size = 2 * classes  # images in a file; the n-th is (n, 1, 2) everywhere
    for file, _ in [*cls.train_list, *cls.test_list]:
        planes = np.zeros((size, 3, 1024), np.uint8)
        planes[:, 0] = np.arange(size)[:, None]
        planes[:, 1], planes[:, 2] = 1, 2
        entry = {"data": planes.reshape(size, -1), key: [n % classes for n in range(size)]}
        (base / file).write_bytes(pickle.dumps(entry))
    names = [f"class {number}" for number in range(classes)]
    (base / cls.meta["filename"]).write_bytes(pickle.dumps({cls.meta["key"]: names}))
    set_published(name, size)
    data = load_data(f"{name}:{tmp_path}")
    total = size * len(cls.train_list)
    assert data.facts.input_shape == (3, 32, 32)
    assert data.facts.classes == classes
    assert data.facts.train + data.facts.validation == total
    assert data.class_names[3] == "class 3"
    images = data.train.images
    assert torch.equal(images[:, 0, 5, 9].long() % classes, data.train.labels)
    assert images[:, 1].unique().tolist() == [1]
    assert images[:, 2].unique().tolist() == [2]
    assert len(data.test()) == size


def test_svhn_calls_zero_ten(tmp_path, any_sum, set_published):
    for part, count in (("train", 40), ("test", 10)):
        labels = np.arange(count) % 10 + 1
        pixels = np.zeros((32, 32, 3, count), np.uint8)
        pixels[:, :, 1] = labels % 10
        scipy.io.savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": labels[:, None]})
    set_published("svhn", 10)
    data = load_data(f"svhn:{tmp_path}")
    assert data.class_names == tuple("0123456789")
    assert torch.equal(data.train.images[:, 1, 0, 0].long(), data.train.labels)
    assert data.train.images[:, 0].max() == 0
    assert len(data.test()) == 10
    (tmp_path / "test_32x32.mat").unlink()
    # before hours of training, not after them
    with pytest.raises(DataError, match=r"test_32x32\.mat is missing"):
        load_data(f"svhn:{tmp_path}")


def test_usps(tmp_path, set_published):
    for file, count in (("usps.bz2", 30), ("usps.t.bz2", 10)):
        lines = [
            f"{n % 10 + 1} " + " ".join(f"{i + 1}:{1 if i == n % 10 else -1}" for i in range(256))
            for n in range(count)
        ]
        (tmp_path / file).write_bytes(bz2.compress("\n".join(lines).encode()))
    set_published("usps", 10)
    data = load_data(f"usps:{tmp_path}", channels=1)
    assert data.facts.input_shape == (1, 16, 16)
    # the pixel that is white is the label's
    assert torch.equal(data.train.images.flatten(1).argmax(1), data.train.labels)


def test_qmnist_has_its_class_first(tmp_path, write_idx, grey_images):
    raw = tmp_path / "QMNIST" / "raw"
    for part in ("train", "test"):
        write_idx(raw / f"qmnist-{part}-images-idx3-ubyte", grey_images(40))
        rows = np.zeros((40, 8), ">i4")
        rows[:, 0], rows[:, 1] = np.arange(40) % 10, 99
        head = bytes([0, 0, 12, 2]) + np.array(rows.shape, ">u4").tobytes()
        (raw / f"qmnist-{part}-labels-idx2-int").write_bytes(head + rows.tobytes())
    data = load_data(f"qmnist:{tmp_path}")
    assert torch.equal(data.train.images[:, 0, 0, 0].long() % 10, data.train.labels)


def test_a_set_without_a_test_split_gives_two_tenths(tmp_path, any_sum):
    rows = [
        " ".join(["1.0"] * 256) + " " + " ".join("1" if n % 10 == k else "0" for k in range(10))
        for n in range(100)
    ]
    (tmp_path / "semeion.data").write_text("\n".join(rows))
    data = load_data(f"semeion:{tmp_path}")
    assert (data.facts.train, data.facts.validation, data.facts.test) == (80, 10, 10)
    assert data.test().labels.bincount().tolist() == [1] * 10
    assert data.test().images.unique().tolist() == [255]


def picture(path, red):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), (red, 0, 0)).save(path, quality=100)


def test_food101_is_listed_and_not_read(tmp_path, set_published, monkeypatch):
    base = tmp_path / "food-101"
    names = {"apple": 0, "bread": 100}
    for part, count in (("train", 10), ("test", 3)):
        listed = {name: [f"{name}/{part}{n}" for n in range(count)] for name in names}
        (base / "meta").mkdir(parents=True, exist_ok=True)
        (base / "meta" / f"{part}.json").write_text(json.dumps(listed))
        for name, files in listed.items():
            for file in files:
                picture(base / "images" / f"{file}.jpg", names[name])
    set_published("food101", 6)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", lambda *args, **kwargs: pytest.fail("an image was read"))
        data = load_data(f"food101:{tmp_path}", input_size=(8, 8))
    assert data.native_size is None
    assert data.class_names == ("apple", "bread")
    assert (data.facts.train, data.facts.validation, data.facts.test) == (18, 2, 6)
    red = data.train.images[:, 0, 4, 4].int()
    assert (red - 100 * data.train.labels).abs().max() <= 3
    assert len(data.test()) == 6


def test_pets(tmp_path, set_published):
    base = tmp_path / "oxford-iiit-pet"
    (base / "annotations").mkdir(parents=True)
    for part, count in (("trainval", 6), ("test", 2)):
        lines = [f"{kind}_{part}{n} {k} {k} 1" for n in range(count) for k, kind in PETS.items()]
        (base / "annotations" / f"{part}.txt").write_text("\n".join(lines))
        for line in lines:
            name, label, *_ = line.split()
            picture(base / "images" / f"{name}.jpg", 90 * int(label))
    set_published("oxford-iiit-pet", 4)
    data = load_data(f"OxfordIIITPet:{tmp_path}")
    assert data.facts.input_shape == (3, 224, 224)
    assert data.class_names == ("Abyssinian", "Basset Hound")
    image, label = data.validation[0]
    assert abs(int(image[0, 100, 100]) - 90 * (label + 1)) <= 3
    assert len(data.test()) == 4


PETS = {1: "Abyssinian", 2: "basset_hound"}


def test_gtsrb(tmp_path, set_published):
    base = tmp_path / "gtsrb"
    for label in range(3):
        for n in range(4):
            picture(base / "GTSRB" / "Training" / f"{label:05d}" / f"{n}.ppm", 50 * label)
    rows = ["Filename;Width;Height;ClassId"]
    for n in range(3):
        picture(base / "GTSRB" / "Final_Test" / "Images" / f"{n}.ppm", 50 * n)
        rows.append(f"{n}.ppm;20;16;{n}")
    (base / "GT-final_test.csv").write_text("\n".join(rows))
    set_published("gtsrb", 3)
    data = load_data(f"gtsrb:{tmp_path}", input_size=(16, 16))
    assert data.class_names == ("0", "1", "2")
    assert (data.facts.train, data.facts.validation) == (9, 3)
    assert torch.equal(data.train.images[:, 0, 0, 0].long(), 50 * data.train.labels)
    assert data.test().images[:, 0, 0, 0].tolist() == [0, 50, 100]


def test_eurosat_has_one_size(tmp_path):
    for label, name in enumerate(("Forest", "River")):
        for n in range(10):
            path = tmp_path / "eurosat" / "2750" / name / f"{n}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 64), (0, 200 * label, 0)).save(path)
    data = load_data(f"eurosat:{tmp_path}")
    assert data.native_size == (64, 64)
    assert (data.facts.train, data.facts.validation, data.facts.test) == (16, 2, 2)


def test_a_published_validation_split_is_the_validation_split(tmp_path, set_published):
    base = tmp_path / "dtd" / "dtd"
    (base / "labels").mkdir(parents=True)
    for part, count in (("train", 5), ("val", 4), ("test", 3)):
        names = [
            f"{kind}/{kind}_{part}{n}.jpg" for kind in ("banded", "dotted") for n in range(count)
        ]
        (base / "labels" / f"{part}1.txt").write_text("\n".join(names))
        for name in names:
            picture(base / "images" / name, 0)
    set_published("dtd", 6)
    data = load_data(f"dtd:{tmp_path}")
    assert (data.facts.train, data.facts.validation, data.facts.test) == (10, 8, 6)
    (base / "images" / "dotted" / "dotted_val3.jpg").unlink()
    with pytest.raises(DataError, match=r"dotted_val3\.jpg is missing"):
        load_data(f"dtd:{tmp_path}")


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_is_found_by_either_name(name):
    assert find_kind(name) == find_kind(KINDS[name].cls) == find_kind(name.upper()) == name


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fashon-mnist:d", "no data is called 'fashon-mnist': did you mean fashion-mnist"),
        ("cifar:d", "did you mean cifar10"),
        ("CIFAR11:d", "did you mean cifar10"),
        ("digit", "did you mean digits"),
        ("image-folders:d", "did you mean imagefolder"),
        ("xyzzy", "choose from digits, imagefolder, mnist"),
        ("", "no data is called ''"),
        (":d", "no data is called ''"),
        ("voc-detection:d", "torchvision's VOCDetection is not supported.*imagefolder:DIR"),
        ("CocoCaptions:d", "torchvision's CocoCaptions is not supported"),
        ("ucf101:d", "torchvision's UCF101 is not supported"),
        ("pcam:d", "torchvision's PCAM is not supported"),
        ("fashion-mnist", "fashion-mnist needs a folder: use fashion-mnist:DIR"),
        ("CIFAR10:", "CIFAR10 needs a folder: use cifar10:DIR"),
        ("imagefolder", "use imagefolder:DIR"),
    ],
)
def test_a_name_that_does_not_do(name, words):
    with pytest.raises(DataError, match=words) as raised:
        load_data(name)
    assert "\n" not in str(raised.value)


def test_a_bare_folder(tmp_path):
    with pytest.raises(DataError, match=f"use imagefolder:{tmp_path}"):
        load_data(str(tmp_path))


# 178, 182, 177, 183, 181, 182, 181, 179, 174 and 180 images of the ten digits: a tenth of each
TENTHS = [17, 18, 17, 18, 18, 18, 18, 17, 17, 18]


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_what_is_known_of_them(digits):
    facts = digits.facts
    assert facts.name == "digits"
    assert facts.input_shape == (3, 8, 8)
    assert facts.classes == 10
    assert digits.class_names == tuple("0123456789")
    assert digits.native_size == (8, 8)
    assert (facts.train, facts.validation, facts.test) == (1797 - 2 * 176, 176, 176)
    assert sum(TENTHS) == 176
    assert facts.split_seed == 0
    assert len(facts.hash) == 16
    assert int(facts.hash, 16) >= 0


def test_the_splits_have_a_tenth_of_each_class(digits):
    for split in (digits.validation, digits.test()):
        assert split.labels.bincount().tolist() == TENTHS


def test_together_they_are_scikit_learns_own_images(digits):
    splits = (digits.train, digits.validation, digits.test())
    ours = torch.cat([split.images[:, 0] for split in splits]).flatten(1)
    ours = torch.cat([ours, torch.cat([split.labels for split in splits])[:, None]], 1)
    theirs = load_digits()
    wanted = np.concatenate(
        [np.round(theirs.images.reshape(1797, 64) * 255 / 16), theirs.target[:, None]], 1
    )
    assert sorted(ours.tolist()) == sorted(wanted.astype(int).tolist())


def test_an_image_and_its_label(digits):
    image, label = digits.train[7]
    assert torch.equal(image, digits.train.images[7])
    assert image.shape == (3, 8, 8)
    assert image.dtype == torch.uint8
    assert label == digits.train.labels[7]
    assert type(label) is int


def test_mean_and_deviation_are_of_the_training_pixels(digits):
    pixels = digits.train.images[:, 0].double() / 255
    assert digits.mean == pytest.approx([float(pixels.mean())] * 3)
    assert digits.std == pytest.approx([float(pixels.std(unbiased=False))] * 3)


def test_one_channel_and_another_size():
    data = load_data("digits", channels=1, input_size=(16, 12))
    assert data.facts.input_shape == (1, 16, 12)
    assert data.validation.images.shape == (176, 1, 16, 12)
    assert len(data.mean) == 1
    assert data.native_size == (8, 8)


@pytest.mark.parametrize(
    "options",
    [{"channels": 2}, {"channels": 4}, {"input_size": (0, 8)}, {"split_seed": -1}],
)
def test_options_out_of_range(options):
    with pytest.raises(InvalidValueError):
        load_data("digits", **options)


def test_they_need_no_folder():
    with pytest.raises(DataError, match="use digits, not digits:here"):
        load_data("digits:here")
