"""The exceptions of bamsearch.

A message is one line: the thing, its value and what to do next. ``exit_code`` is that of the
command line: 2 if the input cannot be used, 3 if it is fine, but there is nothing to do.
"""


class BamsearchError(Exception):
    """Base class of all errors that bamsearch raises on purpose."""

    exit_code = 2


class InvalidValueError(BamsearchError, ValueError):
    """A value out of range, such as a reduction of 0."""


class ModelError(BamsearchError):
    """A model that cannot be found, built, traced or run on the given input."""


class WeightsError(BamsearchError):
    """Weights that cannot be found, read or loaded."""


class DesignError(BamsearchError):
    """A design that cannot be read, or that does not belong to the model."""


class DataError(BamsearchError):
    """A data set that cannot be found, read, downloaded or split, or does not fit the network."""


class SpaceError(BamsearchError):
    """A search space that cannot be read, or that names sites that the model does not have."""


class RunError(BamsearchError):
    """A run or an audit that cannot be read, has other options, or is in use by another process."""


class TrainingError(BamsearchError):
    """A training that cannot be resumed, or too few results to compare."""


class DivergedError(TrainingError):
    """Training diverged: the loss became NaN or infinite."""


class StorageError(BamsearchError):
    """A study database that cannot be reached."""


class ScoreError(BamsearchError):
    """A score that cannot be found, or that failed on a design."""


class ExportError(BamsearchError):
    """A network that cannot be exported, or whose export differs from PyTorch's output."""


class DeviceError(BamsearchError):
    """A device that is missing, or on which the model does not run with the requested options."""


class OutputError(BamsearchError):
    """A file or folder that exists already or cannot be written."""


class MissingExtraError(BamsearchError):
    """An optional dependency that is not installed.

    Args:
        package: the missing package, such as ``"timm"``.
        extra: the extra of bamsearch that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'bamsearch[{extra}]'")


class NothingToDoError(BamsearchError):
    """The input is fine, but there is nothing to do with it."""

    exit_code = 3


class NoSiteError(NothingToDoError):
    """A model without a spatial bottleneck, such as ViT with its single resolution."""


class NothingFitsError(NothingToDoError):
    """No design meets the budget; the message gives the smallest budget that a design can meet."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class if the message is empty."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def failure_text(error: BaseException) -> str:
    """The same, after the class of an error that is not bamsearch's."""
    line, name = first_line(error), type(error).__name__
    return line if isinstance(error, BamsearchError) or line == name else f"{name}: {line}"
