"""Runs a student's file as `python exercise.py` does, up to the point where it waits for runs.

It all happens in the judge's own process: in another one, the imports of Prefect, pandas and
scikit-learn take five seconds. So `Runner.start`, which every way to serve calls last, is replaced
meanwhile, and a run is executed as Prefect does it in the process of a run (`prefect.engine`).
"""

import asyncio
import contextlib
import inspect
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.flow_engine import run_flow
from prefect.flows import load_flow_from_entrypoint
from prefect.runner import Runner
from prefect.states import Crashed, Pending

from lessons.workshop.records import Run, read_run


class IsServing(BaseException):
    """The file has made its deployments and waits for runs; no `except Exception` catches it."""


class Serving:
    """The deployments that a file serves."""

    def __init__(self, deployments: list[DeploymentResponse]) -> None:
        """Take what the server knows of them: `name`, `parameters`, `schedules`, `tags`, ..."""
        self.deployments = deployments

    def run(self, deployment: DeploymentResponse, **parameters: Any) -> Run:
        """Start a run as the dashboard does, wait until it has ended, and return its record."""
        assert deployment.entrypoint is not None
        with get_client(sync_client=True) as client:
            run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
            client.set_flow_run_state(run.id, Pending())
            run = client.read_flow_run(run.id)
            try:
                flow: Any = load_flow_from_entrypoint(
                    deployment.entrypoint, use_placeholder_flow=False
                )
                finished(run_flow(flow, flow_run=run, return_type="state"))
            except Exception as error:  # the process of a run would end with it
                client.set_flow_run_state(run.id, Crashed(message=str(error)), force=True)
        return read_run(run.id)


@contextlib.contextmanager
def serving(file: Path) -> Iterator[Serving | None]:
    """Run a file until it serves, and yield its deployments; None if it ends and serves nothing.

    Raises any error of the file. Call it within `without_waiting`.
    """
    _delete_deployments()  # those of a check that was interrupted
    is_serving = False
    try:
        runpy.run_path(str(file), run_name="__main__")
    except IsServing:
        is_serving = True
    with get_client(sync_client=True) as client:
        found = client.read_deployments()
    try:
        yield Serving(found) if is_serving and found else None
    finally:
        _delete_deployments()


def without_waiting() -> contextlib.AbstractContextManager[Any]:
    """Return a context in which a file that would wait for runs raises `IsServing`."""

    async def start(runner: Runner, *args: Any, **kwargs: Any) -> None:
        raise IsServing

    return mock.patch.object(Runner, "start", start)


def finished(value: Any) -> Any:
    """Return a value; await it first if a student wrote `async def`."""

    async def wait() -> Any:
        return await value

    return asyncio.run(wait()) if inspect.isawaitable(value) else value


def _delete_deployments() -> None:
    """Delete all deployments: the server is this session's own."""
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments():
            client.delete_deployment(deployment.id)
