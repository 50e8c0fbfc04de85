"""A process that has imported the packages waits for runs, so that they start at once.

`ui` and `serve` start it. A run hands its command over, and a fork of the waiting process carries
it out: with the terminal, environment and folder of the run, and with its signals and exit code.
The waiting process holds no module of the project, so an edit always counts; each run is a process
of its own, so nothing of it is left for the next. When in doubt, a run starts cold.

The reason: most of a run's time goes to imports. The cost: 350 MB, which are freed after ten
minutes without a run. It works on Linux only: Windows has no fork, and on macOS a fork can crash
once the system's libraries are loaded. The module imports the standard library alone: it is also a
script, and `warm_start/sitecustomize.py` imports it before Prefect.
"""

import atexit
import gc
import json
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module, invalidate_caches
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
HOOK = str(Path(__file__).with_name("warm_start"))
SOCKET = Path(".prefect/warm")  # from ROOT: a socket's address has room for a hundred bytes
IMPORTED = ROOT / ".prefect" / "imported.json"  # names of the modules that runs have needed so far
PACKAGES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
IDLE_SECONDS = 600
HAND_OVER_SECONDS = 30
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What Python and packages read once, when they start or are imported.
READ_ONCE = ("HOME", "LANG", "LC_", "LD_", "MKL_", "MPL", "OMP_", "OPENBLAS_", "PYTHON", "TZ")


@contextmanager
def waiting_process() -> Iterator[None]:
    """Run the waiting process, and let the flow runs that Prefect starts meanwhile find it.

    It imports what this process has imported, and what runs have needed so far.
    """
    note_imports()
    with subprocess.Popen(
        [sys.executable, __file__],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # closes when this process ends, however it ends
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ):
        paths = [HOOK, os.environ.get("PYTHONPATH")]
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        yield


def hand_over(module: str, folder: Path) -> int | None:
    """Let the waiting process run a module in place of this one; return the exit code.

    `folder` is where this process was started. None means that the run has to start cold.
    """
    request = {
        "identity": identity(),
        "module": module,
        "command": [sys.executable, *sys.orig_argv[1:]],
        "arguments": sys.argv,
        "folder": str(folder),
        "environment": {**os.environ, "WARM": "no"},
        "ignored": [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN],
    }
    try:
        if [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)] != [0, 1, 2]:
            return None
        waiting = socket.socket(socket.AF_UNIX)
        waiting.settimeout(HAND_OVER_SECONDS)
        waiting.connect(str(SOCKET))
        socket.send_fds(waiting, [b"\n"], [0, 1, 2])
        waiting.sendall(json.dumps(request).encode() + b"\n")
        if not waiting.recv(1):
            return None
    except (AttributeError, OSError, ValueError):  # no process waits, or a stream is closed
        return None

    def pass_on(number: int, _: object) -> None:
        with suppress(OSError):  # the run has just ended
            waiting.send(bytes([number]))

    waiting.settimeout(None)
    for number in set(SIGNALS) - set(request["ignored"]):
        signal.signal(number, pass_on)
    code = int(waiting.makefile().read() or -signal.SIGKILL)
    if code < 0:  # a signal has ended the run
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def identity() -> str:
    """Return, as a text, all that must be the same in a run and in the waiting process."""
    changed = [os.stat(path).st_mtime_ns for path in (__file__, *PACKAGES[1:])]  # noqa: PTH116
    environment = sorted(item for item in os.environ.items() if item[0].startswith(READ_ONCE))
    names = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
    limits = [os.getuid(), os.nice(0), [resource.getrlimit(getattr(resource, n)) for n in names]]
    python = [sys.version, sys.prefix, sys.flags, sys.warnoptions, sys._xoptions]
    return json.dumps([limits, python, changed, environment])


def note_imports() -> None:
    """Note which modules of packages this process has imported, for the waiting process."""
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.copy().items()}
    names = [name for name, file in files.items() if file and file.startswith(PACKAGES)]
    earlier = noted_imports()
    known = {*earlier, "__main__"}
    if new := [name for name in names if name not in known]:
        part = IMPORTED.with_suffix(f".{os.getpid()}")
        with suppress(OSError):  # without room or rights, nothing is noted
            part.write_text(json.dumps(earlier + new), encoding="utf-8")
            part.replace(IMPORTED)


def noted_imports() -> list[str]:
    """Return the names of the modules that runs have needed so far, in the order of import."""
    with suppress(OSError, ValueError):
        return list(json.loads(IMPORTED.read_text(encoding="utf-8")))
    return []


