"""The flow `data-science`: from a split to a trained and evaluated model."""

from typing import Any

import numpy as np
import pandas as pd
from prefect import flow, task
from sklearn.pipeline import Pipeline

from flows.data_engineer import INTERIM, PROCESSED
from flows.parameters import Checkpoint, MinAccuracy, ModelParams
from ml.model import train
from ml.report import draw_evaluation, make_report
from runtime import LocalResult, UserError, current_run, in_run_folder, publish_report

MODELS = LocalResult(dir="models")


@task
def read_split(checkpoint: str) -> dict[str, Any]:
    """Return a split, the name of its `run`, its file's `sha256`, and as `data` its summary."""
    result = PROCESSED.read(location=f"{checkpoint}/split_data")
    run = result.location.partition("/")[0]  # where `checkpoint` may say "latest"
    return {**result.value, "run": run, "sha256": result.sha256, "data": result.run.get("data")}


@task(result_storage=MODELS, result_serializer="skops", cache_policy=MODELS.per_run)
def train_model(train_x: pd.DataFrame, train_y: pd.Series, params: ModelParams = None) -> Pipeline:
    """Return a model fitted to the training set, which predicts the names of the classes."""
    return train(train_x, train_y, params)


@task
def predict(model: Pipeline, test_x: pd.DataFrame) -> np.ndarray:
    """Return the name of the class that the model predicts for each row; shape (rows,)."""
    return model.predict(test_x)


@task(result_storage=INTERIM, result_serializer="png", cache_policy=INTERIM.by_content)
def draw_report(model: Pipeline, test_x: pd.DataFrame, test_y: pd.Series) -> bytes:
    """Return the report's picture as the bytes of a PNG."""
    return draw_evaluation(model, test_x, test_y)


@task(result_storage=MODELS, result_serializer="json-value", cache_policy=MODELS.per_run)
def get_schema(model: Pipeline) -> dict[str, Any]:
    """Return what the model was trained on: its features with their kinds, and its classes."""
    return dict(model.schema_)  # set by `train`


@task
def write_report(
    model: Pipeline, split: dict[str, Any], predictions: np.ndarray, picture: bytes
) -> None:
    """Write `reports/<run>/` and show the same on the run's page in the dashboard."""
    publish_report(make_report(model, split, predictions, picture, title=current_run()))


@task
def report_accuracy(predictions: np.ndarray, test_y: pd.Series, min_accuracy: float = 0) -> float:
    """Print and return the accuracy, from 0 to 1; raise `UserError` below `min_accuracy`."""
    accuracy = float((predictions == test_y.to_numpy()).mean())
    print(f"Model accuracy on test set: {round(accuracy * 100, 2)}")
    if accuracy < min_accuracy:
        raise UserError(f"The accuracy {accuracy:.2%} is below min_accuracy, {min_accuracy:.2%}.")
    return accuracy


def train_and_report(split: dict[str, Any], params: ModelParams, min_accuracy: float = 0) -> None:
    """Train a model on a split, evaluate and report it: the end of `data-science` and `tune`."""
    model = train_model(split["train_x"], split["train_y"], params)
    get_schema(model)
    predictions = predict(model, split["test_x"])
    picture = draw_report(model, split["test_x"], split["test_y"])
    write_report(model, split, predictions, picture)
    report_accuracy(predictions, split["test_y"], min_accuracy)  # last, since it may fail


@flow(name="data-science", log_prints=True)
@in_run_folder
def data_science(
    checkpoint: Checkpoint = "latest",
    model_params: ModelParams = None,
    min_accuracy: MinAccuracy = 0,
) -> str:
    """Train a model on the split of a run and evaluate it; return this run's name."""
    split = read_split(checkpoint)
    train_and_report(split, model_params, min_accuracy)
    return current_run()
