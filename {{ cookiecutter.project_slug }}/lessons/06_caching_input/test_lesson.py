"""The check of lesson 6: after a failure, the long step is taken from the cache, never a wrong one."""

from pathlib import Path

import pandas as pd

from lessons.workshop.exercise import Exercise, Finding, a_table, a_word, expect

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

    again = exercise.run(flow, FILE)
    expect(again.states(LONG_STEP) == ["Cached"], "run_again")
    expect(_encoded(table).equals(again.result), "wrong_table")


def test_changed_data_are_not_answered_from_the_cache(exercise: Exercise) -> None:
    flow = exercise.flow("data_engineer")
    for table in (a_table(), a_table()):
        table.to_csv(FILE, index=False)
        run = exercise.run(flow, FILE)
        cached = [task.name for task in run.tasks if task.state == "Cached"]
        expect(not cached, "old_answer", name=", ".join(cached))
        expect(_encoded(table).equals(run.result), "wrong_table")


def _encoded(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="species").join(pd.get_dummies(table["species"], dtype="int8"))
