"""Which runs are running: each holds a lock that the system takes back from a process that ends.

SQLite has such locks on every system. The file of a lock is named by the flow run's id, and stays
empty.
"""

import sqlite3
from contextlib import suppress
from pathlib import Path

from runtime import settings

_locks: dict[str, sqlite3.Connection] = {}


def lock(flow_run_id: str) -> None:
    """Show that a run is running."""
    with suppress(OSError, sqlite3.Error):  # then nobody learns it when the run is killed
        _folder().mkdir(parents=True, exist_ok=True)
        _locks[flow_run_id] = _locked(_folder() / flow_run_id)


def unlock(flow_run_id: str) -> None:
    """Show that a run has ended."""
    if connection := _locks.pop(flow_run_id, None):
        path = _folder() / flow_run_id
        with suppress(OSError):  # first, so that nobody finds it without its lock
            path.unlink()
        connection.close()
        with suppress(OSError):  # Windows deletes no file that is open
            path.unlink(missing_ok=True)


def lock_killed() -> list[str]:
    """Return the flow runs whose process is gone without a word, and lock them."""
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
