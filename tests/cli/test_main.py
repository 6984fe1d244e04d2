import shlex
import subprocess
import sys
import warnings
from importlib import metadata

import pytest

from bamsearch.cli.main import COMMANDS, EXAMPLES


def test_alone_it_prints_examples(bamsearch_cli):
    result = bamsearch_cli()
    assert result.exit_code == 0
    assert result.stdout == EXAMPLES + "\n"
    assert result.stderr == ""


def test_the_examples_name_commands_that_exist():
    lines = [line for line in EXAMPLES.splitlines() if line.startswith("  bamsearch")]
    assert len(lines) == 4
    assert {shlex.split(line)[1] for line in lines} <= set(COMMANDS)


def test_version(bamsearch_cli):
    assert bamsearch_cli("--version").stdout == f"bamsearch {metadata.version('bamsearch')}\n"


def test_help_lists_all_commands_with_what_they_do(bamsearch_cli):
    result = bamsearch_cli("--help")
    assert result.exit_code == 0
    listed = result.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(len(line.split()) > 2 for line in listed)


def test_help_in_a_pipe_has_one_width(bamsearch_cli, monkeypatch):
    narrow = bamsearch_cli("env", "--help")
    monkeypatch.setenv("COLUMNS", "200")
    assert bamsearch_cli("env", "--help").stdout == narrow.stdout


def test_an_unknown_command_suggests_the_nearest(bamsearch_cli):
    result = bamsearch_cli("evn")
    assert result.exit_code == 2
    assert result.stderr == (
        "bamsearch: error: no command 'evn': did you mean 'env'? Try 'bamsearch --help'\n"
    )


def test_an_unknown_command_like_none_lists_all(bamsearch_cli):
    result = bamsearch_cli("xyzzy")
    assert result.exit_code == 2
    assert ", ".join(COMMANDS) in result.stderr


def test_a_library_warning_is_one_line(bamsearch_cli, boom):
    def warn() -> None:
        warnings.simplefilter("always")  # pytest makes them errors
        warnings.warn("beware\nof this", UserWarning, stacklevel=1)

    boom(warn)
    result = bamsearch_cli("boom", "-q")
    assert result.exit_code == 0
    assert result.stderr == "bamsearch: warning: beware of this\n"


SCRIPT = "from bamsearch.cli.main import main; main()"


@pytest.mark.parametrize("start", [["-m", "bamsearch"], ["-c", SCRIPT]])
def test_the_process_exits_with_the_code(start):
    result = subprocess.run([sys.executable, *start, "nonsense"], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1


def test_a_stream_that_cannot_show_a_sign_gets_a_question_mark():
    code = "from bamsearch.cli import main as m; m.EXAMPLES = '3 → 2'; m.main([])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={"PYTHONIOENCODING": "latin-1"}
    )
    assert (result.returncode, result.stdout) == (0, b"3 ? 2\n")
