import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from bamsearch.cli import main
from bamsearch.cli.options import command


@pytest.fixture
def boom(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """``boom(function)`` makes ``bamsearch boom`` call function."""

    def install(function: Callable[[], None]) -> None:
        module = ModuleType("boom_command")
        module.boom = command("boom", examples=["bamsearch boom"])(lambda: function())
        monkeypatch.setitem(sys.modules, "boom_command", module)
        monkeypatch.setitem(main.COMMANDS, "boom", "boom_command")

    return install
