"""The flow `data-engineer`: from the raw CSV file to a training set and a test set."""

from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow, task
from sklearn.model_selection import train_test_split

from flows import ROOT, checks
from flows.caching import BY_CONTENT, CHECKPOINT
from flows.engines import on_engine, task_runner
from flows.parameters import RawPath, RunName, Seed, TargetCol, TestDataRatio
from flows.records import sha256
from flows.results import results_in
from flows.retention import remove_old_runs
from flows.runs import begin_run, checked_run, current_run, finish_run, update_run

PROCESSED = results_in("data/processed")
INTERIM = results_in("data/interim")


@task
def load_data(path: str) -> pd.DataFrame:
    """Return the rows of a CSV file; `path` is relative to the project.

    Raises `BadData` where the file is missing or is not a table.
    """
    if "://" in path:  # may hold a password, which no message is to repeat
        raise checks.BadData("raw_path", ["it is an address, not a file: download it first"])
    data = checks.read_csv(Path(ROOT, path))
    update_run(current_run(), raw_file={"path": path, "sha256": sha256(Path(ROOT, path))})
    return data


@task
def check_data(data: pd.DataFrame, target_col: str, test_data_ratio: float) -> pd.DataFrame:
    """Return the data, fit for use; raise `BadData` with a list of all that is wrong in it."""
    return checks.checked(data, target_col, test_data_ratio)


@task(
    result_storage=PROCESSED,
    result_serializer="json-value",
    cache_policy=CHECKPOINT.configure(key_storage=PROCESSED.records),
)
def get_classes(data: pd.DataFrame, target_col: str) -> list[str]:
    """Return the names of the classes in the target column, sorted."""
    return sorted(data[target_col].astype(str).unique())


@task(
    result_storage=INTERIM,
    result_serializer="parquet",
    cache_result_in_memory=False,  # large: it is on disk, and used by one task
    cache_policy=BY_CONTENT.configure(key_storage=INTERIM.records),
)
def encode_categorical_columns(data: pd.DataFrame, target_col: str) -> pd.DataFrame:
    """Return the data with the target column replaced by one column of 0 and 1 for each class.

    Text in other columns stays: the model encodes it, so that it can do so for new data too.
    """
    labels = pd.get_dummies(data[target_col].astype(str), dtype="int8")
    return data.drop(columns=target_col).join(labels)


@task(
    result_storage=PROCESSED,
    result_serializer="parquet",
    cache_result_in_memory=False,
    cache_policy=CHECKPOINT.configure(key_storage=PROCESSED.records),
)
def split_data(
    data: pd.DataFrame, test_data_ratio: float, classes: list[str], seed: int = 42
) -> dict[str, Any]:
    """Return the training set and the test set, each split into features and labels.

    Four DataFrames: `train_x` and `test_x` with the features, `train_y` and `test_y` with one
    column of 0 and 1 for each class. Each class has the same share in both sets.
    """
    number_of_class = data[classes].to_numpy().argmax(axis=1)
    train, test = train_test_split(
        data, test_size=test_data_ratio, random_state=seed, stratify=number_of_class
    )
    return {
        "train_x": train.drop(columns=classes),
        "train_y": train[classes],
        "test_x": test.drop(columns=classes),
        "test_y": test[classes],
    }


@flow(
    name="data-engineer",
    task_runner=task_runner(),
    log_prints=True,
    on_completion=[finish_run, remove_old_runs],
    on_failure=[finish_run, remove_old_runs],
    on_crashed=[finish_run],
)
def data_engineer(
    raw_path: RawPath = "data/raw/iris.csv",
    target_col: TargetCol = "species",
    test_data_ratio: TestDataRatio = 0.2,
    seed: Seed = 42,
    run: RunName = None,
) -> str:
    """Split the raw data into a training set and a test set; return the run's name."""
    begin_run()
    data = load_data(raw_path)
    data = check_data(data, target_col, test_data_ratio)
    encoded = on_engine(encode_categorical_columns, data, target_col)
    classes = on_engine(get_classes, data, target_col)
    on_engine(split_data, encoded, test_data_ratio, classes, seed)
    return checked_run()
