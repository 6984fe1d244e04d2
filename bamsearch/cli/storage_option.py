"""The option ``--storage``; its password is hidden from the process list."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

import click

from bamsearch.study.jobs import STORAGE_VARIABLE

storage_option = click.option(
    "--storage",
    envvar=STORAGE_VARIABLE,
    metavar="URL",
    help="Study database, such as postgresql+psycopg://USER@HOST/DB; "
    f"also set by ${STORAGE_VARIABLE}.",
)
"""Adds ``storage: str | None``."""

# user:password@host, or ?password=
_WITH_PASSWORD = re.compile(r"://[^/@]*:.+@|password=")


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
