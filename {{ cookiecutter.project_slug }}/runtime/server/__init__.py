"""Prefect's server as a process of this project: found, started, waited for, stopped.

A server is a process of its own that reads a pipe from the process which started it: when that
process ends, however it ends, the pipe closes and the server stops. Nothing keeps running.
"""

import atexit
import base64
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

from runtime import settings
from runtime.errors import CannotWrite, Unavailable
from runtime.server.surroundings import avoid_proxies, check_address, check_certificates

HOST = "127.0.0.1"
FIRST_PORT = 4200  # Prefect's default; if it is in use, the next free one is taken
START_TIMEOUT_SECONDS = 300  # a first start creates the database, slowly on a slow disk
STOP_TIMEOUT_SECONDS = 60  # the server needs one second, more after thousands of tasks
# How many task runs a server writes at its end, with three states each (batch_size in
# prefect.toml); any more would be lost.
WRITTEN_AT_END = 200 // 3
ENDED = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}}
PATIENCE_SECONDS = 6  # with a server that writes nothing; it may wait five before it writes

_task_runs: dict[str, str] = {}  # the task runs of this process, and the flow run of each


@dataclass(frozen=True)
class Server:
    """A Prefect server: the address of its API, whether it is this project's, and its process.

    The process is set if this one started it.
    """

    api_url: str
    is_own: bool = False
    process: "subprocess.Popen[str] | None" = None

    @property
    def is_found(self) -> bool:
        """Whether it is the one that `ui` or `serve` runs for this project."""
        return self.is_own and self.process is None

    @property
    def ui_url(self) -> str:
        """Address of the dashboard."""
        return self.api_url.removesuffix("/api")


def prefect_home() -> Path:
    """Return the folder of Prefect's database: `.prefect` in the project, or PREFECT_HOME."""
    return Path(os.environ.get("PREFECT_HOME") or settings.ROOT / ".prefect").expanduser().resolve()


def use_server(*, dashboard: bool = False, meanwhile: Callable[[], Any] = lambda: None) -> Server:
    """Return the server for this process, and point Prefect, once imported, at it.

    It is the user's own (PREFECT_API_URL or an active profile), else the one that `ui` or `serve`
    runs for this project, else a new one. Call it before Prefect is imported. A new server takes a
    tenth of a second to know its address: `meanwhile` is called in that time.
    """
    avoid_proxies()
    api_url = _chosen_by_user()
    check_certificates(api_url or "")
    found = find(api_url)
    if api_url and not found:
        return Server(api_url)
    server = found or start(dashboard=dashboard, meanwhile=meanwhile)
    os.environ["PREFECT_API_URL"] = server.api_url
    if key := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):  # it asks for this one
        os.environ["PREFECT_API_AUTH_STRING"] = key
    # Links in the log lead to the same pages as the dashboard's address, not to Prefect's older; to
    # a server without pages, which ends with this process, Prefect shows none.
    has_pages = dashboard or server.is_found
    os.environ["PREFECT_UI_URL"] = f"{server.ui_url}/v2" if has_pages else ""
    return server


