"""NOTIFY: messages about runs that nobody watches, by Apprise, which Prefect installs.

One is sent when a run of a deployment fails or is killed, and one when the next run of its flow
succeeds. A receiver that does not answer costs a run five seconds, and nothing else.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.sorting import FlowRunSort
from prefect.logging import get_logger
from prefect.utilities.urls import url_for

from runtime import settings
from runtime.errors import printable

SECONDS = 5  # that a run waits for all receivers together
PREFIX = "Flow run encountered an exception: "  # of Prefect's message, before that of the error
OUTCOMES = {"FAILED": "failed", "CRASHED": "was killed", "COMPLETED": "succeeded again"}

_notified: set[UUID] = set()  # flow runs, by this process


def notify_at_end(flow: Any, flow_run_id: str) -> None:
    """Have Prefect send the message at the end of this process's run."""
    if not settings.notify():
        return
    flow.on_failure(notify)
    flow.on_crashed(notify)
    others = {"id": {"not_any_": [flow_run_id]}, "state": {"type": {"any_": list(OUTCOMES)}}}
    runs = _deployed_runs(flow.name, **others)
    if runs and not runs[0].state.is_completed():
        flow.on_completion(notify)


def notify_of_failed_starts(since: datetime) -> None:
    """Send the message about each run that crashed before it began, such as by a bad file."""
    if settings.notify():
        crashed = {"type": {"any_": ["CRASHED"]}}
        for run in _deployed_runs(state=crashed, end_time={"after_": since}):
            if run.run_count == 0:
                with get_client(sync_client=True) as client:
                    notify(client.read_flow(run.flow_id), run, run.state)


def notify(flow: Any, flow_run: Any, state: Any) -> None:
    """Send the message about the end of a run, once: a hook of Prefect's, for any final state."""
    addresses = settings.notify()
    if not addresses or flow_run.id in _notified:
        return
    _notified.add(flow_run.id)
    outcome = OUTCOMES[state.type.value]
    reason = " ".join(str(state.message or "").removeprefix(PREFIX).split()).rstrip(".")
    text = f"The run {flow_run.name} of {flow.name} {outcome}"
    text += "" if state.is_completed() else f": {printable(reason, 400)}"
    kind = "success" if state.is_completed() else "failure"
    title = f"{settings.ROOT.name}: {flow.name} {outcome}"
    _send(addresses, title, f"{text}; see {url_for(flow_run)}", kind)


def _send(addresses: list[str], title: str, body: str, kind: Any) -> None:
    """Send a message to all receivers at once; those that did not take it are named in the log."""
    from apprise import Apprise  # takes a second, which a run without NOTIFY need not wait for

    answers: Any = Apprise([*addresses]).notify(body, title, kind, timeout=SECONDS)
    for address, has_taken in zip(addresses, answers, strict=True):
        if not has_taken:
            scheme = settings.scheme(address)
            get_logger("notify").warning(f"NOTIFY: {scheme} did not take the message '{title}'.")


def _deployed_runs(flow: str | None = None, **only: Any) -> list[Any]:
    """Return the top-level runs of deployments by Prefect's filters; the last to end first."""
    only |= {"deployment_id": {"is_null_": False}, "parent_task_run_id": {"is_null_": True}}
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_filter=FlowFilter.model_validate({"name": {"any_": [flow]}}) if flow else None,
            flow_run_filter=FlowRunFilter.model_validate(only),
            sort=FlowRunSort.END_TIME_DESC,
        )
