"""Where outputs are kept and how they are read again: on this machine and in buckets."""

import io
import json
import re
import shutil
import socket
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Answer, facts, outputs
from flows import data_science as science
from flows.data_engineer import PROCESSED, data_engineer, get_classes, split_data
from flows.data_science import data_science, train_model
from flows.main_flow import main_flow
from ml import model as ml_model
from ml.model import predict_rows
from prefect import flow
from prefect.settings import PREFECT_RESULTS_PERSIST_BY_DEFAULT, temporary_settings
from runtime import GCSResult, LocalResult, S3Result, UserError, history, models, runs, settings
from runtime.formats import (
    JSONValueSerializer,
    ParquetSerializer,
    PNGSerializer,
    SkopsSerializer,
)
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

Command = Callable[..., Answer]

FRAME = pd.DataFrame(
    {
        "size": [1.5, np.nan, 3.0, 4.0],
        "colour": pd.Series(["azul", None, "verde|x", "¿?"], dtype="str"),
        "A": pd.Series([1, 1, 0, 0], dtype="int8"),
        "São": pd.Series([0, 0, 1, 1], dtype="int8"),
    }
)
CLASSES = ["setosa", "versicolor", "virginica"]
X, Y = FRAME[["size", "colour"]], pd.Series(["A", "A", "São", "São"])


# ---- formats


def test_a_frame_comes_back_as_it_was() -> None:
    parquet = ParquetSerializer()
    again = parquet.loads(parquet.dumps(FRAME))
    assert isinstance(again, pd.DataFrame)
    pd.testing.assert_frame_equal(again, FRAME)


def test_a_split_is_one_parquet_table_and_comes_back_as_it_was() -> None:
    split = split_data.fn(FRAME, 0.5, ["A", "São"])
    content = ParquetSerializer().dumps(split)
    columns = pq.read_table(io.BytesIO(content)).column_names
    assert columns[:3] == ["size", "colour", "class"]
    again: Any = ParquetSerializer().loads(content)
    assert again.keys() == split.keys()
    for name, values in split.items():
        assert again[name].equals(values)
        assert (again[name].index == values.index).all()
    assert again["train_y"].dtype == split["train_y"].dtype


def test_a_split_whose_features_have_the_names_of_the_files_own_columns_loses_none() -> None:
    frame = FRAME.rename(columns={"size": "class", "colour": "set"}).assign(row=1.0)
    split = split_data.fn(frame, 0.5, ["A", "São"])
    again: Any = ParquetSerializer().loads(ParquetSerializer().dumps(split))
    pd.testing.assert_frame_equal(again["train_x"], split["train_x"], check_names=False)
    assert again["test_y"].tolist() == split["test_y"].tolist()


def test_values_are_readable_json() -> None:
    assert JSONValueSerializer().dumps(["São"]).decode() == '[\n  "São"\n]\n'


def test_a_picture_comes_back_as_it_was() -> None:
    png = b"\x89PNG\r\n\x1a\n..."
    assert PNGSerializer().loads(PNGSerializer().dumps(png)) == png


@pytest.mark.parametrize(
    "classifier",
    [
        LogisticRegression(),
        RandomForestClassifier(5),
        HistGradientBoostingClassifier(max_iter=3),
        KNeighborsClassifier(1),
        SVC(),
    ],
    ids=lambda classifier: type(classifier).__name__,
)
def test_a_model_comes_back_and_predicts_the_same(
    classifier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ml_model, "LogisticRegression", lambda **_: classifier)
    model = train_model.fn(X, Y)
    again = SkopsSerializer().loads(SkopsSerializer().dumps(model))
    pd.testing.assert_frame_equal(predict_rows(again, X), predict_rows(model, X))
    assert ("probability" in predict_rows(again, X)) == (not isinstance(classifier, SVC))


