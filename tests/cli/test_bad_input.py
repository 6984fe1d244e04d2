"""What cannot be used is one line on stderr and an exit code; stdout stays empty."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision

SMALL = "squeezenet1_1"


@pytest.fixture
def refused(bamsearch_cli):
    """``refused(*line)`` is the one line on stderr of a command that exits with 2."""

    def run(*line: str, code: int = 2) -> str:
        result = bamsearch_cli(*line)
        assert (result.exit_code, result.stdout) == (code, ""), result.stderr
        assert result.stderr.count("\n") == 1, result.stderr
        assert "Traceback" not in result.stderr
        assert "unexpected" not in result.stderr
        return result.stderr

    return run


@pytest.mark.parametrize("command", ["insert", "sites"])
@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("resnet10", "no model is called 'resnet10': did you mean resnet101, resnet50, resnet18?"),
        ("ResNet50", "did you mean resnet50"),
        ("xyzzy", "'bamsearch models' lists them"),
        ("", "no model is called ''"),
        ("timm:resnet5", "no timm model is called 'resnet5': did you mean resnet50"),
        ("timm:", "no timm model is called ''"),
        ("nowhere.py:net", "no file nowhere.py: a factory is given as path/file.py:factory"),
        ("no_such_package:net", "No module named 'no_such_package'"),
        ("bamsearch.errors:nothing", "no factory in bamsearch.errors is called 'nothing'"),
    ],
)
def test_an_unknown_model(refused, command, model, words):
    assert words in refused(command, model)


def test_no_model_at_all(refused):
    assert "Missing argument 'MODEL'" in refused("insert")


FACTORIES = """
import sys
from torch import nn

def net(): return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, stride=2))
def raising(): raise RuntimeError("no\\ncould do")
def number(): return 3
def needy(width): return nn.Conv2d(3, width, 3)
def untraceable(): return Untraceable()
value = 3

class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
    def forward(self, x):
        return self.conv(x) if x.sum() < 0 else self.missing
