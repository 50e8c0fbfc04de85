"""The process of a Prefect server: `python -m flows.server_process`, started by `flows.server`.

It serves the same application as `prefect server start`, and starts and stops sooner. Measured on
two cores, of 9 s from start to end: 0.6 s by importing without the garbage collector, 0.2 s by not
looking for migrations in a current database, 0.6 s by asking itself first what each run asks first,
1.5 s by ending without Python's own cleaning up; and in a new project another 9 s by taking the
tables from `database.sql`.
"""

from __future__ import annotations

import gc
import json
import os
import re
import socket
import sqlite3
import sys
import threading
import time
import urllib.request
from collections import deque
from contextlib import closing, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from flows.server import CANNOT_SERVE, FIRST_PORT, HOST, ask

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
    from uvicorn import Server

CLEAN_UP_SECONDS = 0.5
SCHEMA = Path(__file__).with_name("database.sql")
STATES_OF_A_TASK = 3  # Pending, Running, and how it ended
ENDS = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
PATIENCE_SECONDS = 6  # with a server that writes nothing more; it may wait for five to write at all


def main(*, dashboard: bool) -> None:
    """Serve until standard input closes, then end this process."""
    server = task_runs = None

    def stop_with_parent() -> None:
        sys.stdin.read()
        if server is None or task_runs is None:
            os._exit(0)
        try:
            task_runs.wait_until_written(f"{url}/api")
        finally:
            server.should_exit = True

    threading.Thread(target=stop_with_parent, daemon=True).start()
    listener = listen(FIRST_PORT if dashboard else 0)
    url = f"http://{HOST}:{listener.getsockname()[1]}"
    print(f"{url}/api", flush=True)
    os.environ["PREFECT_UI_API_URL"] = f"{url}/api"
    # `OwnPageOnly` does what prefect.toml asks of these two, for web sockets and every port too.
    os.environ["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] = "false"
    os.environ["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] = "*"
    if not dashboard:
        # The catalogue of blocks is for the dashboard's pages. Two servers that write it at once
        # into a new database stop one another: `UNIQUE constraint failed: block_type.slug`.
        os.environ["PREFECT_API_BLOCKS_REGISTER_ON_START"] = "false"
        # Else Prefect notes that the catalogue is written, and leaves it out ever after.
        os.environ["PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION"] = "false"

    gc.disable()  # imports make many objects and hardly any garbage
    try:
        import asyncio

        import uvicorn
        from prefect.server.api.server import create_app
        from prefect.settings import (
            PREFECT_SERVER_DATABASE_MIGRATE_ON_START,
            PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED,
            get_current_settings,
            temporary_settings,
        )

        from flows.doors import OwnPageOnly

        setting = get_current_settings().server.database.connection_url
        database = setting.get_secret_value() if setting else ""
        is_current = prepare_database(database)
        at_once = get_current_settings().server.services.task_run_recorder.batch_size
        task_runs = EndedTaskRuns(create_app(ephemeral=not dashboard), at_once)
        app = OwnPageOnly(task_runs)
    except (ImportError, AttributeError, TypeError) as error:
        print(f"Prefect's application is not found where it was: {error!r}", file=sys.stderr)
        os._exit(CANNOT_SERVE)
    config = uvicorn.Config(
        app,
        log_level="warning",
        timeout_graceful_shutdown=5,
        ws_per_message_deflate=False,  # what stays on this machine is not worth compressing
    )
    server = uvicorn.Server(config)
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # not after each 700 objects: 0.6 of 8 s for 1,000 tasks
    gc.enable()
    threading.Thread(target=ask_first, args=(url,), daemon=True).start()
    changes = {PREFECT_SERVER_DATABASE_MIGRATE_ON_START: not is_current}
    if not dashboard and is_current and not has_automations(database):
        # Nobody can make one now; the service would read each event once more for nothing.
        changes[PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED] = False
    runner = asyncio.Runner(loop_factory=config.get_loop_factory())
    with temporary_settings(changes), runner:
        runner.run(serve(server, listener))
    if not server.started:
        from flows.server_errors import of_database

        with suppress(OSError):  # nobody reads it any more
            print(of_database(database), flush=True)
    # By now Prefect's services have written what they held. Python would go on to take each of
    # its objects apart, which changes nothing for a process that ends.
    sys.stderr.flush()
    os._exit(0)


async def serve(server: Server, listener: socket.socket) -> None:
    """Serve until the server is to end, and see to it that its process ends, too.

    asyncio waits for what is left: for ever where SQLAlchemy closes a connection whose work was
    cancelled (seen in 4 of 18 ends after 1,000 task runs, when all was written).
    """
    with suppress(SystemExit):  # uvicorn's, where it cannot start
        await server.serve(sockets=[listener])
    if server.started:
        limit = threading.Timer(CLEAN_UP_SECONDS, os._exit, (0,))
        limit.daemon = True
        limit.start()


class EndedTaskRuns:
    """An ASGI middleware that knows which task runs came to their end.

    Prefect's server writes the states of task runs down a while after they came in. When it is
    stopped, it writes `at_once` of them more, and loses the rest: of 1,000 quick tasks, 28 to 700.
    """

    def __init__(self, app: ASGIApp, at_once: int) -> None:
        self.app = app
        self.at_once = at_once
        # What is written last came last: three lots of states may be under way at once.
        self.ids: deque[str] = deque(maxlen=at_once)
        self.senders = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, and note what an event in it says."""
        if scope["type"] != "websocket" or not scope["path"].endswith("/events/in"):
            await self.app(scope, receive, send)
            return

        async def receive_and_note() -> Message:
            message = await receive()
            self.note(message.get("text") or "")
            return message

        self.senders += 1
        try:
            await self.app(scope, receive_and_note, send)
        finally:
            self.senders -= 1

    def note(self, text: str) -> None:
        """Keep the id of a task run that an event says to have ended."""
        with suppress(ValueError, LookupError, TypeError):  # no event: Prefect refuses it
            resource = json.loads(text)["resource"]
            kind, _, task_run = resource["prefect.resource.id"].rpartition(".")
            if kind == "prefect.task-run" and resource["prefect.state-type"] in ENDS:
                self.ids.append(task_run)

    def wait_until_written(self, api_url: str) -> None:
        """Return when nobody sends any more and the server will write what is not written yet.

        Or when nothing more is written: of task runs that were removed since, nothing will be.
        """
        if not self.is_too_much(len(self.ids)):
            return
        written, since = 0, time.monotonic()
        while self.is_too_much(len(set(self.ids)) - written) or self.senders:
            if time.monotonic() - since > PATIENCE_SECONDS:
                return
            ended = {"id": {"any_": list(self.ids)}, "state": {"type": {"any_": ENDS}}}
            with suppress(OSError, ValueError):  # it is busy
                now = ask(f"{api_url}/task_runs/count", {"task_runs": ended})
                if now != written:
                    written, since = now, time.monotonic()
            time.sleep(0.05)

    def is_too_much(self, task_runs: int) -> bool:
        """Tell whether the states of so many task runs are more than what is written at the end."""
        return task_runs * STATES_OF_A_TASK > self.at_once


def ask_first(url: str) -> None:
    """Ask the server for its version, so that a run need not wait for what it prepares at first."""
    with suppress(OSError):
        urllib.request.urlopen(f"{url}/api/admin/version").close()  # noqa: S310  (our own address)


def listen(port: int) -> socket.socket:
    """Return a socket that listens on `port`, or on the next free one; 0 is any free port.

    Listening comes before the heavy imports: a client that is early waits instead of failing.
    """
    while True:
        try:
            listener = socket.create_server((HOST, port), backlog=128)
        except OSError:
            port += 1
        else:
            # Else each answer waits 40 ms for the client to confirm its first part. asyncio sees to
            # that only for sockets that were made with the protocol's number, which this is not.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listener


def prepare_database(url: str) -> bool:
    """Create the tables of an empty SQLite database; return whether it is known to be current.

    `database.sql` holds the tables that `prefect server database upgrade` makes step by step, for
    the one version of Prefect that its first line names. With another version, and with any other
    database, Prefect sees to the tables itself.
    """
    from sqlalchemy import make_url

    schema = SCHEMA.read_text(encoding="utf-8") if SCHEMA.exists() else ""
    made_for = re.match(r"-- Prefect ([\d.]+\d)", schema)
    revision = re.search(r"INSERT INTO \"alembic_version\" VALUES\('(\w+)'\)", schema)
    if not url or not made_for or made_for[1] != metadata.version("prefect") or not revision:
        return False
    place = make_url(url)
    if place.get_backend_name() != "sqlite" or ":memory:" in url or "mode=memory" in url:
        return False
    try:
        with closing(sqlite3.connect(place.database or "", timeout=60)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master").fetchone():
                # Of several first runs one gets here first; for the others the tables exist.
                with suppress(sqlite3.OperationalError):
                    database.executescript(f"BEGIN EXCLUSIVE;\n{schema}\nCOMMIT;")
            rows = database.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return False
    return rows == [(revision[1],)]


def has_automations(url: str) -> bool:
    """Tell whether a SQLite database holds an automation, or cannot be asked whether it does."""
    from sqlalchemy import make_url

    try:
        with closing(sqlite3.connect(make_url(url).database or "", timeout=60)) as database:
            return database.execute("SELECT 1 FROM automation LIMIT 1").fetchone() is not None
    except sqlite3.Error:  # the server says what is wrong
        return True


if __name__ == "__main__":
    main(dashboard="--dashboard" in sys.argv[1:])
