"""What Prefect has recorded of a flow run: its state, parameters, tasks, logs and subflows."""

import logging
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, LogFilter
from prefect.client.schemas.objects import FlowRun, Log, TaskRun, TaskRunResult
from prefect.client.schemas.sorting import FlowRunSort, LogSort
from prefect.logging.handlers import APILogHandler


@dataclass(frozen=True)
class TaskRecord:
    """A task run."""

    name: str  # of the task's function
    state: str  # such as "Completed", "Cached", "Failed"
    tries: int
    inputs: frozenset[str]  # names of the tasks whose results it was given or has waited for
    record: TaskRun  # all that Prefect knows of it


class Run:
    """A flow run, as Prefect has recorded it."""

    def __init__(self, record: FlowRun, result: Any = None) -> None:
        """Take the record of a flow run that has ended, and what it returned or raised."""
        self.record = record
        self.result = result
        self.id: UUID = record.id
        self.state = _state(record)
        self.parameters: dict[str, Any] = record.parameters

    @property
    def error(self) -> BaseException | None:
        """What it raised, or None."""
        return self.result if isinstance(self.result, BaseException) else None

    @cached_property
    def flow_name(self) -> str:
        """The name of its flow."""
        with get_client(sync_client=True) as client:
            return client.read_flow(self.record.flow_id).name

    @cached_property
    def tasks(self) -> list[TaskRecord]:
        """Its task runs, in the order in which they started."""
        found = _task_runs(self.id)
        names = {task.id: task.task_key.rpartition("-")[0] for task in found}
        started = sorted(found, key=lambda task: (task.start_time is None, task.start_time))
        return [
            TaskRecord(
                name=names[task.id],
                state="Completed" if _state(task) == ROLLED_BACK else _state(task),
                tries=task.run_count,
                inputs=frozenset(
                    names[one.id]
                    for given in task.task_inputs.values()
                    for one in given
                    if isinstance(one, TaskRunResult) and one.id in names
                ),
                record=task,
            )
            for task in started
        ]

    def states(self, name: str) -> list[str]:
        """Return the states in which the runs of a task ended; [] if it never ran."""
        return [task.state for task in self.tasks if task.name == name]

    @cached_property
    def not_kept(self) -> list[str]:
        """Names of the tasks whose results were to be kept and could not be written.

        Prefect only logs that: such a task is completed.
        """
        names = {task.record.id: task.name for task in self.tasks}
        return [
            names[log.task_run_id]
            for log in self.log_records
            if log.task_run_id in names and log.message.startswith(NOT_KEPT)
        ]

    @cached_property
    def logs(self) -> list[str]:
        """The messages in its log and in those of its tasks, in their order."""
        return [log.message for log in self.log_records]

    @cached_property
    def log_records(self) -> list[Log]:
        """The same with their `level` (as in `logging`), `task_run_id` and `timestamp`."""
        APILogHandler().flush()
        wanted = LogFilter.model_validate({"flow_run_id": {"any_": [self.id]}})
        with get_client(sync_client=True) as client:
            return client.read_logs(wanted, sort=LogSort.TIMESTAMP_ASC)

    @cached_property
    def subflows(self) -> "list[Run]":
        """The flow runs that it has started, in the order in which they started."""
        _task_runs(self.id)  # a flow that a task has called is found through the task's record
        return find_runs(parent_flow_run_id={"any_": [self.id]})


def read_run(run_id: UUID, result: Any = None) -> Run:
    """Return a flow run by its id."""
    with get_client(sync_client=True) as client:
        return Run(client.read_flow_run(run_id), result)


def find_runs(**wanted: Any) -> list[Run]:
    """Return the flow runs that fit a `FlowRunFilter`, in the order in which they started."""
    fitting = FlowRunFilter.model_validate(wanted)
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=fitting, sort=FlowRunSort.START_TIME_ASC)
    return [Run(record) for record in found]


def _state(record: FlowRun | TaskRun) -> str:
    return (record.state.name if record.state else None) or ""


def _task_runs(flow_run: UUID) -> list[TaskRun]:
    """Return the task runs of a flow run, once all that ended here are recorded as ended.

    Prefect sends that in the background. Half of a record would blame the student: so this waits
    however long it takes, and only the check has a time limit.
    """
    messages = ENDED.messages.get(str(flow_run), {})
    wanted = FlowRunFilter.model_validate({"id": {"any_": [flow_run]}})
    with get_client(sync_client=True) as client:
        while True:
            found = client.read_task_runs(flow_run_filter=wanted, limit=200)
            ended = {str(task.id) for task in found if _has_ended(task, messages)}
            if ended >= messages.keys():
                return found
            time.sleep(0.02)


def _has_ended(task_run: TaskRun, messages: dict[str, str]) -> bool:
    """Return whether a task run is recorded as ended.

    The name of a final state may differ from the log's: a result that cannot be written turns
    `Completed` into `RolledBack`.
    """
    message = messages.get(str(task_run.id), "")
    is_final = task_run.state is not None and task_run.state.is_final()
    return is_final or message.startswith(f"{ENDED_IN}{_state(task_run)}(")


ENDED_IN = "Finished in state "
ROLLED_BACK = "RolledBack"
# The beginnings of Prefect's messages that a result is not kept.
NOT_KEPT = (
    "Encountered an error while serializing result",
    "An error was encountered while committing transaction",
    "Error encountered when computing cache key",
)


class _Ended(logging.Handler):
    """Notes the last message of each task run that has ended in this process: it names the state.

    That may be `NotReady`, which is no final state: such a task never began.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.messages: dict[str, dict[str, str]] = {}  # of each flow run, by task run

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(ENDED_IN):
            ids = vars(record)  # a task that is called outside a flow has no flow run
            ended = self.messages.setdefault(str(ids.get("flow_run_id")), {})
            ended[str(ids.get("task_run_id"))] = record.getMessage()


ENDED = _Ended()
logging.getLogger("prefect.task_runs").addHandler(ENDED)
