"""Prediction sees what training saw: this test turns red where the two would disagree."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.data_engineer import load_data
from flows.main_flow import main_flow
from ml.model import predict_rows
from runtime import LocalResult
from runtime.models import read_model


def test_raw_rows_of_the_test_set_are_predicted_as_the_flow_predicts_them(
    project: Path, facts: Callable[[str], dict[str, Any]]
) -> None:
    run = main_flow()
    model = read_model()[1]
    split = LocalResult(dir="data/processed").read(location=f"{run}/split_data").value
    predictions = model.predict(split["test_x"])

    raw_path = facts(run)["flows"]["data-engineer"]["parameters"]["raw_path"]
    rows = load_data.fn(raw_path).loc[split["test_x"].index].astype("str")

    assert predict_rows(model, rows)["class"].tolist() == predictions.tolist()
    assert facts(run)["metrics"]["accuracy"] == (predictions == split["test_y"]).mean()
