"""The flows as they run: what they leave, what a later run finds again, what they refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.data_engineer import data_engineer
from flows.main_flow import main_flow
from ml.data import BadData
from runtime import LocalResult

Facts = Callable[[str], dict[str, Any]]


def test_data_engineer_leaves_a_split_that_another_flow_can_read(project: Path) -> None:
    run = data_engineer(test_data_ratio=0.3)
    split = LocalResult(dir="data/processed").read(location=f"{run}/split_data").value
    rows = len(split["train_x"]) + len(split["test_x"])
    assert len(split["test_x"]) / rows == pytest.approx(0.3, abs=0.01)
    assert len(split["train_y"]) == len(split["train_x"])
    assert set(split["test_y"]) == {"setosa", "versicolor", "virginica"}


def test_latest_is_the_newest_run(project: Path) -> None:
    data_engineer(seed=1)
    newest = data_engineer(seed=2)
    found = LocalResult(dir="data/processed").read(location="latest/split_data")
    assert found.location == f"{newest}/split_data"


def test_main_flow_trains_and_reports_on_its_own_split(project: Path, facts: Facts) -> None:
    run = main_flow()
    assert facts(run)["state"] == "Completed"
    assert facts(run)["metrics"]["accuracy"] > 0.8
    assert facts(run)["flows"]["data-science"]["parameters"]["checkpoint"] == run
    assert (project / "models" / run / "train_model.skops").is_file()
    assert f"{facts(run)['metrics']['accuracy']:.2%}" in (
        project / "reports" / run / "report.html"
    ).read_text("utf-8")


def test_what_was_encoded_is_not_encoded_again(project: Path) -> None:
    data_engineer()
    [encoded] = project.glob("data/interim/encode_categorical_columns-*.parquet")
    written = encoded.stat().st_mtime_ns
    data_engineer(seed=7)
    assert list(project.glob("data/interim/encode_categorical_columns-*.parquet")) == [encoded]
    assert encoded.stat().st_mtime_ns == written


def test_bad_data_fails_the_run_and_leaves_no_split(project: Path) -> None:
    (project / "data/raw/one.csv").write_text("size,species\n1,setosa\n2,setosa\n", "utf-8")
    with pytest.raises(BadData, match="has fewer than two classes"):
        data_engineer(raw_path="data/raw/one.csv")
    assert not list(project.glob("data/processed/*/split_data*"))


def test_a_value_out_of_bounds_is_refused_before_anything_runs(project: Path) -> None:
    with pytest.raises(Exception, match="less than 1"):
        main_flow(test_data_ratio=1.5)
    assert not list(project.glob("data/processed/*"))


def test_a_checkpoint_opens_with_pandas(project: Path) -> None:
    run = data_engineer()
    table = pd.read_parquet(project / "data/processed" / run / "split_data.parquet")
    assert set(table["set"]) == {"train", "test"}
    assert table[table["set"] == "test"]["class"].nunique() == 3
