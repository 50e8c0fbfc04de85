"""Where outputs are kept and how they are read again: on this machine and in buckets."""

import io
import json
import pickle
import socket
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import facts, outputs
from prefect import task
from prefect.filesystems import WritableFileSystem
from prefect.settings import PREFECT_RESULTS_PERSIST_BY_DEFAULT, temporary_settings

from flows import CannotWrite, UserError, models, places, runs
from flows.data_engineer import data_engineer, get_classes, split_data
from flows.data_science import data_science, train_model
from flows.main_flow import main_flow
from flows.models import newest_model
from flows.results import GCSResult, LocalResult, S3Result, results_in
from flows.serializers import (
    JSONValueSerializer,
    ParquetSerializer,
    PNGSerializer,
    SkopsSerializer,
)

FRAME = pd.DataFrame(
    {
        "size": [1.5, np.nan, 3.0, 4.0],
        "colour": pd.Series(["azul", None, "verde|x", "¿?"], dtype="str"),
        "A": pd.Series([1, 1, 0, 0], dtype="int8"),
        "São": pd.Series([0, 0, 1, 1], dtype="int8"),
    }
)


def an_output(name: str) -> Any:
    if name == "frame":
        return FRAME
    if name == "classes":
        return ["A", "São"]
    return split_data.fn(FRAME, 0.5, ["A", "São"])


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[name], other[name]) for name in one)
    return one.equals(other) if isinstance(one, pd.DataFrame) else one == other


# ---- serializers


def test_a_frame_comes_back_as_it_was() -> None:
    serializer = ParquetSerializer()
    assert equal(serializer.loads(serializer.dumps(FRAME)), FRAME)


def test_a_split_is_one_parquet_table_and_comes_back_as_four_frames() -> None:
    split = an_output("split")
    blob = ParquetSerializer().dumps(split)
    assert pq.read_table(io.BytesIO(blob)).column_names == ["_set", "size", "colour", "A", "São"]
    again: Any = ParquetSerializer().loads(blob)
    for name, frame in split.items():
        pd.testing.assert_frame_equal(again[name], frame.reset_index(drop=True))


def test_values_are_readable_json() -> None:
    assert JSONValueSerializer().dumps(["São"]).decode() == '[\n  "São"\n]\n'
    with pytest.raises(TypeError):
        JSONValueSerializer().dumps(object())


def test_a_picture_comes_back_as_it_was_and_nothing_else_is_one() -> None:
    png = b"\x89PNG\r\n\x1a\n..."
    assert PNGSerializer().loads(PNGSerializer().dumps(png)) == png
    for other in (ValueError("not drawn"), "text"):
        with pytest.raises(TypeError, match="is no picture"):
            PNGSerializer().dumps(other)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no picture"):
        PNGSerializer().loads(pickle.dumps("text"))


def a_model() -> Any:
    return train_model.fn(FRAME[["size", "colour"]], FRAME[["A", "São"]])


def test_a_model_comes_back_and_predicts_the_same() -> None:
    model, serializer = a_model(), SkopsSerializer()
    again = serializer.loads(serializer.dumps(model))
    x = FRAME[["size", "colour"]]
    assert (again.predict_proba(x) == model.predict_proba(x)).all()


def test_equal_models_are_equal_files_wherever_and_whenever_they_are_written() -> None:
    model = a_model()
    blob = SkopsSerializer().dumps(model)
    for other in (a_model(), pickle.loads(pickle.dumps(model)), SkopsSerializer().loads(blob)):  # noqa: S301
        assert SkopsSerializer().dumps(other) == blob
    with zipfile.ZipFile(io.BytesIO(blob)) as archive:
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}


def test_a_model_with_an_untrusted_type_is_refused() -> None:
    blob = SkopsSerializer().dumps(a_model())
    harmful = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(blob)) as good, zipfile.ZipFile(harmful, "w") as bad:
        for name in good.namelist():
            content = good.read(name)
            if name == "schema.json":
                content = content.replace(b'"LogisticRegression"', b'"Popen"', 1)
                content = content.replace(b'"sklearn.linear_model._logistic"', b'"subprocess"', 1)
            bad.writestr(name, content)
    with pytest.raises(UserError, match=r"not trusted: subprocess\.Popen"):
        models.loads(harmful.getvalue())


@pytest.mark.parametrize("blob", [b"", b"\x80\x04N.", b"PK\x03\x04 cut short"])
def test_what_is_no_model_is_refused(blob: bytes) -> None:
    with pytest.raises(UserError, match="it is damaged"):
        models.loads(blob)


# ---- files


