"""The check of lesson 4: the ratio is a parameter, which code and a JSON file can set."""

import json
import random
from pathlib import Path

from lessons.workshop.exercise import Exercise, expect

ROWS = 150  # of data/raw/iris.csv


def test_the_flow_has_a_parameter(exercise: Exercise) -> None:
    flow = exercise.flow("data_engineer")
    expect("test_data_ratio" in flow.parameters.properties, "no_parameter")
    described = flow.parameters.properties["test_data_ratio"]
    expect(described.keys() - {"title", "position", "default"}, "no_type")


def test_without_a_value_it_is_as_before(exercise: Exercise) -> None:
    flow = exercise.flow("data_engineer")
    expect("test_data_ratio" not in (flow.parameters.required or []), "no_default")
    recorded = exercise.run(flow).parameters.get("test_data_ratio")
    expect(recorded == 0.2, "other_default", value=recorded)


def test_a_value_given_in_code_is_used(exercise: Exercise) -> None:
    ratio = _a_ratio()
    split = exercise.run(exercise.flow("data_engineer"), test_data_ratio=ratio).result
    expect(isinstance(split, dict) and {"train", "test"} <= set(split), "no_split")
    found = len(split["test"])
    expect(abs(found - ROWS * ratio) <= 1, "not_used", ratio=ratio, rows=found)


def test_a_value_given_in_a_file_is_used(exercise: Exercise) -> None:
    ratio = _a_ratio()
    Path("mine.json").write_text(json.dumps({"test_data_ratio": ratio}), encoding="utf-8")
    runs = exercise.runs_of(exercise.get("run_from_file"), Path("mine.json"))
    expect(runs, "file_runs_nothing")
    recorded = runs[-1].parameters.get("test_data_ratio")
    expect(recorded == ratio, "file_not_used", ratio=ratio, value=recorded)


def _a_ratio() -> float:
    """Return a share of the rows that nobody can guess; never the 0.2 or 0.3 of the page."""
    return random.randint(311, 599) / 1000  # noqa: S311
