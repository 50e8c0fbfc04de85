"""The tasks and the three flows: what they compute, keep, find again, refuse and say."""

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from conftest import Answer, facts, outputs, wait_until
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, LogFilter
from prefect.events.filters import EventFilter, EventResourceFilter
from sklearn.datasets import load_breast_cancer, load_wine

from flows import ROOT, CannotWrite, UserError, caching, checks, main_flow, reports, runs
from flows.checks import BadData
from flows.data_engineer import (
    data_engineer,
    encode_categorical_columns,
    get_classes,
    load_data,
    split_data,
)
from flows.data_science import data_science, predict, report_accuracy, train_model
from flows.runs import update_run

States = Callable[[], dict[str, str]]
Command = Callable[..., Answer]

IRIS = pd.read_csv(ROOT / "data" / "raw" / "iris.csv")
CLASSES = ["setosa", "versicolor", "virginica"]


@pytest.fixture
def in_flow(prefect_server: Any, project: Path) -> Path:
    """A project in which flows can run."""
    return project


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
        assert split[f"{name}_y"].columns.tolist() == CLASSES
        assert split[f"{name}_x"].columns.tolist() == IRIS.columns[:4].tolist()
        assert split[f"{name}_y"].mean().between(0.32, 0.35).all()
        assert (split[f"{name}_x"].index == split[f"{name}_y"].index).all()


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
    test_y = pd.DataFrame({"a": [1, 1, 0] * 5, "b": [0, 0, 1] * 5})
    predictions = np.array(["a", "a", "b"] * 4 + ["a", "a", "a"])
    assert report_accuracy.fn(predictions, test_y) == 14 / 15
    assert capsys.readouterr().out == "Model accuracy on test set: 93.33\n"


# ---- bad data


def table(rows: list[str], header: str = "size,weight,kind") -> bytes:
    return "\n".join([header, *rows, ""]).encode()


