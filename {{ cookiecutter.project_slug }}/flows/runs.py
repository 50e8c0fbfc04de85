"""A run's name, the same under data/processed, models and reports, its run.json and summary."""

import json
import platform
import re
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from inspect import signature
from itertools import count
from pathlib import PurePosixPath
from time import sleep
from typing import Any
from uuid import UUID

import prefect.runtime
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from flows import UserError
from flows.history import (
    PROCESSED,
    checksum,
    facts_of,
    hold,
    hold_killed,
    known_runs,
    let_go,
    next_number,
)
from flows.places import place
from flows.records import RECORDS_DIR

# How a run's folder and the checkpoints in it are called: change them here.
RUN_NAME = "{date:%Y-%m-%d_%H-%M-%S}_{flow_run_name}"
CHECKPOINT_NAME = "{run}/{task_name}"

# Where a run has a folder; that of run.json, which says that it is a run, is last.
FOLDERS = ("reports", "models", PROCESSED)
PACKAGES = ("prefect", "pandas", "pyarrow", "scikit-learn", "skops")

unwritten: dict[str, UserError] = {}  # by run, why one of its files could not be written


def current_run() -> str:
    """Return the name of the folder of the flow run that is going on.

    The folder comes into being with the first call. A flow run that is retried or resumed has
    the same id and finds its own folder again. `main-flow` hands its run to the flows it starts
    as their parameter `run`. Outside of a flow run (as in `visualize`) it is only a word.
    """
    this = prefect.runtime.flow_run
    if this.id is None:
        return "run"
    if given := this.parameters.get("run"):
        return _join(given)
    name = _name(this.scheduled_start_time, this.name)
    context = FlowRunContext.get()
    if context and context.detached:  # a worker of a cluster: the flow's own process holds the run
        return _find(name, this.id)[0]
    return _claim(name, this.id, this.flow_name)


def begin_run() -> None:
    """Say in Prefect's feed of events which folder the flow run has that is going on.

    A flow does so before a task that returns much. Prefect's client keeps what was going on when it
    sent its first event: were that the task, then to the end with all that it returned (0.7 of 4 GB
    where the raw data has 15,000,000 rows).
    """
    run = current_run()
    if prefect.runtime.flow_run.id is not None:
        emit_event("flow.began", resource={"prefect.resource.id": f"run.{run}"})


def checked_run() -> str:
    """Return the same as `current_run`; raise `CannotWrite` where a result of it was not written.

    Prefect logs such an error, and goes on.
    """
    run = current_run()
    if error := unwritten.pop(run, None):
        raise error
    return run


def update_run(run: str, **facts: Any) -> None:
    """Add facts to the run's `run.json`, if it has one; a fact that is a dict is merged."""
    known = facts_of(run)
    if not known:
        return
    for name, value in facts.items():
        known[name] = {**known.get(name, {}), **value} if isinstance(value, dict) else value
    place(PROCESSED).put(f"{run}/run.json", _sealed(known))


