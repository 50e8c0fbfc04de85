"""Which runs are running: each holds a lock that the system releases when its process ends.

SQLite has such locks on every system. A lock's file is named after the flow run's id, and stays
empty.
"""

import sqlite3
from contextlib import suppress
from pathlib import Path

from runtime import settings

_locks: dict[str, sqlite3.Connection] = {}


def lock(flow_run_id: str) -> None:
    """Show that a run is running."""
    with suppress(OSError, sqlite3.Error):  # without its lock, a killed run goes unnoticed
        _folder().mkdir(parents=True, exist_ok=True)
        _locks[flow_run_id] = _locked(_folder() / flow_run_id)


def unlock(flow_run_id: str) -> None:
    """Show that a run has ended."""
    if connection := _locks.pop(flow_run_id, None):
        path = _folder() / flow_run_id
        with suppress(OSError):  # before the lock: nobody finds a file without one
            path.unlink()
        connection.close()
        with suppress(OSError):  # Windows deletes no file that is open
            path.unlink(missing_ok=True)


def lock_killed() -> list[str]:
    """Return the ids of the flow runs whose process was killed, and lock them."""
    killed = []
    for path in _folder().glob("*"):
        with suppress(OSError, sqlite3.Error):
            if path.name not in _locks and not path.name.endswith("-journal"):  # SQLite's own
                _locks[path.name] = _locked(path)
                killed.append(path.name)
    return killed


def _folder() -> Path:
    return settings.ROOT / ".prefect" / "running"


def _locked(path: Path) -> sqlite3.Connection:
    """Return a connection that locks a file; raise `sqlite3.Error` where another process does."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        connection.close()
        raise
    return connection
