"""The flow `tune`, and the setting that says where tasks run."""

import json
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest
from conftest import Answer, facts
from flows.data_engineer import PROCESSED, data_engineer
from flows.tune import tune
from ml import model as ml_model
from ml.data import BadData
from ml.model import SEARCH_SPACE, new_model
from ml.report import make_search_report
from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from runtime import engines, models, runs
from sklearn.model_selection import StratifiedKFold, cross_val_score

Command = Callable[..., Answer]


@pytest.fixture
def split(project: Path, prefect_server: Any) -> str:
    """The name of a run that left a split."""
    return data_engineer()


def searched(project: Path, run: str) -> list[dict[str, Any]]:
    return json.loads((project / "reports" / run / "search.json").read_text("utf-8"))


def ended(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return how the task of each candidate ended, since this was last called."""
    states = [
        record.getMessage().split()[-1].partition("(")[0]
        for record in caplog.records
        if "Finished in state" in record.getMessage()
        and vars(record).get("task_name") == "evaluate"
    ]
    caplog.clear()
    return states


def artifacts(flow_run_id: str) -> dict[str, Any]:
    chosen = filters.FlowRunFilter(id=filters.FlowRunFilterId(any_=[UUID(flow_run_id)]))
    with get_client(sync_client=True) as client:
        return {str(one.key): one.data for one in client.read_artifacts(flow_run_filter=chosen)}


# ---- the search


def test_the_best_candidate_is_trained_kept_and_reported(
    split: str, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = tune(candidates=4, folds=3)
    known = facts(project, run)
    table = searched(project, run)
    assert len(table) == 4
    rows = PROCESSED.read(location=f"{split}/split_data").value
    for row in table:
        model = new_model({name: row[name] for name in SEARCH_SPACE})
        folds = StratifiedKFold(3, shuffle=True, random_state=42)
        scores = cross_val_score(model, rows["train_x"], rows["train_y"], cv=folds)
        assert row["accuracy"] == pytest.approx(scores.mean())
        assert row["std"] == pytest.approx(scores.std())

    best = max(table, key=lambda row: row["accuracy"])  # of equal ones, the first
    model = models.read_model()[1]
    assert (project / "models" / run / "train_model.skops").exists()
    classifier = model.named_steps["classifier"]
    assert (classifier.C, classifier.class_weight) == (best["C"], best["class_weight"])
    accuracy = (model.predict(rows["test_x"]) == rows["test_y"]).mean()
    assert known["metrics"]["accuracy"] == accuracy
    assert known["flows"]["tune"]["parameters"]["candidates"] == 4
    assert known["reads"] == split
    assert (project / "reports" / run / "search.png").read_bytes().startswith(b"\x89PNG")
    assert (project / "reports" / run / "report.html").exists()
    assert f"Search       reports/{run}/search.png" in runs.summary(run, "")

    lines = [line for line in caplog.messages if re.match(r"\d/4 \{'C': .*: \d\d\.\d\d%$", line)]
    assert [line.partition("/")[0] for line in lines] == ["1", "2", "3", "4"]
    shown = artifacts(known["flows"]["tune"]["id"])
    assert shown["search"] == 100
    assert len(json.loads(shown["search-table"])) == 4


@pytest.mark.slow
def test_a_longer_search_begins_with_what_is_done_and_another_split_does_not(
    split: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    tune(candidates=2, folds=2)
    assert ended(caplog) == ["Completed"] * 2
    tune(candidates=4, folds=2)
    assert sorted(ended(caplog)) == ["Cached"] * 2 + ["Completed"] * 2
    data_engineer(seed=7)
    tune(candidates=2, folds=2)
    assert ended(caplog) == ["Completed"] * 2


def test_a_candidate_that_fails_is_named_and_the_others_go_on(
    split: str, project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ml_model, "SEARCH_SPACE", {"C": [-1.0, 1.0, 0.5]})
    run = tune(candidates=3, folds=2)
    failed, *others = sorted(searched(project, run), key=lambda row: row["C"])
    assert failed["accuracy"] is None
    assert failed["error"].startswith("InvalidParameterError: The 'C' parameter")
    assert all(row["accuracy"] > 0.5 and row["error"] is None for row in others)
    assert any("/3 {'C': -1.0}: InvalidParameterError" in line for line in caplog.messages)
    assert models.read_model()[1].named_steps["classifier"].C in (0.5, 1.0)


def test_where_all_candidates_fail_the_run_does_and_says_why(
    split: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SEARCH_SPACE, "class_weight", ["unbalanced"])
    answer = command("run", "tune", "--param", "candidates=2")
    assert answer.exit_code == 2
    assert "No candidate could be evaluated: InvalidParameterError" in answer.err


def test_more_folds_than_a_class_has_rows_are_refused(split: str, project: Path) -> None:
    data = (project / "data" / "raw" / "iris.csv").read_text("utf-8").splitlines()
    rare = [line for line in data if not line.endswith("setosa")]
    rare += [line for line in data if line.endswith("setosa")][:10]
    (project / "data" / "raw" / "rare.csv").write_text("\n".join([*rare, ""]), "utf-8")
    data_engineer(raw_path="data/raw/rare.csv")
    with pytest.raises(BadData, match=r"folds=9, cannot be used:\n.* class setosa has only 8 rows"):
        tune(folds=9)


# ---- the setting ENGINE


@pytest.mark.parametrize("engine", ["cloud", "tcp://", "dask://h:1", "ray://h", "tcp://h:1/x y"])
def test_an_engine_that_does_not_exist_is_refused_before_anything_runs(
    engine: str, command: Command, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE", engine)
    answer = command("run")
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err == (
        f"Error: ENGINE={engine!r} is not allowed: threads, processes, dask, ray, or a cluster's "
        "address, as tcp://host:8786 (Dask) or ray://host:10001.\n"
    )
    assert not (project / "data" / "processed").exists()


@pytest.mark.parametrize(
    ("engine", "extra"), [("dask", "dask"), ("tcp://h:1", "dask"), ("ray://h:1", "ray")]
)
@pytest.mark.parametrize("subcommand", ["run", "ui", "serve"])
def test_without_its_extra_an_engine_is_refused(
    engine: str,
    extra: str,
    subcommand: str,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    monkeypatch.setenv("ENGINE", engine)
    answer = command(subcommand)
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err == (
        f"Error: ENGINE={engine} needs the extra {extra}: run `uv sync --extra {extra}` in the "
        f'project, or `pip install ".[{extra}]"` without uv.\n'
    )


def test_an_address_without_a_cluster_is_said_in_one_sentence(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setattr(engines, "find_spec", lambda _: True)
    for engine in (address, "tcp://127.0.0.1:99999"):
        monkeypatch.setenv("ENGINE", engine)
        answer = command("run")
        assert (answer.exit_code, answer.out) == (1, "")
        assert answer.err.startswith(f"Error: ENGINE={engine}: no cluster answers there (")
        assert answer.err.count("\n") == 1


def test_the_engines_of_this_machine_need_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for engine, runner in (("threads", "ThreadPool"), ("processes", "ProcessPool")):
        monkeypatch.setenv("ENGINE", engine)
        assert type(engines.task_runner()).__name__ == f"{runner}TaskRunner"


def test_the_first_parameter_of_a_search_may_be_a_text_or_nothing() -> None:
    table = pd.DataFrame({"class_weight": [None, "balanced"], "accuracy": [0.5, 0.9]})
    report = make_search_report(table.assign(std=0.1, error=None))
    assert report.table["class_weight"].tolist() == ["balanced", "nan"]  # as pandas writes None
    found = json.loads(report.files["search.json"])
    assert [each["class_weight"] for each in found] == [None, "balanced"]
