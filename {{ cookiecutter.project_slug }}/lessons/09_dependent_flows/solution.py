"""Lesson 9: a flow that runs two others, the second on the output of the first."""

from pathlib import Path

import pandas as pd
from prefect import flow, runtime, task
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).resolve().parents[2]
IRIS = ROOT / "data" / "raw" / "iris.csv"
PROCESSED = ROOT / "data" / "processed" / "lesson_09"


@task
def split_data(data: pd.DataFrame, test_data_ratio: float, checkpoint: str) -> None:
    folder = PROCESSED / checkpoint
    folder.mkdir(parents=True)
    train, test = train_test_split(data, test_size=test_data_ratio, random_state=42)
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)


@task
def train_model(checkpoint: str) -> LogisticRegression:
    train = pd.read_csv(PROCESSED / checkpoint / "train.csv")
    return LogisticRegression(max_iter=200).fit(train.drop(columns="species"), train["species"])


@flow(name="data-engineer")
def data_engineer(raw_path: Path = IRIS, test_data_ratio: float = 0.2) -> str:
    checkpoint = str(runtime.flow_run.id)
    split_data(pd.read_csv(raw_path), test_data_ratio, checkpoint)
    return checkpoint


@flow(name="data-science", log_prints=True)
def data_science(checkpoint: str) -> float:
    model = train_model(checkpoint)
    test = pd.read_csv(PROCESSED / checkpoint / "test.csv")
    accuracy = float(model.score(test.drop(columns="species"), test["species"]))
    print(f"Model accuracy on {len(test)} rows: {round(accuracy * 100, 2)}")
    return accuracy


@flow(name="main-flow")
def main_flow(raw_path: Path = IRIS, test_data_ratio: float = 0.2) -> float:
    checkpoint = data_engineer(raw_path, test_data_ratio)
    return data_science(checkpoint)


if __name__ == "__main__":
    print(main_flow(test_data_ratio=0.3, return_state=True))
