"""Which runs are kept: the newest, and those with a file named `keep` in their folder.

A running run is never removed, nor the run that it reads. The newest success of each flow is kept
too: a schedule that fails all night does not push out the last good model.
"""

import re
from datetime import UTC, datetime

from prefect.logging import get_run_logger

from runtime import settings
from runtime.history import PROCESSED, READERS, RUN, SECOND, read_runs
from runtime.records import record_key
from runtime.storage import Storage, storage

# The folders of a run; the one with run.json, which makes it a run, is last.
FOLDERS = ("reports", "models", PROCESSED)
MARKS = ("keep", "keep.txt")
NEWEST_READ = 8  # run.json of the newest runs, among which each flow nearly always has a success
IN_CACHE = re.compile(r"\w+-[0-9a-f]{16}\.\w+")
FLOW_RESULT = re.compile(r"[0-9a-f]{32}")  # where Prefect keeps what a flow returns


def remove_old_runs(flow_run_id: str) -> None:
    """Remove the runs that are no longer kept; called at a run's end.

    Their folders are removed, and the cached files that none of the newest runs used. Prefect's
    server removes its own records (prefect.toml, `db_vacuum`).
    """
    number = settings.keep_runs()
    if number is None:
        return
    names = [run for run in storage(PROCESSED).folders() if RUN.fullmatch(run)]
    if len(names) <= number:
        return
    names.sort(reverse=True)
    # Few of the newest are read, however many are kept: a bucket takes time for each.
    facts = read_runs({*names[:NEWEST_READ], *names[number - 1 :]})
    runs = [run for run in names if facts.get(run, {}).get("run") == run]
    newest = [run for run in runs if run >= names[number - 1]]
    older = runs[len(newest) :]
    if not older:
        return
    running = [run for run in runs if facts[run].get("state") == "Running"]
    # By the name of the flow; the newest of several comes last, and replaces the others.
    completed = [run for run in reversed(runs) if facts[run].get("state") == "Completed"]
    successes = {facts[run].get("flow"): run for run in completed}
    read = [facts[run].get("reads") for run in running]
    keep = {*running, *read, *successes.values()}
    keep |= {run for run in older if facts[run].get("flow_run_id") == flow_run_id}
    keep |= {run for run in older if run not in keep and _is_needed(run)}
    removed = [run for run in older if run not in keep]
    for run in removed:
        for folder in FOLDERS:
            storage(folder).delete_folder(run, last="run.json")
    began = datetime.strptime(f"{newest[-1][:SECOND]} +0000", "%Y-%m-%d_%H-%M-%S %z")
    _remove_unused(storage("data/interim"), IN_CACHE, began)
    _remove_unused(Storage(".prefect/storage"), FLOW_RESULT, began)
    if removed:
        get_run_logger().info(
            f"Removed {len(removed)} old run(s), up to {removed[0]}: the newest {number} are kept "
            "(KEEP_RUNS), and those with a file named 'keep' in their folder."
        )


def _is_needed(run: str) -> bool:
    """Return whether a person has marked a run, or a running run reads it."""
    files = [key for folder in FOLDERS for key in storage(folder).files(run)]
    readers = [key.rpartition("/")[2] for key in files if key.startswith(f"{run}/{READERS}/")]
    return any(f"{run}/{mark}" in files for mark in MARKS) or any(
        facts.get("state") == "Running" for facts in read_runs(readers).values()
    )


def _remove_unused(files: Storage, names: re.Pattern[str], began: datetime) -> None:
    """Delete the files that nobody has used since the oldest of the newest runs began."""
    changed_at = files.files()
    for key, changed in changed_at.items():
        # A record is written again each time that its result is used.
        used = max(changed, changed_at.get(record_key(key), changed))
        if names.fullmatch(key) and used.astimezone(UTC) < began:
            files.delete([record_key(key), key])
