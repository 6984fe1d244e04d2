"""Where a command's words go: data on stdout, everything else on stderr.

Text is the same every time it does not go to a terminal: no colour, no width, no trailing blanks.
On a terminal tables and lines fit its width and NO_COLOR is obeyed (no escape sequence at all).
Whatever is printed is made printable first (:mod:`bamsearch.text`): names come from other people.
"""

from __future__ import annotations

import json
import os
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


@dataclass
class Console:
    """The pair stdout (data) and stderr (notes, progress), as ``-q`` and ``-v`` want it.

    Attributes:
        quiet: leave out notes, next steps and progress; warnings and errors stay.
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
        """Print a whole file's text on stdout; exactly, unless that is a terminal."""
        if is_terminal(sys.stdout):
            text = printable_lines(text.replace("\r\n", "\n"))
        click.echo(text.encode(errors="replace"), nl=False)

    def print_json(self, value: Any) -> None:
        """Print value as indented JSON on stdout; in ASCII, so that nothing needs an escape."""
        click.echo(json.dumps(value, indent=2, allow_nan=False))

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], align: str, indent: int = 2
    ) -> None:
        """Print a table without borders on stdout; see :func:`bamsearch.cli.layout.table_text`."""
        from bamsearch.cli.layout import table_text

        width, bold = terminal_width(sys.stdout), _is_styled(sys.stdout)
        click.echo(table_text(header, rows, align, indent, width=width, bold=bold))

    def note(self, text: str = "") -> None:
        """Print a remark on stderr, unless ``-q``."""
        if not self.quiet:
            click.echo(printable_lines(text), err=True)

    def detail(self, text: str) -> None:
        """Print a remark on stderr that only ``-v`` shows."""
        if self.verbose:
            click.echo(printable_lines(text), err=True)

    def warn(self, text: str) -> None:
        """Print one warning line on stderr; ``-q`` does not hide it."""
        click.echo(f"bamsearch: warning: {one_line(text)}", err=True)

    def finish(
        self,
        next_steps: Mapping[str, str],
        written: Sequence[Path | str] | None = None,
        *,
        dry_run: bool = False,
    ) -> None:
        """Say what was written and the next useful commands; the last words of every command.

        Args:
            next_steps: what for → the line to type, such as ``{"keep": "bamsearch insert …"}``.
            written: files and folders; empty says that nothing was written; None is for a
                command that never writes.
            dry_run: with ``-n``, written is what would have been.
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
        """Show progress on stderr while the block runs, only on a terminal and without ``-q``.

        Args:
            title: what is being done, such as ``"counting resnet101"``.
            total: number of steps; None for a spinner.

        Yields:
            A function to call after each step.
        """
        if self.quiet or not is_terminal(sys.stderr):
            yield lambda: None
            return
        from rich.progress import Progress
        from rich.text import Text

        # transient: a finished bar must not stand between the data and the notes
        with Progress(console=_rich(sys.stderr), transient=True) as bar:
            # Of a text rich reads markup; a path may look like some.
            task = bar.add_task(Text(printable(title)).markup, total=total)
            yield lambda: bar.advance(task)

    @contextmanager
    def live(self) -> Iterator[Callable[[str], None] | None]:
        """A part of stderr that is drawn anew while the block runs.

        Yields:
            A function that shows lines there; None with ``-q`` or without a terminal.
        """
        if self.quiet or not is_terminal(sys.stderr):
            yield None
            return
        from rich.live import Live
        from rich.text import Text

        with Live(console=_rich(sys.stderr), transient=True, refresh_per_second=4) as view:
            yield lambda text: view.update(Text(printable_lines(text)))


def one_line(text: str) -> str:
    """The text with its line breaks folded into blanks, and printable."""
    return printable(" ".join(line.strip() for line in text.splitlines() if line.strip()))


def is_terminal(stream: TextIO | None) -> bool:
    """Whether stream is an open terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def terminal_width(stream: TextIO | None) -> int | None:
    """Cells of a line of the stream; None where it is not a terminal, whatever COLUMNS says."""
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
    """The line, on several where it is wider than a terminal; rich is loaded for that alone."""
    if width is None or len(line) <= width // 2:
        return line
    from bamsearch.cli.layout import paragraph

    return paragraph(line, width)


def _is_styled(stream: TextIO | None) -> bool:
    """Whether escape sequences may go to the stream."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    return is_terminal(stream) and not plain


def _rich(stream: TextIO) -> RichConsole:
    """A rich console on a terminal; it interprets no name as its markup."""
    from rich.console import Console as RichConsole

    return RichConsole(
        file=stream,
        force_terminal=True,
        color_system="auto" if _is_styled(stream) else None,
        markup=False,
        emoji=False,
        highlight=False,
    )
