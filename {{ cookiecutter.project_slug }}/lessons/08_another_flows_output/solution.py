"""Lesson 8: a flow that continues with the very split that another flow has kept."""

from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow, task
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from runtime import LocalResult, current_run, in_run_folder

IRIS = Path(__file__).resolve().parents[2] / "data" / "raw" / "iris.csv"
PROCESSED = LocalResult(dir="data/processed")


@task(result_storage=PROCESSED, result_serializer="parquet", cache_policy=PROCESSED.per_run)
def split_data(data: pd.DataFrame, target_col: str) -> dict[str, Any]:
    x, y = data.drop(columns=target_col), data[target_col]
    train_x, test_x, train_y, test_y = train_test_split(x, y, test_size=0.2, stratify=y)
    return {"train_x": train_x, "train_y": train_y, "test_x": test_x, "test_y": test_y}


@flow(name="data-engineer", log_prints=True)
@in_run_folder
def data_engineer(raw_path: Path = IRIS) -> str:
    split = split_data(pd.read_csv(raw_path), "species")
    print("Rows to test:", *split["test_x"].index)
    return current_run()


@task
def read_split(checkpoint: str) -> dict[str, Any]:
    result = PROCESSED.read(location=f"{checkpoint}/split_data")
    return result.value


@flow(name="data-science", log_prints=True)
@in_run_folder
def data_science(checkpoint: str = "latest") -> dict[int, str]:
    split = read_split(checkpoint)
    model = LogisticRegression(max_iter=1000).fit(split["train_x"], split["train_y"])
    print("Rows to test:", *split["test_x"].index)
    predictions = model.predict(split["test_x"])
    return dict(zip(split["test_x"].index, predictions, strict=True))


if __name__ == "__main__":
    checkpoint = data_engineer()
    print("Kept in:", checkpoint)
    data_science(checkpoint)