def _chosen_by_user() -> str | None:
    """Return the address that the user set for Prefect, or None."""
    if api_url := os.environ.get("PREFECT_API_URL"):
        return api_url
    own_settings = tomllib.loads((settings.ROOT / "prefect.toml").read_text(encoding="utf-8"))
    use_profiles()
    has_profiles = Path(os.environ.get("PREFECT_PROFILES_PATH", "")).is_file()
    if not has_profiles and "api" not in own_settings and not (settings.ROOT / ".env").exists():
        return None  # the usual case, known without the second that importing Prefect takes
    # Prefect reads its settings once, when it is imported: so ask it in another process.
    ask = "from prefect.settings import get_current_settings as s; print(s().api.url or '')"
    answer = subprocess.run(
        [sys.executable, "-c", ask], cwd=settings.ROOT, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def use_profiles() -> None:
    """Make Prefect use the login in this folder, else the one in the user's home."""
    home = os.path.expanduser("~/.prefect")  # noqa: PTH111  (Path's own raises without a home)
    for profiles in (prefect_home(), Path(home)):
        if (profiles / "profiles.toml").exists():
            os.environ.setdefault("PREFECT_PROFILES_PATH", str(profiles / "profiles.toml"))


def find(only: str | None = None) -> Server | None:
    """Return the server that `ui` or `serve` runs for this project, or None.

    Another program may answer at the recorded address by now: ours is only a server of the same
    Prefect version with its records in this project's folder. With `only`, no other address is
    asked, so that none gets the user's key for a server elsewhere.
    """
    try:
        api_url = json.loads(_record().read_text(encoding="utf-8"))["api_url"]
        if only not in (None, api_url):
            return None
        if ask(f"{api_url}/admin/version") != metadata.version("prefect"):
            return None
        if Path(ask(f"{api_url}/admin/settings")["home"]) != prefect_home():
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Server(api_url, is_own=True)


def start(*, dashboard: bool = False, meanwhile: Callable[[], Any] = lambda: None) -> Server:
    """Start a server of this project that stops when this process ends.

    With `dashboard`, it serves Prefect's pages, and later runs find it; without, it serves this
    run alone. It answers only after a while: see `wait_until_ready`.
    """
    command = [sys.executable, "-m", "runtime.server.process"]
    environment = {**os.environ, "PREFECT_HOME": str(prefect_home())}
    if "?" in environment["PREFECT_HOME"]:  # which would end the address of the database
        file = os.path.relpath(prefect_home() / "prefect.db", settings.ROOT)
        name = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
        environment.setdefault(name, f"sqlite+aiosqlite:///{file}")
    environment.pop(settings.CONSOLE_HANDLER, None)  # the server's own log keeps its tracebacks
    with _open_log() as log:
        process = subprocess.Popen(
            [*command, "--dashboard"] if dashboard else command,
            cwd=settings.ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # Ctrl-C is for the run; the server must live until the run has reported its end.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    meanwhile()
    assert process.stdout is not None
    server = Server(process.stdout.readline().strip(), is_own=True, process=process)
    # Registered before Prefect is imported, so that it runs after Prefect has sent its last logs.
    atexit.register(stop, server)
    if dashboard:
        with _home_errors():
            _record().write_text(json.dumps({"api_url": server.api_url}), encoding="utf-8")
    return server


def wait_until_ready(server: Server) -> None:
    """Wait until a server that this process started answers; only check any other's address.

    Raises `Unavailable` if it ends or takes too long, or if nothing listens at the user's address,
    `CannotWrite` if the disk is full. Prefect's client checks the rest: it knows keys and proxies.
    """
    if server.process is None:
        check_address(server.api_url)
        return
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while server.process.poll() is None and time.monotonic() < deadline:
        try:
            ask(f"{server.api_url}/health")
            threading.Thread(target=_end_with, args=(server.process,), daemon=True).start()
            return
        except (OSError, ValueError):  # it may have ended before it named its address
            time.sleep(0.05)
    if shutil.disk_usage(prefect_home()).free < 2**20:  # then the log cannot say it
        raise CannotWrite(f"{prefect_home()} cannot be used: No space left on device.")
    ended = server.process.poll() is not None
    reason = server.process.stdout.read().strip() if ended and server.process.stdout else ""
    raise Unavailable(reason or f"The Prefect server did not start; {_log_path()} says why.")


@contextmanager
def settings_for(server: Server) -> Iterator[None]:
    """Switch off what Prefect's client need not do with our own server; note the task runs."""
    from prefect.settings import (
        PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
        PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    changes: dict[Any, Any] = {}
    if server.is_own:
        # Heartbeats tell a server elsewhere that a run is alive; each flow waits up to a second for
        # the thread that sends them.
        changes[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] = None
        # Each of a run's clients asks once. Our server has the same version, and no CSRF token.
        changes[PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED] = False
        changes[PREFECT_CLIENT_CSRF_SUPPORT_ENABLED] = False
    logging.getLogger("prefect.task_runs").addFilter(_note_task_run)
    with temporary_settings(changes):
        yield


def _note_task_run(record: logging.LogRecord) -> bool:
    """Note each task run of this process, all of which the server has to record."""
    about = vars(record)
    if about.get("task_run_id") and about.get("flow_run_id"):
        _task_runs[str(about["task_run_id"])] = str(about["flow_run_id"])
    return True


def stop(server: Server) -> None:
    """Let the server write what it still holds, and end it."""
    if server.process is None or server.process.stdin is None or server.process.stdin.closed:
        return
    _wait_until_recorded(server)
    if find() == Server(server.api_url, is_own=True):
        _record().unlink(missing_ok=True)
    server.process.stdin.close()
    try:
        server.process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


def _wait_until_recorded(server: Server) -> None:
    """Wait until the server has written the task runs of this process, or writes nothing more.

    It writes their states a while after it receives them, and at its end WRITTEN_AT_END more: of
    1,000 quick tasks it would lose 28 to 700.
    """
    expected = len(_task_runs) - WRITTEN_AT_END
    written, since = 0, time.monotonic()
    these = {"flow_runs": {"id": {"any_": sorted(set(_task_runs.values()))}}, "task_runs": ENDED}
    while written < expected and time.monotonic() - since < PATIENCE_SECONDS:
        try:
            now = int(ask(f"{server.api_url}/task_runs/count", these))
        except (OSError, ValueError):  # it is busy, or gone
            now = written
        if now != written:
            written, since = now, time.monotonic()
        time.sleep(0.05)


@contextmanager
def _home_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        file = error.filename or prefect_home()
        raise CannotWrite(f"{file} cannot be used: {error.strerror}.") from None


def _open_log() -> TextIO:
    with _home_errors():
        prefect_home().mkdir(parents=True, exist_ok=True)
        database = prefect_home() / "prefect.db"
        if database.is_file():
            database.open("r+b").close()  # fails if it is root's, after a run with sudo
        return _log_path().open("w", encoding="utf-8")


def _end_with(process: "subprocess.Popen[str]") -> None:
    """End this process, too, when its server ends first: Prefect would retry for minutes."""
    assert process.stdout is not None
    process.stdout.read()  # returns when the server ends, in whatever way
    if process.stdin is None or process.stdin.closed or settings.is_interactive():
        return  # `stop` has asked for it, or this process holds a person's work
    sys.stdout.flush()
    print(
        f"Error: The Prefect server of this run has ended; {_log_path()} may say why. "
        "Run it once more.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def _record() -> Path:
    """Return the file in which a server with a dashboard leaves its address for later runs."""
    return prefect_home() / "server.json"


def _log_path() -> Path:
    return prefect_home() / "server.log"


def ask(url: str, content: Any = None) -> Any:
    """Return a server's JSON answer as Python values; raise `OSError` if there is no server.

    With `content`, post it as JSON.
    """
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if content is None else json.dumps(content).encode()
    kind = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data, kind)  # noqa: S310  (the address of a server)
    if key := os.environ.get("PREFECT_API_AUTH_STRING"):  # as Prefect's client sends it
        basic = base64.b64encode(key.encode()).decode()
        request.add_header("Authorization", f"Basic {basic}")
    with without_proxy.open(request, timeout=10) as answer:
        return json.load(answer)
