"""Designs on disk: what is written is what is read, and nothing is ever half written."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

import bamsearch.graph.designs as designs
from bamsearch.attention.bam import BAM
from bamsearch.errors import DesignError, InvalidValueError, ModelError, OutputError, WeightsError
from bamsearch.graph.designs import build, find_design, load, save
from bamsearch.graph.insertion import insert_bam
from bamsearch.graph.models import build_model
from bamsearch.records import Design, Insertion

SHAPE = (3, 64, 64)
DESIGN = Design(
    "squeezenet1_1", SHAPE, (Insertion("features.4", 8, 2), Insertion("features.7", 4, 1))
)
OTHER = Design("squeezenet1_1", SHAPE, (Insertion("features.7", 16, 6),))


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return build(DESIGN)


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_build_gives_each_site_its_own_numbers(module: nn.Module) -> None:
    bams = dict(module.get_submodule("bam").named_children())
    assert list(bams) == ["features_4", "features_7"]
    assert [(b.channels, b.reduction, b.dilation) for b in bams.values()] == [
        (128, 8, 2),
        (256, 4, 1),
    ]
    assert module.training


def test_build_without_insertions_is_the_base() -> None:
    base = build(Design("squeezenet1_1", SHAPE))
    assert not [key for key in base.state_dict() if key.startswith("bam")]


def test_round_trip_is_exact(module: nn.Module, tmp_path: Path) -> None:
    written = save(DESIGN, tmp_path / "new" / "folder", module)
    folder = tmp_path / "new" / "folder"
    assert written == [folder / "design.json", folder / "model.safetensors"]
    assert sorted(files(folder)) == ["design.json", "model.safetensors"]
    for source in (folder, folder / "design.json", str(folder)):
        loaded = load(source)
        state = module.state_dict()
        assert list(loaded.state_dict()) == list(state)
        assert all(torch.equal(v, state[k]) for k, v in loaded.state_dict().items())
    assert loaded.training
    x = torch.randn(1, *SHAPE)
    torch.manual_seed(0)
    expected = module(x)
    torch.manual_seed(0)
    assert torch.equal(loaded(x), expected)
    assert find_design(folder)[0] == DESIGN


def test_a_detector_round_trip(tmp_path: Path) -> None:
    design = Design(
        "ssdlite320_mobilenet_v3_large",
        (3, 96, 96),
        (Insertion("backbone.features.0.6", 8, 2),),
        "official",
        "identity",
        5,
    )
    module = build(design).eval()
    save(design, tmp_path, module)
    loaded = load(tmp_path).eval()
    images = [torch.rand(3, 96, 96)]
    for ours, theirs in zip(loaded(images), module(images), strict=True):
        assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_a_design_alone(tmp_path: Path) -> None:
    assert save(DESIGN, tmp_path) == [tmp_path / "design.json"]
    first, other = load(tmp_path), load(tmp_path)
    assert list(first.state_dict()) == list(other.state_dict())


def test_weights_in_another_memory_format(tmp_path: Path, module: nn.Module) -> None:
    """safetensors refuses what is not contiguous."""
    twin = load_into(module).to(memory_format=torch.channels_last)
    save(DESIGN, tmp_path, twin)
    assert torch.equal(load(tmp_path).features[0].weight, module.features[0].weight)


def load_into(module: nn.Module) -> nn.Module:
    twin = build(DESIGN)
    twin.load_state_dict(module.state_dict())
    return twin


def test_weights_are_strict(module: nn.Module, tmp_path: Path) -> None:
    save(DESIGN, tmp_path, module)
    weights = tmp_path / "model.safetensors"
    # safetensors 0.5 maps the file, which is written again below.
    whole = {key: value.clone() for key, value in load_file(weights).items()}
    key = "bam.features_4.channel.reduce.weight"
    for changed in (
        {k: v for k, v in whole.items() if k != key},
        whole | {"more": torch.ones(1)},
        whole | {key: torch.ones(1, 1)},
    ):
        save_file(changed, weights)
        with pytest.raises(
            WeightsError, match=r"model\.safetensors does not hold the weights of"
        ) as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)
    for content in (b"", b"\0" * 99, b"\xff" * 99):
        weights.write_bytes(content)
        with pytest.raises(WeightsError):
            load(tmp_path)


def test_existing_files_are_left_alone(module: nn.Module, tmp_path: Path) -> None:
    for name in ("design.json", "model.safetensors"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(OutputError, match=f"{name} exists already"):
            save(DESIGN, folder, module)
        assert files(folder) == {name: b"mine"}
    save(DESIGN, folder, module, force=True)
    assert find_design(folder / "design.json")[0] == DESIGN
    (folder / "note.txt").write_text("mine")
    # weights of another design must not stay beside a new one
    save(OTHER, folder, force=True)
    assert sorted(files(folder)) == ["design.json", "note.txt"]
    assert load(folder).get_submodule("bam.features_7")


def full_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError(28, "No space left on device")


def on_call(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """function, which fails at its nth call."""
    calls: list[int] = []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return full_disk() if len(calls) == number else function(*args, **kwargs)

    return wrapped


STEPS = {
    "folder": lambda patch: patch.setattr(Path, "mkdir", full_disk),
    "design": lambda patch: patch.setattr(Path, "write_text", full_disk),
    "weights": lambda patch: patch.setattr(designs, "save_model", full_disk),
    "mode": lambda patch: patch.setattr(designs.shutil, "copymode", full_disk),
    "first rename": lambda patch: patch.setattr(os, "replace", on_call(1, os.replace)),
    "second rename": lambda patch: patch.setattr(os, "replace", on_call(2, os.replace)),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_leaves_the_old_files(
    module: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    save(OTHER, tmp_path, build(OTHER))
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        STEPS[step](patch)
        with pytest.raises(OutputError, match=r"cannot be written: .*No space left"):
            save(DESIGN, tmp_path, module, force=True)
    assert files(tmp_path) == before


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_interrupt_just_after_a_rename_leaves_the_old_files(
    module: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    save(OTHER, tmp_path, build(OTHER))
    before = files(tmp_path)
    replace, calls = os.replace, []

    def interrupted(*args: Any) -> None:
        replace(*args)
        calls.append(args)
        if len(calls) == number:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            save(DESIGN, tmp_path, module, force=True)
    assert files(tmp_path) == before


def test_a_full_disk_leaves_the_old_weights_when_only_a_design_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(OTHER, tmp_path, build(OTHER))
    before = files(tmp_path)
    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OutputError):
        save(DESIGN, tmp_path, force=True)
    monkeypatch.undo()
    assert files(tmp_path) == before


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        save(DESIGN, tmp_path / "file" / "below")
    assert "\n" not in str(caught.value)


def test_what_is_not_a_design(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "no.json", "no such folder"):
        with pytest.raises(DesignError, match="no design at"):
            load(source)
    path = tmp_path / "design.json"
    for content in (b"", b"\xff\xfe\x00", b"{}", b'{"bamsearch_design": 2}', b"[]"):
        path.write_bytes(content)
        with pytest.raises(DesignError, match=r"design\.json"):
            load(tmp_path)


def test_unknown_sites_and_models(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="no site is called 'layer1'"):
        build(Design("squeezenet1_1", SHAPE, (Insertion("layer1"),)))
    with pytest.raises(ModelError, match="no model is called 'squeezenet'"):
        build(Design("squeezenet", SHAPE))
    with pytest.raises(ModelError, match="does not accept an input of 3x4x4"):
        build(Design("squeezenet1_1", (3, 4, 4), (Insertion("features.4"),)))


@pytest.mark.parametrize(
    ("model", "named", "classes"),
    [
        ("squeezenet1_1", "squeezenet1_1", None),
        (lambda: torchvision.models.squeezenet1_1(), "squeezenet1_1", None),
        (lambda: torchvision.models.resnet18(num_classes=5), "resnet18", 5),
        (lambda: torchvision.models.resnet34(), "resnet34", None),
    ],
)
@pytest.mark.parametrize("how", ["rewrite", "attach"])
def test_an_inserted_model_is_saved_with_its_design(
    model: Any, named: str, classes: int | None, how: Any, tmp_path: Path
) -> None:
    inserted = insert_bam(model if isinstance(model, str) else model(), 64, how=how, check=False)
    if how == "rewrite":
        with pytest.raises(TypeError, match=r"use bamsearch\.save\(model, folder\)"):
            pickle.dumps(inserted)
    written = save(inserted, tmp_path / "out")
    assert [path.name for path in written] == ["design.json", "model.safetensors"]
    design = find_design(written[0])[0]
    assert (design.model, design.num_classes) == (named, classes)
    loaded, x = load(tmp_path / "out"), torch.rand(2, *SHAPE)
    assert torch.equal(loaded.eval()(x), inserted.eval()(x))
    save(loaded, tmp_path / "again")
    assert find_design(tmp_path / "again" / "design.json")[0] == design


def test_a_design_of_a_network_keeps_the_numbers_of_its_insertions(
    module: nn.Module, tmp_path: Path
) -> None:
    save(module, tmp_path)
    assert find_design(tmp_path / "design.json")[0] == DESIGN


def test_a_network_that_no_name_builds_is_not_saved(module: nn.Module, tmp_path: Path) -> None:
    other_strides = torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True])
    other_head = torchvision.models.resnet18()
    other_head.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 3))
    for network in (other_strides, other_head):
        with pytest.raises(DesignError, match="no MODEL is known that builds this ResNet"):
            save(insert_bam(network, 64, check=False), tmp_path)
    with pytest.raises(DesignError, match="Linear has no BAM from insert_bam"):
        save(nn.Linear(3, 3), tmp_path)
    with pytest.raises(InvalidValueError, match="a network alone"):
        save(module, tmp_path, module)
    assert files(tmp_path) == {}


FACTORY = """
from torch import nn
def make(num_classes=4):
    conv = lambda i, o, s=1: nn.Conv2d(i, o, 3, s, 1)
    return nn.Sequential(conv(3, 8), conv(8, 8), conv(8, 16, 2), nn.ReLU(),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes))
