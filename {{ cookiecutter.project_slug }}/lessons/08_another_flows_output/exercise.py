"""Lesson 8: a flow that makes a split of its own, though another flow has kept one."""

from pathlib import Path

import pandas as pd
from prefect import flow, runtime, task
from prefect.cache_policies import DEFAULT
from prefect.filesystems import LocalFileSystem  # noqa: F401
from prefect.results import ResultStore  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).resolve().parents[2]
IRIS = ROOT / "data" / "raw" / "iris.csv"
PROCESSED = ROOT / "data" / "processed" / "lesson_08"


@task(
    cache_policy=DEFAULT,
    result_serializer="pickle",
    result_storage=PROCESSED,
    result_storage_key="{flow_run.name}/split_data",
)
def split_data(path: Path) -> dict[str, pd.DataFrame]:
    train, test = train_test_split(pd.read_csv(path), test_size=0.2)
    return {"train": train, "test": test}


@flow(log_prints=True)
def data_engineer(path: Path = IRIS) -> str:
    split = split_data(path)
    print("Rows to test:", *split["test"].index)
    return f"{runtime.flow_run.name}/split_data"


# TODO 1
@task
def read_split(location: str) -> dict[str, pd.DataFrame]:
    train, test = train_test_split(pd.read_csv(IRIS), test_size=0.2)
    return {"train": train, "test": test}


# TODO 2
@flow(log_prints=True)
def data_science() -> dict[int, str]:
    split = read_split("the newest one")
    train, test = split["train"], split["test"]
    model = LogisticRegression(max_iter=1000)
    model.fit(train.drop(columns="species"), train["species"])
    print("Rows to test:", *test.index)
    return dict(zip(test.index, model.predict(test.drop(columns="species")), strict=True))


if __name__ == "__main__":
    kept = data_engineer()
    print("Kept:", kept)
    data_science()  # TODO 3
