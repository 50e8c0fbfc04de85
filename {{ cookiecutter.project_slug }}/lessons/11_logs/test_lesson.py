"""The check of lesson 11: what was printed is in Prefect's log, and a poor accuracy is a warning."""

import contextlib
import io
import logging
import random
from pathlib import Path

from lessons.workshop.exercise import Exercise, a_table, expect
from lessons.workshop.records import Run

FILE = Path("flowers.csv")
TASK = "report_accuracy"


def test_a_good_accuracy_is_in_the_log_of_its_task_and_no_warning(exercise: Exercise) -> None:
    run, printed = _run(exercise, wanted=-1.0)  # less than any accuracy
    line = f"Model accuracy on test set: {round(run.result * 100, 2)}"
    found = [log for log in run.log_records if line in log.message]
    expect(found or line in printed, "other_text", line=line)
    expect(found, "not_in_log", line=line)
    of_task = [task.record.id for task in run.tasks if task.name == TASK]
    expect(found[0].task_run_id in of_task, "not_of_the_task")
    expect(len(found) == 1, "twice", number=len(found))
    others = [log.message for log in run.log_records if "accuracy on test set" in log.message]
    expect(len(others) == 1, "another_value", line=line, other=others[-1])
    warnings = _warnings(run)
    expect(not warnings, "warned_for_nothing", warning="".join(warnings[:1]))


def test_a_poor_accuracy_is_a_warning(exercise: Exercise) -> None:
    wanted = random.randint(1001, 1999) / 1000  # noqa: S311  more than any accuracy
    run, _ = _run(exercise, wanted)
    warnings = _warnings(run)
    expect(warnings, "no_warning", wanted=wanted)
    expect(any(str(wanted) in one for one in warnings), "warning_without_value", wanted=wanted)


def _run(exercise: Exercise, wanted: float) -> tuple[Run, str]:
    """Run the flow on flowers whose classes are mixed up, so that nobody can guess the accuracy.

    Return the run, and what it has printed.
    """
    a_table(rows=120).to_csv(FILE, index=False)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run = exercise.run(exercise.flow("data_science"), FILE, wanted=wanted)
    expect(run.states(TASK) == ["Completed"], "no_run")
    expect(isinstance(run.result, float) and 0 <= run.result < 1, "no_accuracy")
    return run, printed.getvalue()


def _warnings(run: Run) -> list[str]:
    return [log.message for log in run.log_records if log.level == logging.WARNING]
