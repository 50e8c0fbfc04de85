"""The check of lesson 3: the graph is drawn, and says of the flow what its runs do."""

import re
from pathlib import Path

import pandas as pd
from prefect import flow, task

from lessons.workshop.exercise import Exercise, a_table, a_word, expect
from lessons.workshop.records import Run

ENCODE, CLASSES, SPLIT = "encode_categorical_columns", "get_classes", "split_data"
ARROWS = [("load_data", ENCODE), ("load_data", CLASSES), (ENCODE, SPLIT), (CLASSES, SPLIT)]


def test_the_graph_of_any_flow_is_drawn(exercise: Exercise) -> None:
    begin, middle, end = a_word(), a_word(), a_word()

    @task
    def step(given: int) -> int:
        return given

    @flow
    def unseen() -> None:
        first = step.with_options(name=begin)(1)
        second = step.with_options(name=middle)(first)
        step.with_options(name=end)(second)

    drawn = exercise.call(exercise.get("draw"), unseen)
    expect(isinstance(drawn, str) and drawn, "no_text")
    expect(begin in drawn and end in drawn, "not_drawn")
    expect({(begin, middle), (middle, end)} <= _arrows(drawn), "no_arrows")


def test_the_flow_runs_all_tasks_in_the_order_of_the_arrows(exercise: Exercise) -> None:
    table = a_table()
    table.to_csv(Path("data", "raw", "iris.csv"), index=False)
    run = exercise.run(exercise.flow("data_engineer"))
    for before, after in ARROWS:
        for name in (before, after):
            exercise.task(name)
            expect(run.states(name), "no_box", name=name)
        expect(before in _inputs(run, after), "no_arrow", before=before, after=after)
    encoded = table.drop(columns="species").join(pd.get_dummies(table["species"], dtype="int8"))
    split = run.result
    expect(isinstance(split, dict) and {"train_x", "test_y"} <= set(split), "no_split")
    parts = [split[f"{part}_x"].join(split[f"{part}_y"]) for part in ("train", "test")]
    together = pd.concat(parts).sort_index()
    expect(set(together) == set(encoded) and encoded.equals(together[list(encoded)]), "raw_data")


def _arrows(drawn: str) -> set[tuple[str, str]]:
    """Return the arrows of a graph in Mermaid's language (`a --> b`), or in Graphviz's."""
    found = re.findall(r'^\s*"?(\w+?)(?:[-_]\d+)?"? -{1,2}> "?(\w+?)(?:[-_]\d+)?"?;?$', drawn, re.M)
    return set(found)


def _inputs(run: Run, name: str) -> set[str]:
    """Return the names of the tasks whose results a task was given."""
    return {given for task in run.tasks if task.name == name for given in task.inputs}
