"""Every reader of bamsearch by name, see :class:`.reader.Reader`."""

from pathlib import Path

from .audit_readers import audit_readers
from .other_readers import other_readers
from .reader import Reader
from .run_readers import run_readers
from .training_readers import training_readers


def make_readers(folder: Path) -> dict[str, Reader]:
    """All readers.

    Args:
        folder: empty, for files.
    """
    makers = (run_readers, audit_readers, training_readers, other_readers)
    return {name: reader for make in makers for name, reader in make(folder).items()}
