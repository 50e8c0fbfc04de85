"""The check of lesson 13: the student's tests pass on right flows, and fail on broken ones."""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from lessons.workshop.exercise import Exercise, Finding, expect

# What a task or flow returns in place of its own: made from its function and what that was given.
Change = Callable[[Callable[..., Any], dict[str, Any]], Any]


def test_right_flows_pass(exercise: Exercise) -> None:
    exercise.task("split_data")
    exercise.flow("data_engineer")
    tests = _Tests(exercise)
    expect(tests.number, "no_tests")
    expect(not tests.failure, "fails_on_the_right_one", **tests.failure)
    # Other rows than the exercise's, but as right: who can tell which ones a later version picks?
    tests = _Tests(exercise, "split_data", _with(seed=lambda seed: seed + 1000))
    expect(not tests.failure, "too_narrow", **tests.failure)


def test_wrong_splits_do_not_pass(exercise: Exercise) -> None:
    _must_fail(exercise, "lost_row", "split_data", _lose_a_row)
    _must_fail(exercise, "doubled_row", "split_data", _double_a_row)
    always_the_same = _with(test_data_ratio=lambda _: 0.2)
    if not _Tests(exercise, "data_engineer", always_the_same).failure:
        _must_fail(exercise, "other_size", "split_data", always_the_same)
        raise Finding("only_the_task")
    _must_fail(exercise, "no_seed", "split_data", _with(seed=lambda _: None))


def _must_fail(exercise: Exercise, key: str, name: str, change: Change) -> None:
    expect(_Tests(exercise, name, change).failure, key)


def _with(**changes: Callable[[Any], Any]) -> Change:
    """Call the function with some of its arguments changed."""

    def changed(function: Callable[..., Any], given: dict[str, Any]) -> Any:
        return function(**given | {name: new(given[name]) for name, new in changes.items()})

    return changed


def _lose_a_row(function: Callable[..., Any], given: dict[str, Any]) -> Any:
    split = function(**given)
    return split | {"train": split["train"].iloc[1:]}


def _double_a_row(function: Callable[..., Any], given: dict[str, Any]) -> Any:
    """Put a row of the test set in the place of one in the training set."""
    split = function(**given)
    return split | {"train": pd.concat([split["train"].iloc[1:], split["test"].iloc[:1]])}


class _Tests:
    """The tests in the student's file, run by pytest until one fails; a plugin of pytest's."""

    def __init__(self, exercise: Exercise, name: str = "", change: Change | None = None) -> None:
        """Run them, with the task or flow `name` of the file changed."""
        self.name, self.change = name, change
        self.number = 0
        self.failure: dict[str, str] = {}
        quiet = ("-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:faulthandler")
        quiet += ("-p", "no:unraisableexception")  # it looks for garbage, which takes a while
        options = ("--exitfirst", "--noconftest", "--import-mode=importlib")
        pytest.main([str(exercise.file), *quiet, *options], plugins=[self])
        file = str(exercise.file)  # as a module, pytest would take it for that of the next check
        for name in [k for k, one in sys.modules.items() if getattr(one, "__file__", "") == file]:
            del sys.modules[name]

    @pytest.fixture(autouse=True)
    def broken(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Change the task or flow for the time of a test."""
        if self.change is None:
            return
        changed, function = self.change, getattr(request.module, self.name).fn

        @functools.wraps(function)
        def instead(*args: Any, **kwargs: Any) -> Any:
            given = inspect.signature(function).bind(*args, **kwargs)
            given.apply_defaults()
            return changed(function, given.arguments)

        monkeypatch.setattr(getattr(request.module, self.name), "fn", instead)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the first failure."""
        self.number += report.when == "call"
        if report.failed and not self.failure:
            crash = getattr(report.longrepr, "reprcrash", None)
            message = str(crash.message if crash else report.longrepr)
            self.failure = {"test": report.nodeid.split("::")[-1], "error": message.splitlines()[0]}
