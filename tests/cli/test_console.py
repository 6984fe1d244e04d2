import json
import os
import pty
import subprocess
from collections.abc import Callable

import click
import pytest

from bamsearch.cli.console import Console, one_line, with_options

ROWS = [["layer1", "256×56×56", "16"], ["layer2.0", "512×28×28", "4"]]


def test_a_table_is_plain_text(capsys, golden):
    Console().table(["site", "feature map", "r"], ROWS, "llr")
    golden(capsys.readouterr().out, "table.txt")


def test_a_table_needs_no_header(capsys):
    Console().table(["", ""], [["a", "1"], ["bb", "2"]], "ll", indent=0)
    assert capsys.readouterr().out == "a    1\nbb   2\n"


def test_a_table_keeps_brackets_and_long_cells(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    cell = "bamsearch[timm] " + "x" * 300
    Console().table([""], [[cell]], "l", indent=0)
    assert capsys.readouterr().out == cell + "\n"


def test_a_row_too_short_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        Console().table(["a", "b"], [], "l")


def test_json_is_exact(capsys):
    Console().print_json({"macs": 2**60, "name": "×"})
    assert json.loads(capsys.readouterr().out) == {"macs": 2**60, "name": "×"}


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        Console().print_json(float("nan"))


def test_where_words_go(capsys):
    for console in (Console(), Console(quiet=True), Console(verbose=True)):
        console.print("data")
        console.note("note")
        console.warn("careful\n  now")
    out, err = capsys.readouterr()
    assert out == "data\n" * 3
    warning = "bamsearch: warning: careful now\n"
    assert err == f"note\n{warning}{warning}note\n{warning}"


@pytest.mark.parametrize(
    ("written", "dry_run", "text"),
    [
        (None, False, "\nNext:\n  use   a\n  time  b\n"),
        ([], False, "\nNothing written. Next:\n  use   a\n  time  b\n"),
        (["x", "y"], False, "\nWritten   x\nWritten   y\nNext:\n  use   a\n  time  b\n"),
        (["x"], True, "\nWould write   x\nNext:\n  use   a\n  time  b\n"),
    ],
)
def test_the_last_words(capsys, written, dry_run, text):
    Console().finish({"use": "a", "time": "b"}, written, dry_run=dry_run)
    assert capsys.readouterr().err == text


def test_progress_is_silent_without_a_terminal(capsys):
    with Console().progress("counting", total=2) as step:
        step()
        step()
    assert capsys.readouterr() == ("", "")


def test_one_line():
    assert one_line("a:\n\n  b c\n") == "a: b c"


@pytest.fixture
def on_terminal(preloaded) -> Callable[..., str]:
    """What a process that runs code on a terminal shows there."""

    def run(code: str, **environment: str) -> str:
        ours, theirs = pty.openpty()
        clean = {
            name: os.environ[name] for name in os.environ if name not in ("NO_COLOR", "COLUMNS")
        }
        code = f"from bamsearch.cli.console import Console; {code}"
        subprocess.run(
            [preloaded / "python", "-c", code],
            env=clean | {"TERM": "xterm"} | environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            check=True,
        )
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # how Linux says that nobody writes any more
            pass
        os.close(ours)
        return shown.decode().replace("\r\n", "\n")

    return run


TABLE = "Console().table(['name'], [['x' * 100]], 'l')"
PROGRESS = """
with Console().progress('counting', total=1) as step: step()
"""


def test_on_a_terminal_tables_have_style_and_its_width(on_terminal):
    shown = on_terminal(TABLE, COLUMNS="60")
    assert "\x1b[1m" in shown
    assert max(len(line) for line in shown.splitlines()[1:]) <= 60
    assert shown.count("x") == 100


INSERTED = """
from bamsearch.api.insertion import InsertResult
from bamsearch.cli.text.insert import print_insertion
from bamsearch.graph.base import Inserted
from bamsearch.profiling.costs import DesignCost
from bamsearch.records import Cost, Design, ModelSummary
cost = Cost(1000, 100_000, 90_000)
summary = ModelSummary('net', (3, 32, 32), '', (3, 32, 32), (), cost)
inserted = Inserted(None, 'attach', 'the forward of its module ' + 'has a branch, ' * 20, 'values')
design = Design('net', (3, 32, 32))
print_insertion(Console(), InsertResult(design, summary, DesignCost(cost, ()), None, inserted))
"""


def test_a_long_reason_is_wrapped_at_words(on_terminal):
    lines = on_terminal(INSERTED, COLUMNS="60", NO_COLOR="1").splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("not rewritten: the"))
    reason = lines[start : lines.index("", start)]
    assert len(reason) > 4
    assert max(map(len, lines)) <= 60
    assert " ".join(reason).endswith("has a branch,")


MARKUP = """
name = '[/red]\\x1b]0;title\\x07[bold]\\udcff'
with Console().progress(name, total=1) as step: step()
with Console().live() as show: show(name)
Console().table(['site'], [[name]], 'l'); Console().print(name)
Console().note(name); Console().warn(name); Console().finish({'use': name}, [name])
"""


def test_names_neither_style_nor_control_a_terminal(on_terminal):
    shown = on_terminal(MARKUP, COLUMNS="100")
    assert "\x1b]0" not in shown
    assert "\x07" not in shown
    assert shown.count(r"[/red]\x1b]0;title\x07[bold]\xff") >= 8


def test_no_color_leaves_no_escape(on_terminal):
    assert "\x1b" not in on_terminal(TABLE, NO_COLOR="1")


def test_progress_shows_on_a_terminal(on_terminal):
    assert "counting" in on_terminal(PROGRESS)


def test_progress_keeps_quiet_when_asked(on_terminal):
    assert on_terminal(PROGRESS.replace("Console()", "Console(quiet=True)")) == ""


def test_parameters_are_shown_as_options_of_the_command():
    from bamsearch.cli.main import cli

    text = "`trials=0` or `input_size`: `objectives=ms`, `weight` and `Other`"
    assert with_options(text) == text
    search = cli.get_command(click.Context(cli), "search")
    with click.Context(search):
        shown = with_options(text)
    assert shown == "--trials 0 or --input-size: --objective ms, `weight` and `Other`"
