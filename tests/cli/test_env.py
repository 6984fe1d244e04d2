import builtins
import json
from importlib import metadata

import pytest

from bamsearch.cli.commands import env

REQUIRED = {"torch", "torchvision", "fvcore", "optuna", "pandas", "click", "rich"}


def test_json_says_it_all(bamsearch_cli):
    content = json.loads(bamsearch_cli("env", "--json", "-q").stdout)
    assert content["bamsearch"] == metadata.version("bamsearch")
    assert set(content["packages"]) >= REQUIRED
    assert content["packages"]["torch"] == metadata.version("torch")
    assert set(content["extras"]) == {"timm", "train", "cluster", "export"}
    assert "cpu" in content["devices"]
    assert content["cpu"]["torch_threads"] >= 1
    assert content["torch_trouble"] is None
    assert content["cache"]["bytes"] >= 0


def test_text_has_one_aligned_line_each(bamsearch_cli):
    lines = bamsearch_cli("env").stdout.splitlines()
    names = [line.partition("   ")[0].rstrip() for line in lines]
    assert names[:2] == ["bamsearch", "python"]
    assert {*REQUIRED, "system", "cpu", "device cpu", "extra timm", "cache"} <= set(names)
    column = lines[0].index(metadata.version("bamsearch"))
    assert all(line[column - 3 : column].strip() == "" and line[column] != " " for line in lines)


def test_a_missing_extra_comes_with_its_pip_line(bamsearch_cli, monkeypatch):
    needs = {"": ["torch"], "cluster": ["no-such-package"]}
    monkeypatch.setattr(env, "read_requirements", lambda: needs)
    assert "not installed: pip install 'bamsearch[cluster]'" in bamsearch_cli("env").stdout


def test_a_torch_that_does_not_load_is_reported(bamsearch_cli, monkeypatch):
    real = builtins.__import__

    def broken(name, *args, **kwargs):
        if name == "torch":
            raise OSError("libtorch.so: cut short")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    result = bamsearch_cli("env")
    assert result.exit_code == 0
    assert "OSError: libtorch.so: cut short" in result.stdout


def test_the_tools_of_developers_are_left_out():
    packages = {package for names in env.read_requirements().values() for package in names}
    assert "torch" in packages
    assert "pytest" not in packages


def test_folder_bytes(tmp_path):
    assert env.folder_bytes(tmp_path / "none") == 0
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"12345")
    assert env.folder_bytes(tmp_path) == 5


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (2**20, "1.0 MiB"),
        (3 * 2**40, "3072.0 GiB"),
    ],
)
def test_bytes_text(size, text):
    assert env.bytes_text(size) == text
