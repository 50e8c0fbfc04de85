"""Lesson 10: a deployment that runs by itself, at the same time each working day."""

from pathlib import Path

import pandas as pd
from prefect import flow, task
from prefect.schedules import Cron
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

IRIS = Path(__file__).resolve().parents[2] / "data" / "raw" / "iris.csv"


@task
def split_data(data: pd.DataFrame, test_data_ratio: float) -> list[pd.DataFrame]:
    return train_test_split(data, test_size=test_data_ratio, random_state=42)


@task
def measure_accuracy(train: pd.DataFrame, test: pd.DataFrame) -> float:
    model = LogisticRegression(max_iter=200)
    model.fit(train.drop(columns="species"), train["species"])
    return model.score(test.drop(columns="species"), test["species"])


@flow(name="main-flow", log_prints=True)
def main_flow(test_data_ratio: float = 0.2) -> None:
    train, test = split_data(pd.read_csv(IRIS), test_data_ratio)
    accuracy = measure_accuracy(train, test)
    print(f"{len(train)} rows to train, {len(test)} to test: accuracy {accuracy:.2f}")


if __name__ == "__main__":
    working_days = Cron("30 7 * * 1-5", timezone="America/Sao_Paulo")
    main_flow.serve(name="every-morning", schedule=working_days, global_limit=1)
