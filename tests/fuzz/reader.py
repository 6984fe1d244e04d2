"""A reader of bamsearch as a function of a corrupt file, and the intact files to corrupt."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bamsearch.errors import BamsearchError

REPOSITORY = Path(__file__).parents[2]
REPORTS = REPOSITORY / "reports"
RUNS = {
    "trained": REPORTS / "fashion-mnist-light",
    "plain": REPORTS / "resnet50-paper",
    "old": REPOSITORY / "tests" / "search" / "runs" / "0.1.0",
}
AUDIT = REPORTS / "audit" / "fashion-mnist-light"


@dataclass(frozen=True)
class Reader:
    """A reader, and what it is fed with.

    Attributes:
        whole: contents that it reads without an error.
        read: reads one, and does with it what commands do.
        slow: whether one call takes more than about 10 ms.
        spoil: spoils a content in a way of its own; None does it as JSON or bytes.
    """

    whole: tuple[bytes, ...]
    read: Callable[[bytes], object]
    slow: bool = False
    spoil: Callable[[bytes, Any], bytes] | None = None


def expected(read: Callable[[bytes], object], content: bytes) -> str:
    """How a reader ends: ``read`` or ``refused``; any other exception goes through."""
    try:
        read(content)
    except BamsearchError as error:
        text = str(error)
        assert text, "an error without a word"
        assert "\n" not in text, text
        assert len(text) < 5000, f"an error of {len(text)} characters"
        return "refused"
    return "read"


def in_place_of(path: Path, use: Callable[[], object]) -> Callable[[bytes], object]:
    """Use what is there with a file's content replaced, and put back what was there."""
    before = path.read_bytes() if path.exists() else None

    def read(content: bytes) -> object:
        path.write_bytes(content)
        try:
            return use()
        finally:
            path.unlink() if before is None else path.write_bytes(before)

    return read
