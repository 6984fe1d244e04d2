"""Commands on a run with one corrupt file; by hand alone, as each takes seconds."""

import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

from click.testing import CliRunner

from bamsearch.cli.main import cli
from bamsearch.errors import RunError

from .reader import Reader

SEARCH = (
    "search bamsearch.examples:resnet20 --score params --trials 4 --no-random --budget-params +20%"
)
COMMANDS = {
    "runs": "runs",
    "report": "report {} -f json -o -",
    "search": "search --resume {}",
    "profile": "profile {} --no-time",
    "export": "export {} --dry-run",
    "verify": "verify {} --data digits --dry-run",
    "audit": "audit {} --data digits --dry-run",
}


def command_readers(folder: Path) -> dict[str, Reader]:
    """Readers by name; folder is for files."""
    whole = folder / "runs" / "whole"
    bamsearch(f"{SEARCH} -o {whole}")
    result = {}
    for name, line in COMMANDS.items():
        for file in ("run.json", "trials.jsonl"):
            content = (whole / file).read_bytes()
            result[f"{name}: {file}"] = Reader((content,), _on(whole, file, line), True)
    return result


def _on(whole: Path, file: str, line: str) -> Callable[[bytes], object]:
    copy = whole.with_name("spoilt")

    def read(content: bytes) -> object:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        (copy / file).write_bytes(content)
        with chdir(copy.parents[1]):
            return bamsearch(line.format(copy))

    return read


def bamsearch(line: str) -> str:
    """Run a command in this process; RunError where it refuses, AssertionError where it breaks."""
    done = CliRunner().invoke(cli, line.split(), prog_name="bamsearch")
    assert done.exit_code in (0, 2, 3), f"{line}: exit {done.exit_code}, {done.stderr[-500:]}"
    if done.exit_code:
        raise RunError(done.stderr.splitlines()[-1][:4000])
    return str(done.stdout)
