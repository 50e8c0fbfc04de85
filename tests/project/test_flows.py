"""The tasks and the flows: what they compute, keep, find again, refuse and print."""

import importlib.util
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import time_machine
from conftest import NAME, PROJECT, Answer, facts, outputs, report_on, wait_until
from flows import main_flow as whole
from flows.data_engineer import (
    data_engineer,
    encode_categorical_columns,
    get_classes,
    load_data,
    split_data,
)
from flows.data_science import predict, report_accuracy, train_model
from flows.main_flow import main_flow
from ml.checks import check_table
from ml.data import BadData, read_csv
from ml.report import draw_evaluation
from PIL import Image
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, LogFilter
from prefect.deployments import run_deployment
from prefect.events.filters import EventFilter, EventResourceFilter
from prefect.flow_engine import run_flow
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.states import Scheduled
from runtime import LocalResult, caching, console, runs
from runtime.errors import CannotWrite
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.dummy import DummyClassifier

States = Callable[[], dict[str, str]]
Command = Callable[..., Answer]

IRIS = pd.read_csv(PROJECT / "data" / "raw" / "iris.csv")
CLASSES = ["setosa", "versicolor", "virginica"]


@pytest.fixture
def in_flow(prefect_server: Any, project: Path) -> Path:
    """A project in which flows can run."""
    return project


def stored_split(project: Path, run: str) -> pd.DataFrame:
    """Return the table of a run's split, as a person opens it."""
    return pd.read_parquet(project / "data" / "processed" / run / "split_data.parquet")


# ---- row 1: the tasks, as plain functions


def test_row_01_load_data_returns_the_rows_of_the_file(project: Path) -> None:
    data = load_data.fn("data/raw/iris.csv")
    assert data.shape == (150, 5)
    assert data.columns[-1] == "species"
    pd.testing.assert_frame_equal(load_data.fn(str(project / "data/raw/iris.csv")), data)


def test_row_01_get_classes_returns_the_sorted_names() -> None:
    assert get_classes.fn(data=IRIS[::-1], target_col="species") == CLASSES
    assert get_classes.fn(pd.DataFrame({"y": [2, 10, 2]}), "y") == ["10", "2"]


def test_row_01_encode_categorical_columns_replaces_the_target_with_a_column_a_class() -> None:
    encoded = encode_categorical_columns.fn(data=IRIS, target_col="species")
    assert encoded.columns.tolist() == IRIS.columns[:4].tolist() + CLASSES
    assert (encoded[CLASSES].sum(axis=1) == 1).all()
    assert (encoded.loc[IRIS["species"] == "setosa", "setosa"] == 1).all()


def test_row_01_split_data_keeps_each_row_once_and_each_class_in_both_sets() -> None:
    encoded = encode_categorical_columns.fn(IRIS.drop_duplicates(), "species")
    split = split_data.fn(data=encoded, test_data_ratio=0.3, classes=CLASSES)
    assert list(split) == ["train_x", "train_y", "test_x", "test_y"]
    indices = [*split["train_x"].index, *split["test_x"].index]
    assert sorted(indices) == sorted(encoded.index)
    for name in ("train", "test"):
        x, y = split[f"{name}_x"], split[f"{name}_y"]
        assert x.columns.tolist() == IRIS.columns[:4].tolist()
        assert y.value_counts(normalize=True).between(0.32, 0.35).all()
        assert (y == IRIS.loc[x.index, "species"]).all()


def test_row_01_the_seed_decides_the_split() -> None:
    encoded = encode_categorical_columns.fn(IRIS, "species")
    rows = [split_data.fn(encoded, 0.2, CLASSES, seed)["test_x"].index for seed in (1, 1, 2)]
    assert rows[0].equals(rows[1])
    assert not rows[0].equals(rows[2])


def test_row_01_a_model_is_trained_and_predicts_class_names() -> None:
    split = split_data.fn(encode_categorical_columns.fn(IRIS, "species"), 0.2, CLASSES)
    model = train_model.fn(train_x=split["train_x"], train_y=split["train_y"])
    predictions = predict.fn(model=model, test_x=split["test_x"])
    assert predictions.shape == (30,)
    assert set(predictions) <= set(CLASSES)
    assert model.named_steps["classifier"].C == 1.0


def test_row_14_report_accuracy_prints_the_share_of_right_predictions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    test_y = pd.Series(["a", "a", "b"] * 5)
    predictions = np.array(["a", "a", "b"] * 4 + ["a", "a", "a"])
    assert report_accuracy.fn(predictions, test_y) == 14 / 15
    assert capsys.readouterr().out == "Model accuracy on test set: 93.33\n"


# ---- bad data


def table(rows: list[str], header: str = "size,weight,kind") -> bytes:
    return "\n".join([header, *rows, ""]).encode()


