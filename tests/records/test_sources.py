"""Which code a MODEL or a score is, without importing it."""

import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from bamsearch.records.sources import file_hash, source_of, split_model, user_code


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("resnet18", ("torchvision", "resnet18")),
        ("timm:resnet18", ("timm", "resnet18")),
        ("timm:hf_hub:me/net", ("timm", "hf_hub:me/net")),
        ("net.py:make", ("net.py", "make")),
        ("C:\\proj\\net.py:make", ("C:\\proj\\net.py", "make")),
        ("C:/proj/net.py:make", ("C:/proj/net.py", "make")),
        ("C:\\proj\\net.py", ("torchvision", "C:\\proj\\net.py")),
        ("a.b:make", ("a.b", "make")),
    ],
)
def test_a_model_is_split_at_its_last_colon(model, parts):
    assert split_model(model) == parts


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, with code that would tell if it were executed."""
    monkeypatch.chdir(tmp_path)
    for name in ("net.py", "pkg/__init__.py", "pkg/net.py"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("raise AssertionError('executed')\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("resnet18", None),
        ("timm:resnet18", None),
        ("bamsearch.examples:resnet20", None),
        ("net.py:make", "net.py"),
        ("pkg:make", "pkg/__init__.py"),
        ("pkg.net:make", "pkg/net.py"),
        ("elsewhere.net:make", "elsewhere.net"),
    ],
)
def test_code_of_a_user_is_named_and_not_executed(name, code):
    assert user_code(name) == code
    assert "pkg" not in sys.modules


def test_a_file_is_known_by_its_content():
    expected = hashlib.sha256(Path("net.py").read_bytes()).hexdigest()[:16]
    assert source_of("net.py:make") == file_hash("net.py") == f"sha256 {expected}"
    Path("net.py").write_text("other")
    assert source_of("net.py:make") != f"sha256 {expected}"
    assert source_of("pkg.net:make") == f"sha256 {expected}"
    assert source_of("gone.py:make") is None


def test_a_package_is_known_by_its_version():
    assert source_of("resnet18") == f"torchvision {version('torchvision')}"
    assert source_of("bamsearch.examples:resnet20") == f"bamsearch {version('bamsearch')}"
    assert source_of("numpy.linalg:norm") == f"numpy {version('numpy')}"
    assert source_of("elsewhere.net:make") is None
