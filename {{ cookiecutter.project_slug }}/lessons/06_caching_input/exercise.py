"""Lesson 6: a flow that fails after its longest step, and then starts all over."""

from pathlib import Path

import pandas as pd
from prefect import flow, task

from runtime import LocalResult  # noqa: F401

IRIS = Path(__file__).resolve().parents[2] / "data" / "raw" / "iris.csv"
# TODO 1


@task
def load_data(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


# TODO 2
@task
def encode_categorical_columns(data: pd.DataFrame, target_col: str) -> pd.DataFrame:
    print("Encoding, which takes long ...")
    labels = pd.get_dummies(data[target_col].astype(str), dtype="int8")
    return data.drop(columns=target_col).join(labels)


@task
def get_classes(data: pd.DataFrame, target_col: str) -> list[str]:
    return sorted(data[target_col].astype(str).unique())


@flow(name="data-engineer", log_prints=True)
def data_engineer(raw_path: Path = IRIS, classes_col: str = "species") -> pd.DataFrame:
    data = load_data(raw_path)
    encoded = encode_categorical_columns(data, "species")
    print("Classes:", get_classes(data, classes_col))
    return encoded


if __name__ == "__main__":
    failed = data_engineer(classes_col="speceis", return_state=True)
    print(failed)
    data_engineer()
