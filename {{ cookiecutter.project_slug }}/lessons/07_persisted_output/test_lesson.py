"""The check of lesson 7: each run keeps what two tasks return, under names that tell of it."""

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore

from lessons.workshop.exercise import Exercise, Finding, a_table, expect, finding_of
from lessons.workshop.records import Run
from runtime import LocalResult
from runtime.history import read_runs

PROCESSED = LocalResult(dir="data/processed")
TASKS = ("get_classes", "split_data")
PARTS = {"train_x", "train_y", "test_x", "test_y"}
NOT_ON_WINDOWS = set('<>:"|?*\\')


def test_each_run_keeps_its_results_under_names_that_tell_of_it(exercise: Exercise) -> None:
    for name in TASKS:
        exercise.task(name)
    _, first = _locations_of_a_run(exercise)
    run, second = _locations_of_a_run(exercise)
    for name, older, location in zip(TASKS, first, second, strict=True):
        kept = older != location and older in _kept(exercise)
        expect(kept, "overwritten", name=name, location=location)
        tells = run.record.name in location or str(run.id) in location
        expect(tells, "no_run_in_name", location=location, run=run.record.name)
        expect(name in location, "no_task_in_name", location=location, name=name)
        bad = sorted(NOT_ON_WINDOWS & set(location))
        expect(not bad, "not_on_windows", location=location, letter=" ".join(bad))
    known = [facts.get("flow_run_id") for facts in read_runs().values()]
    expect(str(run.id) in known, "no_run_json")


def _locations_of_a_run(exercise: Exercise) -> tuple[Run, list[str]]:
    """Run the flow with new flowers; return the run, and where it has kept both results."""
    table, ratio = a_table(), random.randint(311, 599) / 1000  # noqa: S311
    table.to_csv("flowers.csv", index=False)
    run = exercise.try_run(exercise.flow("data_engineer"), Path("flowers.csv"), ratio)
    for name in run.not_kept:
        expect(exercise.task(name).result_storage_key is None, "two_names", name=name)
        raise Finding("no_serializer", name=name)
    if run.error:
        raise finding_of(run.error, exercise.file)
    kept = _kept(exercise)
    locations = []
    for name in TASKS:
        expect(run.states(name), "left_out", name=name)
        expect(run.states(name) == ["Completed"], "old_result", name=name)
        found = [location for location in kept if _is_of(name, kept[location], table, ratio)]
        expect(found, "not_kept", name=name)
        locations.append(found[0])
    return run, locations


def _kept(exercise: Exercise) -> dict[str, Any]:
    """Return what `LocalResult` or Prefect's own store reads in data/processed, by its location."""
    own = ResultStore(result_storage=LocalFileSystem(basepath=str(Path(PROCESSED.dir).resolve())))
    kept = {}
    for name in exercise.files(f"{PROCESSED.dir}/**/*"):
        file = Path(name).relative_to(PROCESSED.dir)
        with suppress(Exception):  # whatever a student writes into a file
            if file.parent.name == ".records":
                location = (file.parents[1] / file.stem).as_posix()
                kept[location] = PROCESSED.read(location=location).value
            else:
                kept[file.as_posix()] = own.read(file.as_posix()).result
    return kept


def _is_of(name: str, value: Any, table: pd.DataFrame, ratio: float) -> bool:
    """Tell whether a value is what a task has to return for these flowers."""
    if name == "get_classes":
        return bool(value == sorted(table["species"].unique()))
    if not isinstance(value, dict) or not value.keys() >= PARTS:
        return False
    rows = pd.concat(
        [value[f"{part}_x"].assign(species=value[f"{part}_y"]) for part in ("train", "test")]
    ).sort_index()
    right_size = abs(len(value["test_x"]) - ratio * len(table)) <= 1
    return right_size and rows.to_numpy().tolist() == table.to_numpy().tolist()
