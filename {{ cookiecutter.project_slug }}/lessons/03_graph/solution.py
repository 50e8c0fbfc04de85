"""Lesson 3: a flow whose graph shows how the work is connected."""

from pathlib import Path
from typing import Any

import pandas as pd
from prefect import Flow, flow, task
from sklearn.model_selection import train_test_split

IRIS = Path(__file__).resolve().parents[2] / "data" / "raw" / "iris.csv"


@task
def load_data(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


@task
def get_classes(data: pd.DataFrame, target_col: str) -> list[str]:
    return sorted(data[target_col].unique())


@task
def encode_categorical_columns(data: pd.DataFrame, target_col: str) -> pd.DataFrame:
    labels = pd.get_dummies(data[target_col], dtype="int8")
    return data.drop(columns=target_col).join(labels)


@task
def split_data(data: pd.DataFrame, test_data_ratio: float, classes: list[str]) -> dict[str, Any]:
    train, test = train_test_split(data, test_size=test_data_ratio, random_state=42)
    return {
        "train_x": train.drop(columns=classes, errors="ignore"),
        "train_y": train.filter(items=classes),
        "test_x": test.drop(columns=classes, errors="ignore"),
        "test_y": test.filter(items=classes),
    }


def draw(any_flow: "Flow[..., Any]") -> str:
    return any_flow.generate_mermaid_graph()


@flow
def data_engineer() -> dict[str, Any]:
    data = load_data(IRIS)
    classes = get_classes(data, "species")
    encoded = encode_categorical_columns(data, "species")
    return split_data(encoded, 0.2, classes)


if __name__ == "__main__":
    print(draw(data_engineer))
    for name, part in data_engineer().items():
        print(name, part.shape)
