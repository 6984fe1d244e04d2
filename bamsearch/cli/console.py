"""Where a command's words go: data on stdout, everything else on stderr.

Text is the same every time it does not go to a terminal: no colour, no width, no trailing blanks.
On a terminal tables fit its width and NO_COLOR is obeyed (no escape sequence at all).
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.console import RenderableType

UNLIMITED_WIDTH = 10_000
"""Width of what goes to a file or a pipe: nothing there is cut or wrapped."""


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
        """Print one or more lines of data on stdout."""
        click.echo(text)

    def print_exactly(self, text: str) -> None:
        """Print a whole file's text on stdout, its line ends as they are."""
        click.echo(text.encode(errors="replace"), nl=False)

    def print_json(self, value: Any) -> None:
        """Print value as indented JSON on stdout."""
        self.print(json.dumps(value, indent=2, allow_nan=False))

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], align: str, indent: int = 2
    ) -> None:
        """Print a table without borders on stdout.

        Args:
            header: titles of the columns; all empty leaves the line out.
            rows: cells, one sequence a row, each as long as header.
            align: one letter a column, ``l`` or ``r``: ``"lrr"``.
            indent: blanks before each line.
        """
        self.print(table_text(header, rows, align, indent, sys.stdout))

    def note(self, text: str = "") -> None:
        """Print a remark on stderr, unless ``-q``."""
        if not self.quiet:
            click.echo(text, err=True)

    def detail(self, text: str) -> None:
        """Print a remark on stderr that only ``-v`` shows."""
        if self.verbose:
            click.echo(text, err=True)

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
        lines = [f"{verb}   {path}" for path in written or ()]
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

        # transient: a finished bar must not stand between the data and the notes
        with Progress(console=_rich(sys.stderr), transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda: bar.advance(task)

    @contextmanager
    def live(self) -> Iterator[Callable[[RenderableType], None] | None]:
        """A part of stderr that is drawn anew while the block runs.

        Yields:
            A function that shows something there; None with ``-q`` and where it is no terminal.
        """
        if self.quiet or not is_terminal(sys.stderr):
            yield None
            return
        from rich.live import Live

        with Live(console=_rich(sys.stderr), transient=True, refresh_per_second=4) as view:
            yield view.update


def one_line(text: str) -> str:
    """The text with its line breaks folded into blanks."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def is_terminal(stream: TextIO | None) -> bool:
    """Whether stream is an open terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def table_text(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    align: str,
    indent: int = 2,
    stream: TextIO | None = None,
) -> str:
    """The table as text for stream, its lines without trailing blanks; see Console.table."""
    from rich.padding import Padding
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=any(header))
    for title, letter in zip(header, align, strict=True):
        justify: Literal["left", "right"] = "right" if letter == "r" else "left"
        table.add_column(title, justify=justify, overflow="fold", header_style="bold")
    for row in rows:
        table.add_row(*row)
    return _render(Padding(table, (0, 0, 0, indent)), stream)


def _render(renderable: RenderableType, stream: TextIO | None) -> str:
    """What rich prints for stream, as text; written by click, which knows closed streams."""
    buffer = io.StringIO()
    _rich(stream, buffer).print(renderable)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _rich(stream: TextIO | None, buffer: TextIO | None = None) -> RichConsole:
    """A rich console that fits stream and writes to buffer, or to stream itself."""
    from rich.console import Console as RichConsole

    terminal = is_terminal(stream)
    # width is rich's own guess on a terminal; elsewhere COLUMNS must not change the text
    return RichConsole(
        file=buffer or stream,
        force_terminal=terminal,
        color_system="auto" if terminal and not os.environ.get("NO_COLOR") else None,
        width=None if terminal else UNLIMITED_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )
