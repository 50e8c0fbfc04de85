"""Lesson 12: a file on a busy server, with retries, but only for errors that pass."""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow, task

IRIS = Path(__file__).resolve().parents[2] / "data" / "raw" / "iris.csv"
REQUESTS: Counter[Path] = Counter()


def download(path: Path) -> pd.DataFrame:
    """Stands for a download: two of three requests are refused."""
    REQUESTS[path] += 1
    print(f"Request {REQUESTS[path]} for {path.name}")
    if not path.exists():
        raise FileNotFoundError(f"The server has no {path.name}")
    if REQUESTS[path] % 3:
        raise ConnectionError("The server is busy")
    return pd.read_csv(path)


def is_busy(task: Any, task_run: Any, state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), ConnectionError)


@task(retries=3, retry_delay_seconds=0.2, retry_condition_fn=is_busy)
def load_data(path: Path) -> pd.DataFrame:
    return download(path)


@task
def get_classes(data: pd.DataFrame, target_col: str) -> list[str]:
    return sorted(data[target_col].unique())


@flow(name="data-engineer", log_prints=True)
def data_engineer(path: Path = IRIS) -> list[str]:
    return get_classes(load_data(path), "species")


if __name__ == "__main__":
    print(data_engineer(return_state=True))
    print(data_engineer(IRIS.with_name("irsi.csv"), return_state=True))
