"""A run: its name, the same under data/processed, models and reports; its run.json; its end.

The identity of a run is the id of its outermost flow run: a retried or resumed run finds its own
folder again, and the flows that `main-flow` starts use the folder of `main-flow`.
"""

import asyncio
import hashlib
import inspect
import json
import platform
import re
import signal
import sys
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from functools import cache, wraps
from importlib import metadata
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import prefect.runtime
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.context import get_run_context
from prefect.events import emit_event
from prefect.exceptions import CancelledRun, ObjectNotFound, TerminationSignal
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Crashed

from runtime import locks, records, settings
from runtime.console import main_py_runs_here
from runtime.errors import CannotWrite, is_for_user
from runtime.history import PROCESSED, READERS, read_run, read_runs
from runtime.notifications import notify, notify_at_end
from runtime.retention import remove_old_runs
from runtime.revision import read_revision
from runtime.storage import storage

P = ParamSpec("P")
R = TypeVar("R")

PACKAGES = ("prefect", "pandas", "pyarrow", "scikit-learn", "skops")

LOOK_EVERY_SECONDS = 5  # for a cancellation

cancelled_runs: set[str] = set()  # runs of this process that were cancelled in the dashboard
failed_writes: dict[str, Exception] = {}  # by run, why one of its files could not be written
last_run: str | None = None  # of this process
_updating = threading.Lock()  # tasks in threads may add facts at the same time
# The run of this process. In another process, such as a worker's, Prefect is asked.
_current: ContextVar[str | None] = ContextVar("run", default=None)


def in_run_folder(function: Callable[P, R]) -> Callable[P, R]:
    """Give each run of a flow a folder, and note in its run.json how it began and ended.

    The decorator goes below `@flow`. The flow fails if one of its results could not be written. At
    its end, runs that are no longer kept (KEEP_RUNS) are removed.
    """

    @wraps(function)
    def flow_function(*args: P.args, **kwargs: P.kwargs) -> R:
        if prefect.runtime.flow_run.id is None:  # called as a plain function, or drawn as a graph
            return function(*args, **kwargs)
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        try:
            with _recorded(bound.arguments):
                return run_to_end(function(*args, **kwargs))
        except (TerminationSignal, CancelledRun):
            if not cancelled_runs:
                raise
            state: Any = Cancelled()  # with which Prefect ends the flow run
            return state

    return flow_function


def run_to_end(result: R) -> R:
    """Return the result of a flow; if that is an `async def`, run it first."""
    return asyncio.run(result) if inspect.iscoroutine(result) else result


@contextmanager
def _recorded(parameters: dict[str, Any]) -> Iterator[None]:
    """Keep run.json up to date while a flow runs."""
    global last_run
    flow_run, outer_run = prefect.runtime.flow_run, _current.get()
    is_whole_run = outer_run is None and flow_run.root_flow_run_id == flow_run.id
    run = _begin() if is_whole_run else current_run()
    token = _current.set(run)
    # Prefect's client keeps the context of its first event. If that were a task with all rows, they
    # would stay in memory to the end: 0.7 of 4 GB with 15,000,000 rows of raw data.
    emit_event("run.began", resource={"prefect.resource.id": f"run.{run}"})
    if is_whole_run:
        revision = ThreadPoolExecutor(1).submit(read_revision)  # during the run
        if prefect.runtime.deployment.id:  # nobody watches
            context: Any = get_run_context()
            try:
                mark_killed_runs()
                notify_at_end(context.flow, flow_run.id)
            except Exception as error:  # the run itself can continue
                get_run_logger().warning(f"Nobody will be told how this run ends: {error}")
    if is_whole_run and main_py_runs_here():
        here = copy_context()  # with the settings of Prefect's client
        threading.Thread(target=here.run, args=(_watch, flow_run.id), daemon=True).start()
    state = None
    try:
        yield
        if run in failed_writes:
            raise failed_writes.pop(run)
        state = "Completed"
    except Exception as error:
        state = "Cancelled" if isinstance(error, CancelledRun) else "Failed"
        raise
    finally:
        _current.reset(token)  # first: what follows may fail
        state = state or _interrupted(flow_run.root_flow_run_id)
        own = {"id": flow_run.id, "state": state, "parameters": parameters}
        facts: dict[str, Any] = {"flows": {flow_run.flow_name: own}}
        if state == "Completed":
            facts["results"] = _results(run)
        if is_whole_run:
            facts |= {"state": state, "ended": _now(), **revision.result()}
            last_run = run
        _update(run, facts)
        if is_whole_run:
            if state == "Failed":
                _forget_if_empty(run)
            locks.unlock(flow_run.id)
            try:
                remove_old_runs(flow_run.id)
            except Exception as error:  # the run itself is done
                get_run_logger().warning(f"Old runs are not removed: {error}")


