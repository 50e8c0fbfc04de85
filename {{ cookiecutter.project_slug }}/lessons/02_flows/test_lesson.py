"""The check of lesson 2: the flow runs the four tasks, and the file runs the flow."""

import runpy
from pathlib import Path

import pandas as pd

from lessons.workshop.exercise import Exercise, a_table, expect

NAMES = ("load_data", "get_classes", "encode_categorical_columns", "split_data")
PARTS = {"train_x", "train_y", "test_x", "test_y"}


def test_the_function_is_a_flow(exercise: Exercise) -> None:
    flow = exercise.flow("data_engineer")
    expect(flow.name == "data-engineer", "flow_name", name=flow.name)
    for name in NAMES:
        exercise.task(name)


def test_a_run_of_it_runs_the_four_tasks(exercise: Exercise) -> None:
    table = a_table()
    table.to_csv(Path("data", "raw", "iris.csv"), index=False)
    run = exercise.run(exercise.flow("data_engineer"))
    for name in NAMES:
        expect(run.states(name), "task_left_out", name=name)
    split = run.result
    expect(isinstance(split, dict) and set(split) == PARTS, "no_split")
    encoded = table.drop(columns="species").join(pd.get_dummies(table["species"], dtype="int8"))
    parts = [split[f"{part}_x"].join(split[f"{part}_y"]) for part in ("train", "test")]
    expect(encoded.equals(pd.concat(parts).sort_index()[encoded.columns]), "other_data")


def test_python_runs_the_flow(exercise: Exercise) -> None:
    names = [run.flow_name for run in exercise.run_script()]
    expect("data-engineer" in names, "not_run")


def test_an_import_of_the_file_runs_nothing(exercise: Exercise) -> None:
    runs = exercise.runs_of(runpy.run_path, str(exercise.file), run_name="exercise")
    expect(not runs, "run_by_import")
