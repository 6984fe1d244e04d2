"""The option ``--storage``, and how its password stays out of the list of processes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

import click

from bamsearch.searching.jobs import STORAGE_VARIABLE

storage_option = click.option(
    "--storage",
    envvar=STORAGE_VARIABLE,
    metavar="URL",
    help="Database of the study, such as postgresql+psycopg://USER@HOST/DB; "
    f"also from ${STORAGE_VARIABLE}.",
)
"""Adds ``storage: str | None``."""

# user:password@host, or ?password=
_WITH_PASSWORD = re.compile(r"://[^/@]*:.+@|password=")


def hide_password(args: Sequence[str]) -> None:
    """Start this process again if a URL with a password was typed, without showing it.

    Every user of a machine sees what others have typed; the environment is the user's own.

    Args:
        args: of the process, without the program's name.
    """
    kept, url = _without_url(args)
    if url is None or not _WITH_PASSWORD.search(url):
        return
    command = [sys.executable, "-m", "bamsearch", *kept]
    os.execve(sys.executable, command, os.environ | {STORAGE_VARIABLE: url})


def _without_url(args: Sequence[str]) -> tuple[list[str], str | None]:
    """The arguments without ``--storage``, and its value."""
    kept: list[str] = []
    url = None
    rest = iter(args)
    for word in rest:
        if word == "--storage":
            url = next(rest, None)
        elif word.startswith("--storage="):
            url = word.partition("=")[2]
        else:
            kept.append(word)
    return kept, url
