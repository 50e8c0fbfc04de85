"""Where submitted tasks run: in threads or processes here, or on a cluster of Dask or Ray.

The setting ENGINE decides. Tasks that are called run in the process of their flow.
"""

import logging
import os
import socket
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from runtime import settings
from runtime.errors import Unavailable, UserError

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

EXTRAS = {"dask": "dask", "tcp": "dask", "tls": "dask", "ray": "ray"}  # by ENGINE or its scheme
CONNECT_TIMEOUT_SECONDS = 10


def check_engine() -> None:
    """Raise `UserError` for an engine that cannot be used, before anything runs.

    It is unknown, its extra is not installed, or (`Unavailable`) its cluster does not answer.
    """
    name, _ = _engine_and_extra()
    if "://" in name:
        address = urlsplit(name)
        try:
            host_and_port = (str(address.hostname), address.port)
            socket.create_connection(host_and_port, CONNECT_TIMEOUT_SECONDS).close()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise Unavailable(
                f"ENGINE={name}: no cluster answers there ({reason}). Is it started, and is that "
                "its address?"
            ) from None


def task_runner() -> "TaskRunner[Any]":
    """Return Prefect's task runner for ENGINE; raise `UserError` where its extra is missing."""
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

    # Ray's workers start in a folder of their own: PYTHONPATH names that of the flows' code. Their
    # log goes to Prefect's server, as that of all workers does.
    code = {"env_vars": {"PYTHONPATH": str(settings.ROOT)}}
    options: dict[str, Any] = {"runtime_env": code, "log_to_driver": False}
    if address is None:
        options["include_dashboard"] = False
    return RayTaskRunner(address=address, init_kwargs=options)


def _engine_and_extra() -> tuple[str, str | None]:
    name = settings.engine()
    extra = EXTRAS.get(name.partition("://")[0])
    if extra and not find_spec(f"prefect_{extra}"):
        raise UserError(
            f"ENGINE={name} needs the extra {extra}: run `uv sync --extra {extra}` in the project, "
            f'or `pip install ".[{extra}]"` without uv.'
        )
    return name, extra
