"""The process of a Prefect server: `python -m flows.server_process`, started by `flows.server`.

It serves the same application as `prefect server start`, and starts and stops sooner. Measured on
two cores, of 9 s from start to end: 0.6 s by importing without the garbage collector, 0.2 s by not
looking for migrations in a current database, 0.6 s by asking itself first what each run asks first,
1.5 s by ending without Python's own cleaning up; and in a new project another 9 s by taking the
tables from `database.sql`.
"""

import gc
import os
import re
import socket
import sqlite3
import sys
import threading
import urllib.request
from contextlib import closing, suppress
from importlib import metadata
from pathlib import Path

from flows.server import CANNOT_SERVE, FIRST_PORT, HOST

SCHEMA = Path(__file__).with_name("database.sql")


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
        import uvicorn
        from prefect.server.api.server import create_app
        from prefect.settings import (
            PREFECT_SERVER_DATABASE_MIGRATE_ON_START,
            get_current_settings,
            temporary_settings,
        )

        from flows.doors import OwnPageOnly

        setting = get_current_settings().server.database.connection_url
        database = setting.get_secret_value() if setting else ""
        is_current = prepare_database(database)
        app = OwnPageOnly(create_app(ephemeral=not dashboard))
    except (ImportError, AttributeError, TypeError) as error:
        print(f"Prefect's application is not found where it was: {error!r}", file=sys.stderr)
        os._exit(CANNOT_SERVE)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    gc.freeze()
    gc.enable()
    threading.Thread(target=ask_first, args=(url,), daemon=True).start()
    changes = {PREFECT_SERVER_DATABASE_MIGRATE_ON_START: not is_current}
    with temporary_settings(changes), suppress(SystemExit):  # uvicorn's, where it cannot start
        server.run(sockets=[listener])
    if not server.started:
        from flows.server_errors import of_database

        with suppress(OSError):  # nobody reads it any more
            print(of_database(database), flush=True)
    # By now Prefect's services have written what they held. Python would go on to take each of
    # its objects apart, which changes nothing for a process that ends.
    sys.stderr.flush()
    os._exit(0)


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


if __name__ == "__main__":
    main(dashboard="--dashboard" in sys.argv[1:])