GOOD_ROWS = [f"{i},{i % 7},{'xy'[i % 2]}" for i in range(20)]
BAD_DATA = {
    "no file": (None, "there is no such file"),
    "empty file": (b"", "it is not a CSV table: Empty CSV file"),
    "no rows": (table([]), "it has no rows"),
    "no target column": (
        table(GOOD_ROWS, "size,weight,Kind"),
        "no column 'kind'; there are 'size'",
    ),
    "spaces after commas": (
        table(GOOD_ROWS, "size, weight, kind"),
        "no column 'kind'; there are 'size', ' weight', ' kind'",
    ),
    "no features": (table([*"xyxy"], "kind"), "it has no column other than 'kind'"),
    "one class": (table(["1,2,x"] * 9), "column 'kind' has fewer than two classes"),
    "a class with one row": (
        table([*GOOD_ROWS, "1,2,z"]),
        "column 'kind' has a single row of the class 'z', in line 22: one row cannot be",
    ),
    "a row without class": (
        table([*GOOD_ROWS, "1,2,"]),
        "column 'kind' is empty in line 22; unlabelled=drop leaves",
    ),
    "text among numbers": (
        table([*GOOD_ROWS, "", "big,2,x"]),
        "line 23, column 'size', 'big' is not a number",
    ),
    "infinity": (table([*GOOD_ROWS, "inf,2,x"]), "line 22, column 'size', 'inf' is not a number"),
    "an empty column": (
        table([f"{i},,{'xy'[i % 2]}" for i in range(9)]),
        "column 'weight' has no values",
    ),
    "a column twice": (table(GOOD_ROWS, "size,size,kind"), "column 'size' stands twice"),
    "a column without name": (table(GOOD_ROWS, "size,,kind"), "column 2 has no name"),
    "a column with a blank name": (table(GOOD_ROWS, "size, ,kind"), "column 2 has no name"),
    "wrong encoding": ("size,kind\n1,maçã\n".encode("latin-1"), "it is not UTF-8 text"),
    "a decimal comma": (
        table([f'"{i},5",{row}' for i, row in enumerate(GOOD_ROWS * 2)], "width,size,weight,kind"),
        "column 'width' has numbers such as 0,5 in 40 lines (2, 3, 4, 5, 6, …): write them like",
    ),
    "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\r", "it is not UTF-8 text: save it as"),
    "UTF-16": (table(GOOD_ROWS).decode().encode("utf-16"), "it is not UTF-8 text: save it as"),
    "one very long line": (b"size,kind\n" + b"1" * 2**25, "it is not a CSV table: "),
    "too many classes": (
        table([f"{i},2,class {i % 101}" for i in range(1010)]),
        "column 'kind' has 101 classes, more than 100: is it the right target_col?",
    ),
    "a huge whole number": (table([*GOOD_ROWS, f"{'9' * 400},2,x"]), "9… is not a number"),
    "a huge number": (table([*GOOD_ROWS, "1e200,2,x"]), "'1e200' is not a number"),
    "letters that steer a terminal": (
        table(GOOD_ROWS, "a,b,\x1b[31m"),
        r"there are 'a', 'b', '\x1b[31m'",
    ),
    "a long row": (table([*GOOD_ROWS, "1,2,x,4"]), "line 22 has 4 instead of 3 values"),
    "only long rows": (
        table([f"{row},9" for row in GOOD_ROWS]),
        "line 2 has 4 instead of 3 values",
    ),
    "a short row below others": (
        b"sep=,\n" + table(['1,"2\n3",x', *GOOD_ROWS, "1,2"]),
        "line 25 has 2 instead of 3 values",
    ),
    "an open quote": (b'size,kind\n"1,x\n', "line 2 has 1 instead of 2 values"),
    "too few rows": (table(GOOD_ROWS[:4]), "test_data_ratio=0.2 leaves a class without a row"),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_is_refused_with_its_place(kind: str, tmp_path: Path) -> None:
    content, problem = BAD_DATA[kind]
    path = tmp_path / "raw.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadData) as caught:
        check_table(read_csv(path), "kind", 0.2)
    assert problem in str(caught.value)
    assert len(caught.value.problems) == 1, caught.value.problems


MANY_ROWS = 300_000


def test_a_text_in_the_raw_data_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    path.write_bytes(table(["é" * 2**18 + ",1,x", *GOOD_ROWS]))
    assert len(read_csv(path)["size"][0]) == 2**18


