"""The flow `data-engineer`: from the raw CSV file to a training set and a test set."""

from typing import Any

import pandas as pd
from prefect import flow, task
from sklearn.model_selection import train_test_split

from flows.parameters import DropCols, RawPath, Seed, TargetCol, TestDataRatio, Unlabelled
from ml.checks import check_table, notes
from ml.data import LABEL, read_csv
from runtime import LocalResult, current_run, in_run_folder, raw_file, update_run

# Where tasks keep their outputs. A task that names none only passes its output on.
INTERIM = LocalResult(dir="data/interim")  # .by_content: later runs use it again
PROCESSED = LocalResult(dir="data/processed")  # .per_run: in the folder of the run


@task
def load_data(path: str) -> pd.DataFrame:
    """Return the rows of a CSV file; `path` is relative to the project."""
    return read_csv(raw_file(path))


@task
def check_data(
    data: pd.DataFrame,
    target_col: str,
    test_data_ratio: float,
    drop_cols: DropCols = (),
    unlabelled: Unlabelled = "refuse",
) -> pd.DataFrame:
    """Return the columns to learn from, as numbers or texts; raise `BadData` with all problems."""
    checked, summary = check_table(data, target_col, test_data_ratio, drop_cols, unlabelled)
    update_run(data=summary)  # in run.json, where `read_split` finds it
    for note in notes(checked, summary):
        print(note)
    return checked


@task(result_storage=INTERIM, result_serializer="parquet", cache_policy=INTERIM.by_content)
def encode_categorical_columns(data: pd.DataFrame, target_col: str) -> pd.DataFrame:
    """Return the data with the target column replaced by one column of 0 and 1 for each class."""
    labels = pd.get_dummies(data[target_col].astype(str), dtype="int8")
    features = data.drop(columns=target_col)  # the model encodes their texts, as in new rows
    return features.join(labels.rename(columns={name: f"{name}{LABEL}" for name in features}))


@task(result_storage=PROCESSED, result_serializer="json-value", cache_policy=PROCESSED.per_run)
def get_classes(data: pd.DataFrame, target_col: str) -> list[str]:
    """Return the names of the classes in the target column, sorted."""
    return sorted(data[target_col].astype(str).unique())


@task(result_storage=PROCESSED, result_serializer="parquet", cache_policy=PROCESSED.per_run)
def split_data(
    data: pd.DataFrame, test_data_ratio: float, classes: list[str], seed: int = 42
) -> dict[str, Any]:
    """Return the training set and the test set, each split into features and labels.

    `train_x` and `test_x` are DataFrames with the features, `train_y` and `test_y` Series with the
    name of each row's class. A class has the same share in both sets, as far as rows allow.
    """
    columns = [f"{name}{LABEL}" if f"{name}{LABEL}" in data else name for name in classes]
    labels = pd.Categorical.from_codes(data[columns].to_numpy().argmax(axis=1), pd.Index(classes))
    x = data.drop(columns=columns)
    y = pd.Series(labels, index=data.index, name="class")
    train_x, test_x, train_y, test_y = train_test_split(
        x, y, test_size=test_data_ratio, random_state=seed, stratify=y.cat.codes
    )
    return {"train_x": train_x, "train_y": train_y, "test_x": test_x, "test_y": test_y}


@flow(name="data-engineer", log_prints=True)
@in_run_folder
def data_engineer(
    raw_path: RawPath = "data/raw/iris.csv",
    target_col: TargetCol = "species",
    test_data_ratio: TestDataRatio = 0.2,
    seed: Seed = 42,
    drop_cols: DropCols = (),
    unlabelled: Unlabelled = "refuse",
) -> str:
    """Split the raw data into a training set and a test set; return the run's name."""
    data = load_data(raw_path)
    data = check_data(data, target_col, test_data_ratio, drop_cols, unlabelled)
    encoded = encode_categorical_columns(data, target_col)
    classes = get_classes(data, target_col)
    split_data(encoded, test_data_ratio, classes, seed)
    return current_run()
