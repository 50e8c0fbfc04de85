"""The check of lesson 7: each run keeps its split in the folder, under a name that tells of it."""

import random
from pathlib import Path

import pandas as pd
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore

from lessons.workshop.exercise import Exercise, a_table, expect
from lessons.workshop.records import Run

PROCESSED = Path("data", "processed", "lesson_07")
NOT_ON_WINDOWS = set('<>:"|?*\\')


def test_each_run_keeps_its_split_under_a_name_that_tells_of_it(exercise: Exercise) -> None:
    exercise.task("split_data")
    ratio = _a_ratio()
    _, first = _kept_by_a_run(exercise, ratio)
    run, name = _kept_by_a_run(exercise, ratio)
    expect(first != name and first in _files(), "overwritten", name=name)
    expect(run.record.name in name, "no_run_in_name", name=name, run=run.record.name)
    expect("split_data" in name, "no_task_in_name", name=name)
    expect(str(ratio) in name, "no_ratio_in_name", name=name, ratio=ratio)
    bad = sorted(NOT_ON_WINDOWS & set(name))
    expect(not bad, "not_on_windows", name=name, letter=" ".join(bad))


def _kept_by_a_run(exercise: Exercise, ratio: float) -> tuple[Run, str]:
    """Run the flow with new flowers; return the run, and the name of the file with its split."""
    table = a_table()
    table.to_csv("flowers.csv", index=False)
    run = exercise.run(exercise.flow("data_engineer"), Path("flowers.csv"), ratio)
    expect(run.states("split_data"), "left_out")
    expect(run.states("split_data") == ["Completed"], "old_split")
    expect(_files(), "not_kept")
    kept = [name for name in _files() if _is_split(_read(name), table, ratio)]
    expect(kept, "no_split", name=_files()[-1])
    return run, kept[0]


def _files() -> list[str]:
    return sorted(
        path.relative_to(PROCESSED).as_posix() for path in PROCESSED.rglob("*") if path.is_file()
    )


def _read(name: str) -> object:
    """Return the result that Prefect has kept; None where the file is another one."""
    store = ResultStore(result_storage=LocalFileSystem(basepath=str(PROCESSED.resolve())))
    try:
        return store.read(name).result
    except Exception:  # whatever a student writes into a file
        return None


def _is_split(value: object, table: pd.DataFrame, ratio: float) -> bool:
    if not isinstance(value, dict) or set(value) != {"train", "test"}:
        return False
    if not all(isinstance(part, pd.DataFrame) for part in value.values()):
        return False
    together: pd.DataFrame = pd.concat([value["train"], value["test"]]).sort_index()
    return table.equals(together) and abs(len(value["test"]) - ratio * len(table)) <= 1


def _a_ratio() -> float:
    """Return a share that nobody can guess; never the 0.2 or 0.3 of the page."""
    return random.randint(311, 599) / 1000  # noqa: S311
