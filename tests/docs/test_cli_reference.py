import subprocess
import sys
from pathlib import Path

import pytest

from bamsearch.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("columns", ["40", "200"])
def test_it_is_what_make_docs_writes(tmp_path, columns):
    copy = tmp_path / "make_cli.py"
    copy.write_text((ROOT / "docs" / "make_cli.py").read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run([sys.executable, copy], cwd=tmp_path, env={"COLUMNS": columns}, check=True)
    written = (tmp_path / "cli.md").read_text(encoding="utf-8")
    # Brackets are in the usage of a group from click 8.5 on.
    assert written.replace("[COMMAND]", "COMMAND") == TEXT.replace("[COMMAND]", "COMMAND"), (
        "make docs"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_it_says_what_the_command_says(bamsearch_cli, name):
    assert f"```text\n{bamsearch_cli(name, '--help').stdout}```\n" in TEXT
