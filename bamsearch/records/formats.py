"""JSON files of frozen dataclasses.

A :class:`Format` is one kind of file. Reading checks the type and range of every value, and that
no key is missing or unknown. An error names the file, the key and the value:
``runs/x/run.json: key budgets[0].limit is 'abc', expected an integer``.

Tuples are lists in JSON, and a mapping whose keys are tuples is a list of rows ``[*key, *value]``.
Integers have at most 64 bits unless a ``Range`` says otherwise, floats are finite and at most 1e100
in size, and values without a type of their own (``Any``) are nested at most 64 levels deep.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from bamsearch.errors import BamsearchError
from bamsearch.records.codec import decode, encode
from bamsearch.records.hints import MOST_DIGITS, Misfit, shown

T = TypeVar("T")

MOST_BYTES = 64 << 20
"""Size of the largest file that is read as one value, in bytes: 64 MiB."""

MOST_LINES_BYTES = 1 << 30
"""Size of the largest file that is read line by line, in bytes: 1 GiB."""


@dataclass(frozen=True)
class Format(Generic[T]):
    """A kind of JSON file.

    Attributes:
        kind: type of the content.
        noun: name of the kind in errors, such as ``run``.
        error: class of the errors.
        remedy: next step for the user, at the end of most errors.
        key: first key of the file; its value is the version. Empty where the file has no version.
        version: newest version that is read, and the one that is written; raised only when an older
            bamsearch could misread a newer file.
        indent: spaces of each level; None writes one line.
        file: usual name of the file, for errors.
    """

    kind: Any
    noun: str
    error: type[BamsearchError]
    remedy: str
    key: str = ""
    version: int = 1
    indent: int | None = 2
    file: str = ""

    def text(self, value: T) -> str:
        """The value as JSON, with a newline at the end."""
        content = encode(self.kind, value)
        if self.key:
            content = {self.key: self.version} | content
        return json.dumps(content, indent=self.indent, allow_nan=False) + "\n"

    def parse(self, text: str | bytes, source: str) -> T:
        """Read what :meth:`text` wrote.

        Args:
            text: JSON; bytes are UTF-8.
            source: name in errors, usually a path.

        Raises:
            BamsearchError: of the class ``error``: not JSON, too deep, a key missing or unknown, a
                value of another type or out of range, or made by a newer bamsearch.
        """
        with self.refusing(source):
            content = parse_json(text)
            if self.key:
                self._check_version(content, source)
                content = {key: value for key, value in content.items() if key != self.key}
        return self.value(content, source)

    def value(self, content: Any, source: str) -> T:
        """Read a value from parsed JSON, without the version's key.

        Raises:
            BamsearchError: as :meth:`parse`.
        """
        with self.refusing(source):
            value: T = decode(self.kind, content)
        return value

    def read(self, path: Path) -> T:
        """Read a file, see :meth:`parse`.

        Raises:
            BamsearchError: as :meth:`parse`; or it is larger than :data:`MOST_BYTES`.
            OSError: it cannot be read.
        """
        with self.refusing(str(path)):
            content = read_bytes(path)
        return self.parse(content, str(path))

    @contextmanager
    def refusing(self, source: str) -> Iterator[None]:
        """Raise ``error`` where the block raises :class:`Misfit`."""
        try:
            yield
        except Misfit as misfit:
            prefix = "" if misfit.of_all else f"is not a valid {self.noun}: "
            raise self.error(f"{source} {prefix}{misfit}; {self.remedy}") from misfit

    def _check_version(self, content: Any, source: str) -> None:
        if not isinstance(content, dict) or self.key not in content:
            raise Misfit(f"is not a bamsearch {self.noun}: key {self.key!r} is missing")
        version = content[self.key]
        if type(version) is not int or not 1 <= version <= self.version:
            raise self.error(
                f"{source} has {self.noun} format {shown(version)}, this bamsearch reads up to "
                f"{self.version}: pip install --upgrade bamsearch"
            )


class Stored:
    """Base class of the records that are a file, of the class attribute ``FORMAT``."""

    __slots__ = ()
    FORMAT: ClassVar[Format[Any]]

    def to_json(self) -> str:
        """The record as JSON text, the content of its file."""
        return self.FORMAT.text(self)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file, see :meth:`Format.read`."""
        record: Self = cls.FORMAT.read(path)
        return record

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "") -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            text: the JSON text; bytes are UTF-8.
            source: name in errors, usually a path.

        Raises:
            BamsearchError: DesignError for a design, RunError for files of runs and audits,
                InvalidValueError for others: not JSON, cut short, a key or value that does not fit,
                or made by a newer bamsearch.
        """
        record: Self = cls.FORMAT.parse(text, source or cls.FORMAT.file)
        return record


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Content of a file.

    Raises:
        Misfit: it is larger than ``most`` bytes.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise Misfit(f"has more than {most:,} bytes")
    return content


def parse_json(text: str | bytes) -> Any:
    """JSON as Python's own values.

    Raises:
        Misfit: not JSON or not UTF-8, nested too deeply, or a number of too many digits.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        return json.loads(text, parse_int=_int)
    except UnicodeDecodeError as error:
        raise Misfit(f"is not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise Misfit(f"is not a whole JSON file ({error})") from error
    except RecursionError as error:
        raise Misfit("is nested too deeply") from error


def _int(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise Misfit(f"has a number of {len(text):,} digits")
    return int(text)
