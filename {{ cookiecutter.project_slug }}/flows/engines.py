"""Where tasks run: here in threads or processes, or on a cluster of Dask or Ray.

`ENGINE` decides it. A flow hands the tasks that compute to `on_engine`; those that only read or
write down what belongs to the run are called, and stay with the flow.
"""

import logging
import os
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import urlsplit

from flows import ROOT, Unavailable, UserError, engine, outputs

if TYPE_CHECKING:
    from prefect import Task
    from prefect.task_runners import TaskRunner

P = ParamSpec("P")
R = TypeVar("R")

EXTRAS = {"dask": "dask", "tcp": "dask", "tls": "dask", "ray": "ray"}  # by ENGINE or its scheme
CONNECT_TIMEOUT_SECONDS = 10


def check_engine() -> None:
    """Raise `UserError` for an engine that cannot be used, before anything runs.

    That is one that does not exist, whose extra is not installed, or (`Unavailable`) a cluster that
    does not answer.
    """
    name, _ = _engine_and_extra()
    if "://" in name:
        place = urlsplit(name)
        try:
            address = (str(place.hostname), place.port)
            socket.create_connection(address, CONNECT_TIMEOUT_SECONDS).close()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Unavailable(
                f"ENGINE={name}: no cluster answers there ({reason}). Is it started, and is that "
                "its address?"
            ) from None


def task_runner() -> "TaskRunner[Any]":
    """Return Prefect's task runner for the engine; raise `UserError` where its extra is missing."""
    from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

    name, extra = _engine_and_extra()
    if name == "threads":
        return ThreadPoolTaskRunner(max_workers=os.cpu_count())
    if name == "processes":
        return ProcessPoolTaskRunner()
    address = name if "://" in name else None
    if extra == "dask":
        from prefect_dask import DaskTaskRunner

        # A cluster of its own: a process for each processor, and no page that others could open.
        own = {"threads_per_worker": 1, "dashboard_address": None}
        logging.getLogger("distributed").setLevel(logging.WARNING)
        return DaskTaskRunner(address=address, cluster_kwargs=None if address else own)
    from prefect_ray import RayTaskRunner

    # Ray's workers start in a folder of their own: this is where they find the flows' code. Their
    # log goes to Prefect's server, as that of all workers does.
    code = {"env_vars": {"PYTHONPATH": str(ROOT)}}
    options: dict[str, Any] = {"runtime_env": code, "log_to_driver": False}
    if address is None:
        options["include_dashboard"] = False
    return RayTaskRunner(address=address, init_kwargs=options)


def on_engine(task: "Task[P, R]", *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a task on the engine and return its result, as `task.submit(...).result()` does.

    With threads it is called: a task that is waited for gains nothing from a thread. So it is
    while the graph of a flow is drawn, for which Prefect knows no `submit`. Raises `Unavailable`
    where a worker wrote the result to a disk of its own.
    """
    from prefect.context import FlowRunContext

    if FlowRunContext.get() is None or engine() == "threads":
        return task(*args, **kwargs)
    future = task.submit(*args, **kwargs)
    result = future.result()
    key = getattr(getattr(future.state.data, "metadata", future.state.data), "storage_key", None)
    storage: Any = task.result_storage
    if storage is not None and key:
        try:
            storage.read_path(key)
        except FileNotFoundError:
            shared = "have the same OUTPUTS" if outputs() else "share this project's folder"
            raise Unavailable(
                f"{storage.where(key.partition('#')[0])} was not written: do all workers of the "
                f"cluster {shared}?"
            ) from None
    return result


def _engine_and_extra() -> tuple[str, str | None]:
    name = engine()
    extra = EXTRAS.get(name.partition("://")[0])
    if extra and not find_spec(f"prefect_{extra}"):
        raise UserError(
            f'ENGINE={name} needs the extra {extra}: run `pip install ".[{extra}]"` in the project.'
        )
    return name, extra
