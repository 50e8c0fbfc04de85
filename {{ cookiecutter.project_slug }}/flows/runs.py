"""A run's name, the same under data/processed, models and reports, its run.json and summary."""

import json
import platform
import re
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from inspect import signature
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import prefect.runtime
from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State

from flows import ROOT, UserError
from flows.records import RECORDS_DIR, write_whole

# How a run's folder and the checkpoints in it are called: change them here.
RUN_NAME = "{date:%Y-%m-%d_%H-%M-%S}_{flow_run_name}"
CHECKPOINT_NAME = "{run}/{task_name}"

PROCESSED_DIR = ROOT / "data" / "processed"
MODELS_DIR = ROOT / "models"
REPORTS_DIR = ROOT / "reports"
PACKAGES = ("prefect", "pandas", "pyarrow", "scikit-learn", "skops")


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
    return _claim(_name(this.scheduled_start_time, this.name), this.id, this.flow_name)


def update_run(run: str, **facts: Any) -> None:
    """Add facts to the run's `run.json`, if it has one; a fact that is a dict is merged."""
    path = _path(run)
    known = _read(path)
    if not known:
        return
    for name, value in facts.items():
        known[name] = {**known.get(name, {}), **value} if isinstance(value, dict) else value
    _write(path, known)


def finish_run(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Write into `run.json` how a flow ended; a hook for each way to end."""
    given = flow_run.parameters.get("run")
    name = _name(flow_run.expected_start_time, flow_run.name)
    run, found = (given, True) if given else _find(name, str(flow_run.id))
    if not found or not _path(run).exists():
        return  # it failed before there was anything to keep, or results are not persisted
    # A deployment's flow run knows only the parameters that were given to it.
    defaults = {name: one.default for name, one in signature(flow.fn).parameters.items()}
    parameters = {**defaults, **flow_run.parameters}
    ended = {"id": str(flow_run.id), "state": state.name, "parameters": parameters}
    whole_run = {} if given else {"state": state.name}
    update_run(run, flows={flow.name: ended}, results=_results(run), **whole_run)
    if whole_run and not state.is_completed():
        _forget_if_empty(run)


def summary(run: str, dashboard: str) -> str:
    """Return a few lines for people: accuracy, where the outputs of a run lie, how to see more."""
    facts = _read(_path(run))
    rows = []
    if "accuracy" in facts:
        rows.append(("Accuracy", f"{facts['accuracy']:.2%} of the test set"))
    if facts.get("results"):
        rows.append(("Checkpoints", f"data/processed/{run}"))
    for name, pattern in (
        ("Model", f"models/{run}/**/*.skops"),
        ("Report", f"reports/{run}/*.html"),
    ):
        rows += [(name, path.relative_to(ROOT).as_posix()) for path in ROOT.glob(pattern)]
    rows.append(("Dashboard", dashboard))
    return "\n".join(f"{name:<12} {value}" for name, value in rows)


def _results(run: str) -> dict[str, dict[str, str]]:
    """Return file and checksum of each result of a run, by the name of its task."""
    results = {}
    for folder in (PROCESSED_DIR, MODELS_DIR):
        for path in sorted((folder / run).rglob(f"{RECORDS_DIR}/*.json")):
            record = _read(path)
            file = (folder / record["file"]).relative_to(ROOT).as_posix()
            results[path.stem] = {"file": file, "sha256": record["sha256"]}
    return results


def _name(date: datetime | None, flow_run_name: str | None) -> str:
    utc = (date or datetime.now(UTC)).astimezone(UTC)
    name = RUN_NAME.format(date=utc, flow_run_name=flow_run_name)
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:100]


@cache
def _claim(name: str, flow_run_id: str, flow_name: str) -> str:
    """Return the flow run's folder, and make it where there is none yet."""
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
        owner = _read(_path(run)).get("flow_run_id")
        if owner in (flow_run_id, None):
            return run, owner is not None
    raise AssertionError("count() does not end")


def _create(run: str, flow_run_id: str, flow_name: str) -> bool:
    """Create the folder together with its run.json; return False where somebody was faster."""
    aside = PROCESSED_DIR / f".{run}.{uuid4().hex}"
    versions = {package: metadata.version(package) for package in PACKAGES}
    _write(
        aside / "run.json",
        {
            "run": run,
            "flow": flow_name,
            "flow_run_id": flow_run_id,
            "state": "Running",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {"python": platform.python_version(), **versions},
        },
    )
    try:
        aside.rename(PROCESSED_DIR / run)
    except OSError:
        (aside / "run.json").unlink()
        aside.rmdir()
        if not _path(run).exists():
            raise
        return False
    return True


def _join(run: str) -> str:
    state = _read(_path(run)).get("state", "Running")
    if state != "Running":
        raise UserError(f"The run {run!r} is over ({state}): leave `run` empty for a new one.")
    return run


def _forget_if_empty(run: str) -> None:
    """Remove the folder of a failed run that left nothing but its run.json."""
    folder = PROCESSED_DIR / run
    if [path.name for path in folder.iterdir()] == ["run.json"]:
        (folder / "run.json").unlink()
        folder.rmdir()


def _path(run: str) -> Path:
    return PROCESSED_DIR / run / "run.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def _write(path: Path, facts: dict[str, Any]) -> None:
    write_whole(path, (json.dumps(facts, ensure_ascii=False, indent=2) + "\n").encode())
