"""Flows and tasks that are called without main.py: in a notebook, a shell or a script.

They behave the same in every folder: Prefect's settings are those of prefect.toml, and if no server
is set, the project's own quick one starts with the first call and stops with the process.

`refresh_global_settings_context` and the replaceable `__call__` are in none of Prefect's guides: a
test of the template fails when one is gone.
"""

import os
from collections.abc import Callable
from contextlib import chdir
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any

import prefect.context
from prefect.settings import PREFECT_API_URL

from runtime import server, settings
from runtime.console import main_py_runs_here, show_short_log
from runtime.errors import is_for_user
from runtime.runs import name_killed_runs

PREFECT = str(Path(prefect.__file__).parent)

_own: server.Server | None = None  # the project's, started or found by this process


def read_settings() -> None:
    """Make Prefect read its settings from the project's folder."""
    server.use_profiles()
    with chdir(settings.ROOT):
        prefect.context.refresh_global_settings_context()


def prepared(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return Prefect's `__call__` with settings and server prepared and errors explained.

    Within a flow run, and in main.py, which does the same itself, it is called as it is.
    """

    @wraps(call)
    def prepared_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if prefect.runtime.flow_run.id is not None or main_py_runs_here():
            return call(self, *args, **kwargs)
        show_short_log()
        try:
            with server.settings_for(_server()):
                return call(self, *args, **kwargs)
        except Exception as error:
            from runtime.server.errors import explain

            explained: Exception = error if is_for_user(error) else explain(error) or error
            if is_for_user(explained):
                raise explained.with_traceback(None) from None
            raise error.with_traceback(_after_prefect(error.__traceback__)) from error.__cause__

    return prepared_call


def _server() -> server.Server:
    """Return the server for a call; where none is set, or ours has ended, start one."""
    global _own
    if _own and (_own.process.poll() is None if _own.process else server.find() == _own):
        return _own
    if _own:  # has ended
        del os.environ["PREFECT_API_URL"]
    elif api_url := PREFECT_API_URL.value():
        server.wait_until_ready(chosen := server.Server(api_url))
        return chosen
    chosen = server.use_server()
    read_settings()
    server.wait_until_ready(chosen)
    name_killed_runs()
    _own = chosen if chosen.is_own else None
    return chosen


def _after_prefect(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback after Prefect's own calls, of which there are dozens."""
    rest = traceback
    while traceback:
        if traceback.tb_frame.f_code.co_filename.startswith(PREFECT):
            rest = traceback.tb_next
        traceback = traceback.tb_next
    return rest


if Path.cwd() != settings.ROOT and "PREFECT__FLOW_RUN_ID" not in os.environ:  # no worker
    read_settings()
for kind in (prefect.Flow, prefect.Task):
    kind.__call__ = prepared(kind.__call__)  # type: ignore[method-assign]