"""


def test_designs_of_factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    design = Design("net.py:make", (3, 16, 16), (Insertion("1", 2, 1),), num_classes=3)
    module = build(design)
    save(design, tmp_path / "out", module)
    loaded = load(tmp_path / "out").eval()
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded(x), module.eval()(x))
    assert loaded(x).shape == (2, 3)
    (tmp_path / "net.py").unlink()
    with pytest.raises(ModelError, match=r"no file net\.py"):
        load(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "design.json").read_text())["model"] == "net.py:make"


def test_insert_bam_and_build_agree() -> None:
    torch.manual_seed(1)
    built = build(DESIGN)
    base = build(Design("squeezenet1_1", SHAPE))
    inserted = insert_bam(base, design=DESIGN)
    inserted.load_state_dict(built.state_dict())
    x = torch.randn(1, *SHAPE)
    assert torch.equal(inserted.eval()(x), built.eval()(x))


def test_a_custom_head_is_not_another_model() -> None:
    model = build_model("resnet18", initialise=False)
    model.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 3))
    design = Design("resnet18", (3, 64, 64), (Insertion("layer2"),))
    assert isinstance(insert_bam(model, design=design).bam.layer2, BAM)


@pytest.mark.parametrize("name", ["resnet34", "wide_resnet50_2", "mobilenet_v2"])
def test_another_backbone_is_another_model(name: str) -> None:
    design = Design("resnet18", (3, 64, 64), (Insertion("layer2"),))
    with pytest.raises(DesignError, match=r"for resnet18, but this \w+ is another model"):
        insert_bam(build_model(name, initialise=False), design=design)