def current_run() -> str:
    """Return the name of the folder of the current run.

    Outside of a flow run, as in a test of a task, it is `run`.
    """
    if run := _current.get():
        return run
    flow_run_id = prefect.runtime.flow_run.id
    return "run" if flow_run_id is None else _run_of(flow_run_id)


def update_run(**facts: Any) -> None:
    """Add facts to the run.json of the current run; a fact that is a dict is merged."""
    _update(current_run(), facts)


def _update(run: str, facts: dict[str, Any]) -> None:
    with _updating:
        written = read_run(run)
        if not written:
            return
        for name, value in facts.items():
            written[name] = {**written.get(name, {}), **value} if isinstance(value, dict) else value
        storage(PROCESSED).put(f"{run}/run.json", _as_json(written))


def raw_file(path: str) -> Path:
    """Return the path of a file of raw data, given relative to the project.

    Its path and SHA-256 go into run.json.
    """
    file = settings.ROOT / path
    if file.is_file():
        with file.open("rb") as content:
            checksum = hashlib.file_digest(content, "sha256").hexdigest()
        update_run(raw_file={"path": path, "sha256": checksum})
    return file


def note_read(run: str, facts: dict[str, Any]) -> None:
    """Note in both runs that this run reads another one, which is then kept meanwhile.

    `facts` are those of the other run: this one, too, says from now on which raw data is behind it.
    """
    if prefect.runtime.flow_run.id is None or run == (own := current_run()):
        return
    if read_run(own).get("reads") != run:
        if facts:
            storage(PROCESSED).put(f"{run}/{READERS}/{own}", b"")
        raw = {name: facts[name] for name in ("raw_file", "data") if name in facts}
        update_run(reads=run, **raw)


@contextmanager
def must_be_written(what: str) -> Iterator[None]:
    """Let the run fail if a result is not written: Prefect only logs that, and continues."""
    try:
        yield
    except Exception as error:
        text = str(error) if is_for_user(error) else f"{what}: {error}."
        failed_writes.setdefault(current_run(), CannotWrite(text))
        raise


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in PACKAGES},
    }


def mark_killed_runs() -> list[str]:
    """Mark each killed run as Crashed, in its run.json and in Prefect; return their names.

    A killed process cannot do so itself: the next one does.
    """
    marked = []
    for flow_run_id in locks.lock_killed():
        run, facts = _run_with(flow_run_id)
        if facts.get("state", "Running") == "Running":  # else it has just ended
            state = _interrupted(flow_run_id)  # it may have been cancelled before
            if facts:
                _update(run, {"state": state})
                marked += [run] if state == "Crashed" else []
            _mark_in_prefect(flow_run_id)
        locks.unlock(flow_run_id)
    return marked


def name_killed_runs() -> None:
    """Mark the killed runs, now that a server answers, and print their names."""
    for run in mark_killed_runs():
        print(f"The run {run} was killed: it is marked as Crashed.", file=sys.stderr)


def _run_with(flow_run_id: str) -> tuple[str, dict[str, Any]]:
    """Return the run of an outermost flow run, and its run.json; "" and {} where there is none."""
    for run, facts in read_runs().items():
        if facts.get("flow_run_id") == flow_run_id:
            return run, facts
    return "", {}


def summary(run: str | None, dashboard: str) -> str:
    """Return the summary of a run as a few lines: accuracy, paths of its outputs, dashboard."""
    facts = read_run(run) if run else {}
    rows = []
    metrics = facts.get("metrics", {})
    if "accuracy" in metrics:
        text = f"{metrics['accuracy']:.2%} of the test set"
        if "largest_class" in metrics:
            text += f" ({metrics['largest_class']:.2%} by guessing)"
        rows.append(("Accuracy", text))
    others = {name: metrics[name] for name in metrics if name not in ("accuracy", "largest_class")}
    if others:
        texts = [f"{value:.4f}" if isinstance(value, float) else value for value in others.values()]
        pairs = zip(others, texts, strict=True)
        rows.append(("Metrics", ", ".join(f"{name} {text}" for name, text in pairs)))
    if run and facts.get("results"):
        rows.append(("Checkpoints", storage(PROCESSED).location(run)))
    for folder, names in (
        ("models", {".skops": "Model"}),
        ("reports", {".html": "Report", "search.png": "Search"}),
    ):
        files = storage(folder)
        keys = files.files(run) if run else []
        for ending, name in names.items():
            rows += [(name, files.location(key)) for key in keys if key.endswith(ending)]
    rows.append(("Dashboard", dashboard))
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