"""


@pytest.fixture
def factories(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(FACTORIES)
    return path


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("raising", "cannot be built: RuntimeError: no"),
        ("number", "returns int, not a torch.nn.Module"),
        ("needy", "missing 1 required positional argument: 'width'"),
        ("value", "is called 'value'"),
        ("nett", "did you mean net?"),
    ],
)
def test_a_factory_that_does_not_do(refused, factories, factory, words):
    assert words in refused("insert", f"{factories}:{factory}")


def test_a_factory_that_does_not_trace(refused, factories):
    said = refused("sites", f"{factories}:untraceable")
    assert "Untraceable does not accept an input of 3x224x224: " in said
    assert "at nets.py:" in said
    assert "return self.conv(x) if x.sum() < 0 else self.missing" in said


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import no_such_thing", "cannot be imported: ModuleNotFoundError"),
        ("def net(:", "cannot be imported: SyntaxError"),
    ],
)
def test_a_file_that_is_not_python(refused, tmp_path, source, words):
    path = tmp_path / "broken.py"
    path.write_text(source)
    assert words in refused("insert", f"{path}:net")


def test_timm_is_missing(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "timm is not installed: pip install 'bamsearch[timm]'" in refused("insert", "timm:vgg11")


@pytest.mark.parametrize(
    "line",
    [
        ["--sites", "layr2"],
        ["--sites", "layer1,layr2"],
        ["--at", "layr2:r=8"],
        ["--sites", "paper,layr2"],
    ],
)
def test_an_unknown_site(refused, line):
    said = refused("insert", "resnet18", *line)
    assert "no site is called" in said
    assert "layer2" in said or "paper" in said
    assert "'bamsearch sites MODEL' lists all" in said


@pytest.mark.parametrize("sites", ["", ",", " , "])
def test_no_site_at_all(refused, sites):
    assert "--sites is empty" in refused("insert", "resnet18", "--sites", sites)


@pytest.mark.parametrize("flag", ["-r", "--reduction", "-d", "--dilation"])
@pytest.mark.parametrize("command", ["insert", "sites"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "abc", "", "1e3"])
def test_r_and_d_are_integers_of_at_least_one(refused, command, flag, value):
    said = refused(command, SMALL, flag, value)
    assert "Invalid value for '-" in said
    assert value in said


@pytest.mark.parametrize(
    "value",
    [
        "layer3:r=0",
        "layer3:d=0",
        "layer3:r=-1",
        "layer3:r=1.5",
        "layer3:r=abc",
        "layer3:r=8,r=4",
        "layer3:",
        "layer3",
        ":r=8",
        "layer3:x=8",
        "layer3:r=8;d=2",
    ],
)
def test_r_and_d_of_one_site(refused, value):
    said = refused("insert", "resnet18", "--at", value)
    assert "must be an integer of at least 1" in said if "=0" in value else value in said


def test_one_site_twice(refused):
    said = refused("insert", "resnet18", "--at", "layer3:r=8", "--at", "layer3:d=2")
    assert "site layer3 has two overrides of r and d" in said


@pytest.mark.parametrize(
    "size", ["0", "0x3", "3x", "x", "-1", "abc", "224.5", "1x2x3", "", "999999"]
)
@pytest.mark.parametrize("command", ["insert", "sites"])
def test_an_impossible_input_size(refused, command, size):
    assert f"{size!r} is not H or HxW" in refused(command, SMALL, "--input-size", size)


@pytest.mark.parametrize("command", ["insert", "sites"])
@pytest.mark.parametrize(
    ("model", "size"),
    [("inception_v3", "32"), ("squeezenet1_1", "4x224"), ("alexnet", "30")],
)
def test_an_input_too_small_for_the_network(refused, command, model, size):
    said = refused(command, model, "--input-size", size)
    height, _, width = size.partition("x")
    assert f"does not accept an input of 3x{height}x{width or height}" in said


def test_an_input_without_room_to_shrink(refused):
    said = refused("insert", "resnet18", "--input-size", "1", code=3)
    assert "resnet18 has no spatial bottleneck at 3x1x1" in said


@pytest.mark.parametrize(
    "line",
    [
        ["--num-classes", "0"],
        ["--num-classes", "ten"],
        ["--variant", "mine"],
        ["--init", "zero"],
        ["--seed", "-1"],
    ],
)
def test_other_options_out_of_range(refused, line):
    said = refused("insert", SMALL, *line)
    assert line[0] in said
    assert line[1] in said


def test_two_models(bamsearch_cli):
    result = bamsearch_cli("insert", SMALL, "resnet18")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "extra argument (resnet18)" in result.stderr


# weights


def test_weights_that_are_not_there(refused, tmp_path):
    said = refused("insert", SMALL, "--weights", str(tmp_path / "none.pt"))
    assert "no weights at" in said
    assert "no weights at" in refused("insert", SMALL, "--weights", str(tmp_path))


@pytest.mark.parametrize("name", ["cut.pt", "cut.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x10\x00\x00", b"not weights at all, only words"])
def test_weights_that_cannot_be_read(refused, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert str(path) in refused("insert", SMALL, "--weights", str(path))


def test_weights_cut_short(refused, tmp_path):
    path = tmp_path / "cut.pt"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    assert str(path) in refused("insert", SMALL, "--weights", str(path))


def test_weights_of_another_model(refused, tmp_path):
    path = tmp_path / "alexnet.pt"
    torch.save({"state_dict": {"features.0.weight": torch.zeros(64, 3, 11, 11)}}, path)
    said = refused("insert", SMALL, "--weights", str(path))
    assert f"{path} does not fit SqueezeNet: 51 missing" in said


def test_weights_without_tensors(refused, tmp_path):
    path = tmp_path / "empty.pt"
    torch.save({"epoch": 3}, path)
    assert "holds no tensors by name" in refused("insert", SMALL, "--weights", str(path))


def test_weights_that_would_run_code_are_not_loaded(refused, tmp_path):
    path, mark = tmp_path / "evil.pt", tmp_path / "mark"
    torch.save(_Evil(str(mark)), path)
    assert "weights_only=True" in refused("insert", SMALL, "--weights", str(path))
    assert not mark.exists()


class _Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_an_unknown_name_of_weights(refused):
    said = refused("insert", SMALL, "--weights", "IMAGENET9")
    assert "choose from DEFAULT, IMAGENET1K_V1" in said


def test_published_weights_without_a_network(bamsearch_cli, monkeypatch):
    def offline(*args, **kwargs):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    result = bamsearch_cli("insert", SMALL, "--weights", "DEFAULT")
    assert (result.exit_code, result.stdout) == (2, "")
    download, said = result.stderr.splitlines()
    assert download.startswith("Downloading: ")
    assert f"weights DEFAULT of {SMALL} cannot be downloaded" in said
    assert "Name or service not known" in said
    assert "--weights FILE" in said


def test_output_of_others_is_not_data(bamsearch_cli, tmp_path, monkeypatch):
    state = torchvision.models.squeezenet1_1().state_dict()

    def fetch(url, path, *args, **kwargs):
        torch.save(state, path)

    # torch says on stdout that it downloads
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    result = bamsearch_cli("insert", SMALL, "--weights", "DEFAULT", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["init"] == "identity"
    assert "Downloading" in result.stderr
    path = tmp_path / "chatty.py"
    path.write_text(FACTORIES + "print('hello')")
    assert json.loads(bamsearch_cli("sites", f"{path}:net", "--json").stdout)["sites"]


# a DESIGN where a MODEL is wanted


@pytest.fixture
def design(bamsearch_cli, tmp_path):
    folder = tmp_path / "kept"
    assert bamsearch_cli("insert", SMALL, "-o", str(folder)).exit_code == 0
    return folder


@pytest.mark.parametrize(
    "line", [["insert"], ["sites"], ["insert", "--weights", "DEFAULT"], ["insert", "-n"]]
)
def test_a_design_has_bam_already(refused, design, line):
    for path in (design, design / "design.json"):
        said = refused(line[0], str(path), *line[1:])
        assert said == (
            f"bamsearch: error: {path} is a design, which already has BAM: "
            f"give a MODEL, such as its base, {SMALL}\n"
        )


def test_a_folder_or_file_without_a_design_is_not_a_model(refused, tmp_path):
    (tmp_path / "design.json").write_text("{}")
    for path in (tmp_path, tmp_path / "design.json"):
        assert "no model is called" in refused("insert", str(path))


def test_a_model_is_a_model_though_a_design_is_called_so(bamsearch_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        result = bamsearch_cli("insert", SMALL, "-o", SMALL, "--force")
        assert result.exit_code == 0, result.stderr


# what comes from outside in the middle of the work


def test_ctrl_c_while_tracing(preloaded):
    code = (
        "import os, signal, torch.fx\n"
        "real = torch.fx.Tracer.create_proxy\n"
        "def create(*args, **kwargs):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(*args, **kwargs)\n"
        "torch.fx.Tracer.create_proxy = create\n"
        "from bamsearch.cli.main import main\n"
        f"main(['insert', '{SMALL}', '--input-size', '225'])"
    )
    result = subprocess.run([preloaded / "python", "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (130, "")
    assert result.stderr == "bamsearch: interrupted\n"


def test_a_stdout_that_is_full(preloaded):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        command = [preloaded / "bamsearch", "insert", SMALL]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("bamsearch: error: No space left on device")
    assert result.stderr.count("\n") == 1