def test_a_file_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "file.json"
    places.write_whole(path, b"old")

    def no_space_left(descriptor: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(places.os, "fsync", no_space_left)
    with pytest.raises(CannotWrite, match=r"file\.json cannot be written: No space left"):
        places.write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_row_11_a_location_cannot_lead_out_of_the_folder(project: Path) -> None:
    with pytest.raises(UserError, match="leads out of data/processed"):
        LocalResult(dir="data/processed").read(location="../../main")


# ---- rows 9 to 11, on a real run


@pytest.mark.usefixtures("prefect_server")
def test_row_09_the_checkpoints_of_a_run_open_with_ordinary_tools(project: Path) -> None:
    run = data_engineer()
    folder = project / "data" / "processed" / run
    assert json.loads((folder / "get_classes.json").read_text("utf-8")) == [
        "setosa",
        "versicolor",
        "virginica",
    ]
    table = pd.read_parquet(folder / "split_data.parquet")
    assert table.columns[:2].tolist() == ["_set", "sepal_length"]
    assert table["_set"].value_counts().to_dict() == {"train": 120, "test": 30}


@pytest.mark.usefixtures("prefect_server")
def test_row_09_persistence_is_switched_off_and_on_by_prefects_setting(
    project: Path, states: Callable[[], dict[str, str]]
) -> None:
    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: False}):
        run = data_engineer()
        assert list(facts(project, run)["results"]) == []
        data_engineer()
        assert states()["encode_categorical_columns"] == "Completed"
    assert [name for name in outputs(project) if not name.endswith("run.json")] == [
        f"data/processed/{run}" for run in sorted(path.name for path in runs_of(project))
    ]
    assert not (project / "data" / "interim").exists()
    with temporary_settings({PREFECT_RESULTS_PERSIST_BY_DEFAULT: True}):
        run = data_engineer()
    assert list(facts(project, run)["results"]) == ["get_classes", "split_data"]


def runs_of(project: Path) -> list[Path]:
    return list((project / "data" / "processed").iterdir())


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize(
    ("flow", "template"),
    [(main_flow, "{run}/{task_name}-of-iris"), (data_engineer, "{run}/deep/{task_name}")],
)
def test_row_10_the_name_of_a_checkpoint_follows_the_template(
    project: Path, everywhere: Callable[[str, str], None], flow: Any, template: str
) -> None:
    everywhere("CHECKPOINT_NAME", template)
    run = flow()
    file = template.format(run=run, task_name="split_data")
    assert (project / "data" / "processed" / f"{file}.parquet").exists()
    assert len(LocalResult(dir="data/processed").read(location=file).value["test_x"]) == 30
    newest = template.format(run="latest", task_name="get_classes")
    assert len(LocalResult(dir="data/processed").read(location=newest).value) == 3
    for result in facts(project, run)["results"].values():
        assert (project / result["file"]).is_file()
    assert len(facts(project, run)["results"]) == (3 if flow is main_flow else 2)
    if flow is main_flow:
        assert f"models/{run}/train_model-of-iris.skops" in runs.summary(run, "")
        assert newest_model().classes_.tolist() == ["setosa", "versicolor", "virginica"]


@pytest.mark.usefixtures("prefect_server")
def test_row_11_another_flows_output_is_read_by_run_and_as_latest(project: Path) -> None:
    first, second = data_engineer(test_data_ratio=0.5), data_engineer()
    processed = LocalResult(dir="data/processed")
    newest = processed.read(location="latest/split_data")
    assert newest.location == f"{second}/split_data"
    assert sorted(newest.value) == ["test_x", "test_y", "train_x", "train_y"]
    sizes = {first: 75, second: 30}
    for run, rows in sizes.items():
        assert len(processed.read(location=f"{run}/split_data").value["test_x"]) == rows
    assert processed.read(location="latest/get_classes").value[0] == "setosa"


@pytest.mark.usefixtures("prefect_server")
def test_row_11_what_is_missing_or_damaged_is_refused_by_name(project: Path) -> None:
    processed = LocalResult(dir="data/processed")
    with pytest.raises(UserError, match=r"There is no 'latest/split_data' in .*processed: run"):
        processed.read(location="latest/split_data")
    run = data_engineer()
    for missing in (f"{run}/no_such_task", "no-such-run/split_data", "split_data"):
        with pytest.raises(UserError, match=f"There is no '{missing}' .*: check its name"):
            processed.read(location=missing)

    file = project / "data" / "processed" / run / "split_data.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=r"split_data\.parquet is damaged"):
        processed.read(location="latest/split_data")
    file.write_bytes(whole)
    (file.parent / ".records" / "split_data.json").write_text("{", "utf-8")
    with pytest.raises(UserError, match=r"split_data.* damaged"):
        data_science()


