"""Lesson 7: a flow that leaves nothing behind."""

from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow, task
from sklearn.model_selection import train_test_split

from runtime import LocalResult, current_run, in_run_folder  # noqa: F401

IRIS = Path(__file__).resolve().parents[2] / "data" / "raw" / "iris.csv"
PROCESSED = LocalResult(dir="data/processed")


@task
def load_data(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


# TODO 1
@task
def get_classes(data: pd.DataFrame, target_col: str) -> list[str]:
    return sorted(data[target_col].astype(str).unique())


# TODO 2
@task
def split_data(data: pd.DataFrame, target_col: str, test_data_ratio: float) -> dict[str, Any]:
    x, y = data.drop(columns=target_col), data[target_col]
    train_x, test_x, train_y, test_y = train_test_split(
        x, y, test_size=test_data_ratio, random_state=42, stratify=y
    )
    return {"train_x": train_x, "train_y": train_y, "test_x": test_x, "test_y": test_y}


# TODO 3
@flow(name="data-engineer", log_prints=True)
def data_engineer(raw_path: Path = IRIS, test_data_ratio: float = 0.2) -> str:
    data = load_data(raw_path)
    print("Classes:", get_classes(data, "species"))
    split_data(data, "species", test_data_ratio)
    return current_run()


if __name__ == "__main__":
    run = data_engineer()
    print("Kept:", *Path("data/processed", run).rglob("*.*"), sep="\n  ")
