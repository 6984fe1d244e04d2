"""Data sets from Python: what is read, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

import bamsearch
from bamsearch.data.loading import load_data
from bamsearch.errors import DataError, InvalidValueError

DIGITS = {"recipe": "short", "epochs": 1}


class Listed(Dataset):
    """A torchvision-style data set of the given items."""

    def __init__(self, items, classes=None):
        self.items = items
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    data = load_data("digits", channels=1)
    return data.train.images, data.train.labels


def test_the_same_pixels_whatever_their_form():
    grey = torch.randint(0, 256, (12, 1, 6, 6), dtype=torch.uint8)
    forms = {
        "uint8": list(grey),
        "float": [image / 255 for image in grey],
        "numpy": [image[0].numpy() for image in grey],
        "PIL": [Image.fromarray(image[0].numpy()) for image in grey],
    }
    hashes = set()
    for images in forms.values():
        data = load_data(Listed([(image, i % 2) for i, image in enumerate(images)], ["cat", "dog"]))
        assert data.class_names == ("cat", "dog")
        assert data.facts.input_shape == (3, 6, 6)
        assert data.facts.name == "Listed"
        hashes.add(data.facts.hash)
    assert len(hashes) == 1
    colour = np.zeros((6, 6, 3), np.uint8)
    colour[..., 1] = 7
    data = load_data(Listed([(colour, i % 2) for i in range(12)]))
    assert data.train[0][0][:, 0, 0].tolist() == [0, 7, 0]


def test_a_pair_is_train_and_validation_and_the_test_split_is_drawn_from_train():
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1).expand(-1, -1, 4, 4)
    labels = torch.arange(40) % 2
    pair = (TensorDataset(images[:30], labels[:30]), TensorDataset(images[30:], labels[30:]))
    data = load_data(pair)
    validation = [int(data.validation[i][0][0, 0, 0]) for i in range(len(data.validation))]
    assert validation == list(range(30, 40))
    assert len(data.train) + data.facts.test == 30
    assert data.facts.hash != load_data(pair[0]).facts.hash


def test_images_of_several_sizes_are_resized():
    items = [(torch.zeros(3, 5 + i % 2, 5, dtype=torch.uint8), i % 2) for i in range(12)]
    assert load_data(Listed(items), input_size=(4, 4)).facts.input_shape == (3, 4, 4)
    assert load_data(Listed(items)).facts.input_shape == (3, 224, 224)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "has no length"),
        ([3], "item 0 of Listed is a int, not"),
        ([(torch.zeros(3, 4, 4), "cat")], "item 0 of Listed has no integer label"),
        ([(torch.zeros(3, 4, 4), -1)], "item 0 of Listed has label -1"),
        ([(torch.zeros(3, 4, 4), 0.5)], "item 0 of Listed has label 0.5"),
        ([(torch.zeros(4, 4), 0)], r"item 0 of Listed is \(4, 4\): give a PIL image"),
        ([("x.png", 0)], "item 0 of Listed is str"),
        ([(Image.new("I;16", (4, 4), 4095), 0)], r"has more than 8 bits \(mode I;16\)"),
        ([(Image.new("F", (4, 4), 0.5), 0)], r"has more than 8 bits \(mode F\)"),
        ([(np.full((4, 4), 4095, np.uint16), 0)], "torch.uint16 values"),
        ([(torch.randn(3, 9, 9) - 5, 0)], "outside 0..1: leave Normalize out"),
        ([(torch.full((3, 9, 9), float("nan")), 0)], "outside 0..1: leave Normalize out"),
    ],
)
def test_other_items_are_refused(items, message):
    with pytest.raises(DataError, match=message):
        load_data(Listed(items))


@pytest.mark.parametrize("data", [3, [1], (Listed([]),), (Listed([]), "digits"), object()])
def test_other_data_are_refused(data):
    with pytest.raises(InvalidValueError, match="data must be a name, a torch Dataset, or a pair"):
        bamsearch.search("resnet18", data=data)


def test_a_module_is_trained_and_searched_on_a_data_set(tmp_path):
    images, labels = digits()
    data = Listed(list(zip(images[:600], labels[:600], strict=True)))
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Conv2d(8, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)),
        *(torch.nn.Conv2d(8, 8, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()),
        torch.nn.Linear(8, 10),
    )
    before = {key: value.clone() for key, value in net.state_dict().items()}
    trained = bamsearch.train(net, data, **DIGITS)
    assert trained.rows[-1].validation_accuracy >= 0
    options = {"epochs": 1, "trials": 2, "with_stem": True, "seed": 3}
    result = bamsearch.search(net, data=data, output=tmp_path / "run", **options)
    assert result.record.run.score == "train"
    assert len(result.trials) == 2
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    again = bamsearch.search(net, data=data, **options)
    assert [trial.score for trial in again.trials] == [trial.score for trial in result.trials]
    more = bamsearch.search(net, data=data, output=tmp_path / "run", resume=True, trials=3)
    assert more.trials[:2] == result.trials
    evidence = bamsearch.verify(more, data, seeds=2, looks=1, **DIGITS)
    assert any("from the module's own weights" in remark for remark in evidence.remarks)
    assert evidence.plans[0].weights == "the caller's"
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with pytest.raises(InvalidValueError, match="`weights` is for a MODEL"):
        bamsearch.verify(more, data, weights="DEFAULT")
    with pytest.raises(bamsearch.BamsearchError, match="`data`"):
        bamsearch.search(net, data="digits", output=tmp_path / "run", resume=True)


def test_an_audit_trains_on_a_data_set_in_one_process(tmp_path):
    images, labels = digits()
    data = Listed(list(zip(images[:300], labels[:300], strict=True)))
    options = {"designs": 8, "seeds": 2, "scores": ("params",), "epochs": 1, "device": "cpu"}
    options["output"] = tmp_path / "audit"
    model = "bamsearch.examples:resnet20"
    planned = bamsearch.audit(model, data, dry_run=True, **options)
    assert (planned.data.name, planned.finished) == ("Listed", False)
    assert not (tmp_path / "audit").exists()
    with pytest.raises(InvalidValueError, match="`jobs` is for data with a name"):
        bamsearch.audit(model, data, jobs=2, **options)
    audit = bamsearch.audit(model, data, **options)
    assert audit.finished
    assert audit.data == planned.data
    assert bamsearch.audit(model, (data, data), dry_run=True, **options | {"output": None})
    with pytest.raises(bamsearch.BamsearchError, match="was made with `data`"):
        bamsearch.audit(model, "digits", **options)
