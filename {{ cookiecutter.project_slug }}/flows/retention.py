"""How many runs are kept: the newest, and those in whose folder a person puts a file named `keep`.

A run that goes on is never removed, nor what it reads. Of each flow the newest success is kept too:
a schedule that fails all night does not push out the last good model.
"""

import re
import sqlite3
from contextlib import closing, suppress
from datetime import datetime
from typing import Any

import httpx
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State
from prefect.exceptions import ObjectNotFound
from prefect.logging.loggers import flow_run_logger

from flows import ROOT, keep_runs
from flows.history import known_runs, number_of
from flows.places import RUN, Folder, place
from flows.records import record_key
from flows.runs import FOLDERS

MARKS = ("keep", "keep.txt")  # in a run's folder under data/processed, models or reports

# An output in the cache, or what a run that was killed left of one.
CACHED = re.compile(r"\.?\w+-[0-9a-f]{16}\.\w+(\.[0-9a-f]{32})?")
RETURNED = re.compile(r"[0-9a-f]{32}")
DATABASE = ROOT / ".prefect" / "prefect.db"
RECORDS_AT_ONCE = 50  # more of Prefect's old records are left to the ends of the next runs


def remove_old_runs(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Remove the runs that are no longer kept, and what belongs to them; a hook for a flow's end.

    That is their folders, what none of the newest runs used in the cache, and Prefect's records.
    """
    number = keep_runs()
    if number is None or flow_run.parameters.get("run"):  # the latter is part of a run that goes on
        return
    runs = _runs()
    newest, older = runs[:number], runs[number:]
    if not older:
        return
    # By the name of the flow; where there are several, the newest is the last.
    successes = {one["flow"]: one for one in reversed(runs) if one["state"] == "Completed"}
    spared = [one["run"] for one in [*newest, *successes.values()]]
    spared += [one["reads"] for one in runs if one["state"] == "Running" and "reads" in one]
    kept = [
        one
        for one in runs
        if one["run"] in spared
        or one["state"] == "Running"
        or one["flow_run_id"] == str(flow_run.id)
        or _is_marked(one["run"])
    ]
    removed = [one["run"] for one in reversed(older) if one not in kept and _remove(one["run"])]
    for folder in FOLDERS:
        place(folder).clear_up()
    began = datetime.fromisoformat(newest[-1]["started"])
    _remove_unused(began)
    if removed:
        flow_run_logger(flow_run, flow).info(
            f"Removed {len(removed)} old run(s), up to {removed[-1]}: the newest {number} are kept "
            "(KEEP_RUNS), and those with a file named 'keep' in their folder."
        )
    if _is_in_own_database(flow_run):
        _remove_records(began, kept)


def _runs() -> list[dict[str, Any]]:
    """Return what the run.json of each run says, the newest run first."""
    runs = []
    for run, facts in known_runs().items():
        with suppress(ValueError, KeyError, TypeError):  # not ours
            datetime.fromisoformat(facts["started"])
            if RUN.fullmatch(run) and facts["run"] == run:
                runs.append({key: facts[key] for key in ("flow", "state", "flow_run_id")} | facts)
    return sorted(runs, key=lambda facts: (number_of(facts), facts["run"]), reverse=True)


def _is_marked(run: str) -> bool:
    files = [key for folder in FOLDERS for key in place(folder).files(run)]
    return any(f"{run}/{mark}" in files for mark in MARKS)


def _remove(run: str) -> bool:
    """Remove a run's folders, that of run.json last; return False where another run was faster."""
    return [place(folder).remove_run(run) for folder in FOLDERS][-1]


def _remove_unused(began: datetime) -> None:
    """Delete what nobody has used in the cache since the oldest of the newest runs began."""
    # The second is where Prefect keeps what a flow returns.
    for kept, names in ((place("data/interim"), CACHED), (Folder(".prefect/storage"), RETURNED)):
        for key, changed in kept.files().items():
            if names.fullmatch(key) and changed < began.timestamp():
                kept.remove([record_key(key), key])


def _is_in_own_database(flow_run: FlowRun) -> bool:
    """Tell whether Prefect keeps its records here, and not where other projects have theirs too."""
    try:
        with closing(sqlite3.connect(f"{DATABASE.as_uri()}?mode=ro", uri=True)) as database:
            query = "SELECT 1 FROM flow_run WHERE id = ?"
            return database.execute(query, [str(flow_run.id)]).fetchone() is not None
    except sqlite3.Error:
        return False


def _remove_records(began: datetime, kept: list[dict[str, Any]]) -> None:
    """Remove from Prefect what ended before a time, but for the runs that are kept."""
    ids = [one["flow_run_id"] for one in kept]
    ids += [flow["id"] for one in kept for flow in one.get("flows", {}).values()]
    end = filters.FlowRunFilterEndTime.model_validate({"before_": began})
    old = filters.FlowRunFilter(
        id=filters.FlowRunFilterId(not_any_=ids),
        state=filters.FlowRunFilterState(
            type=filters.FlowRunFilterStateType(any_=sorted(TERMINAL_STATES))
        ),
        end_time=end,
    )
    with get_client(sync_client=True) as client, suppress(httpx.HTTPError):
        found = [
            run.id for run in client.read_flow_runs(flow_run_filter=old, limit=RECORDS_AT_ONCE)
        ]
        these = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=found))
        for artifact in client.read_artifacts(flow_run_filter=these) if found else []:
            with suppress(ObjectNotFound):  # another run was faster
                client.delete_artifact(artifact.id)
        for flow_run_id in found:
            with suppress(ObjectNotFound):
                client.delete_flow_run(flow_run_id)
