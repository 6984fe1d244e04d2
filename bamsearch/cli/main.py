"""The command ``bamsearch``: a group that imports the module of a command on first use."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Any, TextIO

import click

import bamsearch
from bamsearch.cli import options
from bamsearch.cli.console import Console, is_terminal, with_options
from bamsearch.cli.failures import reported
from bamsearch.study.jobs import STORAGE_VARIABLE

COMMANDS = {
    name: f"bamsearch.cli.commands.{name}"
    for name in (
        *("insert", "sites", "models", "profile", "export", "attention", "search", "train"),
        *("verify", "audit", "worker", "runs", "report", "spaces", "env", "completion"),
    )
}
"""Command → module with a function of that name, in the order of the help."""

EXAMPLES = """\
Try one of these:

  bamsearch insert resnet101           insert BAM into a model and see what it costs
  bamsearch sites mobilenet_v2         see where BAM can go in a model, and why
  bamsearch search --budget-gflops 8   the best r, d and placement within a budget
  bamsearch env                        versions, devices and extras on this machine

All commands: bamsearch --help"""

NOTE_LOGGERS = (
    *("bamsearch.graph.checkpoints", "bamsearch.data"),
    *("bamsearch.space.measured_costs", "bamsearch.study.finalists"),
)
"""Loggers whose messages are shown to the user."""

PIPE_HELP_WIDTH = 80
"""Width of help in files and pipes, whatever COLUMNS says."""


# user:password@host, or ?password=
_WITH_PASSWORD = re.compile(r"://[^/@]*:.+@|password=")


class LazyGroup(click.Group):
    """A group over :data:`COMMANDS` that reports each failure on one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module, or return None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name]), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest the most similar name."""
        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            near = get_close_matches(name, COMMANDS, n=1)
            hint = (
                f"did you mean '{near[0]}'?" if near else f"the commands are {', '.join(COMMANDS)}"
            )
            raise click.UsageError(f"no command {name!r}: {hint}", ctx)
        return super().resolve_command(ctx, args)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse the options before the command's name."""
        console = extra.setdefault("obj", Console())
        if not is_terminal(sys.stdout):
            extra.setdefault("terminal_width", PIPE_HELP_WIDTH)
        with reported(console):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        console = ctx.ensure_object(Console)
        with reported(console), _show_notes(console), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return super().invoke(ctx)


class _Notes(logging.Handler):
    """Shows log messages of the library as notes, each message once."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message of the record, unless it was printed before."""
        text = record.getMessage()
        if text not in self._shown:
            self._shown.add(text)
            self._console.note(with_options(text))


@contextmanager
def _show_notes(console: Console) -> Iterator[None]:
    """Show the library's notes on stderr: loaded weights, progress of long work."""
    notes = _Notes(console)
    loggers = [logging.getLogger(name) for name in NOTE_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(notes)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
            logger.removeHandler(notes)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={**options.HELP_NAMES, "max_content_width": 100},
)
@click.version_option(bamsearch.__version__, "--version", message="%(prog)s %(version)s")
@options.quiet
@options.verbose
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Insert BAM, the Bottleneck Attention Module, into a network and see what it costs."""
    if ctx.invoked_subcommand is None:
        ctx.ensure_object(Console).print(EXAMPLES)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        args: arguments after ``bamsearch``; None for those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        # a terminal that cannot display "×" shows "?", not a traceback
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if args is None:
        hide_password(sys.argv[1:])
    cli.main(args, prog_name="bamsearch")


def hide_password(args: Sequence[str]) -> None:
    """Restart the process with the URL in the environment if the URL contains a password.

    All users of a machine can read command lines; the environment is private.

    Args:
        args: arguments of the process, without the program's name.
    """
    remaining, url = _without_url(args)
    if url is None or not _WITH_PASSWORD.search(url):
        return
    command = [sys.executable, "-m", "bamsearch", *remaining]
    os.execve(sys.executable, command, os.environ | {STORAGE_VARIABLE: url})


def _without_url(args: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the arguments without ``--storage``, and its value."""
    remaining: list[str] = []
    url = None
    rest = iter(args)
    for word in rest:
        if word == "--storage":
            url = next(rest, None)
        elif word.startswith("--storage="):
            url = word.partition("=")[2]
        else:
            remaining.append(word)
    return remaining, url


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a Python warning as one line, like every other message."""
    Console().warn(str(message))
