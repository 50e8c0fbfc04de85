"""The check of lesson 1: the four functions are tasks, and still do what they did."""

from pathlib import Path
from typing import Any

import pandas as pd

from lessons.workshop.exercise import Exercise, a_table, expect

NAMES = ("load_data", "get_classes", "encode_categorical_columns", "split_data")


def test_the_functions_are_tasks(exercise: Exercise) -> None:
    for name in NAMES:
        exercise.task(name)


def test_they_do_what_the_functions_did_and_prefect_records_it(exercise: Exercise) -> None:
    load_data, get_classes, encode, split_data = map(exercise.task, NAMES)
    table = a_table()
    table.to_csv("flowers.csv", index=False)

    def all_four(path: Path) -> tuple[Any, ...]:
        data = load_data(path)
        classes = get_classes(table, "species")
        encoded = encode(table, "species")
        return data, classes, encoded, split_data(wanted, 0.25, species)

    species = sorted(set(table["species"]))
    wanted = table.drop(columns="species").join(pd.get_dummies(table["species"], dtype="int8"))
    run = exercise.run(all_four, Path("flowers.csv"))
    data, classes, encoded, split = run.result
    expect(table.equals(data), "changed", name="load_data")
    expect(classes == species, "changed", name="get_classes")
    expect(wanted.equals(encoded), "changed", name="encode_categorical_columns")
    expect(_is_split(split, wanted), "changed", name="split_data")
    for name in NAMES:
        expect(run.states(name) == ["Completed"], "no_run", name=name)


def _is_split(split: object, data: pd.DataFrame) -> bool:
    """Tell whether a quarter of the rows is the test set, and no row is lost or doubled."""
    if not isinstance(split, dict) or set(split) != {"train_x", "train_y", "test_x", "test_y"}:
        return False
    if abs(len(split["test_x"]) - len(data) / 4) > 1:
        return False
    parts = [split[f"{part}_x"].join(split[f"{part}_y"]) for part in ("train", "test")]
    return data.equals(pd.concat(parts).sort_index()[data.columns])
