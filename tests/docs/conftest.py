"""The code blocks of a document, run in order in one folder and one Python namespace.

``python`` blocks are executed. In ``console`` blocks each ``$ `` line is typed into bash and what
follows it is what stdout must say, exactly; stderr is not compared. A block below
``<!-- skip: reason -->`` is left out. Other blocks, also indented ones, are only for reading.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

_SKIP = re.compile(r"<!-- skip: *(\S.*?) *-->\s*\Z")
_COMMANDS = ("bamsearch", "python", "ls", "cat")
_run_python = PythonEvaluator()


def blocks(path: Path) -> list[Example]:
    """The blocks of a document that are run, in order."""
    evaluators = {"python": _python, "console": _console}
    parsers = [CodeBlockParser(language, run) for language, run in evaluators.items()]
    return [block for block in Sybil(parsers).parse(path) if skip_reason(block) is None]


def skip_reason(block: Example) -> str | None:
    """Why the block is not run; None if it is."""
    result = _SKIP.search(block.document.text[: block.start])
    return result[1] if result else None


def _python(block: Example) -> None:
    _run_python(block)


def _console(block: Example) -> None:
    for command, expected in commands(block.parsed):
        first = command.split()[0]
        assert first in _COMMANDS, f"{first} is not run here: mark the block with a skip"
        result = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, f"{command}\n{result.stderr}"
        assert result.stdout == expected, f"$ {command} says:\n{result.stdout}"


def commands(session: str) -> list[tuple[str, str]]:
    """(command, what it prints) of a console block; a blank line at an output's end is not kept."""
    result = []
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        while command.endswith("\\"):
            more, _, output = output.partition("\n")
            command = f"{command[:-1]}{more.removeprefix('> ')}"
        output = output.rstrip("\n")
        result.append((command, f"{output}\n" if output else ""))
    return result


@pytest.fixture
def run_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preloaded: Path
) -> Callable[[Path], list[str]]:
    """``run_document(path)`` runs all blocks in tmp_path; returns their languages."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bamsearch").symlink_to(preloaded / "bamsearch")
    folders = [tmp_path / "bin", Path(sys.executable).parent, os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))

    def run(path: Path) -> list[str]:
        result = blocks(path)
        for block in result:
            block.evaluate()
        return [block.region.lexemes["arguments"] for block in result]

    return run
