"""The ten names that the flows use, each documented where it is defined.

The other modules carry out a run and can be left alone; README.md is their map.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from runtime.settings import ROOT

if TYPE_CHECKING:
    from runtime.engines import task_runner as task_runner
    from runtime.errors import UserError as UserError
    from runtime.publishing import publish_report as publish_report
    from runtime.results import GCSResult as GCSResult
    from runtime.results import LocalResult as LocalResult
    from runtime.results import S3Result as S3Result
    from runtime.runs import current_run as current_run
    from runtime.runs import in_run_folder as in_run_folder
    from runtime.runs import raw_file as raw_file
    from runtime.runs import update_run as update_run

# Prefect reads these when it is imported, in a notebook as in main.py.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_HOME", str(ROOT / ".prefect"))

# Imported when a flow asks for them, not before: `python main.py --help` needs no Prefect.
_MODULES = {
    "in_run_folder": "runs",  # decorator of a flow: its runs get a folder and a run.json
    "current_run": "runs",  # the name of that folder
    "update_run": "runs",  # adds facts to its run.json
    "raw_file": "runs",  # the path of a file of raw data, noted in run.json
    "LocalResult": "results",  # keeps results of tasks in a folder of the project
    "S3Result": "results",  # the same in a bucket of Amazon S3
    "GCSResult": "results",  # the same in a bucket of Google Cloud Storage
    "publish_report": "publishing",  # writes a report to reports/<run>/ and to the dashboard
    "task_runner": "engines",  # where the tasks that a flow submits run: ENGINE
    "UserError": "errors",  # an error whose text is all that the user needs
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'runtime' has no attribute {name!r}")
    import_module("runtime.direct")  # so that a flow or task can be called without main.py
    return getattr(import_module(f"runtime.{_MODULES[name]}"), name)
