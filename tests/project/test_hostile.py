"""What is sent to break in: other web pages, odd data and parameters, files with a trap in them."""

import asyncio
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
import websockets
from conftest import PROJECT, Answer, outputs, report_on
from flows.data_engineer import INTERIM, PROCESSED, data_engineer
from flows.data_science import data_science
from ml.checks import check_table
from ml.data import BadData, read_csv
from prefect.exceptions import ParameterTypeError
from runtime import models
from runtime.errors import UserError
from runtime.formats import SETS
from runtime.records import EXTENSIONS, sha256
from runtime.server import Server
from runtime.server.guard import is_own
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils._testing import TempMemmap, _delete_folder
from starlette.datastructures import Headers

ELSEWHERE = "http://evil.example"
RUN = "2026-01-01_00-00-00_sent-by-somebody"
Command = Callable[..., Answer]

# ---- other web pages


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": ELSEWHERE},
        {"Origin": ELSEWHERE, "Content-Type": "text/plain"},  # a browser sends it unasked
        {"Origin": "null"},  # a page in a sandbox, or a file
        {"Origin": "http://127.0.0.1:1"},  # another server of this machine
        {"Host": "evil.example:4200"},  # its name was made to point at this machine
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/flows/filter", "/flows/", "/admin/version", "/nowhere"])
def test_another_web_page_is_refused(
    prefect_server: Server, headers: dict[str, str], path: str
) -> None:
    for method in ("GET", "POST", "OPTIONS", "DELETE"):
        content = b'{"name": "evil"}' if method == "POST" else None
        url = f"{prefect_server.api_url}{path}"
        answer = httpx.request(method, url, headers=headers, content=content)
        assert answer.status_code == 403
        assert answer.text.startswith("Refused: only this machine's programs")
        assert not [name for name in answer.headers if name.startswith("access-control")]
    names = httpx.post(f"{prefect_server.api_url}/flows/filter", json={}).json()
    assert "evil" not in [flow["name"] for flow in names]


def test_the_dashboards_page_may_ask_this_machine_only(prefect_server: Server) -> None:
    page = httpx.get(f"{prefect_server.ui_url}/", headers={"Accept": "text/html"})
    assert page.headers["content-security-policy"] == (
        "connect-src data: blob: http://127.0.0.1:* http://localhost:* "
        "ws://127.0.0.1:* ws://localhost:*"
    )


