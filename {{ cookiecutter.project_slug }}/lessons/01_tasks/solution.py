"""Lesson 1: four plain functions, turned into tasks."""

from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task
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
        "train_x": train.drop(columns=classes),
        "train_y": train[classes],
        "test_x": test.drop(columns=classes),
        "test_y": test[classes],
    }


if __name__ == "__main__":
    iris = load_data(IRIS)
    species = get_classes(iris, "species")
    encoded = encode_categorical_columns(iris, "species")
    split = split_data(encoded, 0.2, species)
    print(species, {name: len(part) for name, part in split.items()})
