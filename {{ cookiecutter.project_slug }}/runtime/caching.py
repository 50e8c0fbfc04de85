"""A Prefect cache policy: when a task's result is used again.

A result is used again while four things stay the same: the task's inputs, its own source code, the
files in `ml/`, and the versions of Python and the packages.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import joblib
from prefect.cache_policies import TASK_SOURCE, CachePolicy
from prefect.context import TaskRunContext
from prefect.settings import get_current_settings

from runtime import settings
from runtime.errors import UserError
from runtime.records import EXTENSIONS
from runtime.runs import current_run, must_be_written, versions


@dataclass
class Unchanged(CachePolicy):
    """Looks for a result in the file `target`, which is named without its extension.

    With `{run}` in it, a run that is retried or resumed finds the result; with `{fingerprint}`, any
    later run does.
    """

    target: str = ""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **_: Any,
    ) -> str | None:
        """Return the key, or None where Prefect's settings say that results are not persisted.

        The key holds the file and a fingerprint of all that its content depends on.
        """
        if not get_current_settings().results.persist_by_default:
            return None
        # As with @task(cache_result_in_memory=False): the result is in its file.
        task_ctx.result_store.cache_result_in_memory = False
        task, source = task_ctx.task, TASK_SOURCE.compute_key(task_ctx, inputs, flow_parameters)
        with must_be_written(f"The result of {task.name} cannot be kept"):
            serializer = str(task.result_serializer)
            if serializer not in EXTENSIONS:
                known = ", ".join(EXTENSIONS)
                raise UserError(f"The task {task.name} needs one of these serializers: {known}.")
            code = [source, _ml_files(settings.ROOT), versions()]
            fingerprint = joblib.hash([*code, inputs], "sha1")
            file = self.target.format(
                run=current_run() if "{run}" in self.target else "",
                task_name=task.name,
                fingerprint=fingerprint,
            )
            return f"{file}{EXTENSIONS[serializer]}@{fingerprint}"


def split_key(key: str) -> tuple[str, str]:
    """Return the file and the fingerprint that a key of this policy names."""
    file, _, fingerprint = key.partition("@")
    return file, fingerprint


@cache
def _ml_files(root: Path) -> str:
    """Return a hash of the files in `ml/`, as they were at the first call."""
    files = sorted((root / "ml").rglob("*.py"))
    return str(joblib.hash([(path.name, path.read_bytes()) for path in files]))
