"""Vega-Lite specifications as SVG, drawn by a separate process.

The renderer (``vl_convert``) runs V8, which aborts its process if memory is short: it reserves
about 70 GiB of address space, more than ``ulimit -v`` may allow. It therefore runs in a separate
process; if that dies, a line of text replaces the chart, with a warning, and the report continues.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import warnings
from contextlib import suppress
from functools import cache
from html import escape
from pathlib import Path
from threading import Lock
from typing import Any

from bamsearch.text import printable

_PROGRAM = Path(__file__).with_name("renderer_process.py")


def svg_of(spec: dict[str, Any], version: str) -> str:
    """A specification as SVG; if that fails, a line of text and a warning.

    Args:
        spec: Vega-Lite specification; its texts are made printable.
        version: version of Vega-Lite: ``v6.1``.
    """
    try:
        answer = _renderer().ask({"spec": _cleaned(spec), "version": version})
    except (OSError, EOFError, ValueError) as error:
        reason = "the renderer died, probably for lack of memory (ulimit -v)"
        if isinstance(error, ValueError):
            reason = str(error)
        warnings.warn(f"a chart was left out: {reason}", RuntimeWarning, stacklevel=2)
        return _instead("This chart could not be drawn because the renderer failed.")
    return answer


class _Renderer:
    """The drawing process; started for the first chart, and restarted if it died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()
        atexit.register(self.stop)

    def ask(self, question: dict[str, Any]) -> str:
        """Send a request and return the SVG.

        Raises:
            OSError: the process cannot be started.
            EOFError: the process died.
            ValueError: the specification cannot be drawn.
        """
        line = json.dumps(question, allow_nan=False).encode() + b"\n"
        with self._lock:
            process = self._started()
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(line)
                process.stdin.flush()
                answer = process.stdout.readline()
            except BrokenPipeError:
                answer = b""
            except BaseException:
                self.stop()  # a late answer must not be taken for the next chart
                raise
            if not answer.endswith(b"\n"):
                self.stop()
                raise EOFError("the process died")
        reply = json.loads(answer)
        if "error" in reply:
            raise ValueError(reply["error"])
        text: str = reply["svg"]
        return text

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        process.kill()
        process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            # -P: modules in the current folder must not shadow others.
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._process


@cache
def _renderer() -> _Renderer:
    return _Renderer()


def _cleaned(value: Any) -> Any:
    """The value with printable texts: a control character would kill the renderer."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list | tuple) else value


def _instead(text: str) -> str:
    """An SVG that says why the chart is missing."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="600" height="60" viewBox="0 0 600 60">'
        f'<text x="12" y="34" font-family="sans-serif" font-size="14" fill="var(--chart-muted)">'
        f"{escape(text)}</text></svg>"
    )
