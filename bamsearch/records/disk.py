"""Files on disk: written whole or not at all, never through a link, and removed by name alone.

A file or a new folder is written beside its place, as ``.writing-NAME-PROCESS``, brought to the
disk and renamed. A kill leaves such drafts; whoever writes the same name next removes them, and
whoever holds a run, an audit or a training removes all below it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import IO

from bamsearch.errors import OutputError

DRAFT = ".writing-"
"""What the names of unfinished files and folders begin with."""

_DISK_ERRORS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE", "ENFILE", "ENOMEM", "ESTALE")
    if hasattr(errno, name)
}


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Replace a file by what the block writes; a link at its place is replaced, not followed.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    draft = _draft_of(path)
    try:
        draft.unlink(missing_ok=True)
        # Not a temporary file: that would be for its owner alone.
        with open(draft, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


@contextmanager
def draft_folder(path: Path) -> Iterator[Path]:
    """A folder beside a path for what will be renamed to it; gone afterwards.

    Args:
        path: a file or a folder, there or not; the folder above it is there.

    Raises:
        OSError: it cannot be made.
    """
    remove_dead_drafts(path)
    draft = _draft_of(path)
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Make a new folder by what the block writes into another one beside it.

    Args:
        path: is not there yet; folders above it are made.

    Raises:
        OSError: it cannot be written, or was made meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft_folder(path) as draft:
        yield draft
        sync_files(draft)
        os.rename(draft, path)
        sync_folder(path.parent)


def remove_dead_drafts(path: Path) -> None:
    """Remove what processes that are gone left half-written for a path."""
    stem = f"{DRAFT}{path.name}-"
    with suppress(OSError):
        names = [name for name in os.listdir(path.parent) if name.startswith(stem)]
        for name in names:
            process = name.removeprefix(stem)
            if process.isdecimal() and not _at_work(int(process)):
                _remove(path.with_name(name))


def _draft_of(path: Path) -> Path:
    return path.with_name(f"{DRAFT}{path.name}-{os.getpid()}")


def _at_work(process: int) -> bool:
    """Whether a process of this number is there; True where that cannot be asked."""
    if os.name == "nt" or process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _remove(draft: Path) -> None:
    if draft.is_dir() and not draft.is_symlink():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.unlink(missing_ok=True)


def sync_files(folder: Path) -> None:
    """Bring the files of a folder, and their names, to the disk."""
    for path in folder.iterdir():
        with open(path, "r+b") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Let the names in a folder outlive a power cut; only Linux and macOS open folders."""
    with suppress(PermissionError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_drafts(folder: Path) -> None:
    """Remove what killed processes left half-written anywhere below a folder."""
    for draft in list(folder.rglob(f"{DRAFT}*")):
        _remove(draft)


def remove_files(folder: Path, patterns: Iterable[str]) -> None:
    """Remove the files of these names, and the folders below in which nothing is left.

    Args:
        folder: stays, whatever is in it.
        patterns: names relative to it, such as ``train/*/checkpoint.pt``.

    Raises:
        OSError: a file cannot be removed.
    """
    patterns = list(patterns)
    for pattern in patterns:
        for path in list(folder.glob(pattern)):
            if path.is_symlink() or not path.is_dir():
                path.unlink(missing_ok=True)
    above = {str(parent) for pattern in patterns for parent in PurePath(pattern).parents} - {"."}
    for pattern in sorted(above, key=len, reverse=True):
        for path in list(folder.glob(pattern)):
            with suppress(OSError):  # files of somebody else are in it
                path.rmdir()


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Look whether all that is written in a folder stays in it.

    Args:
        folder: itself may be a link.
        names: files and folders in it that are written.

    Raises:
        OutputError: one of them, or something below, is a symbolic link.
    """
    for name in names:
        path = folder / name
        below = (
            Path(place, one) for place, *more in os.walk(path) for part in more for one in part
        )
        link = next((one for one in (path, *below) if one.is_symlink()), None)
        if link is not None:
            raise OutputError(
                f"{link} is a symbolic link, and nothing is written through links: "
                "put the file or folder itself there"
            )


def disk_error(error: BaseException | None) -> OSError | None:
    """The error of the disk or the machine behind an exception: full, broken, read-only.

    Args:
        error: its causes are looked at too.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return error
        error = error.__cause__
    return None
