"""The check of lesson 14: each fault is shown by what it does; a repaired flow does it no more."""

import functools
import inspect
import threading
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

import pandas as pd
import pytest

from lessons.workshop.exercise import Exercise, Finding, a_table, a_word, expect, finding_of

TASKS = ("split_data", "save_split", "train_model", "report_accuracy")
NOT_ON_WINDOWS = set('<>:"\\|?*')
PATIENCE_SECONDS = 3  # in which a task that does not wait has long begun
GoOn = Callable[[], Any]  # calls the task's own function


def test_every_system_takes_the_names(exercise: Exercise, monkeypatch: pytest.MonkeyPatch) -> None:
    before, tried = exercise.files(), []

    def save(go_on: GoOn, given: dict[str, Any]) -> Any:
        tried.append(given["checkpoint"])
        return go_on()

    _replace(exercise, monkeypatch, "save_split", save)
    run = exercise.try_run(exercise.flow("main_flow"))
    paths = [PurePosixPath(file) for file in exercise.files() if file not in before]
    names = [part for path in paths for part in path.parts]
    if run.states("save_split") == ["Failed"]:  # on Windows, by Windows itself
        names += tried
    refused = [name for name in names if NOT_ON_WINDOWS & set(name) or name[-1] in " ."]
    expect(not refused, "windows_name", name=" ".join(refused[:1]))
    if run.error and not tried:
        raise finding_of(run.error, exercise.file)
    expect({"train.csv", "test.csv"} <= {path.name for path in paths}, "nothing_saved")


def test_the_checkpoint_is_the_one_of_the_run(exercise: Exercise) -> None:
    save, train, report = map(exercise.task, TASKS[1:])
    table, checkpoint = a_table(), a_word()
    test = table.iloc[::2]

    def save_two() -> None:
        save({"train": table, "test": test}, checkpoint)
        save({"train": a_table(), "test": a_table()}, a_word())

    exercise.run(save_two)
    model = _result(exercise, train, checkpoint)
    learnt = sorted(getattr(model, "classes_", []))
    expect(learnt == sorted(set(table["species"])), "hard_coded", name="train_model")
    accuracy = float(model.score(test.drop(columns="species"), test["species"]))
    reported = _result(exercise, report, model, checkpoint)
    expect(reported == accuracy, "hard_coded", name="report_accuracy")


def test_the_model_waits_for_the_checkpoint(
    exercise: Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails, too_soon, training = True, False, threading.Event()

    def save(go_on: GoOn, _: dict[str, Any]) -> Any:
        nonlocal too_soon
        if fails:
            raise OSError("The disk is full")
        too_soon = training.wait(PATIENCE_SECONDS)
        return go_on()

    def train(go_on: GoOn, _: dict[str, Any]) -> Any:
        training.set()
        return go_on()

    _replace(exercise, monkeypatch, "save_split", save)
    _replace(exercise, monkeypatch, "train_model", train)
    exercise.try_run(exercise.flow("main_flow"))
    if training.is_set():  # it did not need the other one's success; did it wait for its end?
        fails = False
        training.clear()
        exercise.try_run(exercise.flow("main_flow"))
        expect(not too_soon, "not_waited")


def test_new_data_are_used_and_split_in_the_same_way_again(
    exercise: Exercise, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits: list[dict[str, pd.DataFrame]] = []
    reported: list[float] = []

    def save(go_on: GoOn, given: dict[str, Any]) -> Any:
        splits.append(given["split"])
        return go_on()

    def report(go_on: GoOn, _: dict[str, Any]) -> Any:
        reported.append(go_on())
        return reported[-1]

    _replace(exercise, monkeypatch, "save_split", save)
    _replace(exercise, monkeypatch, "report_accuracy", report)
    table = a_table(rows=90)
    table.to_csv("data/raw/iris.csv", index=False)
    for _ in range(2):
        run = exercise.run(exercise.flow("main_flow"))
        for name in TASKS:
            expect("Completed" in run.states(name), "left_out", name=name)
        expect(run.result == reported[-1], "other_answer", value=run.result)
    used = pd.concat(splits[0].values())
    expect(set(used["species"]) == set(table["species"]), "read_at_import")
    expect(splits[0]["train"].equals(splits[1]["train"]), "no_seed")


def _result(exercise: Exercise, task: Any, *given: Any) -> Any:
    """Return what a task returns; if it looks for a file elsewhere, that is the finding."""
    run = exercise.try_run(task, *given)
    if isinstance(run.error, OSError):
        raise Finding("hard_coded", name=task.name)
    if run.error:
        raise finding_of(run.error, exercise.file)
    return run.result


def _replace(
    exercise: Exercise,
    patch: pytest.MonkeyPatch,
    name: str,
    new: Callable[[GoOn, dict[str, Any]], Any],
) -> None:
    """Let a task call `new`, with a function that continues as before, and with its arguments."""
    task = exercise.task(name)
    function = task.fn

    @functools.wraps(function)
    def instead(*args: Any, **kwargs: Any) -> Any:
        given = inspect.signature(function).bind(*args, **kwargs).arguments
        return new(lambda: function(*args, **kwargs), given)

    patch.setattr(task, "fn", instead)
