"""The flow `data-science`: from a split to a trained and evaluated model."""

from typing import Any

import numpy as np
import pandas as pd
from prefect import flow, task
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from flows import reports
from flows.caching import CHECKPOINT
from flows.data_engineer import PROCESSED
from flows.engines import on_engine, task_runner
from flows.parameters import Checkpoint, InverseRegularization, MaxIter, RunName
from flows.results import results_in
from flows.retention import remove_old_runs
from flows.runs import (
    CHECKPOINT_NAME,
    begin_run,
    checked_run,
    current_run,
    finish_run,
    update_run,
)

MODELS = results_in("models")


class _SplitInGraph(dict[str, Any]):
    """Stands for a split while the graph is drawn: each part of it comes from `read_split`."""

    def __getitem__(self, part: str) -> Any:
        return self


@task(viz_return_value=_SplitInGraph(any_part=None))
def read_split(checkpoint: str) -> dict[str, Any]:
    """Return what `split_data` returned in the run `checkpoint`, another flow's output."""
    if checkpoint != current_run():
        update_run(current_run(), reads=checkpoint)  # so it is not removed meanwhile
    return PROCESSED.read(location=split_of(checkpoint)).value


@task(
    result_storage=MODELS,
    result_serializer="skops",
    cache_policy=CHECKPOINT.configure(key_storage=MODELS.records),
)
def train_model(
    train_x: pd.DataFrame,
    train_y: pd.DataFrame,
    C: float = 1.0,
    max_iter: int = 200,
    others: dict[str, Any] | None = None,
) -> Pipeline:
    """Return a model fitted to the training set, which answers with the names of the classes.

    `others` are parameters of the pipeline by their names in scikit-learn.
    """
    model = untrained_model(train_x, C, max_iter, others)
    return model.fit(train_x, class_names(train_y))


@task
def predict(model: Pipeline, test_x: pd.DataFrame) -> np.ndarray:
    """Return the name of the class that the model predicts for each row; shape (rows,)."""
    return model.predict(test_x)


@task
def report_accuracy(predictions: np.ndarray, test_y: pd.DataFrame) -> float:
    """Print and return the share of the rows whose class was predicted, from 0 to 1."""
    accuracy = float((predictions == class_names(test_y)).mean())
    print(f"Model accuracy on test set: {round(accuracy * 100, 2)}")
    return accuracy


@task
def write_report(predictions: np.ndarray, test_y: pd.DataFrame, run: str) -> None:
    """Write `reports/<run>/` and show the same on the run's page in the dashboard."""
    reports.write(class_names(test_y), predictions, list(test_y.columns), run)


def untrained_model(
    train_x: pd.DataFrame, C: float, max_iter: int, others: dict[str, Any] | None = None
) -> Pipeline:
    """Return a model that is not fitted yet.

    Numbers are scaled and their gaps filled with the mean; any other column is one-hot encoded,
    a gap being a value of its own, and a text that training never saw is ignored.
    """
    numbers = train_x.select_dtypes("number").columns
    fill_and_scale = make_pipeline(SimpleImputer(), StandardScaler())
    columns = ColumnTransformer(
        [
            ("numbers", fill_and_scale, list(numbers)),
            ("texts", OneHotEncoder(handle_unknown="ignore"), list(train_x.columns.drop(numbers))),
        ]
    )
    classifier = LogisticRegression(C=C, max_iter=max_iter)
    model = Pipeline([("columns", columns), ("classifier", classifier)])
    return model.set_params(**others or {})


def split_of(run: str) -> str:
    """Return where the split of a run is kept."""
    return CHECKPOINT_NAME.format(run=run, task_name="split_data")


def class_names(labels: pd.DataFrame) -> np.ndarray:
    """Return the name of the column that holds the 1 in each row; shape (rows,)."""
    return labels.columns.to_numpy(dtype=str)[labels.to_numpy().argmax(axis=1)]


@flow(
    name="data-science",
    task_runner=task_runner(),
    log_prints=True,
    on_completion=[finish_run, remove_old_runs],
    on_failure=[finish_run, remove_old_runs],
    on_crashed=[finish_run],
)
def data_science(
    checkpoint: Checkpoint = "latest",
    C: InverseRegularization = 1.0,
    max_iter: MaxIter = 200,
    run: RunName = None,
) -> str:
    """Train a model on the split of a run and evaluate it; return this run's name."""
    begin_run()
    split = read_split(checkpoint)
    model = on_engine(train_model, split["train_x"], split["train_y"], C, max_iter)
    predictions = on_engine(predict, model, split["test_x"])
    report_accuracy(predictions, split["test_y"])
    write_report(predictions, split["test_y"], current_run())
    return checked_run()
