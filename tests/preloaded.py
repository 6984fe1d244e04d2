"""A Python that starts at once: its processes are forked from a server that has loaded torch.

``preloaded.py serve SOCKET`` is the server; it ends when its stdin is closed.
``preloaded.py run SOCKET -c CODE ARG...`` (or ``-m MODULE ARG...``, and ``-W ACTION`` before it)
passes its streams, arguments, folder and environment to the server, which forks a process that
runs them. Signals are passed on, and the end of the process, also by a signal, is the client's
own. If the client is killed, so is the process, a moment later.
"""

import json
import os
import select
import signal
import socket
import struct
import sys

_LENGTH = struct.Struct("!I")
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(path: str, arguments: list[str]) -> None:
    """Run arguments in a process of the server, and end as it does."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    request = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()
    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: server.send(bytes([number])))
    socket.send_fds(server, [_LENGTH.pack(len(request))], [0, 1, 2])
    server.sendall(request)
    answer = server.recv(_LENGTH.size)
    if not answer:
        sys.exit("the server of preloaded processes has ended")
    code = os.waitstatus_to_exitcode(_LENGTH.unpack(answer)[0])
    if code < 0:
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def serve(path: str) -> tuple[list[str], str, dict[str, str]]:
    """Serve until stdin is closed; returns in each process that is forked, with its request."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        print("ready", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guards are reaped without a wait
        while True:
            readable, _, _ = select.select([sys.stdin, listening], [], [])
            if sys.stdin in readable:
                os._exit(0)
            client, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                return _guard(client)
            client.close()


def _guard(client: socket.socket) -> tuple[list[str], str, dict[str, str]]:
    """Fork the process, pass signals on to it and its end back; returns in the process."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(client, _LENGTH.size, 3)
    text = b""
    while len(text) < _LENGTH.unpack(head)[0]:
        text += client.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        client.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        return json.loads(text)
    for stream in (*streams, 0, 1, 2):
        os.close(stream)
    ended = os.pidfd_open(pid)
    while True:
        readable, _, _ = select.select([client, ended], [], [])
        if ended in readable:
            break
        said = client.recv(1)
        os.kill(pid, said[0] if said else signal.SIGKILL)
        if not said:
            break
    _, status = os.waitpid(pid, 0)
    try:
        client.send(_LENGTH.pack(status))
    finally:
        os._exit(0)


def become(arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be a Python that was started with these arguments."""
    import runpy
    import types
    import warnings

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    unbuffered = bool(environment.get("PYTHONUNBUFFERED"))
    sys.stdin = sys.__stdin__ = os.fdopen(0, closefd=False)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = os.fdopen(number, "w", closefd=False)
        lines = stream.isatty() or name == "stderr"
        stream.reconfigure(
            line_buffering=lines,
            write_through=unbuffered,
            errors="backslashreplace" if name == "stderr" else None,
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    while arguments[0] == "-W":
        warnings.simplefilter(arguments[1])
        arguments = arguments[2:]
    how, target, *rest = arguments
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    if how == "-m":
        sys.argv, sys.path[0] = [target, *rest], folder
        runpy.run_module(target, run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = ["-c", *rest], ""
        exec(compile(target, "<string>", "exec"), main.__dict__)


def end(main) -> None:
    """Call main and end as Python does, except that what is imported is not taken down."""
    code: object = 0
    try:
        main()
    except SystemExit as error:
        code = error.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    os._exit(int(code or 0))


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run(sys.argv[2], sys.argv[3:])
    import atexit
    import gc
    import importlib
    import pkgutil
    import threading
    from functools import partial

    import optuna  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torchvision  # noqa: F401

    import bamsearch

    for module in pkgutil.walk_packages(bamsearch.__path__, "bamsearch."):
        if not module.name.endswith(("__main__", "_process")):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    end(partial(become, *serve(sys.argv[2])))
