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
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
HOOK = str(Path(__file__).with_name("warm_start"))
SOCKET = Path(".prefect/warm")  # from ROOT: a socket's address has room for a hundred bytes
IMPORTED = ROOT / ".prefect" / "imported.txt"  # names of the modules that runs have needed so far
PACKAGES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
IDLE_SECONDS = 600
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What Python and packages read once, when they start or are imported.
READ_ONCE = ("HOME", "LANG", "LC_", "LD_", "MKL_", "MPL", "OMP_", "OPENBLAS_", "PYTHON", "TZ")

exit_codes: list[int] = []  # of the run that this process has carried out


@contextmanager
def waiting_process() -> Iterator[None]:
    """Run the waiting process, and let the flow runs that Prefect starts meanwhile find it.

    It imports what this process has imported, and what warm runs have needed so far.
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
    try:
        if [stream.fileno() for stream in (sys.stdin, sys.stdout, sys.stderr)] != [0, 1, 2]:
            return None
        request = {
            "identity": identity(),
            "module": module,
            "arguments": sys.argv,
            "folder": str(folder),
            "environment": {**os.environ, "WARM": "no"},
        }
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(str(SOCKET))
        socket.send_fds(waiting, [b"\n"], [0, 1, 2])
        waiting.sendall(json.dumps(request).encode() + b"\n")
        answer = waiting.makefile()
        run = int(answer.readline())  # its process; nothing where it has to start cold
    except (AttributeError, OSError, ValueError):  # no process waits, or a stream is closed
        return None

    def pass_on(number: int, _: object = None) -> None:
        with suppress(ProcessLookupError):  # the run has just ended
            os.killpg(run, number)

    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, pass_on)
    code = int(answer.read() or -signal.SIGKILL)
    if code < 0:  # a signal has ended the run, or the process that waits for its end
        pass_on(signal.SIGKILL)
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def identity() -> str:
    """Return, as a text, all that must be the same in a run and in the waiting process."""
    status = Path("/proc/self/status").read_text().splitlines()
    rights = [line for line in status if line.startswith(("Umask", "Uid", "Gid", "Cpus_allowed"))]
    limits = [os.nice(0), Path("/proc/self/limits").read_text()]
    ignored = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_IGN]
    python = [sys.version, sys.prefix, sys.flags, sys.warnoptions, sys._xoptions]
    changed = [Path(path).stat().st_mtime_ns for path in (__file__, *PACKAGES[1:])]
    environment = sorted(item for item in os.environ.items() if item[0].startswith(READ_ONCE))
    return json.dumps([rights, limits, ignored, python, changed, environment])


def note_imports() -> None:
    """Note which modules of packages this process has imported, for the waiting process."""
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.copy().items()}
    names = [name for name, file in files.items() if file and file.startswith(PACKAGES)]
    # Without room or rights, nothing is noted.
    with suppress(OSError, ValueError), IMPORTED.open("a+", encoding="utf-8") as noted:
        noted.seek(0)
        known = set(noted.read().splitlines())
        noted.writelines(f"{name}\n" for name in names if name not in known)


def import_packages() -> None:
    """Import what runs have needed so far; end this process if it cannot fork after that."""
    for name in IMPORTED.read_text(encoding="utf-8").splitlines() if IMPORTED.exists() else []:
        with suppress(Exception):  # the package may be gone
            import_module(name)
    if threading.active_count() > 1:
        sys.exit("A package has started a thread.")


def end() -> None:
    """End a run; Python's own cleanup would copy all shared memory: 0.3 s."""
    if exit_codes:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_codes[0])


def main() -> None:
    """Wait for runs until standard input closes."""
    atexit.register(end)  # registered first, called last
    mine = identity()
    os.close(os.pidfd_open(os.getpid()))  # ends this process on a system that lacks it
    sys.path.pop(0)  # this script's folder
    SOCKET.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(SOCKET))
    SOCKET.chmod(0o600)  # before it listens: only this user can connect
    listener.listen()  # who connects during the imports waits for their end
    if "asleep" in sys.argv and sys.stdin in select.select([sys.stdin, listener], [], [])[0]:
        return
    import_packages()
    gc.freeze()  # a fork shares what the collector does not touch
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Linux then reaps the children that end
    while True:
        ready, _, _ = select.select([sys.stdin, listener], [], [], IDLE_SECONDS)
        if sys.stdin in ready:
            return SOCKET.unlink(missing_ok=True)
        if not ready or identity() != mine:  # begin again: without the memory, with new packages
            os.execv(sys.executable, [sys.executable, __file__, "asleep"])  # noqa: S606
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            carry_out(connection, mine)
        connection.close()
        import_packages()


def carry_out(connection: socket.socket, mine: str) -> NoReturn:
    """Run a request in a process of its own; send the number of that, and its exit code.

    Where nothing is sent, the run starts cold. If the process that asked is gone, it was killed: so
    is the run.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        request = json.loads(connection.makefile().readline())
        if request["identity"] != mine:
            os._exit(1)
        prepare(request, streams)
    except Exception:  # such as for bad Prefect settings: a cold start explains it
        os._exit(1)
    run = os.fork()
    if run == 0:
        os.setpgid(0, 0)  # so that signals reach the processes that it starts, as in a terminal
        connection.sendall(f"{os.getpid()}\n".encode())
        connection.close()
        try:
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
            exit_codes.append(0)
        finally:
            note_imports()
        sys.exit()
    ended: Any = os.pidfd_open(run)
    if ended not in select.select([ended, connection], [], [])[0]:  # nothing more is ever sent
        os.killpg(run, signal.SIGKILL)
    _, status = os.waitpid(run, 0)
    with suppress(OSError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def prepare(request: dict[str, Any], streams: list[int]) -> None:
    """Bring this process into the state of a new one after the same imports."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(streams[number], number)
        os.close(streams[number])
        old, buffering = getattr(sys, name), 1 if number == 2 or os.isatty(number) else -1
        new = os.fdopen(number, "w" if number else "r", buffering, old.encoding, old.errors)
        setattr(sys, name, new)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path.insert(0, str(ROOT))
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # else the runs would all draw the same numbers
    if "prefect.main" in sys.modules:
        from prefect.context import refresh_global_settings_context
        from prefect.logging.configuration import setup_logging

        refresh_global_settings_context()
        setup_logging(incremental=False)
    sys.modules.pop(request["module"], None)  # it is to run as `__main__`
    sys.argv = request["arguments"]
    os.chdir(request["folder"])


if __name__ == "__main__":
    main()
