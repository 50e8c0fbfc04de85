"""Lesson 13: a flow, and three tests that fail on a wrong one."""

from pathlib import Path

import pandas as pd
from prefect import flow, task
from sklearn.model_selection import train_test_split

IRIS = Path(__file__).resolve().parents[2] / "data" / "raw" / "iris.csv"


@task
def split_data(data: pd.DataFrame, test_data_ratio: float, seed: int) -> dict[str, pd.DataFrame]:
    train, test = train_test_split(data, test_size=test_data_ratio, random_state=seed)
    return {"train": train, "test": test}


@flow(name="data-engineer")
def data_engineer(test_data_ratio: float = 0.2, seed: int = 42) -> dict[str, pd.DataFrame]:
    return split_data(pd.read_csv(IRIS), test_data_ratio, seed)


def test_no_row_is_lost_or_doubled() -> None:
    split = data_engineer()
    together = pd.concat([split["train"], split["test"]]).sort_index()
    assert together.equals(pd.read_csv(IRIS))


def test_the_test_set_is_as_large_as_was_asked_for() -> None:
    split = data_engineer(test_data_ratio=0.3)
    assert len(split["test"]) == 45


def test_the_same_seed_gives_the_same_split() -> None:
    one, other = data_engineer(seed=1), data_engineer(seed=1)
    assert one["train"].equals(other["train"])


if __name__ == "__main__":
    test_no_row_is_lost_or_doubled()
    test_the_test_set_is_as_large_as_was_asked_for()
    test_the_same_seed_gives_the_same_split()
    print("All tests have passed.")
