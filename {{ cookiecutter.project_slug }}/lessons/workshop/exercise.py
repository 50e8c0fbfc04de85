"""The student's file as a check uses it: loaded, called and run, with what Prefect recorded."""

import contextlib
import importlib.util
import linecache
import random
import re
import runpy
import string
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pandas as pd
from prefect import Flow, State, Task, flow, tags

from lessons.workshop.mistakes import find_mistake, reason_of
from lessons.workshop.records import Run, find_runs, read_run
from lessons.workshop.serving import IsServing, Serving, finished, serving, without_waiting

RELOADED = ("exercise", "flows", "ml")


class Finding(Exception):
    """What is not right yet: the key of a sentence in texts.*.toml, and values for its gaps."""

    def __init__(self, key: str, **values: Any) -> None:
        """Keep the values as text: they are shown, and sent between processes."""
        super().__init__(key, values)
        self.key = key
        self.values = {name: str(value) for name, value in values.items()}


def expect(condition: object, key: str, **values: Any) -> None:
    """Return if the condition is true; else end the check with the sentence `key`."""
    if not condition:
        raise Finding(key, **values)


def a_word() -> str:
    """Return a word that nobody can guess, as a value for a check."""
    return "".join(random.choices(string.ascii_lowercase, k=8))  # noqa: S311


def a_table(rows: int = 0) -> pd.DataFrame:
    """Return a table of invented flowers, with the columns of data/raw/iris.csv.

    Each of three classes with names that nobody can guess has `rows` // 3 rows (by default a
    random number from 12 to 40); no two rows are the same.
    """
    each = rows // 3 or random.randint(12, 40)  # noqa: S311
    columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    numbers = random.sample(range(100, 9000), 3 * each * 4)
    measured = [[n / 1000 for n in numbers[i : i + 4]] for i in range(0, len(numbers), 4)]
    species = [a_word() for _ in range(3)] * each
    return pd.DataFrame(measured, columns=columns).assign(species=species)