@pytest.mark.parametrize("path", ["/events/in", "/events/out", "/logs/out"])
def test_the_web_sockets_of_another_page_are_refused(prefect_server: Server, path: str) -> None:
    url = f"{prefect_server.api_url}{path}"
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OTAxMjM0NQ==",
        "Sec-WebSocket-Version": "13",
    }
    for hostile in ({"Origin": ELSEWHERE}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert httpx.get(url, headers=handshake | hostile).status_code == 403

    async def connect() -> None:  # as Prefect's client does
        async with websockets.connect(url.replace("http:", "ws:")) as socket:
            await socket.ping()

    asyncio.run(connect())


@pytest.mark.parametrize(
    ("own", "headers"),
    [
        (True, {"host": "127.0.0.1:4200"}),
        (True, {"host": "localhost"}),
        (True, {"host": "[::1]:4200"}),
        (True, {"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:4200"}),
        (True, {"host": "127.0.0.1:4200", "origin": "http://localhost:4200"}),
        (True, {"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}),
        (True, {"host": "localhost", "sec-fetch-site": "same-origin", "sec-fetch-dest": "empty"}),
        (False, {}),
        (False, {"host": ""}),
        (False, {"host": "127.0.0.1.evil.example:4200"}),
        (False, {"host": "127.0.0.1:4200@evil.example"}),
        (False, {"host": "evil.example#127.0.0.1"}),
        (False, {"host": "[::1"}),
        (False, {"host": "127.0.0.1:4200", "origin": "https://127.0.0.1:4200"}),
        (False, {"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:4201"}),
        (False, {"host": "127.0.0.1:4200", "origin": "http://127.0.0.1:4200.evil.example"}),
        (False, {"host": "127.0.0.1:4200", "origin": "http://localhost:4200@evil.example"}),
        (False, {"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-dest": "image"}),
        (False, {"host": "localhost", "sec-fetch-site": "same-site"}),
    ],
    ids=str,
)
def test_the_headers_show_who_asks(own: bool, headers: dict[str, str]) -> None:
    assert is_own(Headers(headers)) == own


# ---- data and parameters


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_data_as_brazilian_spreadsheets_write_it_are_the_same(
    tmp_path: Path, separator: str, decimal: str
) -> None:
    iris = pd.read_csv(PROJECT / "data" / "raw" / "iris.csv")
    path = tmp_path / "íris.csv"
    iris.to_csv(path, sep=separator, decimal=decimal, index=False, encoding="utf-8-sig")
    read, _ = check_table(read_csv(path), "species", 0.2)
    pd.testing.assert_frame_equal(read, check_table(iris, "species", 0.2)[0])


HUGE = 2**30
READ = """
import sys, resource
from pathlib import Path
from ml.data import BadData, read_csv
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_csv(Path(sys.argv[1]))
except BadData as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such measure of memory")
@pytest.mark.parametrize("begin", [b"", b"a,species\n" + b"1" * 2**25])
def test_a_gigabyte_in_one_line_takes_little_memory(tmp_path: Path, begin: bytes) -> None:
    path = tmp_path / "line.csv"
    with path.open("wb") as file:
        file.write(begin)
        file.truncate(HUGE)  # takes no room on most disks
    command = [sys.executable, "-c", READ, str(path)]
    output = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    *message, megabytes = output.splitlines()
    assert "it is not a CSV table: " in message[-1]
    assert int(megabytes) < 100 * (1024 if sys.platform == "darwin" else 1)


def no_file(tmp_path: Path, kind: str) -> Path:
    if kind == "a folder":
        return tmp_path
    if kind == "a device":
        return Path("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither such pipes nor such devices")
@pytest.mark.parametrize("kind", ["a folder", "a device", "a pipe"])
def test_what_may_never_end_is_not_read(command: Command, tmp_path: Path, kind: str) -> None:
    path = no_file(tmp_path, kind)
    with pytest.raises(BadData, match="there is no such file"):
        read_csv(path)
    answer = command("run", "--param-file", path)
    assert (answer.exit_code, answer.err) == (2, f"Error: --param-file {path} is not a file.\n")


def test_a_parameter_file_of_a_gigabyte_is_not_read(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(HUGE)
    answer = command("run", "--param-file", path)
    assert answer.err == f"Error: --param-file {path} is far too large for parameters.\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 200_000, "is not valid JSON: maximum recursion depth"),
        ('{"seed": ' + "9" * 5000 + "}", "is not valid JSON: Exceeds the limit"),
        ('{"test_data_ratio": NaN}', "test_data_ratio=nan is not allowed, it should be"),
        ('{"test_data_ratio": -Infinity}', "test_data_ratio=-inf is not allowed"),
        ('{"seed": 1e999}', "seed=inf is not allowed, it should be a finite number."),
        ('{"seed": {"a": [1]}}', "seed={'a': [1]} is not allowed, it should be a valid integer."),
        ('{"raw_path": null}', "raw_path=None is not allowed, it should be a valid string."),
        ('{"seed": 1e30}', "seed=1e+30 is not allowed, it should be"),
        ('{"model_params": [1]}', "model_params=[1] is not allowed, it should be"),
        ('{"' + "x" * 10**5 + '": 1}', "x…; it has raw_path"),
        ('{"\\u001b[31m": 1}', "main-flow has no parameter '\\x1b[31m'; it has"),
    ],
    ids=lambda text: text[:20],
)
def test_a_hostile_parameter_file_gives_one_short_sentence(
    command: Command, tmp_path: Path, text: str, sentence: str
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="utf-8")
    answer = command("run", "--param-file", path)
    assert (answer.exit_code, answer.out) == (2, "")
    assert sentence in answer.err
    assert len(answer.err.splitlines()) == 1
    assert len(answer.err) < 700


@pytest.mark.parametrize("name", ["../../x", "/etc", "..\\..\\x", "C:\\x", "C:x", ".", "..", "a/b"])
def test_the_name_of_a_run_cannot_leave_its_folder(command: Command, name: str) -> None:
    answer = command("run", "data-science", "--param", f"checkpoint={name}")
    assert answer.exit_code == 2
    assert answer.err.startswith(f"Error: checkpoint={name!r} is not allowed, it should match")


@pytest.mark.usefixtures("prefect_server")
def test_a_raw_path_outside_of_the_project_is_read_and_never_written(
    command: Command, project: Path
) -> None:
    outside = project.parent / "outside.csv"
    outside.write_text("root:x:0:0:root\n" * 30, encoding="utf-8")
    outside.chmod(0o444)
    before = sorted(project.rglob("*")), outside.read_bytes(), outside.stat().st_mtime_ns
    answer = command("run", "data-engineer", "--param", "raw_path=../outside.csv")
    assert answer.exit_code == 2
    assert "there is no column 'species'; there are 'root:x:0:0:root" in answer.err
    after = sorted(project.rglob("*")), outside.read_bytes(), outside.stat().st_mtime_ns
    folders = {project / name for name in ("data/processed", ".prefect", ".prefect/running")}
    assert (set(after[0]) - folders, *after[1:]) == (set(before[0]) - folders, *before[1:])


def test_an_address_with_a_password_is_refused_without_showing_it(command: Command) -> None:
    answer = command("run", "--param", "raw_path=https://ana:hush@example.org/iris.csv")
    assert answer.exit_code == 2
    assert answer.err == (
        "Error: raw_path='https://…@example.org/iris.csv' is not allowed, "
        "it must be a file of this machine: download it first.\n"
    )


@pytest.mark.usefixtures("prefect_server")
def test_what_the_dashboard_sends_is_checked_too(project: Path) -> None:
    refused: list[tuple[Any, str, object]] = [
        (data_science, "checkpoint", "../../x"),
        (data_science, "model_params", "C"),
        (data_engineer, "test_data_ratio", float("nan")),
        (data_engineer, "seed", "many"),
    ]
    for flow, name, value in refused:
        with pytest.raises(ParameterTypeError, match=name):
            flow(**{name: value})
    with pytest.raises(ParameterTypeError, match="download it first") as caught:
        data_engineer(raw_path="https://ana:hush@example.org/iris.csv")
    assert "hush" not in str(caught.value)
    assert outputs(project) == []


@pytest.mark.parametrize(
    ("name", "markdown"),
    [
        ("Iris-setosa (a_b)", r"Iris-setosa \(a\_b\)"),
        ("<script>alert(1)</script>", r"&lt;script&gt;alert\(1\)&lt;/script&gt;"),
        ("![](http://evil.example/x.png)", r"\!\[\]\(http\://evil.example/x.png\)"),
        ("a|b\nc", r"a\|b c"),
    ],
)
def test_the_dashboard_shows_the_name_of_a_class_to_the_letter(name: str, markdown: str) -> None:
    report = report_on(np.array([name]), pd.Series([name]))
    assert f"\n| {markdown} | 1.000 |" in report.markdown
    assert report.table["class"].tolist() == [markdown]


# ---- files that somebody sends


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        """Take the folder that the command makes."""
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A folder that comes into being when a payload is run."""
    folder = tmp_path / "code was run"
    pickle.loads(pickle.dumps(Payload(folder)))
    folder.rmdir()
    return folder


def leave_checkpoint(project: Path, content: bytes, serializer: Any, **changes: Any) -> str:
    """Put a checkpoint with a record that fits it into the project; return its location."""
    folder = project / "data" / "processed" / RUN
    name = f"sent{EXTENSIONS.get(str(serializer), '.bin')}"
    record = {
        "file": f"{RUN}/{name}",
        "sha256": sha256(content),
        "serializer": {"type": serializer},
    }
    (folder / ".records").mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / ".records" / "sent.json").write_text(json.dumps(record | changes), "utf-8")
    return f"{RUN}/sent"


def parquet(columns: dict[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    sink = io.BytesIO()
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def zip_file(**entries: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return sink.getvalue()


@pytest.mark.parametrize(
    "serializer",
    [
        "parquet",
        "json-value",
        "skops",
        "pickle",
        "cloudpickle",
        "compressed/pickle",
        "json",
        None,
        ["x"],
    ],
)
def test_a_checkpoint_that_is_a_pickle_is_not_opened(
    project: Path, mark: Path, serializer: Any
) -> None:
    location = leave_checkpoint(project, pickle.dumps(Payload(mark)), serializer)
    with pytest.raises(UserError, match=r"is damaged|which is not opened"):
        PROCESSED.read(location)
    assert not mark.exists()


HALF_A_SPLIT = pd.DataFrame({"set": pd.Categorical(["train"], dtype=SETS)})


@pytest.mark.parametrize(
    ("serializer", "content"),
    [
        ("json-value", b"[" * 200_000),
        ("json-value", b"9" * 5000),
        ("json-value", b"\xff"),
        ("parquet", b"PAR1" + bytes(100) + b"PAR1"),
        ("parquet", parquet({"a": [1]}, {"pandas": "{"})),
        ("parquet", parquet({"a": [1]}, {"pandas": '{"index_columns": ["__import__(\'os\')"]}'})),
        ("parquet", HALF_A_SPLIT.to_parquet()),
        ("skops", zip_file(**{"schema.json": b"[" * 200_000})),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_checkpoint_with_odd_content_is_refused_by_name(
    project: Path, serializer: str, content: bytes
) -> None:
    with pytest.raises(UserError, match=f"^data/processed/{RUN}/sent.* is damaged: "):
        PROCESSED.read(leave_checkpoint(project, content, serializer))


@pytest.mark.parametrize("file", ["../../secret.json", "/etc/passwd", "..\\..\\secret.json"])
def test_a_record_cannot_point_out_of_the_folder(project: Path, file: str) -> None:
    (project / "secret.json").write_text('"secret"', encoding="utf-8")
    location = leave_checkpoint(project, b'"secret"', "json-value", file=file)
    with pytest.raises(UserError, match="belongs to another file"):
        PROCESSED.read(location)


@pytest.mark.parametrize("file", [5, ["x"], None, "", ".", "a\0b", "x" * 5000], ids=str)
def test_a_record_that_names_no_file_is_refused(project: Path, file: Any) -> None:
    with pytest.raises(
        UserError, match=f"^data/processed/{RUN}/.records/sent.json .*: run its flow"
    ):
        PROCESSED.read(leave_checkpoint(project, b"1", "json-value", file=file))


def test_a_model_whose_entries_lead_elsewhere_writes_nothing(project: Path, mark: Path) -> None:
    names = ("../escaped", "/escaped", "..\\escaped", "schema.json")
    before = sorted(project.parent.rglob("*"))
    for content in (b"{}", b"[" * 200_000, pickle.dumps(Payload(mark))):
        with pytest.raises(UserError, match="damaged"):
            models.loads(zip_file(**dict.fromkeys(names, content)))
    assert sorted(project.parent.rglob("*")) == before


def leave_model(project: Path, content: bytes) -> None:
    path = project / "models" / RUN / "train_model.skops"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


class Foreign:
    """A type of another package."""


def method_that_deletes(folder: Path) -> Any:
    holder = TempMemmap.__new__(TempMemmap)
    holder.temp_folder = str(folder)
    return holder.__exit__


HOSTILE = {
    "a function of scikit-learn": (_delete_folder, "sklearn.utils._testing._delete_folder"),
    "a method of scikit-learn": (method_that_deletes, "sklearn.utils._testing.TempMemmap.__exit__"),
    "a function of Python": (shutil.rmtree, "shutil.rmtree"),
    "a type of another package": (Foreign(), f"{__name__}.Foreign"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_model_with_what_is_not_trusted_is_not_opened(
    project: Path, command: Command, tmp_path: Path, kind: str
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    func, name = HOSTILE[kind]
    func = func(victim) if func is method_that_deletes else func
    leave_model(project, skops.io.dumps(FunctionTransformer(func=func)))
    answer = command("predict", str(victim))
    assert (answer.exit_code, answer.out) == (2, "")
    assert f"holds types that are not trusted: {name}. If you know" in answer.err
    assert victim.exists()


def test_a_model_may_hold_what_ml_defines_but_not_what_it_imports() -> None:
    own = skops.io.dumps(FunctionTransformer(func=read_csv))
    assert models.loads(own).func is read_csv
    with zipfile.ZipFile(io.BytesIO(own)) as archive:
        schema = archive.read("schema.json")
    with pytest.raises(UserError, match=r"types that are not trusted: ml\.data\.Path\."):
        models.loads(zip_file(**{"schema.json": schema.replace(b'"read_csv"', b'"Path"')}))


def test_pyproject_names_types_that_are_trusted(project: Path) -> None:
    pyproject = project / "pyproject.toml"
    text = pyproject.read_text("utf-8")
    assert text.count("trusted_types = []") == 1
    trusted = f'trusted_types = ["{Foreign.__module__}.Foreign"]'
    pyproject.write_text(text.replace("trusted_types = []", trusted), "utf-8")
    model = models.loads(models.dumps(FunctionTransformer(func=Foreign())))
    assert isinstance(model.func, Foreign)


@pytest.mark.parametrize("model", [LogisticRegression(), {"a": 1}], ids=str)
def test_predict_refuses_what_train_model_did_not_make(
    project: Path, command: Command, model: Any
) -> None:
    leave_model(project, models.dumps(model))
    answer = command("predict", "1")
    assert answer.exit_code == 2
    assert answer.err == ("Error: The model is not one that `train` in ml/model.py returned.\n")


@pytest.mark.usefixtures("prefect_server")
def test_a_record_of_another_file_is_no_record_of_a_checkpoint(project: Path) -> None:
    run = data_engineer()
    records = project / "data" / "interim" / ".records"
    [path] = records.iterdir()
    record = json.loads(path.read_text("utf-8"))
    key = record["storage_key"]
    key_storage: Any = INTERIM.by_content.key_storage
    assert json.loads(key_storage.read_path(key)) == record
    for changes in (
        {"storage_key": f"../processed/{run}/get_classes.json"},
        {"serializer": {"type": "pickle"}},
    ):
        path.write_text(json.dumps(record | changes), "utf-8")
        with pytest.raises((ValueError, UserError)):
            key_storage.read_path(key)
    assert data_engineer() != run  # it is computed again