def test_a_model_with_an_untrusted_type_is_not_opened() -> None:
    content = models.dumps(train_model.fn(X, Y))
    harmful = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as good, zipfile.ZipFile(harmful, "w") as bad:
        for name in good.namelist():
            entry = good.read(name)
            if name == "schema.json":
                entry = entry.replace(b'"LogisticRegression"', b'"Popen"', 1)
                entry = entry.replace(b'"sklearn.linear_model._logistic"', b'"subprocess"', 1)
            bad.writestr(name, entry)
    with pytest.raises(UserError, match=r"not trusted: subprocess\.Popen"):
        models.loads(harmful.getvalue())


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"PK\x03\x04 cut short"])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(UserError, match="it is damaged"):
        models.loads(content)


# ---- results that cannot be kept


class Foreign(LogisticRegression):
    """A classifier of another package."""

    __module__ = "foreign"


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is of a type that no part of the project knows."""
    package = ModuleType("foreign")
    package.Foreign = Foreign  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "foreign", package)
    monkeypatch.setattr(ml_model, "LogisticRegression", Foreign)


@pytest.mark.usefixtures("prefect_server", "foreign")
def test_a_type_that_is_not_trusted_fails_the_run_that_trains_it(
    project: Path, command: Command
) -> None:
    answer = command("run")
    assert (answer.exit_code, answer.out) == (1, "")
    assert answer.err == (
        "Error: The model holds types that are not trusted: foreign.Foreign. If you know that "
        "they are safe, name them in pyproject.toml: trusted_types, below [tool.runtime].\n"
    )
    [run] = [path.name for path in (project / "data" / "processed").iterdir()]
    assert facts(project, run)["state"] == "Failed"
    assert not list((project / "models").rglob("*.skops"))

    pyproject = project / "pyproject.toml"
    text = pyproject.read_text("utf-8")
    assert "trusted_types = []" in text
    pyproject.write_text(
        text.replace("trusted_types = []", 'trusted_types = ["foreign.Foreign"]'), "utf-8"
    )
    settings._parsed.cache_clear()  # as a new process begins
    assert command("run").exit_code == 0
    assert command("predict", "5.1", "3.5", "1.4", "0.2").out.startswith("setosa")


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("task", "value", "problem"),
    [
        (get_classes, np.array(CLASSES), "json-value: Object of type ndarray is not JSON"),
        (split_data, 5, "parquet: "),
        (science.draw_report, b"GIF89a", "png: bytes is no picture"),
    ],
    ids=["json-value", "parquet", "png"],
)
def test_a_result_that_does_not_fit_its_format_fails_the_run(
    task: Any,
    value: Any,
    problem: str,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task, "fn", lambda *_: value)
    answer = command("run")
    assert (answer.exit_code, answer.out) == (1, "")
    name = f"The result of {task.name} cannot be written as"
    assert answer.err.startswith(f"Error: {name} {problem}")
    assert answer.err.count("\n") == 1
    [run] = [path.name for path in Path("data/processed").iterdir()]
    assert facts(Path(), run)["state"] == "Failed"


# ---- rows 9 to 11, on a real run


@pytest.mark.usefixtures("prefect_server")
def test_row_09_the_checkpoints_of_a_run_open_with_ordinary_tools(project: Path) -> None:
    run = data_engineer()
    folder = project / "data" / "processed" / run
    assert json.loads((folder / "get_classes.json").read_text("utf-8")) == CLASSES
    table = pd.read_parquet(folder / "split_data.parquet")
    assert table["set"].value_counts().to_dict() == {"train": 120, "test": 30}
    assert table["class"].value_counts().to_dict() == dict.fromkeys(CLASSES, 50)


@pytest.mark.usefixtures("prefect_server")
def test_row_09_persistence_is_switched_off_and_on_by_prefects_setting(
    project: Path, states: Callable[[], dict[str, str]]
) -> None:
    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: False}):
        names = [data_engineer(), data_engineer()]
        assert states()["encode_categorical_columns"] == "Completed"
        with pytest.raises(UserError, match=r"results are not kept, because .* is false"):
            data_science()
    assert outputs(project) == sorted(
        f"data/processed/{name}{file}" for name in names for file in ("", "/run.json")
    )
    assert not (project / "data" / "interim").exists()
    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: True}):
        run = data_engineer()
    assert list(facts(project, run)["results"]) == ["get_classes", "split_data"]


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("target", ["{run}/{task_name}-of-iris", "{run}/deep/{task_name}"])
def test_row_10_the_name_of_a_checkpoint_follows_the_template(project: Path, target: str) -> None:
    storage = LocalResult(dir="data/processed", target=target)
    classes = get_classes.with_options(result_storage=storage, cache_policy=storage.per_run)
    names = pd.DataFrame({"species": ["b", "a", "b"]})

    @flow
    @runs.in_run_folder
    def lab() -> tuple[str, str | None]:
        classes(names, "species")
        return runs.current_run(), classes(names, "species", return_state=True).name

    run, state = lab()
    assert state == "Cached"
    location = target.format(run=run, task_name="get_classes")
    file = f"data/processed/{location}.json"
    assert json.loads((project / file).read_text("utf-8")) == ["a", "b"]
    assert storage.read(location=location).value == ["a", "b"]
    newest = storage.read(location=target.format(run="latest", task_name="get_classes"))
    assert newest.location == location
    assert [result["file"] for result in facts(project, run)["results"].values()] == [file]


@pytest.mark.usefixtures("prefect_server")
def test_row_10_a_model_is_found_whatever_its_target(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalResult(dir="models", target="{run}/deep/{task_name}-of-iris")
    train = train_model.with_options(result_storage=storage, cache_policy=storage.per_run)
    monkeypatch.setattr(science, "train_model", train)
    run = main_flow()
    assert f"models/{run}/deep/train_model-of-iris.skops" in runs.summary(run, "")
    assert command("predict", "5.1", "3.5", "1.4", "0.2").out.startswith("setosa")


@pytest.mark.usefixtures("prefect_server")
def test_row_11_another_flows_output_is_read_by_run_and_as_latest(project: Path) -> None:
    first, second = data_engineer(test_data_ratio=0.5), data_engineer()
    processed = LocalResult(dir="data/processed")
    newest = processed.read(location="latest/split_data")
    assert newest.location == f"{second}/split_data"
    assert sorted(newest.value) == ["test_x", "test_y", "train_x", "train_y"]
    for run, rows in {first: 75, second: 30}.items():
        assert len(processed.read(location=f"{run}/split_data").value["test_x"]) == rows
    assert processed.read(location="latest/get_classes").value[0] == "setosa"


@pytest.mark.usefixtures("prefect_server")
def test_row_11_what_is_missing_or_damaged_is_refused_by_name(project: Path) -> None:
    with pytest.raises(UserError, match=r"There is no 'latest/split_data' in .*processed: run"):
        PROCESSED.read(location="latest/split_data")
    run = data_engineer()
    for missing in (f"{run}/no_such_task", "no-such-run/split_data", "split_data"):
        with pytest.raises(UserError, match=f"There is no '{missing}' .*: check its name"):
            PROCESSED.read(location=missing)
    file = project / "data" / "processed" / run / "split_data.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"split_data\.parquet is damaged: run its flow again"):
        data_science()


def test_row_11_a_location_cannot_lead_out_of_the_folder(project: Path) -> None:
    with pytest.raises(UserError):
        PROCESSED.read(location="../../main")


# ---- row 11: whose outputs are the latest


def keep(results: Any, file: str, value: Any, serializer: Any) -> None:
    """Write a value and its record as Prefect does."""
    results.write_path(f"{file}@fingerprint", serializer.dumps(value))
    record = json.dumps({"serializer": {"type": serializer.type}})
    results.per_run.key_storage.write_path(f"{file}@fingerprint", record.encode())


def leave_run(project: Path, run: str, **facts: Any) -> Path:
    """Leave a run whose classes are `[run]`; return its run.json."""
    keep(PROCESSED, f"{run}/get_classes.json", [run], JSONValueSerializer())
    path = project / "data" / "processed" / run / "run.json"
    path.write_text(json.dumps({"run": run, "state": "Completed", **facts}), "utf-8")
    return path


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_reads_another_names_the_raw_data_behind_it(project: Path) -> None:
    prepared = facts(project, data_engineer())
    trained = facts(project, data_science())
    assert trained["reads"] == prepared["run"]
    assert trained["raw_file"] == prepared["raw_file"]
    assert trained["data"] == prepared["data"]


def test_of_runs_in_one_second_the_one_that_started_last_is_the_latest(project: Path) -> None:
    second = "2026-01-02_03-04-05"
    for run, started in (("b", "05.1"), ("a", "05.3"), ("c", "05.2")):
        leave_run(project, f"{second}_{run}", started=f"2026-01-02T03:04:{started}+00:00")
    leave_run(project, "2026-01-02_03-04-04_z", started="2027-01-01T00:00:00+00:00")
    leave_run(project, "sent-by-a-colleague")
    assert PROCESSED.read("latest/get_classes").value == [f"{second}_a"]
    newest = history.newest_first(path.name for path in (project / "data/processed").iterdir())
    assert [name[-1] for name in newest] == ["a", "c", "b", "z", "e"]
    shutil.rmtree(project / "data" / "processed" / f"{second}_a")
    assert PROCESSED.read("latest/get_classes").value == [f"{second}_c"]


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a note": lambda known: {"note": "a good one", **known},
    "a result less": lambda known: {**known, "results": {}},
    "results of nothing": lambda known: {**known, "results": None},
    "nothing but the state": lambda known: {"state": "Completed"},
    "nothing at all": lambda known: {},
}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("edit", EDITS)
def test_a_run_json_that_a_person_edited_stays_usable(
    edit: str, project: Path, command: Command
) -> None:
    run = main_flow()
    path = project / "data" / "processed" / run / "run.json"
    edited = json.dumps(EDITS[edit](facts(project, run)))
    path.write_text(edited, encoding="utf-8-sig")  # as an editor on Windows may
    assert PROCESSED.read("latest/split_data").location == f"{run}/split_data"
    answer = command("predict", "5.1", "3.5", "1.4", "0.2")
    assert answer.exit_code == 0
    assert re.fullmatch(rf"Model: {run}(, trained on data/raw/iris.csv)?\n", answer.err)
    assert data_science() != run


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b"[" * 100_000], ids=range(4))
def test_a_damaged_run_json_leaves_out_its_run_with_a_sentence(
    content: bytes, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_run(project, "2026-01-01_00-00-00_good")
    damaged = f"2026-01-02_00-00-00_damaged-{len(content)}"  # what is said once is not repeated
    leave_run(project, damaged).write_bytes(content)
    for _ in range(2):
        assert PROCESSED.read("latest/get_classes").value == ["2026-01-01_00-00-00_good"]
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"data/processed/{damaged}/run.json cannot be read: ")
    assert line.endswith(" This run is left out.")
    assert PROCESSED.read(f"{damaged}/get_classes").value == [damaged]  # when it is named


# ---- row 11, in buckets


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A store that speaks S3, on this machine, with the empty bucket "lab"; yields its address."""
    moto = pytest.importorskip("moto.server", reason='a store needs: pip install "moto[server]"')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = moto.ThreadedMotoServer("127.0.0.1", port)
    store.start()
    url = f"http://127.0.0.1:{port}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/lab", method="PUT")).close()
    yield url
    store.stop()