def test_row_11_a_pickle_is_not_opened(project: Path) -> None:
    content = b"cos\nabort\n(tR."  # opened as a pickle, it would end this process
    processed = LocalResult(dir="data/processed")
    processed.write_path("run/split_data.pickle#fingerprint", content)
    record = json.dumps({"serializer": {"type": "pickle"}}).encode()
    processed.records.write_path("run/split_data.pickle#fingerprint", record)
    with pytest.raises(UserError, match=r"split_data\.pickle is a pickle, which is not opened"):
        processed.read(location="latest/split_data")
    with pytest.raises(ValueError, match="is a pickle"):
        processed.records.read_path("run/split_data.pickle#fingerprint")


# ---- row 11, in buckets


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def s3_url() -> str:
    """Address of every store: prefect-aws keeps its client, with the address."""
    pytest.importorskip("prefect_aws", reason='S3Result needs: pip install ".[s3]"')
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture
def no_s3(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The settings of boto3 for a store at an address where nothing answers yet."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return s3_url


@pytest.fixture
def s3(no_s3: str) -> Iterator[str]:
    """A store that speaks S3, on this machine, with the empty bucket "lab"; yields its address."""
    moto = pytest.importorskip("moto.server", reason='a store needs: pip install "moto[server]"')
    import boto3

    store = moto.ThreadedMotoServer("127.0.0.1", int(no_s3.rpartition(":")[2]))
    store.start()
    ask_store(no_s3, "reset")
    boto3.client("s3").create_bucket(Bucket="lab")
    yield no_s3
    store.stop()


def ask_store(url: str, what: str, body: str = "") -> None:
    request = urllib.request.Request(  # noqa: S310
        f"{url}/moto-api/{what}", body.encode(), {"Content-Type": "text/plain"}
    )
    urllib.request.urlopen(request).close()  # noqa: S310


@pytest.mark.parametrize("prefix", ["", "iris/results"])
def test_row_11_s3_takes_and_gives_the_same_as_a_folder(s3: str, prefix: str) -> None:
    storage = S3Result(bucket="lab", prefix=prefix)
    for run in ("2026-01-01_00-00-00_old", "2026-01-02_00-00-00_new"):
        store(storage, f"{run}/split_data.parquet", an_output("split"), ParquetSerializer())
        store(storage, f"{run}/get_classes.json", [run], JSONValueSerializer())
    assert storage.runs() == ["2026-01-02_00-00-00_new", "2026-01-01_00-00-00_old"]
    newest = storage.read(location="latest/get_classes")
    assert newest.value == ["2026-01-02_00-00-00_new"]
    assert newest.location == "2026-01-02_00-00-00_new/get_classes"
    split = storage.read(location="2026-01-01_00-00-00_old/split_data").value
    assert len(split["train_x"]) == 2
    storage.put("2026-01-02_00-00-00_new/split_data.parquet", b"PAR1")
    with pytest.raises(UserError, match=r"s3://lab/.*split_data\.parquet is damaged"):
        storage.read(location="latest/split_data")
    with pytest.raises(UserError, match="There is no 'nothing/split_data' in s3://lab"):
        storage.read(location="nothing/split_data")


def store(storage: Any, file: str, value: Any, serializer: Any) -> None:
    """Keep a value and its record in the way that Prefect does."""
    storage.write_path(f"{file}#fingerprint", serializer.dumps(value))
    record = json.dumps({"serializer": {"type": serializer.type}})
    storage.records.write_path(f"{file}#fingerprint", record.encode())


@pytest.mark.usefixtures("prefect_server")
def test_row_11_a_flow_keeps_its_checkpoints_in_s3(
    s3: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect import flow

    from flows.caching import CHECKPOINT

    bucket = S3Result(bucket="lab")
    classes_in_s3 = get_classes.with_options(
        result_storage=bucket, cache_policy=CHECKPOINT.configure(key_storage=bucket.records)
    )
    names = pd.DataFrame({"species": ["b", "a", "b"]})

    @flow
    def in_s3() -> tuple[list[str], Any]:
        classes_in_s3(names, "species")
        again = classes_in_s3(names, "species", return_state=True)
        return again.result(), again.name

    assert in_s3() == (["a", "b"], "Cached")
    assert bucket.read(location="latest/get_classes").value == ["a", "b"]


def test_row_11_s3_without_its_bucket_says_so(s3: str) -> None:
    nowhere = S3Result(bucket="no-such-bucket", prefix="iris")
    with pytest.raises(UserError, match=r"s3://no-such-bucket/iris cannot be used.*not exist"):
        nowhere.read(location="latest/split_data")
    with pytest.raises(UserError, match=r"s3://no-such-bucket/iris cannot be used.*not exist"):
        nowhere.put("run/file.json", b"{}")


def test_row_11_s3_with_wrong_credentials_says_so(s3: str) -> None:
    ask_store(s3, "reset-auth", "0")  # from now on the store asks who it is, and knows nobody
    try:
        with pytest.raises(UserError, match=r"s3://lab cannot be used.*Access Key Id"):
            S3Result(bucket="lab").read(location="latest/split_data")
    finally:
        ask_store(s3, "reset-auth", "inf")


def test_row_11_s3_without_an_answer_says_so(no_s3: str) -> None:
    with pytest.raises(UserError, match=r"s3://lab cannot be used.*Could not connect"):
        S3Result(bucket="lab").put("run/file.json", b"{}")


def test_row_11_gcs_without_credentials_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("prefect_gcp", reason='GCSResult needs: pip install ".[gcs]"')
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    bucket = GCSResult(bucket="lab", prefix="iris")
    assert bucket.where("run/split_data.parquet") == "gs://lab/iris/run/split_data.parquet"
    with pytest.raises(UserError, match=r"gs://lab/iris cannot be used.*missing\.json"):
        bucket.read(location="latest/split_data")


@pytest.mark.parametrize(
    ("result", "package", "extra"),
    [(S3Result, "prefect_aws", "s3"), (GCSResult, "prefect_gcp", "gcs")],
)
def test_row_11_a_missing_extra_is_named(
    result: Any, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    storage = result(bucket="lab")  # a project that only mentions it works without the extra
    with pytest.raises(UserError, match=rf'run `pip install "\.\[{extra}\]"`'):
        storage.read(location="latest/split_data")


# ---- the setting OUTPUTS


@pytest.mark.parametrize(
    "value",
    ["bucket", "s3://", "S3://lab", "http://lab/iris", "s3://lab/../x", "s3://lab//x", "gs://a b"],
)
@pytest.mark.parametrize("arguments", [["run"], ["serve"], ["ui"], ["predict", "1"]])
def test_what_is_no_bucket_is_refused_before_anything_runs(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, value: str, arguments: list[str]
) -> None:
    monkeypatch.setenv("OUTPUTS", value)
    answer = command(*arguments)
    assert (answer.exit_code, answer.out) == (2, "")
    assert answer.err == (
        f"Error: OUTPUTS={value.rstrip('/')!r} is not allowed: leave it empty for this folder, or "
        "name a bucket, as s3://bucket/prefix or gs://bucket/prefix.\n"
    )


@pytest.mark.usefixtures("prefect_server")
def test_doctor_looks_at_outputs_too(
    command: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTPUTS", "bucket")
    answer = command("doctor")
    assert answer.exit_code == 1
    assert answer.out.splitlines()[-1].startswith("FAIL Outputs   OUTPUTS='bucket' is not allowed")


def test_a_password_in_outputs_is_not_repeated(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTPUTS", "s3://somebody:password@lab/iris")
    assert command("run").err.startswith("Error: OUTPUTS='s3://…@lab/iris' is not allowed: ")


@pytest.mark.parametrize(
    ("value", "storage"),
    [
        ("", LocalResult(dir="models")),
        ("s3://lab", S3Result(bucket="lab", prefix="models")),
        ("s3://lab/iris/one/", S3Result(bucket="lab", prefix="iris/one/models")),
        ("gs://my_lab.example/iris", GCSResult(bucket="my_lab.example", prefix="iris/models")),
    ],
)
def test_outputs_says_where_results_are_kept(
    monkeypatch: pytest.MonkeyPatch, value: str, storage: Any
) -> None:
    monkeypatch.setenv("OUTPUTS", value)
    found = results_in("models")
    assert (type(found), found.where("x")) == (type(storage), storage.where("x"))


# ---- what Prefect may change


def test_prefect_still_needs_the_id_that_results_py_gives_a_storage() -> None:
    class WithoutId(WritableFileSystem):
        def read_path(self, path: str) -> bytes:  # type: ignore[override]
            return b""

        def write_path(self, path: str, content: bytes) -> None:  # type: ignore[override]
            pass

    message = "drop _block_document_id from flows/results.py: Prefect takes a storage without it"
    try:
        task(result_storage=WithoutId())(lambda: None)
    except TypeError:
        return
    pytest.fail(message)
