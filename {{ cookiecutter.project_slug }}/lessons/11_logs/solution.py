"""Lesson 11: a result that is in the log, with a warning if it is poor."""

from pathlib import Path

import numpy as np
import pandas as pd
from prefect import flow, get_run_logger, task
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

IRIS = Path(__file__).resolve().parents[2] / "data" / "raw" / "iris.csv"


@task
def train_model(train: pd.DataFrame) -> LogisticRegression:
    model = LogisticRegression(max_iter=200)
    return model.fit(train.drop(columns="species"), train["species"])


@task
def predict(model: LogisticRegression, test: pd.DataFrame) -> np.ndarray:
    return model.predict(test.drop(columns="species"))


@task(log_prints=True)
def report_accuracy(predictions: np.ndarray, test: pd.DataFrame, wanted: float) -> float:
    accuracy = float((predictions == test["species"]).mean())
    print(f"Model accuracy on test set: {round(accuracy * 100, 2)}")
    if accuracy < wanted:
        get_run_logger().warning(f"The accuracy is below {wanted}.")
    return accuracy


@flow(name="data-science")
def data_science(raw_path: Path = IRIS, wanted: float = 0.8) -> float:
    data = pd.read_csv(raw_path)
    train, test = train_test_split(data, test_size=0.2, random_state=42)
    predictions = predict(train_model(train), test)
    return report_accuracy(predictions, test, wanted)


if __name__ == "__main__":
    data_science()
    data_science(wanted=1.01)