GOOD_ROWS = [f"{i},{i % 7},{'xy'[i % 2]}" for i in range(20)]
BAD_DATA = {
    "no file": (None, "there is no such file"),
    "empty file": (b"", "its first line is empty"),
    "empty first line": (b"\n" + table(GOOD_ROWS), "its first line is empty"),
    "no rows": (table([]), "it has no rows"),
    "no target column": (
        table(GOOD_ROWS, "size,weight,Kind"),
        "no column 'kind'; there are 'size'",
    ),
    "spaces after commas": (
        table(GOOD_ROWS, "size, weight, kind"),
        "no column 'kind'; there are 'size', ' weight', ' kind'",
    ),
    "no features": (table([*"xyxy"], "kind"), "it has no column beside 'kind'"),
    "one class": (table(["1,2,x"] * 9), "column 'kind' has fewer than two classes"),
    "a class with one row": (
        table([*GOOD_ROWS, "1,2,z"]),
        "line 22, column 'kind', 'z' is a class with a single row",
    ),
    "a row without class": (table([*GOOD_ROWS, "1,2,"]), "line 22, column 'kind' is empty"),
    "text among numbers": (
        table([*GOOD_ROWS, "", "big,2,x"]),
        "line 23, column 'size', 'big' is not a number",
    ),
    "infinity": (table([*GOOD_ROWS, "inf,2,x"]), "line 22, column 'size', inf is infinite"),
    "an empty column": (
        table([f"{i},,{'xy'[i % 2]}" for i in range(9)]),
        "column 'weight' has no values",
    ),
    "a column twice": (table(GOOD_ROWS, "size,size,kind"), "column 'size' stands twice"),
    "a column without name": (table(GOOD_ROWS, "size,,kind"), "column 2 has no name"),
    "a class like a column": (
        table([row.replace("x", "size") for row in GOOD_ROWS]),
        "'size' names a class and a column",
    ),
    "wrong encoding": ("size,kind\n1,maçã\n".encode("latin-1"), "it is not UTF-8 text"),
    "a decimal comma": (
        table([f'"{i},5",{row}' for i, row in enumerate(GOOD_ROWS)], "width,size,weight,kind"),
        "column 'width' has numbers such as 0,5 or 1.000,5: write 0.5 and 1000.5",
    ),
    "NUL bytes": (table(GOOD_ROWS).replace(b"x", b"\0"), "it holds NUL bytes"),
    "UTF-16": (table(GOOD_ROWS).decode().encode("utf-16"), "UTF-16, .xlsx and pictures do: save"),
    "one very long line": (b"size,kind\n" + b"1" * 2**25, "a line in it is longer than 16 MB"),
    "too many columns": (b"size," * 10_000 + b"kind\n", "10,001 columns, more than 10,000"),
    "too many classes": (
        table([f"{i},2,class {i % 101}" for i in range(1010)]),
        "column 'kind' has more than 100 classes: is it the right target_col?",
    ),
    "a huge whole number": (table([*GOOD_ROWS, f"{'9' * 400},2,x"]), "inf is infinite, or beyond"),
    "a huge number": (table([*GOOD_ROWS, "1e200,2,x"]), "1e+200 is infinite, or beyond 1e+150"),
    "letters that steer a terminal": (
        table(GOOD_ROWS, "a,b,\x1b[31m"),
        r"there are 'a', 'b', '\x1b[31m'",
    ),
    "a long row": (table([*GOOD_ROWS, "1,2,x,4"]), "line 22 has 4 values instead of 3"),
    "only long rows": (
        table([f"{row},9" for row in GOOD_ROWS]),
        "line 2 has more values than the header has names",
    ),
    "much longer rows": (
        table([f"{row},,9" for row in GOOD_ROWS]),
        "line 2 has more values than the header has names",
    ),
    "a value after many separators": (
        table([f"{row}," for row in GOOD_ROWS] + ["1,2,x,4"]),
        "line 22 has more values than the header has names",
    ),
    "an open quote": (b'size,kind\n"1,x\n', "it is not a CSV table"),
    "too few rows": (table(GOOD_ROWS[:4]), "test_data_ratio=0.2 leaves a class without a row"),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_is_refused_with_its_place(kind: str, tmp_path: Path) -> None:
    content, problem = BAD_DATA[kind]
    path = tmp_path / "raw.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadData) as caught:
        checks.checked(checks.read_csv(path), "kind", 0.2)
    assert problem in str(caught.value)
    assert len(caught.value.problems) == 1, caught.value.problems


MANY_ROWS = 300_000  # pandas reads them in several pieces


@pytest.fixture
def warnings_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has another thread switch all warnings off while pandas reads, as an import may."""

    def read_meanwhile(*arguments: Any, read: Any = pd.read_csv, **options: Any) -> pd.DataFrame:
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        return read(*arguments, **options)

    monkeypatch.setattr(pd, "read_csv", read_meanwhile)


@pytest.mark.usefixtures("warnings_off")
@pytest.mark.parametrize("kind", ["only long rows", "a value after many separators"])
def test_long_rows_are_refused_whatever_other_threads_do(kind: str, tmp_path: Path) -> None:
    test_bad_data_is_refused_with_its_place(kind, tmp_path)


def test_a_separator_at_the_end_of_each_line_is_no_value(tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    path.write_bytes(table([f"{row}," for row in GOOD_ROWS]))
    data = checks.read_csv(path)
    path.write_bytes(table(GOOD_ROWS))
    pd.testing.assert_frame_equal(data, checks.read_csv(path))


def test_a_text_in_the_raw_data_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    path.write_bytes(table(["é" * 2**18 + ",1,x", *GOOD_ROWS]))
    assert len(checks.read_csv(path)["size"][0]) == 2**18


@pytest.mark.usefixtures("warnings_off")
def test_a_column_with_text_only_far_below_is_one_of_text(tmp_path: Path) -> None:
    path = tmp_path / "raw.csv"
    path.write_bytes(table(["007,1,x"] * MANY_ROWS + ["12a,1,y"] * 2))
    data = checks.read_csv(path)
    assert data["size"].tolist() == ["007"] * MANY_ROWS + ["12a"] * 2
    with pytest.raises(BadData, match=f"line {MANY_ROWS + 2}, column 'size', '12a' is not"):
        checks.checked(data, "kind", 0.5)


def test_what_is_checked_stays_as_it_was() -> None:
    data = pd.DataFrame({"size": range(20), "kind": ["x", "y"] * 10})
    before = data.copy(deep=True)
    assert checks.checked(data, "kind", 0.5)["size"].dtype == "float64"
    pd.testing.assert_frame_equal(data, before)


def test_all_that_is_wrong_in_the_data_is_listed_at_once_up_to_a_limit() -> None:
    rows = [f"{i},x" if i % 3 else f"big{i},x" for i in range(3, 102)]
    data = pd.DataFrame([row.split(",") for row in rows], columns=["size", "kind"])
    with pytest.raises(BadData) as caught:
        checks.checked(data, "kind", 0.2)
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
        checks.checked(data, "kind", test_data_ratio)
    assert len(checks.checked(data, "kind", 0.5)) == len(kinds)


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
    split = pd.read_parquet(in_flow / "data" / "processed" / run / "split_data.parquet")
    assert (split["_set"] == "test").sum() == 45
    assert facts(in_flow, run)["flows"]["data-engineer"]["parameters"]["test_data_ratio"] == 0.3


def test_the_feed_of_events_names_the_folder_of_a_run(in_flow: Path) -> None:
    run = data_engineer()
    of_run = EventFilter(resource=EventResourceFilter(id=[f"run.{run}"]))
    with get_client(sync_client=True) as client:
        events = wait_until(lambda: client.read_events(of_run, limit=50).events)
    assert [event.event for event in events] == ["flow.began"]


def test_the_raw_data_does_not_stay_in_memory_when_it_is_split(
    in_flow: Path, prefect_server: Any
) -> None:
    """It was kept to the end by what Prefect's client started for the first event of a run."""
    watching = in_flow / "watching.py"
    watching.write_text(
        """
import gc
import os
import weakref

from prefect import flow

from flows import checks, server
from flows.data_engineer import data_engineer

tables = []


def remembered(path, read=checks.read_csv):
    table = read(path)
    tables.append(weakref.ref(table))
    return table


@flow
def prepared():
    data_engineer()
    gc.collect()
    return [table() is None for table in tables]


checks.read_csv = remembered
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
    assert (finished.stdout, finished.returncode) == ("given back: [True]\n", 0), finished.stderr


# ---- row 8: caching


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the power is gone")


def test_row_08_what_was_encoded_before_get_classes_failed_is_not_encoded_again(
    in_flow: Path, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(get_classes, "fn", fail)
        with pytest.raises(RuntimeError, match="the power is gone"):
            data_engineer()
    assert states()["encode_categorical_columns"] == "Completed"

    calls: list[int] = []
    original = pd.get_dummies

    def counted(column: pd.Series, **options: Any) -> pd.DataFrame:
        calls.append(len(column))
        return original(column, **options)

    monkeypatch.setattr(pd, "get_dummies", counted)  # what the task's body calls
    run = data_engineer()
    now = states()
    assert (now["encode_categorical_columns"], now["get_classes"]) == ("Cached", "Completed")
    assert calls == []
    split = pd.read_parquet(in_flow / "data" / "processed" / run / "split_data.parquet")
    assert len(split) == 150

    with (in_flow / "data" / "raw" / "iris.csv").open("r+b") as file:
        content = file.read()
        file.seek(content.index(b"5.1"))
        file.write(b"5.2")
    data_engineer()
    assert states()["encode_categorical_columns"] == "Completed"
    assert calls == [150]


def test_row_08_another_parameter_encodes_again(in_flow: Path, states: States) -> None:
    path = in_flow / "data" / "raw" / "two.csv"
    IRIS.assign(size=IRIS["petal_width"].gt(1).map({True: "big", False: "small"})).to_csv(
        path, index=False
    )
    for target_col, state in (("species", "Completed"), ("size", "Completed"), ("size", "Cached")):
        data_engineer("data/raw/two.csv", target_col)
        assert states()["encode_categorical_columns"] == state


def test_row_08_a_damaged_file_in_the_cache_is_computed_again(
    in_flow: Path, states: States
) -> None:
    data_engineer()
    (file,) = (in_flow / "data" / "interim").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    run = data_engineer()
    assert states()["encode_categorical_columns"] == "Completed"
    assert len(pd.read_parquet(file)) == 150
    assert facts(in_flow, run)["state"] == "Completed"


def test_row_08_the_confusion_matrix_of_the_same_counts_is_drawn_once(
    in_flow: Path, states: States
) -> None:
    pictures = []
    for ratio, state in ((0.2, "Completed"), (0.2, "Cached"), (0.4, "Completed")):
        run = main_flow.main_flow(test_data_ratio=ratio)
        assert states()["draw_confusion_matrix"] == state
        pictures.append((in_flow / "reports" / run / "confusion_matrix.png").read_bytes())
    first, again, other = pictures
    assert first == again != other
    assert len(list((in_flow / "data" / "interim").glob("*.png"))) == 2


def defined(source: str, name: str = "double") -> Any:
    """Return a function of a module in the project's folder, which needs not be there."""
    module = ModuleType("module_of_a_user")
    module.__file__ = str(ROOT / "flows" / "module_of_a_user.py")
    sys.modules[module.__name__] = module
    exec(compile(source, module.__file__, "exec"), module.__dict__)  # noqa: S102
    return vars(module)[name]


def test_row_08_the_fingerprint_covers_every_input() -> None:
    double = defined("def double(x):\n    return 2 * x\n")
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]})
    inputs: dict[str, dict[str, Any]] = {
        "nothing": {},
        "a frame": {"x": frame},
        "one cell": {"x": frame.replace(2.0, 2.5)},
        "one gap": {"x": frame.fillna("x")},
        "a column's name": {"x": frame.rename(columns={"a": "c"})},
        "a type": {"x": frame.astype({"a": "float32"})},
        "the order of the rows": {"x": frame[::-1]},
        "another name": {"y": frame},
        "an array": {"x": frame["a"].to_numpy()},
        "its shape": {"x": frame["a"].to_numpy().reshape(2, 1)},
        "a dict": {"x": {"a": frame}},
        "a value": {"x": 1},
        "a text": {"x": "1"},
    }
    marks = [caching.fingerprint(double, given) for given in inputs.values()]
    assert len(set(marks)) == len(marks)
    assert marks == [caching.fingerprint(double, given) for given in inputs.values()]


