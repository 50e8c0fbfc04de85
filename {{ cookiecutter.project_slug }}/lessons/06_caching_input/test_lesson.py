"""The check of lesson 6: after a failure, the long step is taken from the cache, never a wrong one."""

from pathlib import Path

import pandas as pd

from lessons.workshop.exercise import Exercise, Finding, a_table, a_word, expect
from lessons.workshop.records import Run

FILE = Path("flowers.csv")
LONG_STEP = "encode_categorical_columns"


def test_a_failed_run_does_not_start_all_over(exercise: Exercise) -> None:
    flow, table = exercise.flow("data_engineer"), a_table()
    table.to_csv(FILE, index=False)

    failed = exercise.try_run(flow, FILE, classes_col=a_word())
    expect(failed.state == "Failed", "no_failure", state=failed.state)
    if failed.states(LONG_STEP) != ["Completed"]:
        exercise.run(flow, FILE)  # names the line, where it fails with the right column, too
        raise Finding("long_step_left_out")

    _expect_kept(failed)
    again = exercise.run(flow, FILE)
    if again.states(LONG_STEP) != ["Cached"]:
        _expect_new_answers(exercise)  # a table that came from a cache may differ in its types
        raise Finding("run_again")
    expect(_encoded(table).equals(again.result), "wrong_table")
    files = [Path(name) for name in exercise.files("data/interim/*")]
    expect(any(_is_table(file, _encoded(table)) for file in files), "not_in_interim")


def test_changed_data_are_not_answered_from_the_cache(exercise: Exercise) -> None:
    _expect_new_answers(exercise)


def _expect_new_answers(exercise: Exercise) -> None:
    """Run the flow on one file with two contents; neither may be answered from the cache."""
    flow = exercise.flow("data_engineer")
    for table in (a_table(), a_table()):
        table.to_csv(FILE, index=False)
        run = exercise.run(flow, FILE)
        _expect_kept(run)
        cached = [task.name for task in run.tasks if task.state == "Cached"]
        expect(not cached, "old_answer", name=", ".join(cached))
        expect(_encoded(table).equals(run.result), "wrong_table")


def _expect_kept(run: Run) -> None:
    for name in run.not_kept:
        raise Finding("no_serializer", name=name)


def _encoded(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="species").join(pd.get_dummies(table["species"], dtype="int8"))


def _is_table(file: Path, table: pd.DataFrame) -> bool:
    try:
        return table.equals(pd.read_parquet(file))
    except Exception:  # whatever a student writes into a file
        return False
