"""Lesson 4: a value in the middle of a flow, turned into a parameter."""

import json
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


@flow(name="data-engineer", log_prints=True)
def data_engineer(test_data_ratio: float = 0.2) -> dict[str, pd.DataFrame]:
    data = load_data(IRIS)
    split = split_data(data, test_data_ratio)
    print(f"{len(split['train'])} rows to train, {len(split['test'])} to test")
    return split


def run_from_file(path: Path) -> None:
    parameters = json.loads(path.read_text(encoding="utf-8"))
    print(f"{path.name}: {parameters}")
    data_engineer(**parameters)


if __name__ == "__main__":
    data_engineer()
    run_from_file(IRIS.parents[2] / "params.json")
