"""Runs bamsearch commands in forked processes, with a fault at a chosen file operation.

The server has imported everything, so commands start without delay. ``faults.c`` is loaded before
the C library and counts file operations below one folder, by any code of the process.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import pkgutil
import signal
import subprocess
import sys
import sysconfig
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LIBRARY = "BAMSEARCH_FAULTS"
PATIENCE = 120.0
"""Seconds after which a command counts as stuck."""

ACTIONS = {"count": 0, "kill": 1, "half": 2, "error": 3, "signal": 4}


@dataclass(frozen=True)
class Fault:
    """A fault at one file operation.

    Attributes:
        action: one of :data:`ACTIONS`; ``half`` kills in the middle of a write.
        at: number of the operation, from 1.
        value: errno or signal number.
    """

    action: str = "count"
    at: int = 0
    value: int = 0


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: exit code; negative for a signal; None if it was killed after a timeout.
        out: standard output.
        err: standard error.
        operations: (call, path below the folder) of each file operation.
    """

    code: int | None
    out: str
    err: str
    operations: tuple[tuple[str, str], ...]


class Process:
    """A running command in a forked process.

    Args:
        arguments: command line after ``bamsearch``.
        folder: working directory; file operations below it are counted.
        logs: folder for its output, outside ``folder``.
        fault: the fault to inject.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, logs: Path, fault: Fault | None = None
    ) -> None:
        self._folder = folder
        names = (f"{time.monotonic_ns()}-{name}" for name in ("out", "err", "operations"))
        self._files = [logs / name for name in names]
        self.pid = os.fork()
        if self.pid == 0:
            _command(arguments, folder, self._files, fault or Fault())

    def wait(self, patience: float = PATIENCE) -> Ended:
        """Wait for its end, and kill it after ``patience`` seconds."""
        end = time.monotonic() + patience
        done = status = 0
        while not done and time.monotonic() < end:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            time.sleep(0.005)
        if not done:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        out, err, log = (path.read_text(errors="replace") for path in self._files)
        for path in self._files:
            path.unlink()
        code = os.waitstatus_to_exitcode(status) if done else None
        return Ended(code, out, err, self._operations(log))

    def _operations(self, log: str) -> tuple[tuple[str, str], ...]:
        lines = (line.split(" ", 2) for line in log.splitlines())
        root = f"{self._folder}/"
        return tuple((call, path.removeprefix(root)) for _, call, path in lines)


def _command(arguments: Sequence[str], folder: Path, files: Sequence[Path], fault: Fault) -> None:
    code = 1
    try:
        out, err, log = (os.open(f, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for f in files)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(folder)
        sys.argv = ["bamsearch", *arguments]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.dont_write_bytecode = True
        arm = ctypes.CDLL(os.environ[LIBRARY]).faults_arm
        arm(str(folder).encode(), fault.at, ACTIONS[fault.action], fault.value, log)
        code = _run()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def in_server(logs: Path) -> bool:
    """Restart this program with ``faults.c`` loaded; returns False in the new process.

    Args:
        logs: folder for the compiled library.
    """
    if LIBRARY in os.environ:
        import_all()
        return False
    library = logs / "faults.so"
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "faults.c")]
    subprocess.run([*command, "-ldl"], check=True)
    environment = os.environ | {
        LIBRARY: str(library),
        "LD_PRELOAD": str(library),
        "OMP_NUM_THREADS": "1",
        "BAMSEARCH_CACHE": str(logs / "cache"),
        "PYTHONHASHSEED": "0",
    }
    done = subprocess.run([sys.executable, *sys.argv], env=environment, check=False)
    sys.exit(done.returncode)


def import_all() -> None:
    """Import all modules of the commands before forking."""
    import bamsearch
    from bamsearch.reporting import markdown, page

    for module in pkgutil.walk_packages(bamsearch.__path__, "bamsearch."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("lightning_fabric", "sklearn.datasets", "torch.export", "alembic.command"):
        importlib.import_module(name)
    _leave_out_charts()
    for environment, suffix in (
        (page.html_environment(), "html.j2"),
        (markdown.markdown_environment(), "md.j2"),
    ):
        for name in environment.list_templates(extensions=["j2"]):
            if name.endswith(suffix):
                environment.get_template(name)


def _run() -> int:
    from bamsearch.cli.main import main

    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def _leave_out_charts() -> None:
    from bamsearch.reporting import charts, page, page_data
    from bamsearch.reporting.charts import look, pareto

    for module in (charts, pareto, page_data):
        for name in [name for name in vars(module) if name.endswith("_spec")]:
            setattr(module, name, lambda *data: {"datasets": {}})
    look.svg_of = lambda spec, version: json.dumps(spec)
    page.vl_convert.javascript_bundle = lambda text: text
