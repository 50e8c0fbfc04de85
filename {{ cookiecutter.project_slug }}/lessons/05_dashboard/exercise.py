"""Lesson 5: a flow that runs once, and that the dashboard cannot start."""

from pathlib import Path

import pandas as pd
from prefect import flow, task
from sklearn.model_selection import train_test_split

IRIS = Path(__file__).resolve().parents[2] / "data" / "raw" / "iris.csv"


@task
def load_data(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


@task
def split_data(data: pd.DataFrame, test_data_ratio: float) -> dict[str, pd.DataFrame]:
    train, test = train_test_split(data, test_size=test_data_ratio, random_state=42)
    return {"train": train, "test": test}


@flow(log_prints=True)
def data_engineer(test_data_ratio: float = 0.2) -> None:
    split = split_data(load_data(IRIS), test_data_ratio)
    print(f"{len(split['train'])} rows to train, {len(split['test'])} to test")


if __name__ == "__main__":
    # TODO 1
    # TODO 2
    data_engineer()