def import_packages() -> None:
    """Import what runs have needed so far; end this process if it cannot fork after that."""
    for name in noted_imports():
        if name not in sys.modules:
            with suppress(Exception):  # the package may be gone
                import_module(name)
    if threading.active_count() > 1:
        sys.exit("A package has started a thread.")


def main() -> None:
    """Wait for runs until standard input closes."""
    mine = identity()
    sys.path.pop(0)  # this script's folder
    if "asleep" in sys.argv[1:]:
        with listen() as listener:
            if sys.stdin in select.select([sys.stdin, listener], [], [])[0]:
                return
    import_packages()
    gc.freeze()  # a fork shares what the collector does not touch
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Linux then reaps the children that end
    listener = listen()
    while True:
        ready, _, _ = select.select([sys.stdin, listener], [], [], IDLE_SECONDS)
        if sys.stdin in ready:
            return SOCKET.unlink(missing_ok=True)
        if not ready:
            begin_again("asleep")
        connection, _ = listener.accept()
        request, streams = receive(connection)
        is_current = identity() == mine
        if is_current and request.get("identity") == mine and os.fork() == 0:
            listener.close()
            carry_out(request, streams, connection)
        for stream in streams:
            os.close(stream)
        connection.close()
        if not is_current:
            begin_again()
        import_packages()


def listen() -> socket.socket:
    """Return a socket to which only this user can connect."""
    SOCKET.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o077)
    listener.bind(str(SOCKET))
    os.umask(mask)
    listener.listen()
    return listener


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return a request, {} if it cannot be read, and its three streams."""
    connection.settimeout(HAND_OVER_SECONDS)
    streams: list[int] = []
    with suppress(OSError, ValueError):
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        return json.loads(connection.makefile().readline()), streams
    return {}, streams


def begin_again(*arguments: str) -> NoReturn:
    """Replace this process by a new waiting process, which frees the memory of all imports."""
    os.execv(sys.executable, [sys.executable, __file__, *arguments])  # noqa: S606


def carry_out(request: dict[str, Any], streams: list[int], connection: socket.socket) -> NoReturn:
    """Run a request in a process of its own, pass signals on to it, and send its exit code.

    If the process that asked is gone, it was killed: so is the run.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.settimeout(None)
    connection.send(b"y")
    run = os.fork()
    if run == 0:
        connection.close()
        os.setpgid(0, 0)  # so that signals reach the processes that it starts, as in a terminal
        become(request, streams)
    for stream in streams:
        os.close(stream)
    with suppress(OSError):
        os.setpgid(run, run)  # whichever of the two processes comes first
    process = os.pidfd_open(run)
    watched: list[Any] = [process, connection]
    while process not in select.select(watched, [], [])[0]:
        try:
            number = connection.recv(1)
        except OSError:
            number = b""
        os.killpg(run, number[0] if number else signal.SIGKILL)
        if not number:
            watched.remove(connection)
    _, status = os.waitpid(run, 0)
    with suppress(OSError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def become(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Run a request as the process that sent it would."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    try:
        prepare(request)
    except Exception:  # such as for bad Prefect settings: a cold start explains it
        with suppress(OSError):  # it may be gone
            os.chdir(request["folder"])
        os.execv(request["command"][0], request["command"])  # noqa: S606
    exit_codes: list[int] = []

    def end() -> None:
        """Skip Python's own cleanup, which would copy all shared memory: 0.3 s."""
        for code in exit_codes:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    atexit.register(end)  # called after the functions that the run registers
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        exit_codes.append(0)
    except SystemExit as error:
        if isinstance(error.code, int):
            exit_codes.append(error.code)
        raise
    finally:
        note_imports()
    sys.exit()


def prepare(request: dict[str, Any]) -> None:
    """Bring this process into the state of a new one after the same imports."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)
        lines = number == 2 or (number == 1 and os.isatty(1))
        new = os.fdopen(
            number, "w" if number else "r", 1 if lines else -1, old.encoding, old.errors
        )
        setattr(sys, name, new)
    sys.path.insert(0, str(ROOT))
    invalidate_caches()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # else the runs would all draw the same numbers
    if "prefect.main" in sys.modules:
        from prefect.context import refresh_global_settings_context
        from prefect.logging.configuration import setup_logging

        refresh_global_settings_context()
        setup_logging(incremental=False)
    for number in SIGNALS:  # `nohup`, or `&` in a script, makes a process ignore some
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else usual)
    sys.modules.pop(request["module"], None)  # it is to run as `__main__`
    sys.argv = request["arguments"]
    os.chdir(request["folder"])


if __name__ == "__main__":
    main()
