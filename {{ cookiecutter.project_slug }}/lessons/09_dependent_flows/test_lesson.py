"""The check of lesson 9: data-engineer comes first, and data-science works on exactly its output."""

import random
from pathlib import Path

from lessons.workshop.exercise import Exercise, a_table, expect, finding_of

FILE = Path("flowers.csv")
FIRST, SECOND = "data-engineer", "data-science"


def test_the_second_follows_the_first_and_works_on_its_output(exercise: Exercise) -> None:
    main_flow = exercise.flow("main_flow")
    before = _leave_an_old_checkpoint(exercise)
    ratio = random.randint(311, 599) / 1000  # noqa: S311
    run = exercise.try_run(main_flow, FILE, test_data_ratio=ratio)
    subflows = {one.flow_name: one for one in run.subflows}
    if run.error and SECOND not in subflows:
        raise finding_of(run.error, exercise.file)
    expect(FIRST in subflows, "first_left_out")
    expect(SECOND in subflows, "second_left_out")
    first, second = subflows[FIRST], subflows[SECOND]
    done, begun = first.record.end_time, second.record.start_time
    expect(done and begun and done <= begun, "not_waited")

    given = second.parameters["checkpoint"]
    expect(given in _checkpoints(exercise) - before, "other_output", checkpoint=given)
    for name, wanted in (("raw_path", str(FILE)), ("test_data_ratio", str(ratio))):
        value = str(first.parameters[name])
        expect(value == wanted, "not_handed_on", name=name, value=value)
    expect(isinstance(run.result, float), "no_accuracy")


def test_the_second_does_not_begin_where_the_first_has_failed(exercise: Exercise) -> None:
    main_flow = exercise.flow("main_flow")
    _leave_an_old_checkpoint(exercise)
    FILE.unlink()
    run = exercise.try_run(main_flow, FILE)
    expect(SECOND not in [one.flow_name for one in run.subflows], "begun_after_a_failure")
    expect(run.state == "Failed", "failure_hidden", state=run.state)


def _leave_an_old_checkpoint(exercise: Exercise) -> set[str]:
    """Write new data, and an output of older data to be mixed up with; return all checkpoints."""
    a_table().to_csv(FILE, index=False)
    exercise.call(exercise.task("split_data").fn, a_table(), 0.2, "yesterday")
    return _checkpoints(exercise)


def _checkpoints(exercise: Exercise) -> set[str]:
    return {path.name for path in Path(exercise.get("PROCESSED")).iterdir()}
