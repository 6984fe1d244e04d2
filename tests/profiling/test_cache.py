import json
import subprocess
import sys
from pathlib import Path

import pytest

from bamsearch.profiling import cache
from bamsearch.records import Cost, ModelSummary, Site

SUMMARY = ModelSummary(
    "net",
    (3, 224, 224),
    "",
    (3, 224, 224),
    (Site("layer1", 64, 56, 56, 4, "NCHW", "bottleneck", "layer2"),),
    Cost(10, 2**60, 30, {"": 2**60, "layer1": 3}, {"aten::add": 2}, "fvcore"),
    10,
    0.25,
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("BAMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def key() -> dict:
    return cache.summary_key("net", None, None)


def write(key: dict | None, summary: ModelSummary) -> None:
    cache.write(key, summary.to_json(), cache.SUMMARIES)


def entry(folder: Path) -> Path:
    (path,) = (folder / "summaries").iterdir()
    return path


def test_what_is_written_is_read(key, folder):
    assert cache.read_summary(key) is None
    write(key, SUMMARY)
    assert cache.read_summary(key) == SUMMARY
    assert entry(folder).suffix == ".json"


def test_the_folder_is_the_users_by_default(monkeypatch, folder):
    assert cache.cache_folder() == folder
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("BAMSEARCH_CACHE")
        else:
            monkeypatch.setenv("BAMSEARCH_CACHE", value)
        assert cache.cache_folder().name == "bamsearch"
        assert cache.cache_folder().is_absolute()


def damaged(path: Path) -> dict[str, bytes]:
    """Ways in which an entry can be broken → its bytes then."""
    good = path.read_bytes()
    checksum, _, text = good.partition(b"\n")
    return {
        "empty": b"",
        "cut": good[:-20],
        "first line only": checksum + b"\n",
        "zeros": bytes(len(good)),
        "not text": b"\xff\xfe" + good,
        "other JSON": checksum + b"\n[1, 2]",
        "one digit": good.replace(b'"params": 10', b'"params": 11'),
        "no checksum": text,
    }


def test_a_damaged_entry_is_not_an_entry(key, folder):
    write(key, SUMMARY)
    path = entry(folder)
    for name, content in damaged(path).items():
        assert content != path.read_bytes(), name
        path.write_bytes(content)
        assert cache.read_summary(key) is None, name
        write(key, SUMMARY)
        assert cache.read_summary(key) == SUMMARY, name


def test_fields_of_another_version_are_not_an_entry(key, folder):
    write(key, SUMMARY)
    content = json.loads(SUMMARY.to_json())
    for text in (
        json.dumps(content | {"colour": "red"}),
        json.dumps({name: value for name, value in content.items() if name != "base"}),
        "null",
        '"text"',
    ):
        entry(folder).write_text(f"{cache._checksum(key, text)}\n{text}")
        assert cache.read_summary(key) is None


def test_another_models_entry_and_contradicting_counts_are_not_an_entry(key, folder):
    write(key, SUMMARY)
    mine = entry(folder)
    content = json.loads(SUMMARY.to_json())
    less = content["base"] | {"conv_linear_macs": 2**61}
    for change in (
        {"model": "other"},
        {"base": less},
        {"base": content["base"] | {"params": "10"}},
    ):
        text = json.dumps(content | change)
        mine.write_text(f"{cache._checksum(key, text)}\n{text}")
        assert cache.read_summary(key) is None
    other = cache.summary_key("other", None, None)
    text = SUMMARY.to_json()
    mine.write_text(f"{cache._checksum(other, text)}\n{text}")
    assert cache.read_summary(key) is None
    mine.write_text(f"{cache._checksum(key, text)}\n{text}")
    assert cache.read_summary(key) == SUMMARY


def test_an_entry_that_is_a_folder_is_not_an_entry(key, folder):
    write(key, SUMMARY)
    path = entry(folder)
    path.unlink()
    path.mkdir()
    assert cache.read_summary(key) is None
    write(key, SUMMARY)
    assert [child.name for child in (folder / "summaries").iterdir()] == [path.name]


def test_a_folder_that_cannot_be_made_is_not_a_failure(key, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    for cache_folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        monkeypatch.setenv("BAMSEARCH_CACHE", str(cache_folder))
        write(key, SUMMARY)
        assert cache.read_summary(key) is None


def test_a_write_that_fails_leaves_what_was_there(key, folder, monkeypatch):
    write(key, SUMMARY)

    def full(source, target):
        raise OSError("No space left on device")

    monkeypatch.setattr(cache.os, "replace", full)
    write(key, ModelSummary("other", (3, 1, 1), "", (3, 1, 1), (), Cost(0, 0, 0)))
    assert cache.read_summary(key) == SUMMARY
    assert entry(folder)


@pytest.mark.parametrize("model", ["nets.py:net", "package.module:net", "torchvision.models:vgg11"])
def test_factories_are_not_kept(model, folder):
    assert cache.summary_key(model, None, None) is None
    write(None, SUMMARY)
    assert cache.read_summary(None) is None
    assert not folder.exists()


def test_every_model_size_and_number_of_classes_has_its_own_entry():
    keys = [
        ("resnet18", None, None),
        ("resnet34", None, None),
        ("timm:resnet18", None, None),
        ("resnet18", (224, 224), None),
        ("resnet18", (224, 225), None),
        ("resnet18", (225, 224), None),
        ("resnet18", None, 10),
        ("resnet18", (224, 224), 10),
    ]
    assert len({str(cache._path(cache.summary_key(*key))) for key in keys}) == len(keys)
    assert cache.summary_key("resnet18", [8, 9], None) == cache.summary_key(
        "resnet18", (8, 9), None
    )


@pytest.mark.parametrize("package", ["torch", "torchvision", "timm", "fvcore"])
def test_another_version_is_another_key(key, monkeypatch, package):
    real = cache.version
    monkeypatch.setattr(cache, "version", lambda name: "9" if name == package else real(name))
    assert cache.summary_key("net", None, None) != key


def test_a_package_that_is_gone_is_another_key(key, monkeypatch):
    def gone(name):
        raise cache.PackageNotFoundError(name)

    monkeypatch.setattr(cache, "version", gone)
    assert cache.summary_key("net", None, None)["packages"]["timm"] is None
    assert cache.summary_key("net", None, None) != key


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    """A package folder of our own in place of bamsearch's."""
    root = tmp_path / "package"
    for name in (
        "attention/bam.py",
        "graph/sites.py",
        "profiling/cache.py",
        "records/designs.py",
        "cli/x.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("1")
    monkeypatch.setattr(cache, "__file__", str(root / "profiling" / "cache.py"))
    cache._source_hash.cache_clear()
    yield root
    cache._source_hash.cache_clear()


def source_hash() -> str:
    cache._source_hash.cache_clear()
    return cache._source_hash()


@pytest.mark.parametrize(
    "name", ["attention/bam.py", "graph/sites.py", "profiling/cache.py", "records/designs.py"]
)
def test_another_source_is_another_key(source, name):
    before = cache.summary_key("net", None, None)
    (source / name).write_text("2")
    cache._source_hash.cache_clear()
    assert cache.summary_key("net", None, None) != before


def test_the_source_is_that_of_folders_that_exist():
    package = Path(cache.__file__).parents[1]
    assert all(list((package / name).glob("*.py")) for name in cache._SOURCES)


def test_a_new_file_counts_and_the_command_line_does_not(source):
    before = source_hash()
    (source / "cli" / "x.py").write_text("2")
    assert source_hash() == before
    (source / "graph" / "new.py").write_text("")
    assert source_hash() != before


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from dataclasses import replace
from bamsearch.profiling import cache
from bamsearch.records import Cost, ModelSummary
assert "torch" not in sys.modules
key, number = cache.summary_key("net", None, None), int(sys.argv[2])
mine = ModelSummary("net", (3, number, number), "net" * 10_000, (3, 1, 1), (), Cost(0, 0, 0))
for _ in range(300):
    cache.write(key, mine.to_json(), cache.SUMMARIES)
    found = cache.read_summary(key)
    assert found is not None and found.part == mine.part, "an entry was half written"
"""


def test_two_processes_at_once(key, folder):
    root = str(Path(cache.__file__).parents[2])
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, root, str(number)]) for number in (1, 2)
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert cache.read_summary(key).input_shape in ((3, 1, 1), (3, 2, 2))
    assert entry(folder)
