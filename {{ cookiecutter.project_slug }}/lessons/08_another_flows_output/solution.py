"""Lesson 8: a flow that goes on with the very split that another flow has kept."""

from pathlib import Path

import pandas as pd
from prefect import flow, runtime, task
from prefect.cache_policies import DEFAULT
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore
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


@task
def read_split(location: str) -> dict[str, pd.DataFrame]:
    storage = LocalFileSystem(basepath=str(PROCESSED))
    return ResultStore(result_storage=storage).read(location).result


@flow(log_prints=True)
def data_science(location: str) -> dict[int, str]:
    split = read_split(location)
    train, test = split["train"], split["test"]
    model = LogisticRegression(max_iter=1000)
    model.fit(train.drop(columns="species"), train["species"])
    print("Rows to test:", *test.index)
    return dict(zip(test.index, model.predict(test.drop(columns="species")), strict=True))


if __name__ == "__main__":
    kept = data_engineer()
    print("Kept:", kept)
    data_science(kept)
