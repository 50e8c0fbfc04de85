"""Lesson 15: the project's own tasks, in a flow of yours."""

import pandas as pd
from prefect import flow, task
from sklearn.ensemble import RandomForestClassifier  # noqa: F401
from sklearn.pipeline import Pipeline

from flows.data_engineer import (
    PROCESSED,  # noqa: F401
    check_data,
    encode_categorical_columns,
    get_classes,
    load_data,
    split_data,
)
from flows.data_science import predict, report_accuracy
from flows.parameters import RawPath, TargetCol, TestDataRatio
from ml.model import new_model
from runtime import current_run, in_run_folder, update_run  # noqa: F401


# TODO 1
def drop_duplicates(data: pd.DataFrame) -> pd.DataFrame:
    return data.drop_duplicates()


def my_model() -> Pipeline:
    return new_model()  # TODO 2


@task
def train_model(train_x: pd.DataFrame, train_y: pd.Series) -> Pipeline:
    return my_model().fit(train_x, train_y)


@flow(name="my-flow", log_prints=True)
@in_run_folder
def my_flow(
    raw_path: RawPath = "data/raw/iris.csv",
    target_col: TargetCol = "species",
    test_data_ratio: TestDataRatio = 0.2,
) -> str:
    data = check_data(load_data(raw_path), target_col, test_data_ratio)
    encoded = encode_categorical_columns(data, target_col)
    classes = get_classes(data, target_col)
    split = split_data(encoded, test_data_ratio, classes)
    model = train_model(split["train_x"], split["train_y"])
    report_accuracy(predict(model, split["test_x"]), split["test_y"])
    # TODO 3
    return current_run()


if __name__ == "__main__":
    print("Kept in:", my_flow())
