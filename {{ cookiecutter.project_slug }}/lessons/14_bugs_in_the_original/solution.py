"""Lesson 14: a flow that works on every day and every machine, and gives the same answer."""

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from prefect import flow, task
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).resolve().parents[2]
PROCESSED = ROOT / "data" / "processed" / "lesson_14"
IRIS = ROOT / "data" / "raw" / "iris.csv"


@task
def load_data(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


@task
def split_data(data: pd.DataFrame, test_data_ratio: float) -> dict[str, pd.DataFrame]:
    train, test = train_test_split(data, test_size=test_data_ratio, random_state=42)
    return {"train": train, "test": test}


@task
def save_split(split: dict[str, pd.DataFrame], checkpoint: str) -> None:
    folder = PROCESSED / checkpoint
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in split.items():
        part.to_csv(folder / f"{name}.csv", index=False)


@task
def train_model(checkpoint: str) -> LogisticRegression:
    train = pd.read_csv(PROCESSED / checkpoint / "train.csv")
    return LogisticRegression(max_iter=200).fit(train.drop(columns="species"), train["species"])


@task
def report_accuracy(model: LogisticRegression, checkpoint: str) -> float:
    test = pd.read_csv(PROCESSED / checkpoint / "test.csv")
    accuracy = float(model.score(test.drop(columns="species"), test["species"]))
    print(f"Model accuracy on test set: {round(accuracy * 100, 2)}")
    return accuracy


@flow(name="main-flow", log_prints=True)
def main_flow(test_data_ratio: float = 0.2) -> float:
    checkpoint = f"{datetime.now(UTC):%Y-%m-%d_%H-%M-%S}"
    split = split_data(load_data(IRIS), test_data_ratio)
    saved = save_split.submit(split, checkpoint)
    model = train_model.submit(checkpoint, wait_for=[saved])
    return report_accuracy.submit(model, checkpoint).result()


if __name__ == "__main__":
    print(main_flow(return_state=True))
