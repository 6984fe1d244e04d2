import errno
import signal
import subprocess
import sys

import click
import pytest

from bamsearch.errors import (
    BamsearchError,
    DesignError,
    InvalidValueError,
    MissingExtraError,
    ModelError,
    NoSiteError,
    NothingToDoError,
)


def raising(error: BaseException):
    def function() -> None:
        raise error

    return function


class OutOfMemoryError(RuntimeError):
    """As torch's own is called."""


CASES = [
    (BamsearchError("no"), 2, "bamsearch: error: no\n"),
    (ModelError("no model x:\n  did you mean y?"), 2, "bamsearch: error: no model x: did you"),
    (InvalidValueError("r is 0"), 2, "bamsearch: error: r is 0\n"),
    (DesignError("cut short"), 2, "bamsearch: error: cut short\n"),
    (MissingExtraError("timm", "timm"), 2, "pip install 'bamsearch[timm]'\n"),
    (NothingToDoError("all done"), 3, "bamsearch: nothing to do: all done\n"),
    (NoSiteError("vit has no site"), 3, "bamsearch: nothing to do: vit has no site\n"),
    (KeyboardInterrupt(), 130, "bamsearch: interrupted\n"),
    (click.Abort(), 130, "bamsearch: interrupted\n"),
    (click.UsageError("two many"), 2, "bamsearch: error: two many. Try 'bamsearch boom --help'\n"),
    (click.ClickException("plain"), 2, "bamsearch: error: plain\n"),
    (FileNotFoundError(errno.ENOENT, "No such file", "a/b"), 2, "error: a/b: No such file; check"),
    (OSError(errno.ENOSPC, "No space left"), 2, "error: No space left; free some disk space"),
    (OSError("odd"), 2, "bamsearch: error: odd\n"),
    (MemoryError(), 2, "bamsearch: error: out of memory; use a smaller"),
    (OutOfMemoryError("CUDA"), 2, "bamsearch: error: out of memory; use a smaller"),
    (RuntimeError("can't allocate memory: 9 bytes"), 2, "bamsearch: error: out of memory;"),
    (ZeroDivisionError("x / 0"), 1, "bamsearch: unexpected ZeroDivisionError: x / 0; run again"),
    (AssertionError(), 1, "report it with the output of 'bamsearch env'\n"),
]


@pytest.mark.parametrize(("error", "code", "words"), CASES, ids=lambda case: type(case).__name__)
def test_a_failure_is_one_line_and_a_code(bamsearch_cli, boom, error, code, words):
    boom(raising(error))
    result = bamsearch_cli("boom")
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


@pytest.mark.parametrize("line", [["-v", "boom"], ["boom", "-v"]])
@pytest.mark.parametrize("error", [ModelError("no"), ZeroDivisionError("no"), OSError("no")])
def test_verbose_adds_the_traceback(bamsearch_cli, boom, error, line):
    boom(raising(error))
    lines = bamsearch_cli(*line).stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1].startswith("bamsearch: ")
    assert "run again with -v" not in lines[-1]


def test_quiet_does_not_hide_an_error(bamsearch_cli, boom):
    boom(raising(ModelError("no")))
    assert bamsearch_cli("boom", "-q").stderr == "bamsearch: error: no\n"


def start(function: str, **streams: object) -> subprocess.Popen[str]:
    """A process that runs a group whose failing command is function's source."""
    code = (
        "import os, sys, time, types, click\n"
        "from bamsearch.cli import main, options\n"
        f"def f():\n    {function}\n"
        "module = types.ModuleType('boom_command'); sys.modules['boom_command'] = module\n"
        "module.boom = options.command('boom', examples=[])(f)\n"
        "main.COMMANDS['boom'] = 'boom_command'\n"
        "main.main(['boom'])"
    )
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen([sys.executable, "-c", code], text=True, **streams)


def test_ctrl_c_is_130_and_one_line():
    with start("click.echo('ready'); time.sleep(60)") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert (process.returncode, stderr) == (130, "bamsearch: interrupted\n")


@pytest.mark.parametrize("together", [True, False])
def test_a_reader_that_went_away_is_silence(together):
    stderr = subprocess.STDOUT if together else subprocess.PIPE
    source = "click.echo('ready'); sys.stdin.readline(); click.echo('x' * 10**6)"
    with start(source, stdin=subprocess.PIPE, stderr=stderr) as process:
        assert process.stdout.readline() == "ready\n"
        process.stdout.close()
        process.stdin.write("go on\n")
        process.stdin.close()
        said = "" if together else process.stderr.read()
        assert process.wait() == 141
    assert said == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full, start("click.echo('x')", stdout=full) as process:
        _, stderr = process.communicate()
    assert process.returncode == 2
    assert stderr.startswith("bamsearch: error: No space left on device; free some disk space")
    assert stderr.count("\n") == 1


def test_a_value_that_is_quoted_neither_controls_the_terminal_nor_fills_it(bamsearch_cli, boom):
    boom(raising(ModelError(f"no model {'a' * 5000}\x1b[31m\u202e\udcff\n: see the list")))
    (line,) = bamsearch_cli("boom").stderr.splitlines()
    assert 1900 < len(line) < 2100
    assert line.endswith(r"a\x1b[31m\u202e\xff : see the list")
