"""What earlier runs left: their order, which came to an end, which were killed, what was damaged.

It does without Prefect: a prediction asks it, too.
"""

import atexit
import hashlib
import json
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from flows import ROOT, UserError
from flows.places import place

PROCESSED = "data/processed"
RUNNING_DIR = ROOT / ".prefect" / "running"  # a file for each run that goes on, named by its id

_held: dict[str, sqlite3.Connection] = {}


def facts_of(run: str) -> dict[str, Any]:
    """Return what the run's `run.json` says, nothing where there is none.

    Raises `UserError` for a file that is damaged, or was changed by somebody else.
    """
    return _parsed(run, _read([run]).get(run))


def checksum(facts: dict[str, Any]) -> str:
    """Return the SHA-256, in hex digits, by which `run.json` vouches for what it says."""
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def known_runs() -> dict[str, dict[str, Any]]:
    """Return what the run.json of each run says, by run; those that are damaged are left out."""
    known = {}
    for run, content in _read(place(PROCESSED).runs()).items():
        with suppress(UserError):
            known[run] = _parsed(run, content)
    return known


def newest_first(runs: Iterable[str]) -> list[str]:
    """Return names of runs in the order in which the runs began, the newest first.

    Each run has a number, since a clock can be set back; of equal ones the name decides, which
    begins with the time.
    """
    runs = list(runs)
    found = _read(runs)
    numbers = {run: number_of(_parsed(run, found.get(run))) for run in runs}
    return sorted(numbers, key=lambda run: (numbers[run], run), reverse=True)


def next_number() -> int:
    """Return the number of a run that begins now."""
    return 1 + max(map(number_of, known_runs().values()), default=0)


def number_of(facts: dict[str, Any]) -> int:
    """Return the number of a run, by what its run.json says; 0 where it has none."""
    number = facts.get("number")
    return number if isinstance(number, int) else 0


def has_kept(run: str, task: str) -> bool:
    """Tell whether the flow that runs a task came to its end in a run, so that its output counts.

    It does in a run without a run.json, too, as somebody may send it.
    """
    facts = facts_of(run)
    return not facts or facts.get("state") == "Completed" or task in facts.get("results", {})


def hold(flow_run_id: str) -> None:
    """Show that a run goes on, by a lock that the system takes back when this process ends.

    SQLite has such locks on every system; the file itself stays empty.
    """
    with suppress(OSError, sqlite3.Error):  # then nobody learns it when the run is killed
        RUNNING_DIR.mkdir(parents=True, exist_ok=True)
        _held[flow_run_id] = _locked(RUNNING_DIR / flow_run_id)
        atexit.register(let_go, flow_run_id)  # a flow of somebody's own may lack the hook


def let_go(flow_run_id: str, noted: bool = True) -> None:
    """Show that a run has ended; where that is not `noted` in its run.json, the next one does."""
    if lock := _held.pop(flow_run_id, None):
        lock.close()
        with suppress(OSError):
            if noted:
                (RUNNING_DIR / flow_run_id).unlink()


def hold_killed() -> list[str]:
    """Return the flow runs whose process is gone without a word, and hold them."""
    killed = []
    for path in RUNNING_DIR.glob("*"):
        with suppress(OSError, sqlite3.Error):
            if path.name not in _held:
                _held[path.name] = _locked(path)
                killed.append(path.name)
    return killed


def set_damaged_aside(database: Path) -> None:
    """Give a damaged database of Prefect's another name, so that a new one is made, and say so.

    What runs left in their folders does not need it. Raises `OSError` where it cannot be renamed.
    """
    parts = [database.with_name(database.name + end) for end in ("", "-wal", "-shm")]
    if not any(part.is_dir() for part in parts) and not _is_damaged(database):
        return
    damaged = f".damaged-{datetime.now():%Y-%m-%d_%H-%M-%S}"
    for part in parts:
        if part.exists():
            part.rename(part.with_name(part.name + damaged))
    print(
        f"Prefect's database {database} is damaged. It is kept as {database.name}{damaged}, and "
        "a new one is made: the dashboard begins anew, the files of your runs are all there.",
        file=sys.stderr,
    )


def _is_damaged(database: Path) -> bool:
    if not database.is_file():
        return False
    try:
        # Only to read: else SQLite would throw away what belongs to a damaged file.
        url = f"{database.as_uri()}?mode=ro"
        with closing(sqlite3.connect(url, uri=True, timeout=60)) as connection:
            answer: tuple[str] = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return error.sqlite_errorcode in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return answer != ("ok",)


def _locked(path: Path) -> sqlite3.Connection:
    """Return a connection that locks a file; raise `sqlite3.Error` where another process does."""
    lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        lock.close()
        raise
    return lock


def _read(runs: Iterable[str]) -> dict[str, bytes]:
    """Return the run.json of each run that has one."""
    runs = {f"{run}/run.json": run for run in runs}
    return {runs[key]: content for key, content in place(PROCESSED).get_all(runs).items()}


def _parsed(run: str, content: bytes | None) -> dict[str, Any]:
    if content is None:
        return {}
    try:
        facts: dict[str, Any] = json.loads(content)
        if facts.pop("sha256") != checksum(facts):
            raise ValueError("its checksum is another")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        where = place(PROCESSED).where(f"{run}/run.json")
        raise UserError(f"{where} is damaged, or was changed by hand: delete it.") from None
    return facts
