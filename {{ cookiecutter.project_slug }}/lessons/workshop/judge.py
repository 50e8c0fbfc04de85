"""A process of its own that checks exercises: `python -m lessons.workshop.judge`.

It imports what takes seconds, says that it is ready, and waits for orders on its standard input,
one JSON object a line; each is answered by a line. See `Judge` in checking.py, the other end.
Whatever the student's code does to this process, the workshop itself goes on.
"""

import faulthandler
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd  # noqa: F401  so that the order does not have to wait for it
import pytest
import sklearn.linear_model
import sklearn.model_selection  # noqa: F401

import lessons.workshop.exercise  # noqa: F401
import runtime.direct
import runtime.results  # noqa: F401


class Reporter:
    """Keeps the first finding of a check."""

    def __init__(self) -> None:
        """Start without one."""
        self.finding: dict[str, Any] | None = None
        self.passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Look at one part of one test."""
        self.passed += report.when == "call" and report.passed
        self.finding = self.finding or getattr(report, "finding", None)


def judge(order: dict[str, Any]) -> dict[str, Any]:
    """Return the first finding of a check, its `key` and its `values`; no key: all is right."""
    reporter = Reporter()
    with Path(order["trace"]).open("w", encoding="utf-8") as trace:
        # It writes where the code is and ends this process, even out of a loop without end.
        faulthandler.dump_traceback_later(order["limit_seconds"], exit=True, file=trace)
        ended = pytest.main(
            [
                order["check"],
                f"--exercise={order['exercise']}",
                f"--basetemp={order['folder']}",
                "-p",
                "no:faulthandler",  # it would call off the one above
            ],
            plugins=[reporter],
        )
        faulthandler.cancel_dump_traceback_later()
    if reporter.finding:
        return reporter.finding
    if ended == 0 and reporter.passed:
        return {"key": None, "values": {}}
    return {"key": "check_failed", "values": {"error": f"pytest: {ended!s}"}}


def main() -> None:
    """Answer orders until there are no more; no print of the student's gets into an answer."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # those of others take seconds to import
    nowhere = os.open(os.devnull, os.O_RDWR)
    orders = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    print("ready", file=answers, flush=True)
    for line in orders:
        print(json.dumps(judge(json.loads(line))), file=answers, flush=True)
    os._exit(0)  # not even a thread of the student's keeps it


if __name__ == "__main__":
    main()
