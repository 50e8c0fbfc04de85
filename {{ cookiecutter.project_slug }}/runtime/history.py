"""Past runs: their run.json, their order, and which outputs count as the latest.

The module does not import Prefect, so that a prediction need not wait for it.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from typing import Any

from runtime.errors import UserError
from runtime.storage import storage

PROCESSED = "data/processed"  # has the run.json of each run
LATEST = "latest"  # stands for the newest run
READERS = ".readers"  # folder in that of a run, with a file for each run that reads it
RUN = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[A-Za-z0-9_-]+")  # a run's name, in UTC
SECOND = len("2026-11-22_15-49-46")


def read_run(run: str) -> dict[str, Any]:
    """Return the content of a run's run.json; {} if the file is missing.

    Raises `UserError` for a file that is damaged.
    """
    try:
        return _parsed(run, storage(PROCESSED).get(f"{run}/run.json"))
    except FileNotFoundError:
        return {}


def read_runs(runs: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """Return the run.json of each of `runs`, by default of all; damaged ones are left out."""
    files = storage(PROCESSED)
    keys = {f"{run}/run.json": run for run in (files.folders() if runs is None else runs)}
    facts = {}
    for key, content in files.get_many(keys).items():
        try:
            facts[keys[key]] = _parsed(keys[key], content)
        except UserError as error:
            say_once(f"{error} This run is left out.")
    return facts


def newest_first(runs: Iterable[str]) -> Iterator[str]:
    """Yield names of runs, the newest first; other names come last.

    A run's name begins with its time to the second; run.json has the order of runs of the same
    second, and is read when their turn comes.
    """

    def second(run: str) -> tuple[bool, str]:
        return RUN.fullmatch(run) is not None, run[:SECOND]

    for _, names in groupby(sorted(runs, key=second, reverse=True), key=second):
        tied = sorted(names, reverse=True)
        if len(tied) > 1:
            facts = read_runs(tied)
            tied.sort(key=lambda run: str(facts.get(run, {}).get("started", "")), reverse=True)
        yield from tied


def counts(run: str, task: str) -> bool:
    """Return whether a task's output may be the latest: not if its flow was killed or failed.

    In a run without run.json, which somebody may have sent, it may.
    """
    try:
        facts = read_run(run)
    except UserError as error:
        say_once(f"{error} This run is left out.")
        return False
    return not facts or facts.get("state") == "Completed" or task in facts.get("results", {})


def _parsed(run: str, content: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(content)
        if isinstance(facts, dict):
            return facts
        reason = "it holds no JSON object"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    where = storage(PROCESSED).location(f"{run}/run.json")
    raise UserError(f"{where} cannot be read: {reason}.")


@cache
def say_once(text: str) -> None:
    """Print a sentence to stderr, the first time only."""
    print(text, file=sys.stderr)
