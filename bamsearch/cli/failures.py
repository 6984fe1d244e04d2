"""Turns exceptions into one line on stderr and an exit code; ``-v`` adds the traceback.

==== ==============================================
0    done
1    a bug in bamsearch, or in a library below it
2    the input or the machine cannot be used
3    the input is fine, but there is nothing to do
4    done, but verify's --expect is not met
130  interrupted with Ctrl-C
141  the reader of stdout closed the pipe (``| head``)
==== ==============================================
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import click

from bamsearch.cli.console import Console, is_terminal, one_line, with_options
from bamsearch.errors import BamsearchError, NothingToDoError
from bamsearch.text import printable_lines, shortened_text

BUG, BAD_INPUT, NOT_AS_EXPECTED, INTERRUPTED, NO_READER = 1, 2, 4, 130, 141

_LONGEST = 2000
"""Maximum length of a message, which may quote the content of a whole file."""

CURES = {
    errno.ENOSPC: "free some disk space, or choose another path with -o",
    errno.EDQUOT: "free some disk space, or choose another path with -o",
    errno.EACCES: "choose another path, or change its permissions",
    errno.EPERM: "choose another path, or change its permissions",
    errno.EROFS: "choose another path with -o",
    errno.ENOENT: "check the path",
}
"""Next step for an OSError, by errno."""


@contextmanager
def reported(console: Console) -> Iterator[None]:
    """Turn every exception of the block into one line on stderr and click's Exit."""
    try:
        yield
    except click.exceptions.Exit:
        raise
    except (KeyboardInterrupt, EOFError, click.Abort):
        if is_terminal(sys.stderr):
            click.echo(err=True)  # the terminal has just shown ^C on this line
        code = _report(console, "interrupted", INTERRUPTED)
    except click.ClickException as error:
        # a usage error does not need a traceback, not even with -v
        code = _report(Console(), f"error: {_click_message(error)}", BAD_INPUT)
    except NothingToDoError as error:
        code = _report(console, f"nothing to do: {error}", error.exit_code)
    except BamsearchError as error:
        code = _report(console, f"error: {error}", error.exit_code)
    except OSError as error:
        code = _report_os_error(console, error)
    except Exception as error:
        code = _report_unexpected(console, error)
    else:
        return
    raise click.exceptions.Exit(code)


def _report(console: Console, message: str, code: int) -> int:
    """Print the message on one line, with ``-v`` after the traceback; return code."""
    with suppress(OSError):  # the reader of stderr may be gone, too
        if console.verbose:
            click.echo(printable_lines(traceback.format_exc()), err=True, nl=False)
        click.echo(
            f"bamsearch: {shortened_text(one_line(with_options(message)), _LONGEST)}", err=True
        )
    return code


def _click_message(error: click.ClickException) -> str:
    """Return click's message, followed by the command that shows help."""
    message = error.format_message()
    if not isinstance(error, click.UsageError):
        return message
    stop = "" if message.endswith((".", "?")) else "."
    path = error.ctx.command_path if error.ctx is not None else "bamsearch"
    return f"{message}{stop} Try '{path} --help'"


def _report_os_error(console: Console, error: OSError) -> int:
    """Report a full disk, a missing file, a closed pipe and the like."""
    if isinstance(error, BrokenPipeError):
        _discard(sys.stdout)
        _discard(sys.stderr)
        return NO_READER
    prefix = f"{error.filename}: " if error.filename is not None else ""
    cure = f"; {CURES[error.errno]}" if error.errno in CURES else ""
    reason = error.strerror or str(error) or type(error).__name__
    code = _report(console, f"error: {prefix}{reason}{cure}", BAD_INPUT)
    _discard(sys.stdout)
    return code


def _report_unexpected(console: Console, error: Exception) -> int:
    """Report too little memory, or a bug."""
    # matched by name, as torch may not be loaded; on a CPU torch raises a plain RuntimeError
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    ):
        message = "error: out of memory; use a smaller input or batch, or another --device"
        return _report(console, message, BAD_INPUT)
    advice = "" if console.verbose else "run again with -v, and "
    message = (
        f"unexpected {type(error).__name__}: {one_line(str(error))}; "
        f"{advice}report it with the output of 'bamsearch env'"
    )
    return _report(console, message, BUG)


def _discard(stream: TextIO | None) -> None:
    """Discard buffered output, which Python would otherwise fail to flush at exit."""
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):  # a stream that is not a file has no file descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
