"""Output of commands: data on stdout, everything else on stderr.

Output to files and pipes is reproducible: no colour, no line wrapping, no trailing blanks.
On a terminal tables and lines fit its width; NO_COLOR turns off all escape sequences.
All text is made printable first (:mod:`bamsearch.text`), as names come from other people's files.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from bamsearch.text import printable, printable_lines

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

_PARAMETER = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")


@dataclass
class Console:
    """Writes to stdout (data) and stderr (notes, progress) according to ``-q`` and ``-v``.

    Attributes:
        quiet: hide notes, next steps and progress; warnings and errors are still shown.
        verbose: show details and, after an error, the traceback.
    """

    quiet: bool = False
    verbose: bool = False

    def print(self, text: str = "") -> None:
        """Print one or more lines of data on stdout, wrapped on a terminal."""
        width = terminal_width(sys.stdout)
        lines = printable_lines(text).split("\n")
        click.echo("\n".join(_wrapped(line, width) for line in lines))

    def print_exactly(self, text: str) -> None:
        """Print the text of a file on stdout: unchanged, or printable on a terminal."""
        if is_terminal(sys.stdout):
            text = printable_lines(text.replace("\r\n", "\n"))
        click.echo(text.encode(errors="replace"), nl=False)

    def print_json(self, value: Any) -> None:
        """Print value as indented ASCII JSON on stdout."""
        click.echo(json.dumps(value, indent=2, allow_nan=False))

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], align: str, indent: int = 2
    ) -> None:
        """Print a table without borders on stdout; see :func:`bamsearch.cli.layout.table_text`."""
        from bamsearch.cli.layout import table_text

        width, bold = terminal_width(sys.stdout), _is_styled(sys.stdout)
        click.echo(table_text(header, rows, align, indent, width=width, bold=bold))

    def note(self, text: str = "") -> None:
        """Print a note on stderr, unless ``-q``."""
        if not self.quiet:
            click.echo(printable_lines(text), err=True)

    def warn(self, text: str) -> None:
        """Print a warning on stderr, on one line; ``-q`` does not hide it."""
        click.echo(f"bamsearch: warning: {one_line(with_options(text))}", err=True)

    def finish(
        self,
        next_steps: Mapping[str, str],
        written: Sequence[Path | str] | None = None,
        *,
        dry_run: bool = False,
    ) -> None:
        """Print the written files and the next useful commands, at the end of every command.

        Args:
            next_steps: purpose → command line, such as ``{"keep": "bamsearch insert …"}``.
            written: files and folders; if empty, "Nothing written." is printed; None for commands
                that never write.
            dry_run: ``written`` would have been written without ``-n``.
        """
        verb = "Would write" if dry_run else "Written"
        lines = [f"{verb}   {printable(str(path))}" for path in written or ()]
        if written is not None and not lines:
            lines = ["Nothing written."]
        if next_steps:
            heading = "Next:"
            lines = (
                [f"{lines[0]} {heading}"] if lines == ["Nothing written."] else [*lines, heading]
            )
            width = max(len(purpose) for purpose in next_steps)
            lines += [f"  {purpose:{width}}  {step}" for purpose, step in next_steps.items()]
        if lines:
            self.note("\n" + "\n".join(lines))

    @contextmanager
    def progress(self, title: str, total: int | None = None) -> Iterator[Callable[[], None]]:
        """Show progress on stderr while the block runs; only on a terminal and without ``-q``.

        Args:
            title: current activity, such as ``"counting resnet101"``.
            total: number of steps; None for a spinner.

        Yields:
            Function to call after each step.
        """
        if self.quiet or not is_terminal(sys.stderr):
            yield lambda: None
            return
        from rich.progress import Progress
        from rich.text import Text

        # transient: a finished bar must not stand between the data and the notes
        with Progress(console=_rich(sys.stderr), transient=True) as bar:
            # rich would parse a path such as [red] as markup
            task = bar.add_task(Text(printable(title)).markup, total=total)
            yield lambda: bar.advance(task)

    @contextmanager
    def live(self) -> Iterator[Callable[[str], None] | None]:
        """Reserve a part of stderr that is redrawn while the block runs.

        Yields:
            Function that shows text there; None with ``-q`` or without a terminal.
        """
        if self.quiet or not is_terminal(sys.stderr):
            yield None
            return
        from rich.live import Live
        from rich.text import Text

        with Live(console=_rich(sys.stderr), transient=True, refresh_per_second=4) as view:
            yield lambda text: view.update(Text(printable_lines(text)))


def one_line(text: str) -> str:
    """Return the text as one printable line."""
    return printable(" ".join(line.strip() for line in text.splitlines() if line.strip()))


def with_options(text: str) -> str:
    """A message of the library with options of the command for parameters, marked by backticks."""
    options = _options()

    def option(match: re.Match[str]) -> str:
        if match[1] not in options:
            return match[0]
        name = options[match[1]]
        return f"{name} {match[2]}" if match[2] else name

    return _PARAMETER.sub(option, text)


def _options() -> dict[str, str]:
    """Options of the command that runs, by the names of parameters."""
    context = click.get_current_context(silent=True)
    command = None if context is None else context.command
    if isinstance(command, click.Group) and context is not None and context.invoked_subcommand:
        command = command.get_command(context, context.invoked_subcommand)
    if command is None:
        return {}
    names = [(p.name or "", p.opts[-1]) for p in command.params if p.opts[-1].startswith("-")]
    return {name.lstrip("-").replace("-", "_"): name for _, name in names} | dict(names)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether the stream is an open terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def terminal_width(stream: TextIO | None) -> int | None:
    """Width of a terminal in cells; None for other streams, whatever COLUMNS says."""
    if stream is None or not is_terminal(stream):
        return None
    wanted = os.environ.get("COLUMNS", "")
    with suppress(OSError):
        return (
            int(wanted)
            if wanted.isdecimal()
            else os.get_terminal_size(stream.fileno()).columns or 80
        )
    return 80


def _wrapped(line: str, width: int | None) -> str:
    """Wrap the line at the width of the terminal; rich is loaded only if that is needed."""
    if width is None or len(line) <= width // 2:
        return line
    from bamsearch.cli.layout import paragraph

    return paragraph(line, width)


def _is_styled(stream: TextIO | None) -> bool:
    """Whether escape sequences may be written to the stream."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    return is_terminal(stream) and not plain


def _rich(stream: TextIO) -> RichConsole:
    """A rich console for a terminal that does not parse markup."""
    from rich.console import Console as RichConsole

    return RichConsole(
        file=stream,
        force_terminal=True,
        color_system="auto" if _is_styled(stream) else None,
        markup=False,
        emoji=False,
        highlight=False,
    )