def test_a_column_with_text_only_far_below_is_one_of_text(tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    path.write_bytes(table(["007,1,x"] * MANY_ROWS + ["12a,1,y"] * 2))
    data = read_csv(path)
    assert data["size"].tolist() == ["007"] * MANY_ROWS + ["12a"] * 2
    with pytest.raises(BadData, match=f"line {MANY_ROWS + 2}, column 'size', '12a' is not"):
        check_table(data, "kind", 0.5)


def test_what_is_checked_stays_as_it_was() -> None:
    data = pd.DataFrame({"size": range(20), "kind": ["x", "y"] * 10})
    before = data.copy(deep=True)
    assert check_table(data, "kind", 0.5)[0]["size"].dtype == "float64"
    pd.testing.assert_frame_equal(data, before)


def test_all_that_is_wrong_in_the_data_is_listed_at_once_up_to_a_limit() -> None:
    rows = [f"{i},x" if i % 3 else f"big{i},x" for i in range(3, 102)]
    data = pd.DataFrame([row.split(",") for row in rows], columns=["size", "kind"])
    with pytest.raises(BadData) as caught:
        check_table(data, "kind", 0.2)
    message = str(caught.value).splitlines()
    assert "  - column 'kind' has fewer than two classes" in message
    assert "  - line 2, column 'size', 'big3' is not a number" in message
    assert message[-1] == "  - and 14 more"


@pytest.mark.parametrize(
    ("rows_of_classes", "test_data_ratio"), [((98, 2), 0.97), ((98, 2), 0.6), ((3, 3), 0.1)]
)
def test_bad_data_is_a_ratio_that_leaves_a_class_without_a_row(
    rows_of_classes: tuple[int, int], test_data_ratio: float
) -> None:
    kinds = ["x"] * rows_of_classes[0] + ["y"] * rows_of_classes[1]
    data = pd.DataFrame({"size": range(len(kinds)), "kind": kinds})
    with pytest.raises(BadData, match=f"test_data_ratio={test_data_ratio} leaves a class"):
        check_table(data, "kind", test_data_ratio)
    assert len(check_table(data, "kind", 0.5)[0]) == len(kinds)


@pytest.mark.parametrize("kind", ["no file", "one class", "text among numbers", "wrong encoding"])
def test_bad_data_ends_a_run_with_exit_code_2_and_leaves_nothing_behind(
    kind: str, in_flow: Path, command: Command
) -> None:
    content, problem = BAD_DATA[kind]
    if content is not None:
        (in_flow / "data" / "raw" / "new.csv").write_bytes(content)
    given = ("--param", "raw_path=data/raw/new.csv", "--param", "target_col=kind")
    answer = command("run", "data-engineer", *given)
    assert answer.exit_code == 2
    assert problem in answer.err
    assert "Traceback" not in answer.out + answer.err
    assert outputs(in_flow) == []
    assert not (in_flow / "data" / "interim").exists()


def test_bad_data_is_a_ratio_given_on_the_command_line_that_leaves_no_row(
    in_flow: Path, command: Command
) -> None:
    answer = command("--param", "test_data_ratio=0.999")
    assert (answer.exit_code, answer.out) == (2, "")
    assert "test_data_ratio=0.999 leaves a class without a row" in answer.err
    assert outputs(in_flow) == []


# ---- rows 2 and 5: the flows


def test_row_02_data_engineer_runs_at_once_and_its_log_names_each_task(
    in_flow: Path, states: States
) -> None:
    data_engineer()
    assert states() == dict.fromkeys(
        ["load_data", "check_data", "encode_categorical_columns", "get_classes", "split_data"],
        "Completed",
    )


def test_row_05_a_parameter_is_overridden_from_python(in_flow: Path) -> None:
    run = data_engineer(test_data_ratio=0.3)
    split = stored_split(in_flow, run)
    assert split["set"].eq("test").sum() == 45
    assert facts(in_flow, run)["flows"]["data-engineer"]["parameters"]["test_data_ratio"] == 0.3


def test_the_feed_of_events_names_the_folder_of_a_run(in_flow: Path) -> None:
    run = data_engineer()
    of_run = EventFilter(resource=EventResourceFilter(id=[f"run.{run}"]))
    with get_client(sync_client=True) as client:
        events = wait_until(lambda: client.read_events(of_run, limit=50).events)
    assert [event.event for event in events] == ["run.began"]


@pytest.mark.slow
def test_neither_raw_data_nor_split_stays_in_memory_after_its_flow(
    in_flow: Path, prefect_server: Any
) -> None:
    """Prefect keeps the context of its client's first event, and results, if they are cached."""
    watching = in_flow / "watching.py"
    watching.write_text(
        """
import gc
import os
import weakref

from prefect import flow

import ml.data
import sklearn.model_selection
from runtime import server

tables = []


def remembered(path, read=ml.data.read_csv):
    table = read(path)
    tables.append(weakref.ref(table))
    return table


def remembered_split(*args, split=sklearn.model_selection.train_test_split, **kwargs):
    parts = split(*args, **kwargs)
    tables.append(weakref.ref(parts[0]))
    return parts


ml.data.read_csv = remembered
sklearn.model_selection.train_test_split = remembered_split
from flows.data_engineer import data_engineer


@flow
def prepared():
    data_engineer()
    gc.collect()
    return [table() is None for table in tables]


with server.settings_for(server.Server(os.environ["PREFECT_API_URL"], is_own=True)):
    print("given back:", prepared())
""",
        encoding="utf-8",
    )
    finished = subprocess.run(
        [sys.executable, watching],
        cwd=in_flow,
        env={**os.environ, "PREFECT_API_URL": prefect_server.api_url},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    expected = ("given back: [True, True]\n", 0)
    assert (finished.stdout, finished.returncode) == expected, finished.stderr


# ---- row 8: caching


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the power is gone")


def test_row_08_what_was_encoded_before_get_classes_failed_is_not_encoded_again(
    in_flow: Path, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = defined(in_flow, "sorted(data", "broken(data", file="flows/data_engineer.py")
    with pytest.raises(NameError, match="broken"):
        broken.data_engineer()
    assert states()["encode_categorical_columns"] == "Completed"

    run = data_engineer()
    now = states()
    assert (now["encode_categorical_columns"], now["get_classes"]) == ("Cached", "Completed")
    split = stored_split(in_flow, run)
    assert len(split) == 150

    raw = in_flow / "data" / "raw" / "iris.csv"
    raw.write_bytes(raw.read_bytes().replace(b"5.1", b"5.2", 1))
    data_engineer()
    assert states()["encode_categorical_columns"] == "Completed"


def test_row_08_another_parameter_encodes_again(in_flow: Path, states: States) -> None:
    path = in_flow / "data" / "raw" / "two.csv"
    IRIS.assign(size=IRIS["petal_width"].gt(1).map({True: "big", False: "small"})).to_csv(
        path, index=False
    )
    for target_col, state in (("species", "Completed"), ("size", "Completed"), ("size", "Cached")):
        data_engineer("data/raw/two.csv", target_col)
        assert states()["encode_categorical_columns"] == state


def test_row_08_the_picture_of_the_same_model_and_data_is_drawn_once(
    in_flow: Path, states: States
) -> None:
    pictures = []
    for ratio, state in ((0.2, "Completed"), (0.2, "Cached"), (0.4, "Completed")):
        run = main_flow(test_data_ratio=ratio)
        assert states()["draw_report"] == state
        pictures.append((in_flow / "reports" / run / "confusion_matrix.png").read_bytes())
    first, again, other = pictures
    assert first == again != other
    assert len(list((in_flow / "data" / "interim").glob("*.png"))) == 2


def defined(project: Path, old: str, new: str, file: str = "flows/lab.py") -> Any:
    """Import a file of the project with a change in it, as a new process would."""
    path = project / file
    source = path.read_text("utf-8")
    assert old in source
    # Each version has a file of its own: Python remembers the lines of a file.
    path = path.with_name(f"version_{len(list(path.parent.iterdir()))}.py")
    path.write_text(source.replace(old, new), "utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LAB = """
from prefect import flow, task

from runtime import LocalResult

STORE = LocalResult(dir="data/interim")
FACTOR = 2


def helper(x):
    return FACTOR * x


@task(result_storage=STORE, result_serializer="json-value", cache_policy=STORE.by_content)
def double(x: int):
    return helper(x)


@task
def print_it(x):
    print(x)


@flow
def lab():
    x = double(1, return_state=True)
    print_it(1)
    return x.name
"""


@pytest.mark.parametrize(
    ("old", "new", "state"),
    [
        ("return helper(x)", "return 0 + helper(x)", "Completed"),
        ("return helper(x)", "return helper(x)  # a comment", "Completed"),
        ("x: int", "x: float", "Completed"),
        ("double(1, return", "double(2, return", "Completed"),
        ("FACTOR = 2", "FACTOR = 3", "Cached"),
        ("print(x)", "print(0, x)", "Cached"),
        ("STORE", "OTHER_NAME", "Completed"),
    ],
    ids=["body", "comment", "signature", "input", "beside it", "another task", "decorator"],
)
def test_row_08_a_task_runs_again_when_its_own_source_has_changed(
    old: str, new: str, state: str, in_flow: Path
) -> None:
    (in_flow / "flows" / "lab.py").write_text(LAB, "utf-8")
    assert defined(in_flow, "", "").lab() == "Completed"
    assert defined(in_flow, "", "").lab() == "Cached"
    assert defined(in_flow, old, new).lab() == state


@pytest.mark.parametrize("change", ["a file in ml", "a new file in ml", "a version", "nothing"])
def test_row_08_a_task_runs_again_when_ml_or_a_version_has_changed(
    change: str, in_flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (in_flow / "flows" / "lab.py").write_text(LAB, "utf-8")
    lab = defined(in_flow, "", "").lab
    assert lab() == "Completed"
    if change == "a file in ml":
        with (in_flow / "ml" / "report.py").open("a", encoding="utf-8") as file:
            file.write("\n# a comment\n")
    elif change == "a new file in ml":
        (in_flow / "ml" / "features.py").write_text("", "utf-8")
    elif change == "a version":
        versions = {**runs.versions(), "pandas": "9.0.0"}
        monkeypatch.setattr(caching, "versions", lambda: versions)
    caching._ml_files.cache_clear()  # as a new process begins
    assert lab() == ("Cached" if change == "nothing" else "Completed")


def test_row_08_inputs_are_told_apart_to_the_last_byte(in_flow: Path) -> None:
    storage = LocalResult(dir="data/interim")
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]})
    numbers = frame["a"].to_numpy()
    inputs: dict[str, Any] = {
        "a frame": frame,
        "the last bit of a cell": frame.replace(2.0, np.nextafter(2.0, 3.0)),
        "a gap": frame.fillna("x"),
        "an empty text": frame.fillna(""),
        "a column's name": frame.rename(columns={"a": "c"}),
        "the order of the columns": frame[["b", "a"]],
        "a type": frame.astype({"a": "float32"}),
        "categories": frame.astype({"b": "category"}),
        "the order of the rows": frame[::-1],
        "an index": frame.set_index(pd.Index([1, 2])),
        "no rows": frame[:0],
        "one column": frame[["a"]],
        "a series": frame["a"],
        "its name": frame["a"].rename("c"),
        "its last bit": frame["a"].replace(2.0, np.nextafter(2.0, 3.0)),
        "an array": numbers,
        "its shape": numbers.reshape(2, 1),
        "its type": numbers.astype("float32"),
        "its last bit again": np.nextafter(numbers, 3.0),
        "a list": [1.0, 2.0],
        "a dict": {"a": frame},
        "a dict of series": {"a": frame["a"]},
        "a number": 1,
        "a fraction": 1.5,
        "a text": "1",
        "nothing": None,
    }

    @task(result_storage=storage, result_serializer="json-value", cache_policy=storage.by_content)
    def take(x: Any) -> str:
        return "taken"

    @flow
    def lab() -> dict[str, str | None]:
        return {name: take(x, return_state=True).name for name, x in inputs.items()}

    assert lab() == dict.fromkeys(inputs, "Completed")
    assert lab() == dict.fromkeys(inputs, "Cached")


# ---- a flow run that is retried or resumed


@pytest.fixture
def failing_once(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """`split_data` fails when it is run for the first time; the list has an entry for each time."""
    attempts: list[Any] = []
    original = split_data.fn

    def fail_once(*arguments: Any) -> Any:
        attempts.append(arguments)
        return original(*arguments) if len(attempts) > 1 else fail()

    monkeypatch.setattr(split_data, "fn", fail_once)
    return attempts


def only_run(project: Path) -> str:
    [folder] = (project / "data" / "processed").iterdir()
    return folder.name


def test_a_retried_flow_run_finds_its_folder_and_what_is_done_in_it(
    in_flow: Path, states: States, failing_once: list[Any]
) -> None:
    run = data_engineer.with_options(retries=1)()
    assert len(failing_once) == 2
    assert only_run(in_flow) == run
    finished = states()
    for name in ("encode_categorical_columns", "get_classes"):
        assert finished[name] == "Cached"
    assert finished["split_data"] == "Completed"
    assert facts(in_flow, run)["state"] == "Completed"


@pytest.mark.parametrize("retried", ["data-engineer", "main-flow"])
def test_a_resumed_flow_run_finds_its_folder_and_what_is_done_in_it(
    retried: str, in_flow: Path, states: States, failing_once: list[Any]
) -> None:
    """As with "Retry" on the page of a failed flow run, an hour later."""
    resumed: Any = {"data-engineer": data_engineer, "main-flow": main_flow}[retried]
    with pytest.raises(RuntimeError, match="the power is gone"):
        resumed(test_data_ratio=0.3)
    states()
    run = only_run(in_flow)
    before = facts(in_flow, run)
    assert before["state"] == "Failed"
    other = data_engineer()
    states()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(before["flow_run_id"], Scheduled(), force=True)
        flow_run = client.read_flow_run(before["flow_run_id"])
    assert run_flow(resumed, flow_run, parameters={"test_data_ratio": 0.3}) == run
    assert {path.name for path in (in_flow / "data" / "processed").iterdir()} == {run, other}
    finished = states()
    assert (finished["get_classes"], finished["split_data"]) == ("Cached", "Completed")
    split = stored_split(in_flow, run)
    assert split["set"].eq("test").sum() == 45
    after = facts(in_flow, run)
    assert after["state"] == "Completed"
    assert after["started"] == before["started"]
    assert len(after["flows"]) == (1 if retried == "data-engineer" else 3)


# ---- runs and run.json


def test_a_run_over_new_year_has_one_name(in_flow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = split_data.fn
    with time_machine.travel(datetime.now(UTC)) as clock:

        def split_next_year(*arguments: Any) -> Any:
            clock.shift(timedelta(days=366))
            return original(*arguments)

        monkeypatch.setattr(split_data, "fn", split_next_year)
        run = main_flow()
    assert only_run(in_flow) == run
    assert [path.parent.name for path in in_flow.glob("models/*/train_model.skops")] == [run]
    known = facts(in_flow, run)
    assert known["state"] == "Completed"
    started, ended = (datetime.fromisoformat(known[moment]) for moment in ("started", "ended"))
    assert started.year < ended.year


def test_runs_of_one_name_in_one_second_get_folders_of_their_own(
    in_flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_name", lambda *_: "2026-01-01_00-00-00_same")
    with ThreadPoolExecutor(3) as pool:
        names = list(pool.map(lambda ratio: data_engineer(test_data_ratio=ratio), (0.2, 0.4, 0.6)))
    same = ["2026-01-01_00-00-00_same" + end for end in ("", "-2", "-3")]
    assert sorted(names) == same
    for name, rows in zip(names, (30, 60, 90), strict=True):
        split = stored_split(in_flow, name)
        assert split["set"].eq("test").sum() == rows
    assert sorted(path.name for path in (in_flow / "data" / "processed").iterdir()) == same


@pytest.mark.parametrize(
    "flow_run_name", ["a/b\\c", "..", "São Paulo: 100%?", "x" * 300, "trailing dot. ", "\n"]
)
def test_any_flow_run_name_gives_a_folder_that_every_system_takes(flow_run_name: str) -> None:
    name = runs._name(None, flow_run_name)
    assert len(name) <= 100
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzSP0123456789-_")
    assert name[-1] not in " .-"


def test_row_12_main_flow_trains_on_exactly_what_data_engineer_made(
    in_flow: Path, states: States, caplog: pytest.LogCaptureFixture
) -> None:
    data_engineer(test_data_ratio=0.5)
    states()
    run = main_flow(test_data_ratio=0.3, model_params={"C": 0.5})
    known = facts(in_flow, run)

    # run.json says how it came to be
    assert known["state"] == "Completed"
    assert set(known["versions"]) == {"python", *runs.PACKAGES}
    assert known["raw_file"]["path"] == "data/raw/iris.csv"
    assert len(known["raw_file"]["sha256"]) == 64
    assert {one["state"] for one in known["flows"].values()} == {"Completed"}
    assert list(known["flows"]) == ["data-engineer", "data-science", "main-flow"]
    assert known["flows"]["main-flow"]["parameters"]["model_params"] == {"C": 0.5}
    assert known["flows"]["data-engineer"]["parameters"]["seed"] == 42
    assert known["flows"]["data-science"]["parameters"]["checkpoint"] == run
    assert list(known["results"]) == ["get_classes", "split_data", "get_schema", "train_model"]
    for result in known["results"].values():
        assert (in_flow / result["file"]).is_file()

    # the report, on 30 % of the rows
    folder = in_flow / "reports" / run
    names = ["confusion_matrix.png", "metrics.json", "report.html"]
    assert sorted(path.name for path in folder.iterdir()) == names
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    accuracy = known["metrics"]["accuracy"]
    assert metrics["accuracy"] == accuracy
    assert 0.8 < accuracy <= 1
    assert list(metrics["classes"]) == CLASSES
    assert [figures["support"] for figures in metrics["classes"].values()] == [15, 15, 15]
    assert (folder / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text("utf-8")
    assert f"{accuracy:.2%}" in page
    assert ">versicolor</td>" in page
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page.replace("http-equiv", "")  # a single file: nothing is fetched

    # row 14: the printed line is in the log of the task, here and on the server
    line = f"Model accuracy on test set: {round(accuracy * 100, 2)}"
    [record] = [record for record in caplog.records if record.getMessage() == line]
    assert vars(record)["task_name"] == "report_accuracy"
    with get_client(sync_client=True) as client:
        of_task: Any = {"task_run_id": {"any_": [vars(record)["task_run_id"]]}}
        wait_until(lambda: line in [log.message for log in client.read_logs(LogFilter(**of_task))])

        # the same report as artifacts on the run's page
        flow_run_id = known["flows"]["data-science"]["id"]
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        artifacts = {one.key: one for one in client.read_artifacts(artifact_filter=of_run)}
    assert "versicolor" in str(artifacts["report-table"].data)
    assert f"{accuracy:.2%}" in str(artifacts["report"].data)
    assert "data:image/png;base64," in str(artifacts["report"].data)


def test_row_12_data_science_does_not_begin_where_data_engineer_failed(
    in_flow: Path, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_data, "fn", fail)
    with pytest.raises(RuntimeError, match="the power is gone"):
        main_flow()
    assert "read_split" not in states()
    known = facts(in_flow, only_run(in_flow))
    assert known["state"] == "Failed"
    assert list(known["flows"]) == ["data-engineer", "main-flow"]
    assert "results" not in known  # what a failed flow left counts nowhere
    assert not (in_flow / "models").exists()


def test_an_interrupted_run_is_marked_as_crashed(
    in_flow: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(split_data, "fn", interrupt)
    assert command("run", "data-engineer").exit_code == 130
    assert facts(in_flow, only_run(in_flow))["state"] == "Crashed"


def test_a_failed_run_is_exit_code_1_and_only_debug_shows_the_traceback(
    in_flow: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_data, "fn", fail)
    answer = command("run", "data-engineer")
    assert answer.exit_code == 1
    assert answer.err == (
        "Error: RuntimeError: the power is gone\n"
        "The run failed; --debug shows the whole traceback.\n"
    )
    with pytest.raises(RuntimeError, match="the power is gone"):
        command("run", "data-engineer", "--debug")


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"C": -1}, "The 'C' parameter of LogisticRegression must be a float in the range"),
        ({"c": 1}, "Invalid parameter 'c' for estimator LogisticRegression"),
        ({"columns__x": 1}, "Invalid parameter 'x' for estimator ColumnTransformer"),
    ],
    ids=str,
)
def test_row_05_a_parameter_that_the_model_refuses_is_named(
    params: dict[str, Any], problem: str, in_flow: Path, command: Command
) -> None:
    given = [f"--param=model_params.{name}={value}" for name, value in params.items()]
    answer = command("run", "main-flow", *given)
    assert answer.exit_code == 2
    assert answer.err.startswith(f"Error: model_params cannot be used:\n  - {problem}")
    assert facts(in_flow, only_run(in_flow))["state"] == "Failed"


# ---- row 12: the parts of main-flow as deployments


@pytest.fixture
def deployed(in_flow: Path, prefect_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each deployment that `main-flow` starts is run at once, in a process of its own."""

    def run_now(name: str, parameters: dict[str, Any]) -> Any:
        flow_run: Any = run_deployment(name, parameters=parameters, timeout=0)
        module = name.removesuffix(f"/{NAME}").replace("-", "_")
        environment = {
            "PREFECT_API_URL": prefect_server.api_url,
            "PREFECT__FLOW_RUN_ID": str(flow_run.id),
            "PREFECT__FLOW_ENTRYPOINT": f"flows/{module}.py:{module}",
        }
        subprocess.run(
            [sys.executable, "-m", "prefect.engine"],
            cwd=in_flow,
            env={**os.environ, **environment},
            check=False,
        )
        with get_client(sync_client=True) as client:
            return client.read_flow_run(flow_run.id)

    monkeypatch.setattr(whole, "run_deployment", run_now)
    with get_client(sync_client=True) as client:
        for name in ("data-engineer", "data-science"):
            client.create_deployment(client.create_flow_from_name(name), NAME)


@pytest.mark.usefixtures("deployed")
def test_row_12_deployed_parts_follow_each_other_in_the_folder_of_the_whole_run(
    in_flow: Path,
) -> None:
    run = main_flow(test_data_ratio=0.3, model_params={"C": 2}, deployed=True)
    assert only_run(in_flow) == run
    known = facts(in_flow, run)
    assert (known["flow"], known["state"]) == ("main-flow", "Completed")
    assert {name: one["state"] for name, one in known["flows"].items()} == dict.fromkeys(
        ["data-engineer", "data-science", "main-flow"], "Completed"
    )
    assert known["flows"]["data-engineer"]["parameters"]["test_data_ratio"] == 0.3
    wanted = {"checkpoint": run, "model_params": {"C": 2}, "min_accuracy": 0}
    assert known["flows"]["data-science"]["parameters"] == wanted
    assert list(known["results"]) == ["get_classes", "split_data", "get_schema", "train_model"]
    for file in (f"models/{run}/train_model.skops", f"reports/{run}/report.html"):
        assert (in_flow / file).is_file()
    assert [path.name for path in (in_flow / "models").iterdir()] == [run]


@pytest.mark.slow
@pytest.mark.usefixtures("deployed")
def test_row_12_a_deployed_part_that_fails_ends_the_run_in_a_sentence(
    in_flow: Path, command: Command
) -> None:
    answer = command("--param", "raw_path=data/raw/none.csv", "--param", "deployed=true")
    assert answer.exit_code == 2
    assert answer.err.startswith(f"Error: data-engineer/{NAME} did not succeed: ")
    assert "there is no such file: check its path" in answer.err
    assert outputs(in_flow) == []


# ---- other data


def with_text_and_gaps() -> pd.DataFrame:
    rows = range(60)
    return pd.DataFrame(
        {
            "peso em kg": [None if i % 10 == 0 else i % 2 * 3 + i / 60 for i in rows],
            "cor": [None if i % 9 == 0 else ("azul", "verde", "São|<b>")[i % 3] for i in rows],
            "cheio": [i % 4 < 2 for i in rows],
            "espécie": [("R$ 1 | <i>à</i>", "R$ 2, R$ 3")[i % 2] for i in rows],
        }
    )


def with_names_of_the_projects_own() -> pd.DataFrame:
    """Only the feature `class` tells the classes apart."""
    rows = range(60)
    return pd.DataFrame(
        {
            "class": [("first", "second")[i % 2] for i in rows],
            "set": [i % 7 for i in rows],
            "row": [i % 5 for i in rows],
            "survived": [("no", "yes")[i % 2] for i in rows],
        }
    )


OTHER_DATA: dict[str, tuple[Callable[[], pd.DataFrame], str, int]] = {
    "wine": (lambda: load_wine(as_frame=True).frame, "target", 3),
    "breast cancer": (lambda: load_breast_cancer(as_frame=True).frame, "target", 2),
    "text and gaps": (with_text_and_gaps, "espécie", 2),
    "names of the project's own": (with_names_of_the_projects_own, "survived", 2),
}


@pytest.mark.parametrize("name", OTHER_DATA)
def test_other_data_is_trained_on_reported_and_predicted(
    name: str, in_flow: Path, command: Command
) -> None:
    make, target_col, classes = OTHER_DATA[name]
    data = make()
    path = in_flow / "data" / "raw" / "new data.csv"
    data.to_csv(path, index=False)
    answer = command("--param", f"raw_path={path}", "--param", f"target_col={target_col}")
    assert (answer.exit_code, answer.err) == (0, "")
    [metrics] = (in_flow / "reports").glob("*/metrics.json")
    figures = json.loads(metrics.read_text("utf-8"))
    assert figures["accuracy"] > 0.8
    assert len(figures["classes"]) == classes
    assert "<i>à" not in metrics.with_name("report.html").read_text("utf-8")

    predicted = command("predict", "--csv", path)
    assert predicted.exit_code == 0, predicted.err
    lines = predicted.out.splitlines()
    predicted_class = "class_predicted" if "class" in data.columns else "class"
    assert lines[0] == ",".join([*data.columns, predicted_class, "probability"])
    assert len(lines) == len(data) + 1


def test_a_report_counts_each_class_also_one_that_was_not_predicted() -> None:
    test_y = pd.Series(["b", "a", "c", "a"], dtype=pd.CategoricalDtype(["c", "a", "b", "d"]))
    report = report_on(np.array(["b", "a", "a", "c"]), test_y)
    classes = json.loads(report.files["metrics.json"])["classes"]
    recalls = {name: figures["recall"] for name, figures in classes.items()}
    assert report.metrics == {
        "accuracy": 0.5,
        "largest_class": 0.5,
        "balanced_accuracy": 0.5,
        "macro_f1": pytest.approx((1 + 0.5 + 0) / 3),
    }
    assert recalls == {"a": 0.5, "b": 1, "c": 0, "d": 0}


def test_a_report_of_many_classes_with_long_names_is_drawn_whole() -> None:
    few, many = (
        draw_evaluation(DummyClassifier().fit(names, names), pd.DataFrame(names), pd.Series(names))
        for names in (["a", r"$\x$"], [f"a rather long name of a class {i}" for i in range(12)])
    )
    small, large = (Image.open(io.BytesIO(png)) for png in (few, many))
    assert large.width > 1.5 * small.width
    edges = np.asarray(large.convert("L"))
    for edge in (edges[0], edges[-1], edges[:, 0], edges[:, -1]):
        assert (edge == 255).all()  # nothing is cut off


# ---- the log


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each record that the console shows, as it is shown, in a terminal or in a file."""
    lines: list[str] = []

    def keep(self: logging.Handler, record: logging.LogRecord) -> None:
        if isinstance(self, console.PlainConsoleHandler):
            lines.append(self.format(record))

    for handler in (PrefectConsoleHandler, logging.StreamHandler):
        monkeypatch.setattr(handler, "emit", keep)
    return lines


def test_the_log_of_a_failed_write_names_the_reason(in_flow: Path, shown: list[str]) -> None:
    (in_flow / "data" / "interim").write_bytes(b"a file where a folder should be")
    with pytest.raises(CannotWrite, match=r"data/interim/.* cannot be written: "):
        data_engineer()
    [line] = [line for line in shown if "cannot be written" in line]
    assert "Finished in state Failed" in line
    assert "Traceback" not in "".join(shown)


def test_the_log_of_bad_data_lists_its_faults_once(in_flow: Path, shown: list[str]) -> None:
    with pytest.raises(BadData):
        data_engineer("data/raw/none.csv")
    assert not [line for line in shown if "exception during execution" in line]
    assert len([line for line in shown if "none.csv cannot be used" in line]) == 2  # two states
    assert len([line for line in shown if "there is no such file" in line]) == 1  # of the task
