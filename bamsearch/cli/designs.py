"""A DESIGN where a MODEL is wanted: refused, with what to type instead."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from bamsearch.errors import BamsearchError, DesignError, ModelError


@contextmanager
def refuse_design(model: str) -> Iterator[None]:
    """Say so when a MODEL that the block does not know turns out to be a design on disk.

    Raises:
        DesignError: model is a design.json or a folder with one; it has BAM already.
    """
    try:
        yield
    except ModelError as error:
        base = _base_of_design(model)
        if base is None:
            raise
        raise DesignError(
            f"{model} is a design and has BAM already: give a MODEL, such as its own, "
            f"{shlex.quote(base)}"
        ) from error


def _base_of_design(path: str) -> str | None:
    """The MODEL of a design on disk; None where there is no design."""
    if not os.path.exists(path):
        return None
    from bamsearch.graph.designs import design_file, read_design

    with suppress(BamsearchError):
        return read_design(design_file(path)).model
    return None
