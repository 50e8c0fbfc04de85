"""When a task is not run again, as two of Prefect's cache policies.

A result is used again while four things are the same: the task's inputs, its own source code, the
files in `ml/`, and the versions of Python and the packages. `PerRun` looks for it in the folder of
the run, so that a run that is retried or resumed finds it; `ByContent` in what any run has left.
"""

import hashlib
import io
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pyarrow as pa
from prefect.cache_policies import TASK_SOURCE, CachePolicy
from prefect.context import TaskRunContext
from prefect.settings import get_current_settings

from runtime import settings
from runtime.records import EXTENSIONS
from runtime.runs import current_run, versions


@dataclass
class _Policy(CachePolicy):
    """A policy whose key names the result's file, and its fingerprint: see `split_key`."""

    def file(self, task_name: str, fingerprint: str) -> str:
        """Return the key of the result's file, without its extension."""
        raise NotImplementedError

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: dict[str, Any],
        **_: Any,
    ) -> str | None:
        """Return the key, or None where Prefect's settings say that results are not persisted."""
        if not get_current_settings().results.persist_by_default:
            return None
        source = TASK_SOURCE.compute_key(task_ctx, inputs, flow_parameters)
        fingerprint = _fingerprint(source, inputs)
        task = task_ctx.task
        extension = EXTENSIONS[str(task.result_serializer)]
        return f"{self.file(task.name, fingerprint)}{extension}@{fingerprint}"


@dataclass
class PerRun(_Policy):
    """One file a run; `target` names it."""

    target: str = "{run}/{task_name}"

    def file(self, task_name: str, fingerprint: str) -> str:
        """Return the name that the target gives."""
        return self.target.format(run=current_run(), task_name=task_name)


@dataclass
class ByContent(_Policy):
    """One file for each content: `<task>-<fingerprint>`."""

    def file(self, task_name: str, fingerprint: str) -> str:
        """Return the name with the fingerprint behind."""
        return f"{task_name}-{fingerprint[:16]}"


def split_key(key: str) -> tuple[str, str]:
    """Return the file and the fingerprint that a key of these policies names."""
    file, _, fingerprint = key.partition("@")
    return file, fingerprint


def _fingerprint(source: str | None, inputs: dict[str, Any]) -> str:
    """Return a hash (64 hex digits) of all that a result depends on."""
    digest = hashlib.sha256(f"{source} {_ml_files(settings.ROOT)} {versions()}".encode())
    for name in sorted(inputs):
        value = inputs[name]
        digest.update(f"{name} {type(value)}".encode())
        if isinstance(value, pd.Series):
            value = value.to_frame()
        if isinstance(value, pd.DataFrame):
            # As Arrow writes it: a third of the time of joblib, and without a copy.
            with suppress(pa.ArrowException, ValueError):  # one that Arrow cannot hold
                table = pa.Table.from_pandas(value)
                sink = pa.PythonFile(_Sink(digest), mode="w")
                with pa.ipc.new_stream(sink, table.schema) as stream:
                    stream.write_table(table)
                continue
        digest.update(str(joblib.hash(value)).encode())
    return digest.hexdigest()


@cache
def _ml_files(root: Path) -> str:
    """Return a hash of the files in `ml/`, as they were when a first task asked."""
    files = sorted((root / "ml").rglob("*.py"))
    return str(joblib.hash([(path.name, path.read_bytes()) for path in files]))


class _Sink(io.RawIOBase):
    """A file that keeps nothing of what is written into it but the hash."""

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._digest.update(content)
        return len(content)
