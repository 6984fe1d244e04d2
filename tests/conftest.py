"""What all tests share: golden files, a command line to run, and a machine left as it was."""

import os
import signal

# a shell's background jobs ignore Ctrl-C, and the processes that tests interrupt would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# before torch is first imported: several threads on shared cores are slower than one
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate", action="store_true", help="write the golden files instead of comparing"
    )


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory):
    """Neither the user's cache nor the user's weights are read or written."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("BAMSEARCH_CACHE", "TORCH_HOME"):
            patch.setenv(variable, str(tmp_path_factory.mktemp(variable.lower())))
        yield


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(text, name)``: text equals the file golden/name beside the test."""

    def compare(text: str, name: str) -> None:
        path = Path(request.path).parent / "golden" / name
        if request.config.getoption("--regenerate"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"no golden file {path}: run 'make golden' and read what it wrote"
        assert text == path.read_text(encoding="utf-8"), "if this is meant: make golden"

    return compare


@pytest.fixture
def bamsearch_cli() -> Callable[..., Result]:
    """``bamsearch_cli("env", "--json")`` runs the command line in this process.

    The result has ``stdout``, ``stderr`` and ``exit_code``.
    """
    from bamsearch.cli.main import cli

    def run(*args: str) -> Result:
        return CliRunner().invoke(cli, list(args), prog_name="bamsearch")

    return run
