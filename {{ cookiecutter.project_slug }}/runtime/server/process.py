"""The process of a Prefect server: `python -m runtime.server.process`, started by `runtime.server`.

It serves the same application as `prefect server start`, and starts and stops faster. Saved on two
cores, of 9 s from start to end: 0.6 s by importing without the garbage collector, 0.2 s by not
looking for migrations in a current database, 0.6 s by asking itself first what each run asks first,
1.5 s by ending without Python's own cleanup; and in a new project another 9 s by taking the tables
from `tables.sql`.

`create_app` is in none of Prefect's guides: a test of the template fails when it is gone.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING

from runtime.server import FIRST_PORT, HOST

if TYPE_CHECKING:
    from uvicorn import Server

CLEAN_UP_SECONDS = 0.5


def main(*, dashboard: bool) -> None:
    """Serve until standard input closes, then end this process."""
    server = None

    def stop_with_parent() -> None:
        sys.stdin.read()
        if server is None:
            os._exit(0)
        server.should_exit = True

    threading.Thread(target=stop_with_parent, daemon=True).start()
    listener = listen(FIRST_PORT if dashboard else 0)
    url = f"http://{HOST}:{listener.getsockname()[1]}"
    print(f"{url}/api", flush=True)
    os.environ["PREFECT_UI_API_URL"] = f"{url}/api"
    os.environ["PREFECT_SERVER_API_BASE_PATH"] = "/api"  # another server of the user's may differ
    # `OwnPageOnly` does what prefect.toml asks of these two, for web sockets and every port too.
    os.environ["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] = "false"
    os.environ["PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS"] = "*"
    if not dashboard:
        # The catalogue of blocks is for the dashboard's pages. Two servers that write it at once
        # into a new database stop one another: `UNIQUE constraint failed: block_type.slug`.
        os.environ["PREFECT_API_BLOCKS_REGISTER_ON_START"] = "false"
        # Otherwise Prefect notes the catalogue as written, and never writes it.
        os.environ["PREFECT_MEMOIZE_BLOCK_AUTO_REGISTRATION"] = "false"

    gc.disable()  # imports make many objects and hardly any garbage
    import asyncio

    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import (
        PREFECT_SERVER_DATABASE_MIGRATE_ON_START,
        get_current_settings,
        temporary_settings,
    )

    from runtime.server.database import prepare_database
    from runtime.server.guard import POLICY, OwnPageOnly
    from runtime.server.retry import RetryWhileLocked

    setting = get_current_settings().server.database.connection_url
    database = setting.get_secret_value() if setting else ""
    is_current = prepare_database(database)
    config = uvicorn.Config(
        OwnPageOnly(RetryWhileLocked(create_app(ephemeral=not dashboard))),
        log_level="warning",
        headers=[("Content-Security-Policy", POLICY)],
        timeout_graceful_shutdown=5,
        ws_per_message_deflate=False,  # what stays on this machine is not worth compressing
    )
    server = uvicorn.Server(config)
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # the default of 700 costs 0.6 of 8 s for 1,000 tasks
    gc.enable()
    threading.Thread(target=ask_first, args=(url,), daemon=True).start()
    changes = {PREFECT_SERVER_DATABASE_MIGRATE_ON_START: not is_current}
    runner = asyncio.Runner(loop_factory=config.get_loop_factory())
    with temporary_settings(changes), runner:
        runner.run(serve(server, listener))
    if not server.started:
        from runtime.server.errors import explain_database

        with suppress(OSError):  # nobody reads it any more
            print(explain_database(database), flush=True)
    # By now Prefect's services have written what they held, and SQLite has put its log into the
    # database. Python's own cleanup changes nothing for a process that ends.
    sys.stderr.flush()
    os._exit(0)


async def serve(server: Server, listener: socket.socket) -> None:
    """Serve until the server has to end, and make sure that its process ends, too.

    asyncio waits for the tasks that are left: forever if SQLAlchemy closes a connection whose work
    was cancelled (seen in 4 of 18 ends after 1,000 task runs, when all was written).
    """
    with suppress(SystemExit):  # uvicorn's, where it cannot start
        await server.serve(sockets=[listener])
    if server.started:
        limit = threading.Timer(CLEAN_UP_SECONDS, os._exit, (0,))
        limit.daemon = True
        limit.start()


def ask_first(url: str) -> None:
    """Ask the server for its version, so that no run waits for what the first request prepares."""
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
            # Otherwise each answer waits 40 ms for the client to confirm its first part. asyncio
            # sets this only for sockets made with the protocol's number, unlike this one.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listener


if __name__ == "__main__":
    main(dashboard="--dashboard" in sys.argv[1:])
