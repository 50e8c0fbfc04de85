"""What earlier runs left: their order, which came to an end, and which were killed before it.

It reads each run's `run.json`, and does without Prefect: a prediction asks it, too.
"""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows import ROOT, UserError

PROCESSED_DIR = ROOT / "data" / "processed"
RUNNING_DIR = (
    ROOT / ".prefect" / "running"
)  # for each run that goes on a file, by its flow run's id

_held: dict[str, sqlite3.Connection] = {}


def facts_of(run: str) -> dict[str, Any]:
    """Return what the run's `run.json` says, nothing where there is none.

    Raises `UserError` for a file that is damaged.
    """
    path = PROCESSED_DIR / run / "run.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict) or not isinstance(facts.get("results", {}), dict):
            raise ValueError("it says something else")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{path.relative_to(ROOT).as_posix()} is damaged: delete it.") from None
    return facts


def newest_first(runs: Iterable[str]) -> list[str]:
    """Return names of runs in the order in which the runs began, the newest first.

    Each run has a number, since a clock can be set back; of equal ones the name decides, which
    begins with the time.
    """
    return sorted(runs, key=lambda run: (_number(run), run), reverse=True)


def next_number() -> int:
    """Return the number of a run that begins now."""
    numbers = [0]
    for path in PROCESSED_DIR.glob("*/run.json"):
        with suppress(UserError):  # damaged
            numbers.append(_number(path.parent.name))
    return 1 + max(numbers)


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


def let_go(flow_run_id: str) -> None:
    """Show that a run has ended."""
    if lock := _held.pop(flow_run_id, None):
        lock.close()
        with suppress(OSError):
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


def _locked(path: Path) -> sqlite3.Connection:
    """Return a connection that locks a file; raise `sqlite3.Error` where another process does."""
    lock = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        lock.close()
        raise
    return lock


def _number(run: str) -> int:
    number = facts_of(run).get("number")
    return number if isinstance(number, int) else 0
