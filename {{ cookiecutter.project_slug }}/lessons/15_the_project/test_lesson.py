"""The check of lesson 15: a task, a model and a metric of the student's, in a run of the project."""

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from lessons.workshop.exercise import Exercise, Finding, a_table, expect, finding_of
from lessons.workshop.records import Run
from runtime import LocalResult, UserError
from runtime.history import read_run

PROCESSED = LocalResult(dir="data/processed")
FILE = "data/raw/flowers.csv"
BEFORE = ("split_data", "predict", "report_accuracy")


def test_the_task_drops_duplicates_and_keeps_the_rest(exercise: Exercise) -> None:
    exercise.task("drop_duplicates")
    run, table = _a_run(exercise)
    expect(run.states("drop_duplicates"), "not_called")
    features = table.drop(columns="species")
    try:
        kept = PROCESSED.read(location=f"{run.result}/drop_duplicates").value
    except UserError:
        raise Finding("no_checkpoint") from None
    rows = isinstance(kept, pd.DataFrame) and set(features) <= set(kept) and kept[list(features)]
    expect(isinstance(rows, pd.DataFrame) and len(rows) == len(features), "wrong_rows")
    split = PROCESSED.read(location=f"{run.result}/split_data").value
    used = len(split["train_x"]) + len(split["test_x"])
    expect(used == len(table), "not_passed_on", used=used, rows=len(table))


def test_the_model_is_another_one(exercise: Exercise) -> None:
    model = exercise.call(exercise.get("my_model"))
    expect(isinstance(model, Pipeline) and len(model.steps) > 1, "no_pipeline")
    expect(not isinstance(model[-1], LogisticRegression), "same_model")
    expect(hasattr(model[-1], "predict"), "no_pipeline")


def test_run_json_has_the_accuracy(exercise: Exercise) -> None:
    run, _ = _a_run(exercise)
    said = [line for line in run.logs if line.startswith("Model accuracy on test set: ")]
    metrics = read_run(run.result).get("metrics", {})
    expect("accuracy" in metrics, "no_metric")
    value = metrics["accuracy"]
    expect(isinstance(value, float) and said == [_line(value)], "other_accuracy", value=value)


def _a_run(exercise: Exercise) -> tuple[Run, pd.DataFrame]:
    """Run the flow on flowers of which some stand there twice; return it, and each flower once."""
    table = a_table(rows=90)
    pd.concat([table, table[::4]]).to_csv(FILE, index=False)
    run = exercise.try_run(exercise.flow("my_flow"), FILE)
    expect(not run.not_kept, "no_format", name=next(iter(run.not_kept), ""))
    if run.error:
        raise finding_of(run.error, exercise.file)
    for name in BEFORE:
        expect(run.states(name), "left_out", name=name)
    expect(isinstance(run.result, str) and read_run(run.result), "no_run")
    return run, table


def _line(accuracy: float) -> str:
    return f"Model accuracy on test set: {round(accuracy * 100, 2)}"
