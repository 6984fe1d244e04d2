"""Weights from files and by name, and the normalisation that they were trained with."""

from __future__ import annotations

import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor

from bamsearch.errors import ModelError, WeightsError
from bamsearch.graph.checkpoints import read_checkpoint
from bamsearch.graph.models import build_model
from bamsearch.graph.weights import build_with_weights, normalisation

NAME = "squeezenet1_1"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(11)
    return dict(build_model(NAME).state_dict())


def zeros(name: str, num_classes: int | None = None) -> dict[str, Tensor]:
    """A network's weights, all 0: without initialisation they are whatever is in memory."""
    module = build_model(name, num_classes=num_classes, initialise=False)
    return {key: torch.zeros_like(value) for key, value in module.state_dict().items()}


def write(path: Path, content: object) -> str:
    if path.suffix == ".safetensors":
        save_file(content, path)
    else:
        torch.save(content, path)
    return str(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ""])
def test_files(tmp_path: Path, state: dict[str, Tensor], suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    loaded = build_with_weights(NAME, write(path, state))
    assert all(torch.equal(v, state[k]) for k, v in loaded.module.state_dict().items())
    assert (loaded.source, loaded.num_classes, loaded.left_random) == (str(path), None, ())
    assert loaded.module.training


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints(tmp_path: Path, state: dict[str, Tensor], key: str, prefix: str) -> None:
    inner = {prefix + k: v for k, v in state.items()}
    path = write(tmp_path / "checkpoint.pth", {key: inner, "epoch": 3, "optimizer": {"lr": 0.1}})
    loaded = build_with_weights(NAME, path)
    assert all(torch.equal(v, state[k]) for k, v in loaded.module.state_dict().items())


def test_another_number_of_classes(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = write(tmp_path / "weights.safetensors", state)
    loaded = build_with_weights(NAME, path, num_classes=7)
    head = ("classifier.1.weight", "classifier.1.bias")
    assert loaded.left_random == head
    assert loaded.num_classes == 7
    for key, value in loaded.module.state_dict().items():
        assert value.shape[0] == 7 if key in head else torch.equal(value, state[key])


def test_weights_of_a_fine_tuned_head(tmp_path: Path) -> None:
    """The classes of the file's own head are taken over."""
    state = zeros("resnet18", num_classes=12)
    loaded = build_with_weights("resnet18", write(tmp_path / "w.pt", dict(state)))
    assert loaded.num_classes == 12
    assert loaded.left_random == ()
    assert loaded.module.fc.out_features == 12


def test_weights_of_another_model(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = write(tmp_path / "weights.pt", state)
    with pytest.raises(WeightsError, match=r"fit ResNet: \d+ missing .* unknown") as caught:
        build_with_weights("resnet18", path)
    assert "\n" not in str(caught.value)
    # the same names, other shapes
    wide = build_model("resnext50_32x4d", initialise=False).state_dict()
    path = write(tmp_path / "wide.pt", dict(wide))
    with pytest.raises(WeightsError, match="misshapen"):
        build_with_weights("resnet50", path)


def test_one_tensor_missing(tmp_path: Path, state: dict[str, Tensor]) -> None:
    without = {k: v for k, v in state.items() if k != "features.0.bias"}
    path = write(tmp_path / "weights.pt", without)
    with pytest.raises(WeightsError, match=r"1 missing \(such as features\.0\.bias\)"):
        build_with_weights(NAME, path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("cut", ["empty", "half", "noise"])
def test_corrupt_files(tmp_path: Path, state: dict[str, Tensor], suffix: str, cut: str) -> None:
    path = tmp_path / f"weights{suffix}"
    write(path, state)
    whole = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "half": whole[: len(whole) // 2], "noise": b"\x00noise" * 99}[cut]
    )
    with pytest.raises(WeightsError, match="weights") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


class Evil:
    """What a pickle may do if it is let."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_in_it_is_refused(tmp_path: Path) -> None:
    done = tmp_path / "done"
    for i, path in enumerate((tmp_path / "a.pt", tmp_path / "b.pkl")):
        if i:
            path.write_bytes(pickle.dumps(Evil(done)))
        else:
            torch.save({"state_dict": Evil(done)}, path)
        with pytest.raises(WeightsError, match="weights_only=True"):
            read_checkpoint(path)
        assert not done.exists()


@pytest.mark.parametrize("content", [{"epoch": 3}, [1, 2], {"state_dict": {}}, torch.ones(3)])
def test_files_without_tensors_by_name(tmp_path: Path, content: object) -> None:
    path = write(tmp_path / "weights.pt", content)
    with pytest.raises(WeightsError, match="holds no tensors by name"):
        read_checkpoint(Path(path))


@pytest.mark.parametrize("name", ["no-such.pt", "no/such.safetensors"])
def test_no_such_file(name: str) -> None:
    with pytest.raises(WeightsError, match="no weights at"):
        build_with_weights(NAME, name)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        build_with_weights(NAME, str(tmp_path))


def test_unknown_names() -> None:
    with pytest.raises(WeightsError, match=r"choose from DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2"):
        build_with_weights("resnet50", "IMAGENET1K_V3")
    with pytest.raises(WeightsError, match="has no published weights"):
        build_with_weights("package:factory", "DEFAULT")


@pytest.mark.parametrize(
    "error", [URLError("no route"), ConnectionResetError("gone"), TimeoutError()]
)
def test_offline_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr("torch.hub.urlopen", fail)
    with pytest.raises(WeightsError, match=r"cannot be downloaded .*`weights=FILE`") as caught:
        build_with_weights("resnet18", "DEFAULT")
    assert "\n" not in str(caught.value)


def test_published_names_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name asks for its own weights; quantized ones for the float weights they come from."""
    requests: list[object] = []

    def give(entry: torchvision.models.WeightsEnum, **kwargs: object) -> dict[str, Tensor]:
        requests.append(entry)
        name = type(entry).__name__.removesuffix("_Weights").lower()
        name = next(n for n in torchvision.models.list_models() if n == name)
        return zeros(name)

    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", give)
    weights = torchvision.models
    loaded = build_with_weights("resnet50", "DEFAULT")
    assert loaded.source == "IMAGENET1K_V2"
    assert build_with_weights("resnet50", "IMAGENET1K_V1").source == "IMAGENET1K_V1"
    loaded = build_with_weights("quantized_resnet18", "DEFAULT")
    assert loaded.source == "IMAGENET1K_V1"
    assert requests == [
        weights.ResNet50_Weights.IMAGENET1K_V2,
        weights.ResNet50_Weights.IMAGENET1K_V1,
        weights.ResNet18_Weights.IMAGENET1K_V1,
    ]
    # trained on inputs that it rescales itself; the file has the auxiliary heads too
    assert build_with_weights("googlenet", "DEFAULT").module.transform_input
    assert not build_model("googlenet", initialise=False).transform_input


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("resnet50", IMAGENET),
        ("fcn_resnet50", IMAGENET),
        ("quantized_resnet18", IMAGENET),
        ("ssdlite320_mobilenet_v3_large", ((0, 0, 0), (1, 1, 1))),
        ("timm:resnet18", IMAGENET),
        ("timm:inception_resnet_v2", ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))),
        ("my_package:net", IMAGENET),
    ],
)
def test_normalised_as_its_weights_were_trained(
    model: str, wanted: tuple[tuple[float, ...], ...]
) -> None:
    assert normalisation(model) == wanted


def test_normalised_as_published_weights_were_trained() -> None:
    # vit_b_16's SWAG weights are the one entry there whose crop differs; their numbers do not
    assert normalisation("resnet50", "IMAGENET1K_V1") == IMAGENET


@pytest.mark.parametrize("model", ["resnet5000", "timm:resnet5000"])
def test_no_normalisation_of_an_unknown_model(model: str) -> None:
    with pytest.raises(ModelError, match="is called 'resnet5000'"):
        normalisation(model)