@pytest.fixture
def lab(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment in which that store is the one of Amazon."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("prefix", ["", "iris/results"])
def test_row_11_s3_takes_and_gives_the_same_as_a_folder(project: Path, prefix: str) -> None:
    bucket = S3Result(bucket="lab", prefix=prefix)
    old, new = "2026-01-01_00-00-00_old", "2026-01-02_00-00-00_new"
    split = split_data.fn(FRAME, 0.5, ["A", "São"])
    for run in (old, new):
        keep(bucket, f"{run}/split_data.parquet", split, ParquetSerializer())
        keep(bucket, f"{run}/get_classes.json", [run], JSONValueSerializer())
    newest = bucket.read(location="latest/get_classes")
    assert (newest.location, newest.value) == (f"{new}/get_classes", [new])
    again = bucket.read(location=f"{old}/split_data").value
    assert again["train_x"].equals(split["train_x"])
    bucket.storage.put(f"{new}/split_data.parquet", b"PAR1")
    with pytest.raises(UserError, match=r"s3://lab/.*split_data\.parquet is damaged"):
        bucket.read(location="latest/split_data")
    with pytest.raises(UserError, match="There is no 'nothing/split_data' in s3://lab"):
        bucket.read(location="nothing/split_data")


@pytest.mark.usefixtures("prefect_server", "lab")
def test_row_11_a_flow_keeps_its_checkpoints_in_s3(project: Path) -> None:
    bucket = S3Result(bucket="lab", prefix="checkpoints")
    classes = get_classes.with_options(result_storage=bucket, cache_policy=bucket.per_run)
    names = pd.DataFrame({"species": ["b", "a", "b"]})

    @flow
    def in_s3() -> str | None:
        classes(names, "species")
        return classes(names, "species", return_state=True).name

    assert in_s3() == "Cached"
    assert bucket.read(location="latest/get_classes").value == ["a", "b"]


@pytest.mark.usefixtures("lab")
def test_row_11_s3_without_its_bucket_names_it() -> None:
    nowhere = S3Result(bucket="no-such-bucket", prefix="iris")
    for use in (lambda: nowhere.read("latest/split_data"), lambda: nowhere.storage.put("a", b"")):
        with pytest.raises(UserError, match=r"s3://no-such-bucket/iris cannot be used: .*create"):
            use()


def test_row_11_gcs_without_credentials_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(UserError, match=r"gs://lab/iris cannot be used: .*logged in"):
        GCSResult(bucket="lab", prefix="iris").read(location="latest/split_data")


# ---- the setting OUTPUTS


BAD_OUTPUTS = (
    "bucket",
    "s3://",
    "S3://lab",
    "http://lab/iris",
    "s3://lab/../x",
    "s3://lab//x",
    "gs://a b",
)


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        *((value, ["run"]) for value in BAD_OUTPUTS),
        *(("bucket", arguments) for arguments in (["serve"], ["ui"], ["predict", "1"])),
    ],
)
def test_what_is_no_bucket_is_refused_before_anything_runs(
    command: Command, monkeypatch: pytest.MonkeyPatch, value: str, arguments: list[str]
) -> None:
    monkeypatch.setenv("OUTPUTS", value)
    answer = command(*arguments)
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err == (
        f"Error: OUTPUTS={value!r} is not allowed: leave it empty for this folder, or "
        "name a bucket, as s3://bucket/prefix, gs://bucket/prefix or az://container/prefix.\n"
    )


