"""The check of lesson 9: data-engineer comes first, and data-science works on exactly its output."""

import random
import shutil
from pathlib import Path

from lessons.workshop.exercise import Exercise, a_table, expect, finding_of
from lessons.workshop.records import Run

FILE = Path("flowers.csv")
FIRST, SECOND = "data-engineer", "data-science"


def test_both_flows_are_run_in_their_order(exercise: Exercise) -> None:
    main_flow = exercise.flow("main_flow")
    _leave_an_old_checkpoint(exercise)
    run = exercise.try_run(main_flow, FILE)
    names = [one.flow_name for one in run.subflows]
    if run.error and SECOND not in names:
        raise finding_of(run.error, exercise.file)
    expect(FIRST in names, "first_left_out")
    expect(SECOND in names, "second_left_out")
    first, second = _both(run)
    done, begun = first.record.end_time, second.record.start_time
    expect(done and begun and done <= begun, "not_waited")


def test_the_second_works_on_what_the_first_has_made(exercise: Exercise) -> None:
    main_flow = exercise.flow("main_flow")
    _leave_an_old_checkpoint(exercise)
    before = _checkpoints(exercise)
    ratio = random.randint(311, 599) / 1000  # noqa: S311
    run = exercise.run(main_flow, FILE, test_data_ratio=ratio)
    first, second = _both(run)
    given = second.parameters["checkpoint"]
    expect(given in _checkpoints(exercise) - before, "other_output", checkpoint=given)
    path, value = (first.parameters[name] for name in ("raw_path", "test_data_ratio"))
    expect(Path(path) == FILE, "not_handed_on", name="raw_path", value=path)
    expect(value == ratio, "not_handed_on", name="test_data_ratio", value=value)
    expect(isinstance(run.result, float), "no_accuracy")


def test_the_second_does_not_begin_where_the_first_has_failed(exercise: Exercise) -> None:
    main_flow = exercise.flow("main_flow")
    _leave_an_old_checkpoint(exercise)
    FILE.unlink()
    run = exercise.try_run(main_flow, FILE)
    expect(SECOND not in [one.flow_name for one in run.subflows], "begun_after_a_failure")
    expect(run.state == "Failed", "failure_hidden", state=run.state)


def _leave_an_old_checkpoint(exercise: Exercise) -> None:
    """Run data-engineer on other data, so that there is an older output to be mixed up with."""
    a_table().to_csv(FILE, index=False)
    made = exercise.run(exercise.flow("data_engineer"), FILE).result
    folder = Path(exercise.get("PROCESSED"))
    shutil.copytree(folder / str(made), folder / "yesterday")
    a_table().to_csv(FILE, index=False)


def _checkpoints(exercise: Exercise) -> set[str]:
    return {path.name for path in Path(exercise.get("PROCESSED")).iterdir()}


def _both(run: Run) -> tuple[Run, Run]:
    """Return the last run of each of the two flows."""
    ended = {one.flow_name: one for one in run.subflows}
    return ended[FIRST], ended[SECOND]
