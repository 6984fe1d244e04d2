import os
import shutil
import subprocess
import sys

import pytest

from bamsearch.cli.commands.completion import INSTALL
from bamsearch.cli.main import COMMANDS


@pytest.mark.parametrize("shell", INSTALL)
def test_the_script_and_how_to_install_it(bamsearch_cli, shell):
    result = bamsearch_cli("completion", shell)
    assert result.exit_code == 0
    assert "_BAMSEARCH_COMPLETE" in result.stdout
    assert INSTALL[shell] in result.stderr


def test_an_unknown_shell(bamsearch_cli):
    result = bamsearch_cli("completion", "tcsh")
    assert result.exit_code == 2
    assert "'bash', 'zsh', 'fish'" in result.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_script_is_bash(bamsearch_cli):
    script = bamsearch_cli("completion", "bash").stdout
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def complete(words: str, index: int) -> set[str]:
    """What the shell is offered for the word at index."""
    environment = {
        "_BAMSEARCH_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(index),
    }
    code = "from bamsearch.cli.main import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True
    )
    return {line.partition(",")[2] for line in result.stdout.splitlines()}


def test_commands_and_options_are_completed():
    assert complete("bamsearch ", 1) >= set(COMMANDS)
    assert complete("bamsearch env --j", 2) == {"--json"}