@pytest.mark.usefixtures("prefect_server")
def test_doctor_examines_outputs_too(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTPUTS", "bucket")
    answer = command("doctor")
    assert answer.exit_code == 1
    [line] = [line for line in answer.out.splitlines() if "OUTPUTS" in line]
    assert line.startswith("FAIL Outputs   OUTPUTS='bucket' is not allowed")


def test_a_password_in_outputs_is_not_shown(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTPUTS", "s3://somebody:password@lab/iris")
    assert command("run").err.startswith("Error: OUTPUTS='s3://…@lab/iris' is not allowed: ")


@pytest.mark.parametrize(
    ("in_file", "in_environment", "folder"),
    [
        ("", "", "models"),
        ("s3://lab", "", "s3://lab/models"),
        ("s3://lab", "s3://lab/iris/one/", "s3://lab/iris/one/models"),
        ("", "gs://my_lab.example/iris", "gs://my_lab.example/iris/models"),
    ],
)
def test_outputs_decides_where_results_are_kept(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_file: str,
    in_environment: str,
    folder: str,
) -> None:
    (project / "pyproject.toml").write_text(f'[tool.runtime]\noutputs = "{in_file}"\n', "utf-8")
    monkeypatch.setenv("OUTPUTS", in_environment)
    assert LocalResult(dir="models").storage.location("run/a.skops") == f"{folder}/run/a.skops"
