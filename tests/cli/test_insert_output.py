"""What ``insert -o`` writes, and what it leaves alone."""

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
import torchvision

from bamsearch import load
from bamsearch.errors import DesignError
from bamsearch.graph import designs

SMALL = "squeezenet1_1"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pt"
    torch.save(torchvision.models.squeezenet1_1(num_classes=3).state_dict(), path)
    return str(path)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_design_without_weights(bamsearch_cli, tmp_path, golden):
    folder = tmp_path / "a" / "kept"
    result = bamsearch_cli("insert", SMALL, "--at", "features.4:r=8,d=2", "-o", str(folder))
    assert result.exit_code == 0, result.stderr
    assert list(contents(folder)) == ["design.json"]
    golden((folder / "design.json").read_text(encoding="utf-8"), "insert_design.json")
    golden(result.stderr.replace(str(tmp_path), "TMP"), "insert_output_stderr.txt")
    assert sum(name.endswith("bam.features_4") for name, _ in load(folder).named_modules()) == 1


def test_nothing_is_written_without_o(bamsearch_cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = bamsearch_cli("insert", SMALL)
    assert "Nothing written." in result.stderr
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("flag", ["-n", "--dry-run"])
def test_a_dry_run_says_what_it_would_write(bamsearch_cli, tmp_path, weights, flag):
    folder = tmp_path / "kept"
    result = bamsearch_cli("insert", SMALL, "--weights", weights, "-o", str(folder), flag)
    assert result.exit_code == 0
    assert not folder.exists()
    assert result.stderr.startswith(
        f"\nWould write   {folder}/design.json\nWould write   {folder}/model.safetensors\nNext:\n"
        f"  keep   bamsearch insert {SMALL} --weights {weights} --output {folder}\n"
    )


def test_a_dry_run_refuses_what_the_run_would_refuse(bamsearch_cli, tmp_path):
    (tmp_path / "mine").write_text("mine")
    result = bamsearch_cli("insert", SMALL, "-o", str(tmp_path), "-n")
    assert result.exit_code == 2


@pytest.mark.parametrize("weighted", [True, False])
def test_what_is_there_stays_without_force(bamsearch_cli, tmp_path, weights, weighted):
    line = ["insert", SMALL, "-o", str(tmp_path), *(["--weights", weights] if weighted else [])]
    assert bamsearch_cli(*line, "-r", "8").exit_code == 0
    before = contents(tmp_path)
    assert len(before) == 1 + weighted
    result = bamsearch_cli(*line, "-r", "4")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"bamsearch: error: {tmp_path} exists already: choose another path, or add --force\n"
    )
    assert contents(tmp_path) == before
    assert bamsearch_cli(*line, "-r", "4", "--force").exit_code == 0
    after = contents(tmp_path)
    assert set(after) == set(before)
    assert all(after[name] != before[name] for name in before)


def test_by_force_no_weights_of_another_design_stay(bamsearch_cli, tmp_path, weights):
    line = ["insert", SMALL, "-o", str(tmp_path), "--force"]
    assert bamsearch_cli(*line, "--weights", weights).exit_code == 0
    (tmp_path / "notes.txt").write_text("mine")
    assert bamsearch_cli(*line).exit_code == 0
    assert set(contents(tmp_path)) == {"design.json", "notes.txt"}
    load(tmp_path)


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_file_is_not_a_folder(bamsearch_cli, tmp_path, force):
    path = tmp_path / "file"
    path.write_text("mine")
    for output in (path, path / "below"):
        result = bamsearch_cli("insert", SMALL, "-o", str(output), *force)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert "is a file" in result.stderr
    assert path.read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_place_where_nobody_can_write(bamsearch_cli):
    # root may write anywhere else
    result = bamsearch_cli("insert", SMALL, "-o", "/proc/bamsearch-test")
    assert result.exit_code == 2
    assert result.stderr.startswith("bamsearch: error: /proc/bamsearch-test cannot be written: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(bamsearch_cli, tmp_path):
    tmp_path.chmod(0o500)
    result = bamsearch_cli("insert", SMALL, "-o", str(tmp_path / "kept"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no permission" in result.stderr


def test_a_full_disk_leaves_no_design(bamsearch_cli, tmp_path, weights, monkeypatch):
    def full(module, path):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(designs, "save_model", full)
    result = bamsearch_cli("insert", SMALL, "--weights", weights, "-o", str(tmp_path / "kept"))
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert result.stderr.count("\n") == 1
    assert contents(tmp_path) == {}


KILL = """
import os, resource, signal, sys
from pathlib import Path
from bamsearch.graph import designs

def killed(*args):
    os.kill(os.getpid(), signal.SIGKILL)

def half(module, path):
    Path(path).write_bytes(b"half")
    killed()

real, moves = os.replace, []
def replace(source, target):
    if Path(target).name in ("design.json", "model.safetensors", "kept"):
        moves.append(target)
        if len(moves) == MOVES:
            killed()
    real(source, target)

if MOVES:
    os.replace = os.rename = replace
else:
    designs.save_model = half
from bamsearch.cli.main import main
main(sys.argv[1:])
"""


@pytest.fixture
def insert_killed(preloaded):
    """Kill ``insert`` while it writes the weights (0), or before its n-th rename."""

    def run(moves: int, *args: str) -> None:
        code = KILL.replace("MOVES", str(moves))
        result = subprocess.run([preloaded / "python", "-c", code, "insert", SMALL, *args])
        assert result.returncode == -9

    return run


@pytest.mark.parametrize("moves", [0, 1])
def test_a_kill_leaves_no_half_design(insert_killed, tmp_path, weights, moves):
    folder = tmp_path / "kept"
    insert_killed(moves, "--weights", weights, "-o", str(folder))
    assert not (folder / "design.json").exists()
    with pytest.raises(DesignError, match="no design at"):
        load(folder)


def test_a_kill_while_writing_leaves_the_old_design_whole(
    bamsearch_cli, insert_killed, tmp_path, weights
):
    line = ["--weights", weights, "-o", str(tmp_path)]
    assert bamsearch_cli("insert", SMALL, *line).exit_code == 0
    before = contents(tmp_path)
    insert_killed(0, *line, "-r", "8", "--force")
    after = contents(tmp_path)
    assert {name: after[name] for name in before} == before
    load(tmp_path)


def test_a_kill_never_leaves_weights_beside_another_design(
    bamsearch_cli, insert_killed, tmp_path, weights
):
    # d changes no shape: these weights would load into the old design, and compute something else
    line = ["--weights", weights, "-o", str(tmp_path)]
    assert bamsearch_cli("insert", SMALL, *line).exit_code == 0
    insert_killed(4, *line, "-d", "2", "--force")  # both moved away, the new weights moved in
    with pytest.raises(DesignError, match="no design at"):
        load(tmp_path)


def test_a_design_holds_the_requested_options(bamsearch_cli, tmp_path):
    line = ["resnet18", "--variant", "official", "--init", "identity", "--num-classes", "7"]
    assert bamsearch_cli("insert", *line, "-o", str(tmp_path)).exit_code == 0
    content = json.loads((tmp_path / "design.json").read_text(encoding="utf-8"))
    result = [content[key] for key in ("model", "variant", "init", "num_classes")]
    assert result == ["resnet18", "official", "identity", 7]
