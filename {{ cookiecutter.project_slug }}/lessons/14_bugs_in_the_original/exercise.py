"""Lesson 14: a flow that worked on the day it was written. It has five faults."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from prefect import flow, task
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

# TODO 1
ROOT = Path(__file__).resolve().parents[2]
PROCESSED = ROOT / "data" / "processed" / "lesson_14"
DATA = pd.read_csv(ROOT / "data" / "raw" / "iris.csv")


@task
def split_data(data: pd.DataFrame, test_data_ratio: float) -> dict[str, pd.DataFrame]:
    train, test = train_test_split(data, test_size=test_data_ratio)
    return {"train": train, "test": test}


@task
def save_split(split: dict[str, pd.DataFrame], checkpoint: str) -> None:
    folder = PROCESSED / checkpoint
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in split.items():
        part.to_csv(folder / f"{name}.csv", index=False)


@task
def train_model(checkpoint: str) -> LogisticRegression:
    train = pd.read_csv(PROCESSED / "06-11-2021 15:37:29" / "train.csv")
    return LogisticRegression(max_iter=200).fit(train.drop(columns="species"), train["species"])


@task
def report_accuracy(model: LogisticRegression, checkpoint: str) -> float:
    test = pd.read_csv(PROCESSED / "06-11-2021 15:37:29" / "test.csv")
    accuracy = float(model.score(test.drop(columns="species"), test["species"]))
    print(f"Model accuracy on test set: {round(accuracy * 100, 2)}")
    return accuracy


@flow(name="main-flow", log_prints=True)
def main_flow(test_data_ratio: float = 0.2) -> float:
    checkpoint = f"{datetime.now(UTC):%d-%m-%Y %H:%M:%S}"
    split = split_data(DATA, test_data_ratio)
    save_split.submit(split, checkpoint)
    model = train_model.submit(checkpoint)
    return report_accuracy.submit(model, checkpoint).result()


if __name__ == "__main__":
    print(main_flow(return_state=True))
