"""The check of lesson 12: a busy server is asked again, a wrong name is not."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lessons.workshop.exercise import Exercise, a_table, a_word, expect
from lessons.workshop.records import Run

FILE = Path("flowers.csv")
RETRIES = 3
MOST_SECONDS = 2  # that a check waits between two attempts
TASK = "load_data"


def test_a_busy_server_is_asked_again(exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    table = a_table()
    run, requests = _run(exercise, monkeypatch, _busy(RETRIES, table))
    failed = [text for text in run.logs if "error" in text and "`retry_condition_fn`" in text]
    expect(not failed, "condition_raises", error="".join(failed).strip().rpartition("\n")[2])
    expect(requests > 1, "not_asked_again")
    expect(run.error is None, "given_up_too_soon", refused=RETRIES, requests=requests)
    expect(run.states("get_classes") == ["Completed"], "no_classes")
    expect(run.result == sorted(set(table["species"])), "other_data")
    tries = next(task.tries for task in run.tasks if task.name == TASK)
    expect(tries == RETRIES + 1, "around_prefect", requests=requests, tries=tries)


def test_there_is_time_between_two_requests(exercise: Exercise) -> None:
    delay = exercise.task(TASK).retry_delay_seconds
    expect(delay and (isinstance(delay, int | float) or all(delay)), "no_delay")


def test_it_gives_up_in_the_end(exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    run, requests = _run(exercise, monkeypatch, _busy(100, a_table()))
    expect(run.state == "Failed", "failure_hidden", state=run.state)
    expect(requests == RETRIES + 1, "other_number", requests=requests)


def test_a_wrong_name_is_not_asked_for_again(
    exercise: Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    for mistake in (FileNotFoundError(a_word()), ValueError(a_word())):

        def refuse(number: int, error: Exception = mistake) -> pd.DataFrame:
            raise error

        run, requests = _run(exercise, monkeypatch, refuse)
        expect(run.state == "Failed", "failure_hidden", state=run.state)
        expect(requests == 1, "no_use", error=type(mistake).__name__, requests=requests)


def _busy(refused: int, table: pd.DataFrame) -> Callable[[int], pd.DataFrame]:
    """Return a server that refuses the first requests."""

    def answer(number: int) -> pd.DataFrame:
        if number <= refused:
            raise ConnectionError("The server is busy")
        return table

    return answer


def _run(
    exercise: Exercise, patch: pytest.MonkeyPatch, answer: Callable[[int], pd.DataFrame]
) -> tuple[Run, int]:
    """Run the flow with another server; return the run, and how many requests the server got."""
    delay = exercise.task(TASK).retry_delay_seconds
    longest = max(delay, default=0) if isinstance(delay, list | tuple) else delay or 0
    expect(longest <= MOST_SECONDS, "long_delay", seconds=longest)
    exercise.get("download")
    requests: list[Path] = []

    def download(path: Path) -> pd.DataFrame:
        requests.append(path)
        return answer(len(requests))

    patch.setattr(exercise.module, "download", download)
    run = exercise.try_run(exercise.flow("data_engineer"), FILE)
    expect(requests and run.states(TASK), "no_request")
    return run, len(requests)
