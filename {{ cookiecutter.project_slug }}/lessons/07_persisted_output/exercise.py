"""Lesson 7: a split that is kept where nobody looks, under a name that says nothing."""

from pathlib import Path

import pandas as pd
from prefect import flow, task
from prefect.cache_policies import DEFAULT
from sklearn.model_selection import train_test_split

ROOT = Path(__file__).resolve().parents[2]
IRIS = ROOT / "data" / "raw" / "iris.csv"
PROCESSED = ROOT / "data" / "processed" / "lesson_07"


@task
def load_data(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


# TODO 1
# TODO 2
@task(cache_policy=DEFAULT, result_serializer="pickle")
def split_data(data: pd.DataFrame, test_data_ratio: float) -> dict[str, pd.DataFrame]:
    train, test = train_test_split(data, test_size=test_data_ratio, random_state=42)
    return {"train": train, "test": test}


@flow(log_prints=True)
def data_engineer(path: Path = IRIS, test_data_ratio: float = 0.2) -> None:
    split = split_data(load_data(path), test_data_ratio)
    print(f"{len(split['train'])} rows to train, {len(split['test'])} to test")


if __name__ == "__main__":
    data_engineer()
    data_engineer(test_data_ratio=0.3)
    files = [path for path in PROCESSED.rglob("*") if path.is_file()]
    print("Kept:", *[file.relative_to(ROOT).as_posix() for file in files], sep="\n  ")
