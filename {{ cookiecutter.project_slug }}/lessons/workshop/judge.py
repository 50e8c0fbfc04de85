"""A process of its own that checks exercises: `python -m lessons.workshop.judge`.

It imports what takes seconds, says that it is ready, and waits for orders on its standard input,
one JSON object a line; each is answered by a line, which also says whether the file has spoilt
something for the next check. `Judge` in checking.py is the other end.
Whatever the student's code does to this process, the workshop itself continues.
"""

import gc

gc.disable()  # imports make many objects and hardly any garbage: they take a fifth less without it

import faulthandler  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pandas as pd  # noqa: E402, F401  so that the order does not have to wait for it
import pytest  # noqa: E402
import sklearn.linear_model  # noqa: E402
import sklearn.model_selection  # noqa: E402, F401
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings  # noqa: E402

import runtime.direct  # noqa: E402
import runtime.results  # noqa: E402, F401


class Reporter:
    """Keeps the first finding of a check."""

    def __init__(self) -> None:
        """Start without one."""
        self.finding: dict[str, Any] | None = None
        self.passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the first finding of a test's phases."""
        self.passed += report.when == "call" and report.passed
        self.finding = self.finding or getattr(report, "finding", None)


def judge(order: dict[str, Any]) -> dict[str, Any]:
    """Return the first finding of a check, its `key` and its `values`; no key: all is right."""
    reporter = Reporter()
    with Path(order["trace"]).open("w", encoding="utf-8") as trace:
        # At the limit, it writes where the code is and ends this process, even in an endless loop.
        faulthandler.dump_traceback_later(order["limit_seconds"], exit=True, file=trace)
        ended = pytest.main(
            [
                order["check"],
                f"--exercise={order['exercise']}",
                f"--basetemp={order['folder']}",
                "-p",
                "no:faulthandler",  # it would cancel the one above
                "-p",
                "no:unraisableexception",  # it looks for garbage five times
            ],
            plugins=[reporter],
        )
        faulthandler.cancel_dump_traceback_later()
    if reporter.finding:
        return reporter.finding
    if ended == 0 and reporter.passed:
        return {"key": None, "values": {}}
    return {"key": "check_failed", "values": {"error": f"pytest: {ended!s}"}}


class Surroundings:
    """What a file can spoil for the next check, such as pandas by `pd.read_csv = "iris.csv"`."""

    def __init__(self) -> None:
        """Note what is there now."""
        self._environment = dict(os.environ)
        self._threads = set(threading.enumerate())
        self._functions = _functions()

    def are_spoilt(self) -> bool:
        """Return whether an environment variable, a thread or another module has changed."""
        now = _functions()
        return (
            dict(os.environ) != self._environment
            # Prefect's own threads are daemons.
            or any(not one.daemon for one in set(threading.enumerate()) - self._threads)
            or any(now.get(name) is not was for name, was in self._functions.items())
        )


def _functions() -> dict[tuple[str, str], Any]:
    """Return the functions and classes of all modules."""
    return {
        (module, name): value
        for module, loaded in list(sys.modules.items())
        for name, value in list(getattr(loaded, "__dict__", {}).items())
        if callable(value)
    }


def main() -> None:
    """Answer orders until there are no more; keep the student's prints out of the answers."""
    os.environ.pop("PYTEST_CURRENT_TEST", None)  # a check would remove it
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # others' plugins take seconds to import
    nowhere = os.open(os.devnull, os.O_RDWR)
    orders = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    surroundings = Surroundings()
    gc.freeze()  # pytest collects garbage at its end: a third of a second for all imports
    gc.enable()
    print("ready", file=answers, flush=True)
    # At its end, a flow run waits up to a second for its heartbeat; nobody listens to it here.
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        for line in orders:
            answer = judge(json.loads(line)) | {"spoilt": surroundings.are_spoilt()}
            print(json.dumps(answer), file=answers, flush=True)
    os._exit(0)  # not even a student's thread keeps it alive


if __name__ == "__main__":
    main()