@cache
def _run_of(flow_run_id: str) -> str:
    """Return the run that a flow run is part of; Prefect's server knows the outermost flow run."""
    outermost = prefect.runtime.flow_run.root_flow_run_id
    with get_client(sync_client=True) as client:
        flow_run = client.read_flow_run(UUID(outermost))
    names = _names(flow_run.expected_start_time, flow_run.name)
    return next(run for run in names if read_run(run).get("flow_run_id") in (outermost, None))


def _begin() -> str:
    """Lock this flow run, and return its folder, which has a run.json from now on."""
    flow_run = prefect.runtime.flow_run
    locks.lock(flow_run.id)
    facts = {
        "flow": flow_run.flow_name,
        "flow_run_id": flow_run.id,
        "state": "Running",
        "started": _now(),
        "versions": versions(),
    }
    names = _names(flow_run.scheduled_start_time, flow_run.name)
    run = next(names)
    while not storage(PROCESSED).create(f"{run}/run.json", _as_json({"run": run, **facts})):
        if read_run(run).get("flow_run_id") == flow_run.id:  # it is retried or resumed
            _update(run, {"state": "Running"})
            break
        run = next(names)
    return run


def _names(date: datetime | None, flow_run_name: str | None) -> Iterator[str]:
    """Yield the names that a run may have: another of the same second may have taken one."""
    name = _name(date, flow_run_name)
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def _name(date: datetime | None, flow_run_name: str | None) -> str:
    utc = (date or datetime.now(UTC)).astimezone(UTC)
    name = f"{utc:%Y-%m-%d_%H-%M-%S}_{flow_run_name}"
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:100]


def _results(run: str) -> dict[str, dict[str, str]]:
    """Return file and checksum of each result of a run, by the name of its task."""
    results = {}
    for folder in (PROCESSED, "models"):
        files = storage(folder)
        keys = [key for key in files.files(run) if PurePosixPath(key).parent.name == records.FOLDER]
        for key, content in files.get_many(sorted(keys)).items():
            with suppress(ValueError, LookupError, TypeError):  # damaged: left out
                record = json.loads(content)
                file = f"{folder}/{record['file']}"
                results[PurePosixPath(key).stem] = {"file": file, "sha256": record["sha256"]}
    return results


def _forget_if_empty(run: str) -> None:
    """Remove the folder of a failed run that left nothing but its run.json."""
    if list(storage(PROCESSED).files(run)) == [f"{run}/run.json"]:
        storage(PROCESSED).delete_folder(run, last="run.json")


def _mark_in_prefect(flow_run_id: str) -> None:
    """Mark a flow run and its subflows as Crashed unless they had ended; send the message."""
    within = filters.FlowRunFilterParentFlowRunId(any_=[UUID(flow_run_id)])
    with get_client(sync_client=True) as client, suppress(ObjectNotFound):
        flow_runs = client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(parent_flow_run_id=within)
        )
        whole = client.read_flow_run(UUID(flow_run_id))
        for flow_run in [*flow_runs, whole]:
            if flow_run.state and not flow_run.state.is_final():
                state: Any = Crashed(message="Its process was killed.")
                client.set_flow_run_state(flow_run.id, state, force=True)
                flow_run.state = state
        if whole.deployment_id and whole.state and whole.state.is_crashed():
            notify(client.read_flow(whole.flow_id), whole, whole.state)


def _interrupted(flow_run_id: str) -> str:
    """Return the state of an interrupted run: Prefect knows whether it was cancelled or paused."""
    with suppress(Exception), get_client(sync_client=True) as client:  # the server may be gone
        state = client.read_flow_run(UUID(flow_run_id)).state
        if state and (state.is_cancelling() or state.is_cancelled()):
            return "Cancelled"
        if state and state.is_paused():
            return "Paused"
    return "Crashed"


def _watch(flow_run_id: str) -> None:
    """Interrupt the main thread when its run is cancelled, as Prefect's runner does for its own."""
    state = ""
    while state != "Cancelled":
        time.sleep(LOOK_EVERY_SECONDS)
        state = _interrupted(flow_run_id)
    cancelled_runs.add(flow_run_id)
    if hasattr(signal, "pthread_kill"):  # this wakes a sleeping thread, too
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        interrupt_main(signal.SIGTERM)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _as_json(facts: dict[str, Any]) -> bytes:
    return (json.dumps(facts, ensure_ascii=False, indent=2, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    """Return a number of NumPy as a number of Python, and anything else as a text."""
    return value.item() if hasattr(value, "item") else str(value)