CODE = """
FACTOR = 2
COLUMNS = ["a"]
NAMES = {"a": 1}

def helper(x):
    return FACTOR * x

def make(offset):
    def add(x):
        return x + offset
    return add

add = make(5)

def double(x):
    return helper(x), [lambda: COLUMNS], NAMES, add(x)

def other(x):
    return None
"""


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("return helper(x)", "return 0, helper(x)", True),
        ("FACTOR * x", "x * FACTOR", True),
        ("FACTOR = 2", "FACTOR = 3", True),
        ('COLUMNS = ["a"]', 'COLUMNS = ["b"]', True),
        ('NAMES = {"a": 1}', 'NAMES = {"a": 2}', True),
        ("make(5)", "make(6)", True),
        ("double(x)", "double(x=1)", True),
        ("return None", "return 1", False),
        ("FACTOR * x", "FACTOR * x  # a comment", False),
    ],
    ids=[
        "body",
        "what it calls",
        "a constant",
        "a list",
        "a dict",
        "a closure",
        "a default",
        "another function",
        "a comment",
    ],
)
def test_row_08_the_fingerprint_covers_the_code_that_is_run(
    old: str, new: str, changes: bool
) -> None:
    before = caching.fingerprint(defined(CODE), {"x": 1})
    after = caching.fingerprint(defined(CODE.replace(old, new)), {"x": 1})
    assert (after != before) == changes