def finish_run(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Write into `run.json` how a flow ended; a hook for each way to end."""
    given = flow_run.parameters.get("run")
    name = _name(flow_run.expected_start_time, flow_run.name)
    noted = False
    try:
        run, found = (given, True) if given else _find(name, str(flow_run.id))
        if found and facts_of(run):  # else it failed before there was anything to keep
            _note_end(run, flow, flow_run, state)
        noted = True
    finally:
        if not given:
            let_go(str(flow_run.id), noted)


def _note_end(run: str, flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    # A deployment's flow run knows only the parameters that were given to it.
    defaults = {name: one.default for name, one in signature(flow.fn).parameters.items()}
    parameters = {**defaults, **flow_run.parameters}
    ended = {"id": str(flow_run.id), "state": state.name, "parameters": parameters}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    is_part = flow_run.parameters.get("run")
    whole_run = {} if is_part else {"state": state.name, "ended": now}
    results = _results(run) if state.is_completed() else {}
    try:
        update_run(run, flows={flow.name: ended}, results=results, **whole_run)
    except UserError as error:
        unwritten.setdefault(run, error)
        raise
    if whole_run and not state.is_completed():
        _forget_if_empty(run)


def wait_for_end(run: str, flow_run_id: UUID) -> None:
    """Return when `run.json` says how a flow run ended that is part of a run, in another process.

    Prefect shows the end a moment before that process writes it, and of two that write at once one
    would be lost. After ten seconds nothing more is expected: a process that was killed is silent.
    """
    for _ in range(100):
        if any(one["id"] == str(flow_run_id) for one in facts_of(run).get("flows", {}).values()):
            return
        sleep(0.1)


def mark_killed_runs() -> list[str]:
    """Give each run that was killed the state Crashed, in its run.json and in Prefect.

    Returns their names. A process that is killed cannot say so itself: the next one does.
    """
    if not (killed := hold_killed()):
        return []
    marked = []
    for run, facts in known_runs().items():
        if facts.get("flow_run_id") in killed and facts.get("state") == "Running":
            update_run(run, state="Crashed")
            marked.append(run)
    for flow_run_id in killed:
        _mark_in_prefect(flow_run_id)
    for folder in FOLDERS:
        place(folder).clear_up(marked, killed)
    for flow_run_id in killed:
        let_go(flow_run_id)
    return marked


def summary(run: str, dashboard: str) -> str:
    """Return a few lines for people: accuracy, where the outputs of a run lie, how to see more.

    Raises `CannotWrite` where its run.json could not say how it ended.
    """
    if error := unwritten.pop(run, None):
        raise error
    facts = facts_of(run)
    rows = []
    if "accuracy" in facts:
        rows.append(("Accuracy", f"{facts['accuracy']:.2%} of the test set"))
    if facts.get("results"):
        rows.append(("Checkpoints", place(PROCESSED).where(run)))
    for name, folder, ending in (
        ("Model", "models", ".skops"),
        ("Report", "reports", ".html"),
        ("Search", "reports", "search.png"),
    ):
        kept = place(folder)
        rows += [(name, kept.where(key)) for key in kept.files(run) if key.endswith(ending)]
    rows.append(("Dashboard", dashboard))
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def _mark_in_prefect(flow_run_id: str) -> None:
    """Give a flow run, and those within it, the state Crashed if they had not ended."""
    within = filters.FlowRunFilterParentFlowRunId(any_=[UUID(flow_run_id)])
    with get_client(sync_client=True) as client, suppress(ObjectNotFound):
        flow_runs = client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(parent_flow_run_id=within)
        )
        for one in [*flow_runs, client.read_flow_run(UUID(flow_run_id))]:
            if one.state and not one.state.is_final():
                state: State[Any] = Crashed(message="Its process was killed.")
                client.set_flow_run_state(one.id, state, force=True)


def _results(run: str) -> dict[str, dict[str, str]]:
    """Return file and checksum of each result of a run, by the name of its task."""
    results = {}
    for folder in (PROCESSED, "models"):
        kept = place(folder)
        keys = [path for path in kept.files(run) if PurePosixPath(path).parent.name == RECORDS_DIR]
        for key, content in kept.get_all(sorted(keys)).items():
            with suppress(ValueError, LookupError, TypeError):  # damaged: not there
                record = json.loads(content)
                file = str(PurePosixPath(folder, record["file"]))
                results[PurePosixPath(key).stem] = {"file": file, "sha256": record["sha256"]}
    return results


def _name(date: datetime | None, flow_run_name: str | None) -> str:
    utc = (date or datetime.now(UTC)).astimezone(UTC)
    name = RUN_NAME.format(date=utc, flow_run_name=flow_run_name)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:100]


@cache
def _claim(name: str, flow_run_id: str, flow_name: str) -> str:
    """Return the flow run's folder, and make it where there is none yet."""
    hold(flow_run_id)
    while True:
        run, found = _find(name, flow_run_id)
        if found:
            update_run(run, state="Running")
        if found or _create(run, flow_run_id, flow_name):
            return run


def _find(name: str, flow_run_id: str) -> tuple[str, bool]:
    """Return the flow run's folder and True, or the first free name of its kind and False."""
    for number in count(1):
        run = name if number == 1 else f"{name}-{number}"
        owner = facts_of(run).get("flow_run_id")
        if owner in (flow_run_id, None):
            return run, owner is not None
    raise AssertionError("count() does not end")


def _create(run: str, flow_run_id: str, flow_name: str) -> bool:
    """Create the folder together with its run.json; return False where somebody was faster."""
    versions = {package: metadata.version(package) for package in PACKAGES}
    facts = {
        "run": run,
        "number": next_number(),
        "flow": flow_name,
        "flow_run_id": flow_run_id,
        "state": "Running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version(), **versions},
    }
    return place(PROCESSED).create(f"{run}/run.json", _sealed(facts), flow_run_id)


def _join(run: str) -> str:
    if not (facts := facts_of(run)):
        raise UserError(f"There is no run {run!r}: leave `run` empty for a new one.")
    if (state := facts.get("state", "Running")) != "Running":
        raise UserError(f"The run {run!r} is over ({state}): leave `run` empty for a new one.")
    return run


def _forget_if_empty(run: str) -> None:
    """Remove the folder of a failed run that left nothing but its run.json."""
    processed = place(PROCESSED)
    if list(processed.files(run)) == [f"{run}/run.json"]:
        processed.remove_run(run)


def _sealed(facts: dict[str, Any]) -> bytes:
    sealed = {**facts, "sha256": checksum(facts)}
    return (json.dumps(sealed, ensure_ascii=False, indent=2) + "\n").encode()
