"""The check of lesson 5: the file serves a deployment, which runs the flow as the dashboard asks."""

import random
import re
from pathlib import Path

from lessons.workshop.exercise import Exercise, a_table, expect
from lessons.workshop.records import Run

FLOW_DEFAULT = 0.2


def test_the_deployment_makes_quick_runs_and_custom_runs(exercise: Exercise) -> None:
    table, ratio = a_table(), random.randint(311, 599) / 1000  # noqa: S311
    table.to_csv(Path("data", "raw", "iris.csv"), index=False)
    properties = exercise.flow("data_engineer").parameters.properties
    default = properties.get("test_data_ratio", {}).get("default", "-")
    expect(default == FLOW_DEFAULT, "flow_default", value=default)
    with exercise.serving() as served:
        named = {one.name: one for one in served.deployments}
        expect("workshop" in named, "other_name", name=", ".join(named))
        # What a quick run takes; to carry it out as well would be the same as the custom run.
        taken = named["workshop"].parameters.get("test_data_ratio", FLOW_DEFAULT)
        expect(taken == 0.25, "quick_run", value=taken)
        run = served.run(named["workshop"], test_data_ratio=ratio)
    expect(run.state == "Completed", "not_completed", state=run.state)
    found, wanted = _rows_to_test(run), ratio * len(table)
    expect(abs(found - wanted) <= 1, "custom_run", ratio=ratio, rows=found, all=len(table))


def _rows_to_test(run: Run) -> int:
    said = re.findall(r"(\d+) to test", "\n".join(run.logs))
    expect(said, "says_nothing")
    return int(said[-1])