def test_row_08_the_fingerprint_covers_what_is_used_of_another_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = (
        "from flows import checks\n"
        "def helper(x):\n    return checks.FIRST_LINE\n"
        "def double(x):\n    return helper(x), checks.read_csv(x)\n"
    )
    marks = {caching.fingerprint(defined(source), {})}
    with monkeypatch.context() as patched:
        patched.setattr(checks, "FIRST_LINE", 3)
        marks.add(caching.fingerprint(defined(source), {}))
    with monkeypatch.context() as patched:
        patched.setattr(checks, "read_csv", checks.checked)
        marks.add(caching.fingerprint(defined(source), {}))
    assert len(marks) == 3
    assert caching.fingerprint(defined(source), {}) in marks


def test_row_08_packages_in_an_environment_inside_the_project_are_not_its_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(caching, "ROOT", Path(sys.prefix).parent)  # as with .venv in the project
    source = "import itertools, numpy\ndef double(x):\n    return numpy.mean(itertools.chain(x))\n"
    double = defined(source)
    before = caching.fingerprint(double, {})
    monkeypatch.setattr(np, "mean", np.median)
    assert caching.fingerprint(double, {}) == before


def test_a_retried_flow_run_finds_its_folder_and_what_is_done_in_it(
    in_flow: Path, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []
    original = split_data.fn

    def fail_once(*arguments: Any) -> Any:
        attempts.append(arguments)
        return original(*arguments) if len(attempts) > 1 else fail()

    monkeypatch.setattr(split_data, "fn", fail_once)
    run = data_engineer.with_options(retries=1)()
    assert len(attempts) == 2
    assert [path.name for path in (in_flow / "data" / "processed").iterdir()] == [run]
    finished = states()
    for task in ("encode_categorical_columns", "get_classes"):
        assert finished[task] == "Cached"
    assert finished["split_data"] == "Completed"
    assert facts(in_flow, run)["state"] == "Completed"


# ---- runs and run.json


def test_runs_of_one_name_in_one_second_get_folders_of_their_own(
    in_flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "RUN_NAME", "same")
    with ThreadPoolExecutor(3) as pool:
        names = list(pool.map(lambda ratio: data_engineer(test_data_ratio=ratio), (0.2, 0.4, 0.6)))
    assert sorted(names) == ["same", "same-2", "same-3"]
    for name, rows in zip(names, (30, 60, 90), strict=True):
        split = pd.read_parquet(in_flow / "data" / "processed" / name / "split_data.parquet")
        assert (split["_set"] == "test").sum() == rows
    folders = sorted(path.name for path in (in_flow / "data" / "processed").iterdir())
    assert folders == ["same", "same-2", "same-3"]


@pytest.mark.parametrize(
    "flow_run_name", ["a/b\\c", "..", "São Paulo: 100%?", "x" * 300, "trailing dot. ", "\n"]
)
def test_any_flow_run_name_gives_a_folder_that_every_system_takes(
    flow_run_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = runs._name(None, flow_run_name)
    assert len(name) <= 100
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzSP0123456789-_")
    assert name[-1] not in " .-"


def test_a_run_that_is_over_is_not_written_into_again(in_flow: Path) -> None:
    run = data_engineer()
    with pytest.raises(UserError, match=rf"The run '{run}' is over \(Completed\)"):
        data_science(run=run)


def test_a_run_that_does_not_exist_is_not_joined(in_flow: Path) -> None:
    data_engineer()
    before = outputs(in_flow)
    with pytest.raises(UserError, match="There is no run 'another'"):
        data_science(run="another")
    assert outputs(in_flow) == before


def test_row_12_main_flow_trains_on_exactly_what_data_engineer_made(
    in_flow: Path, states: States, caplog: pytest.LogCaptureFixture
) -> None:
    data_engineer(test_data_ratio=0.5)
    states()
    run = main_flow.main_flow(test_data_ratio=0.3, C=0.5)
    known = facts(in_flow, run)

    # run.json says how it came to be
    assert known["state"] == "Completed"
    assert set(known["versions"]) == {"python", *runs.PACKAGES}
    assert known["raw_file"]["path"] == "data/raw/iris.csv"
    assert len(known["raw_file"]["sha256"]) == 64
    assert {flow["state"] for flow in known["flows"].values()} == {"Completed"}
    assert list(known["flows"]) == ["data-engineer", "data-science", "main-flow"]
    assert known["flows"]["main-flow"]["parameters"]["C"] == 0.5
    assert known["flows"]["data-engineer"]["parameters"]["seed"] == 42
    assert known["flows"]["data-science"]["parameters"]["checkpoint"] == run
    assert list(known["results"]) == ["get_classes", "split_data", "train_model"]
    for result in known["results"].values():
        assert (in_flow / result["file"]).is_file()

    # the report, on 30 % of the rows
    folder = in_flow / "reports" / run
    names = ["confusion_matrix.png", "metrics.json", "report.html"]
    assert sorted(path.name for path in folder.iterdir()) == names
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert metrics["accuracy"] == known["accuracy"]
    assert 0.8 < metrics["accuracy"] <= 1
    assert list(metrics["classes"]) == CLASSES
    assert [figures["support"] for figures in metrics["classes"].values()] == [15, 15, 15]
    assert (folder / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text("utf-8")
    assert f"{known['accuracy']:.2%}" in page
    assert "<th>versicolor</th>" in page
    assert 'src="data:image/png;base64,' in page
    assert "http" not in page.replace("http-equiv", "")  # a single file: nothing is fetched

    # row 14: the printed line is in the log of the task, here and on the server
    line = f"Model accuracy on test set: {round(known['accuracy'] * 100, 2)}"
    (record,) = [record for record in caplog.records if record.getMessage() == line]
    assert vars(record)["task_name"] == "report_accuracy"
    with get_client(sync_client=True) as client:
        of_task: Any = {"task_run_id": {"any_": [vars(record)["task_run_id"]]}}
        logs = wait_until(lambda: client.read_logs(LogFilter(**of_task)))
        wait_until(lambda: line in [log.message for log in client.read_logs(LogFilter(**of_task))])
        assert logs

        # the same report as artifacts on the run's page
        flow_run_id = known["flows"]["data-science"]["id"]
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        artifacts = {one.key: one for one in client.read_artifacts(artifact_filter=of_run)}
    assert "versicolor" in str(artifacts["metrics"].data)
    assert f"{known['accuracy']:.2%}" in str(artifacts["report"].data)
    assert "data:image/png;base64," in str(artifacts["report"].data)


def test_row_12_data_science_does_not_begin_where_data_engineer_failed(
    in_flow: Path, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_data, "fn", fail)
    with pytest.raises(RuntimeError, match="the power is gone"):
        main_flow.main_flow()
    assert "read_split" not in states()
    (folder,) = (in_flow / "data" / "processed").iterdir()
    known = facts(in_flow, folder.name)
    assert known["state"] == "Failed"
    assert list(known["flows"]) == ["data-engineer", "main-flow"]
    assert known["results"] == {}  # what a failed flow left counts nowhere
    assert not (in_flow / "models").exists()


def test_an_interrupted_run_says_so(
    in_flow: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(split_data, "fn", interrupt)
    assert command("run", "data-engineer").exit_code == 130
    (folder,) = (in_flow / "data" / "processed").iterdir()
    assert facts(in_flow, folder.name)["state"] == "Crashed"


def test_a_failed_run_is_exit_code_1_and_only_debug_shows_where(
    in_flow: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split_data, "fn", fail)
    answer = command("run", "data-engineer")
    assert answer.exit_code == 1
    assert answer.err == (
        "Error: RuntimeError: the power is gone\nThe run failed; --debug shows where.\n"
    )
    with pytest.raises(RuntimeError, match="the power is gone"):
        command("run", "data-engineer", "--debug")


@pytest.mark.parametrize("succeeds", [True, False])
@pytest.mark.parametrize("says_how_it_ended", [True, False])
def test_row_12_deployed_flows_follow_each_other_in_the_same_run(
    succeeds: bool, says_how_it_ended: bool, in_flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, dict[str, Any]]] = []
    waited: list[float] = []

    class Deployed:
        id = UUID(int=0)

        class state:  # noqa: N801 - as Prefect calls it
            message = "out of memory"
            is_completed = staticmethod(lambda: succeeds)

    def run_deployment(name: str, parameters: dict[str, Any]) -> Deployed:
        started.append((name, parameters))
        Deployed.id = UUID(int=len(started))
        return Deployed()

    def meanwhile(seconds: float) -> None:
        waited.append(seconds)
        # Prefect shows how a flow run has ended before its own process writes it into run.json.
        if says_how_it_ended:
            name, parameters = started[-1]
            ended = {"id": str(Deployed.id), "state": "of the other process"}
            update_run(parameters["run"], flows={name.removesuffix("/iris"): ended})

    monkeypatch.setattr(main_flow, "run_deployment", run_deployment)
    monkeypatch.setattr(runs, "sleep", meanwhile)
    if not succeeds:
        with pytest.raises(UserError, match="data-engineer/iris did not succeed: out of memory"):
            main_flow.main_flow(deployed=True)
        assert [name for name, _ in started] == ["data-engineer/iris"]
        assert waited
        assert not list((in_flow / "data" / "processed").iterdir())  # nothing was made in this run
        return
    run = main_flow.main_flow(test_data_ratio=0.3, C=2, deployed=True)
    assert [name for name, _ in started] == ["data-engineer/iris", "data-science/iris"]
    assert started[0][1]["test_data_ratio"] == 0.3
    assert started[1][1] == {"checkpoint": run, "C": 2, "max_iter": 200, "run": run}
    known = facts(in_flow, run)
    assert known["state"] == "Completed"
    others = ["data-engineer", "data-science"] if says_how_it_ended else []
    assert list(known["flows"]) == [*others, "main-flow"]


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


OTHER_DATA: dict[str, tuple[Callable[[], pd.DataFrame], str, int]] = {
    "wine": (lambda: load_wine(as_frame=True).frame, "target", 3),
    "breast cancer": (lambda: load_breast_cancer(as_frame=True).frame, "target", 2),
    "text and gaps": (with_text_and_gaps, "espécie", 2),
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
    (metrics,) = (in_flow / "reports").glob("*/metrics.json")
    figures = json.loads(metrics.read_text("utf-8"))
    assert figures["accuracy"] > 0.8
    assert len(figures["classes"]) == classes
    assert "<i>à" not in metrics.with_name("report.html").read_text("utf-8")

    predicted = command("predict", "--csv", path)
    assert predicted.exit_code == 0, predicted.err
    lines = predicted.out.splitlines()
    assert lines[0].endswith(f"{target_col},class,probability")
    assert len(lines) == len(data) + 1


def test_a_report_counts_classes_in_whatever_order_they_are(
    in_flow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("create_table_artifact", "create_markdown_artifact", "update_run"):
        monkeypatch.setattr(reports, name, lambda *_, **__: None)
    monkeypatch.setattr(reports, "draw_confusion_matrix", lambda *_: b"")
    truth, predictions = np.array(["b", "a", "c", "a"]), np.array(["b", "a", "a", "c"])
    reports.write(truth, predictions, ["c", "a", "b"], "run")
    metrics = json.loads((in_flow / "reports" / "run" / "metrics.json").read_text("utf-8"))
    recalls = {name: figures["recall"] for name, figures in metrics["classes"].items()}
    assert (metrics["accuracy"], recalls) == (0.5, {"c": 0, "a": 0.5, "b": 1})


def test_a_report_of_many_classes_with_long_names_is_drawn_whole() -> None:
    few, many = (
        reports.draw_confusion_matrix.fn(np.eye(len(names), dtype=int), names)
        for names in (["a", r"$\x$"], [f"a rather long name of a class {i}" for i in range(12)])
    )
    small, large = (Image.open(io.BytesIO(png)) for png in (few, many))
    assert large.width > 1.5 * small.width
    edges = np.asarray(large.convert("L"))
    for edge in (edges[0], edges[-1], edges[:, 0], edges[:, -1]):
        assert (edge == 255).all()  # nothing is cut off


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each record that the console shows, as it is shown, in a terminal or in a file."""
    from flows import logs

    lines: list[str] = []

    def keep(self: logging.Handler, record: logging.LogRecord) -> None:
        if isinstance(self, logs.PlainConsoleHandler):
            lines.append(self.format(record))

    for handler in (logs.PrefectConsoleHandler, logging.StreamHandler):
        monkeypatch.setattr(handler, "emit", keep)
    return lines


def test_the_log_of_a_failed_write_says_why(
    in_flow: Path,
    shown: list[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from flows import places

    put = places.Folder.put

    def no_space_left(self: places.Folder, key: str, content: bytes) -> None:
        if not key.endswith("run.json"):
            raise OSError("No space left on device")
        put(self, key, content)

    monkeypatch.setattr(places.Folder, "put", no_space_left)
    caplog.set_level(logging.INFO)
    with pytest.raises(CannotWrite, match="cannot be written: No space left on device"):
        data_engineer()
    (first, *_) = [line for line in shown if "committing transaction" in line]
    assert "No space left on device" in first
    assert "Traceback" not in "".join(shown)


def test_the_log_of_bad_data_does_not_say_it_over_and_over(in_flow: Path, shown: list[str]) -> None:
    with pytest.raises(BadData):
        data_engineer("data/raw/none.csv")
    assert not [line for line in shown if "exception during execution" in line]
    assert len([line for line in shown if "none.csv cannot be used" in line]) == 2  # two states
    assert len([line for line in shown if "there is no such file" in line]) == 1  # of the task
