"""Files on disk: written whole or not at all, never through a link, and removed only by name.

A file or a new folder is written beside its target, as ``.writing-NAME-PROCESS``, synced and
renamed. A kill leaves such drafts; the next process that writes the same name removes them, and a
process that holds a run, an audit or a training removes all drafts below it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import IO

from filelock import FileLock, Timeout

from bamsearch.errors import BamsearchError, OutputError, first_line

DRAFT = ".writing-"
"""Prefix of unfinished files and folders."""

_DISK_ERRORS = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE", "ENFILE", "ENOMEM", "ESTALE")
    if hasattr(errno, name)
}


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Replace a file by the output of the block; a link at the path is replaced, not followed.

    Raises:
        OSError: the file cannot be written; the old one is unchanged.
    """
    draft = _draft_of(path)
    try:
        draft.unlink(missing_ok=True)
        # Not a temporary file: only its owner could read that.
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


def write_whole(path: Path, content: bytes, advice: str = "") -> None:
    """Write a file whole or not at all; missing folders are created.

    Raises:
        OutputError: see :func:`written`; an old file is unchanged.
    """
    with written(path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(content)


@contextmanager
def written(path: Path, advice: str = "", *errors: type[Exception]) -> Iterator[None]:
    """Convert OSError in the block to OutputError, for a file or folder that it writes.

    Args:
        path: the file or folder, for the message.
        advice: next step, for the message.
        errors: further errors to convert: torch reports a full disk as RuntimeError.
    """
    converted: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield
    except converted as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        more = f"; {advice}" if advice else ""
        raise OutputError(f"{path} cannot be written: {reason}{more}") from error


@contextmanager
def locked(folder: Path, lock: str, names: Iterable[str], busy: BamsearchError) -> Iterator[None]:
    """Hold the lock of a folder for a block; the system releases it when the process dies.

    Args:
        folder: the folder.
        lock: name of the lock file in it.
        names: files and folders in it that will be written.
        busy: raised if another process holds the lock for half a second: a process that only checks
            it holds it for a moment.

    Raises:
        OutputError: the lock cannot be written, or one of the names is a symbolic link.
    """
    refuse_links(folder, (*names, lock))
    file = FileLock(folder / lock, timeout=0.5)
    with written(folder / lock):
        try:
            file.acquire()
        except Timeout:
            raise busy from None
    try:
        yield
    finally:
        file.release()


def append(path: Path, text: str) -> None:
    """Append to a file; the text is on the disk when the call returns.

    Raises:
        OSError: the text cannot be written; the file is unchanged.
    """
    new = not path.exists()
    with open(path, "ab") as file:
        whole = file.tell()
        try:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            # Such as a full disk: half a line would corrupt the next one.
            with suppress(OSError):
                os.truncate(path, whole)
            raise
    if new:
        sync_folder(path.parent)


@contextmanager
def draft_folder(path: Path) -> Iterator[Path]:
    """A draft folder beside a path, removed afterwards unless renamed to the path.

    Args:
        path: file or folder, existing or not; its parent exists.

    Raises:
        OSError: the folder cannot be created.
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
    """Create a folder from the draft that the block writes beside it.

    Args:
        path: new or empty folder; missing parents are created.

    Raises:
        OSError: the folder cannot be written, or has files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft_folder(path) as draft:
        yield draft
        sync_files(draft)
        with suppress(FileNotFoundError):
            path.rmdir()  # Windows renames nothing onto an empty folder
        os.rename(draft, path)
        sync_folder(path.parent)


def remove_dead_drafts(path: Path) -> None:
    """Remove the drafts of a path that dead processes left."""
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
    """Whether a process with this number is running; True if that cannot be checked."""
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
    """Sync the files of a folder, and their names, to the disk."""
    for path in folder.iterdir():
        with open(path, "r+b") as file:
            os.fsync(file.fileno())
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to the disk; only Linux and macOS can open folders."""
    with suppress(PermissionError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_drafts(folder: Path) -> None:
    """Remove all drafts below a folder."""
    for draft in list(folder.rglob(f"{DRAFT}*")):
        _remove(draft)


def remove_files(folder: Path, patterns: Iterable[str]) -> None:
    """Remove the files of these names, and the folders below in which nothing is left.

    Args:
        folder: folder of the files; it is not removed itself.
        patterns: names relative to the folder, such as ``train/*/checkpoint.pt``.

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
            with suppress(OSError):  # the folder has other files
                path.rmdir()


def refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Check that files written in a folder stay in it.

    Args:
        folder: the folder, which may be a link itself.
        names: files and folders in it that will be written.

    Raises:
        OutputError: one of them, or a file below, is a symbolic link.
    """
    for name in names:
        path = folder / name
        below = (
            Path(root, file) for root, *lists in os.walk(path) for files in lists for file in files
        )
        link = next((candidate for candidate in (path, *below) if candidate.is_symlink()), None)
        if link is not None:
            raise OutputError(
                f"{link} is a symbolic link, and nothing is written through links: "
                "replace it by the file or folder itself"
            )


def disk_error(error: BaseException | None) -> OSError | None:
    """The disk or machine error behind an exception (full, broken, read-only), or None.

    Args:
        error: the exception; its causes are searched too.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            return error
        error = error.__cause__
    return None


def check_output_folder(
    path: Path | None, *, force: bool, advice: str = "choose another path, or add `force`"
) -> None:
    """Check that path is an empty folder, or that it can be created.

    Args:
        path: folder or file of the output; None passes, as nothing will be written.
        force: accept a folder that is not empty.
        advice: next step for the message about a folder that is not empty.

    Raises:
        OutputError: path is a file, not empty or not writable.
    """
    if path is None:
        return
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file, not a folder: choose another path")
    if (
        path.is_dir()
        and not force
        and any(not child.name.startswith(DRAFT) for child in path.iterdir())
    ):
        raise OutputError(f"{path} exists already: {advice}")
    _check_writable(path)


def check_output_file(path: Path | None, *, force: bool) -> None:
    """Check that a file can be written at path.

    Args:
        path: folder or file of the output; None passes, as nothing will be written.
        force: accept an existing file.

    Raises:
        OutputError: path is a folder, exists or is not writable.
    """
    if path is None:
        return
    remove_dead_drafts(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder, not a file: choose another path")
    if path.exists() and not force:
        raise OutputError(f"{path} exists already: choose another path, or add `force`")
    _check_writable(path)


def _check_writable(path: Path) -> None:
    """Raise OutputError unless path, or its nearest existing parent, is writable."""
    existing = next(existing for existing in (path, *path.absolute().parents) if existing.exists())
    if existing != path and not existing.is_dir():
        raise OutputError(f"{path} cannot be created: {existing} is a file; choose another path")
    if not os.access(existing, os.W_OK):
        raise OutputError(
            f"{path} cannot be written: no permission in {existing}; choose another path"
        )