class Exercise:
    """The student's file, in a copy of the project that is the current folder and has no outputs.

    Any error in the student's code ends the check with a `Finding` that names the line.
    """

    def __init__(self, file: Path, folder: Path) -> None:
        """Load the file; `folder` is the copy of the project that it lies in."""
        self.file = file
        self.folder = folder
        linecache.checkcache(str(file))
        with self._student_at_work():
            self.module = self._load()

    def get(self, name: str) -> Any:
        """Return the object `name` of the student's file; else the finding is `missing`."""
        expect(hasattr(self.module, name), "missing", name=name)
        return getattr(self.module, name)

    def task(self, name: str) -> "Task[..., Any]":
        """Return a task by its variable's name.

        Else the finding is `missing`, `no_task` or `flow_for_task`; `policy_as_text` for a cache
        policy in quotes.
        """
        found = self.get(name)
        expect(not isinstance(found, Flow), "flow_for_task", name=name)
        expect(isinstance(found, Task), "no_task", name=name)
        policy = found.cache_policy
        expect(not isinstance(policy, str), "policy_as_text", name=name, policy=policy)
        return found

    def flow(self, name: str) -> "Flow[..., Any]":
        """Return a flow by its variable's name.

        Else the finding is `missing`, `no_flow` or `task_for_flow`.
        """
        found = self.get(name)
        expect(not isinstance(found, Task), "task_for_flow", name=name)
        expect(isinstance(found, Flow), "no_flow", name=name)
        return found

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Return what a function, task or flow of the student's returns."""
        with self._student_at_work():
            return finished(function(*args, **kwargs))

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Run:
        """Run a flow, and return what is recorded of it; one that fails ends the check.

        A task or a plain function is run within a flow made for it.
        """
        run = self.try_run(function, *args, **kwargs)
        if run.error is not None:
            raise finding_of(run.error, self.file)
        # Prefect turns a future that a flow returns into a state.
        expect(not isinstance(run.result, State), "future", name=run.flow_name)
        return run

    def try_run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Run:
        """Run a flow as `run` does, and return what is recorded of it even if it fails."""
        flow_to_run: Any = function
        if not isinstance(function, Flow):

            @flow(name=f"check-{getattr(function, '__name__', 'task')}")
            def flow_to_run() -> Any:
                return function(*args, **kwargs)

            arguments: tuple[Any, ...] = ()
            parameters: dict[str, Any] = {}
        else:
            arguments, parameters = args, kwargs
        with self._student_at_work():
            state = finished(flow_to_run(*arguments, **parameters, return_state=True))
        result = finished(state.result(raise_on_failure=False))
        return read_run(state.state_details.flow_run_id, result)

    def runs_of(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Run]:
        """Call a function of the student's; return the flow runs that it started."""
        mark = uuid4().hex
        with tags(mark):
            self.call(function, *args, **kwargs)
        runs = find_runs(tags={"all_": [mark]})
        return [run for run in runs if run.record.parent_task_run_id is None]

    def run_script(self) -> list[Run]:
        """Run the file as `python exercise.py` does; return the flow runs that it started."""
        return self.runs_of(runpy.run_path, str(self.file), run_name="__main__")

    def files(self, pattern: str = "**/*") -> list[str]:
        """Return the files in the copy of the project that fit a pattern, such as `models/*`."""
        found = (path for path in self.folder.glob(pattern) if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Serving]:
        """Run the file as `python exercise.py` does, until the block ends; yield what it serves.

        Its `.deployments` are known to the server, and `.run(deployment, **parameters)` starts a
        run of one and waits for its end. The finding is `serves_nothing` if there are none.
        """
        with contextlib.ExitStack() as until_the_end:
            with self._student_at_work():
                served = until_the_end.enter_context(serving(self.file))
            if served is None:
                raise Finding("serves_nothing")
            yield served

    def _load(self) -> ModuleType:
        try:
            with tokenize.open(self.file) as file:  # as Python reads it; an import is less strict
                text = file.read()
        except (UnicodeDecodeError, SyntaxError) as error:
            raise Finding("not_utf_8") from error
        expect(re.sub(r"#.*", "", text).strip(), "empty_file")
        # The project's modules that it imports may have been edited since the last check.
        for name in [name for name in sys.modules if name.partition(".")[0] in RELOADED]:
            del sys.modules[name]
        spec = importlib.util.spec_from_file_location("exercise", self.file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["exercise"] = module
        spec.loader.exec_module(module)
        return module

    @contextlib.contextmanager
    def _student_at_work(self) -> Iterator[None]:
        try:
            with without_waiting():
                yield
        except Finding:
            raise
        except BaseException as error:
            raise finding_of(error, self.file) from error


def finding_of(error: BaseException, file: Path) -> Finding:
    """Return the finding for an error in the student's code."""
    line = _last_line(error, file)
    if isinstance(error, SyntaxError) and error.filename in (str(file), None):
        line = error.lineno or 1
    where = {"line": line} if line else {}
    if isinstance(error, SystemExit):
        return Finding("exits", **where) if line else Finding("ended")
    if isinstance(error, IsServing):
        return Finding("serves_here", **where)
    text = linecache.getline(str(file), line) if line else ""
    if mistake := find_mistake(error, text):
        key, values = mistake
        return Finding(key, **where, **values)
    if isinstance(error, SyntaxError):
        return Finding("syntax", **where, message=error.msg)
    if isinstance(error, ModuleNotFoundError):
        return Finding("no_module", **where, module=error.name)
    return Finding("raised_at" if line else "raised", **where, error=reason_of(error))


def _last_line(error: BaseException, file: Path) -> int | None:
    """Return the last line of the student's file that an error came through."""
    line, traceback = None, error.__traceback__
    while traceback:
        if traceback.tb_frame.f_code.co_filename == str(file):
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
