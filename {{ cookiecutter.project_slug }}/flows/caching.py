"""When a task is not run again: `CHECKPOINT` and `BY_CONTENT`, two Prefect cache policies.

Both look at everything that an output depends on: the task's code and its inputs, to the last
byte. What they return is a file name, then "#", then the fingerprint of all that.
"""

import hashlib
import inspect
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from prefect.cache_policies import CachePolicy
from prefect.context import TaskRunContext
from prefect.settings import get_current_settings
from prefect.utilities.hashing import hash_objects

from flows import ROOT
from flows.runs import CHECKPOINT_NAME, current_run
from flows.serializers import EXTENSIONS


@dataclass
class _Named(CachePolicy):
    """A policy that names the file of an output; a subclass says how in `name`."""

    def name(self, task_name: str, fingerprint: str) -> str:
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
        task = task_ctx.task
        mark = fingerprint(task.fn, inputs)
        extension = EXTENSIONS[str(task.result_serializer)]
        return f"{self.name(task.name, mark)}{extension}#{mark}"


@dataclass
class _Checkpoint(_Named):
    def name(self, task_name: str, fingerprint: str) -> str:
        return CHECKPOINT_NAME.format(run=current_run(), task_name=task_name)


@dataclass
class _ByContent(_Named):
    def name(self, task_name: str, fingerprint: str) -> str:
        return f"{task_name}-{fingerprint[:16]}"


# One file a run, which the same flow run finds again when it is retried or resumed.
CHECKPOINT = _Checkpoint()
# One file for each content, which every later run finds whose inputs and code are the same.
BY_CONTENT = _ByContent()


def fingerprint(function: Any, inputs: dict[str, Any]) -> str:
    """Return a hash (64 hex digits) of a task's code and its inputs.

    The code is what Python runs: of the function, and of everything in this project that it uses.
    So a comment changes nothing, and an edit of another task in the same file does not either.
    """
    digest = hashlib.sha256(f"{sys.version_info[:2]} pandas {pd.__version__}".encode())
    for part in _code(function, set()):
        digest.update(part + b"\0")
    for name in sorted(inputs):
        digest.update(name.encode())
        _add(digest, inputs[name])
    return digest.hexdigest()


def _code(used: Any, seen: set[Any]) -> Iterator[bytes]:
    """Yield what Python runs for a function, class or task, and for what that uses in turn."""
    used = getattr(used, "fn", used)  # a Prefect task is a function in a wrapper
    if id(used) in seen:
        return
    seen.add(id(used))
    if isinstance(used, type):
        for member in vars(used).values():
            if inspect.isfunction(member):
                yield from _code(member, seen)
    elif inspect.isfunction(used):
        yield f"{used.__name__}{used.__defaults__!r}{used.__kwdefaults__!r}".encode()
        names = yield from _bytecode(used.__code__)
        values = {name: used.__globals__.get(name) for name in names}
        values |= inspect.getclosurevars(used).nonlocals
        for name, value in values.items():
            yield from _used(name, value, names, seen)


def _used(name: str, value: Any, names: list[str], seen: set[Any]) -> Iterator[bytes]:
    """Yield what stands behind a name that a function uses, among its other `names`."""
    if isinstance(value, ModuleType):
        found = sorted(vars(value).keys() & set(names)) if _is_ours(value) else []
        for attribute in found:
            if (id(value), attribute) not in seen:  # modules may import each other
                seen.add((id(value), attribute))
                yield from _used(attribute, getattr(value, attribute), names, seen)
    elif isinstance(value, str | int | float | bytes | tuple | list | dict):
        yield f"{name}={value!r}".encode()
    elif _is_ours(inspect.getmodule(value)):
        yield from _code(value, seen)


def _bytecode(code: CodeType) -> Generator[bytes, None, list[str]]:
    """Yield a code object and those within it; return the names that they use, sorted."""
    yield code.co_code
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= set((yield from _bytecode(constant)))
        elif isinstance(constant, frozenset):  # its order differs from process to process
            yield repr(sorted(map(repr, constant))).encode()
        else:
            yield repr(constant).encode()
    yield repr(code.co_names).encode()
    return sorted(names)


def _is_ours(module: ModuleType | None) -> bool:
    """Tell whether a module belongs to the project, and not to an environment inside of it."""
    environment = Path(sys.prefix).resolve()
    file = Path(getattr(module, "__file__", None) or environment).resolve()
    return file.is_relative_to(ROOT) and not file.is_relative_to(environment)


def _add(digest: Any, value: Any) -> None:
    """Add a value to a hash; tables go in as Arrow bytes, which takes no pickle and no copy."""
    if isinstance(value, pd.DataFrame):
        table = pa.Table.from_pandas(value)
        with pa.ipc.new_stream(pa.PythonFile(_Sink(digest), mode="w"), table.schema) as stream:
            stream.write_table(table)
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest.update(f"{value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif isinstance(value, dict):
        for key in value:
            digest.update(repr(key).encode())
            _add(digest, value[key])
    else:
        digest.update((hash_objects(value, raise_on_failure=True) or "").encode())


class _Sink:
    """A file that keeps nothing of what is written into it but the hash."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, content: Any) -> int:
        self._digest.update(content)
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
