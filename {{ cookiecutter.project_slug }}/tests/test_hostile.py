"""What is sent to break in: other web pages, odd data and parameters, files with a trap in them."""

import asyncio
import hashlib
import io
import json
import os
import pickle
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
import websockets
from conftest import Answer, outputs
from prefect.exceptions import ParameterTypeError
from sklearn.linear_model import LogisticRegression
from starlette.datastructures import Headers

from flows import ROOT, UserError, checks, models, reports
from flows.data_engineer import PROCESSED, data_engineer
from flows.data_science import data_science
from flows.doors import is_own
from flows.serializers import EXTENSIONS, SkopsSerializer
from flows.server import Server

ELSEWHERE = "http://evil.example"
RUN = "2026-01-01_00-00-00_sent-by-somebody"
Command = Callable[..., Answer]

# ---- doors


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
        (False, {"host": "127.0.0.1:99999"}),
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
def test_who_may_ask_is_told_by_the_headers(own: bool, headers: dict[str, str]) -> None:
    assert is_own(Headers(headers)) == own


# ---- data and parameters


@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("decimal", [".", ","])
def test_data_as_brazilian_spreadsheets_write_it_are_the_same(
    tmp_path: Path, separator: str, decimal: str
) -> None:
    iris = pd.read_csv(ROOT / "data" / "raw" / "iris.csv")
    path = tmp_path / "íris.csv"
    iris.to_csv(path, sep=separator, decimal=decimal, index=False, encoding="utf-8-sig")
    read = checks.checked(checks.read_csv(path), "species", 0.2)
    pd.testing.assert_frame_equal(read, checks.checked(iris, "species", 0.2))


HUGE = 2**30
READ = """
import sys, resource
from pathlib import Path
from flows import UserError, checks
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    checks.read_csv(Path(sys.argv[1]))
except UserError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such measure of memory")
@pytest.mark.parametrize(
    ("begin", "sentence"),
    [(b"", "it holds NUL bytes"), (b"a,species\n" + b"1" * 2**25, "is longer than 16 MB")],
)
def test_a_gigabyte_in_one_line_takes_little_memory(
    tmp_path: Path, begin: bytes, sentence: str
) -> None:
    path = tmp_path / "line.csv"
    with path.open("wb") as file:
        file.write(begin)
        file.truncate(HUGE)  # takes no room on most disks
    command = [sys.executable, "-c", READ, str(path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    *message, megabytes = told.splitlines()
    assert sentence in message[-1]
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
    with pytest.raises(checks.BadData, match="it is not a file"):
        checks.read_csv(path)
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
        ('{"C": NaN}', "C=nan is not allowed, it should be a finite number."),
        ('{"C": -Infinity}', "C=-inf is not allowed"),
        ('{"seed": 1e999}', "seed=inf is not allowed, it should be a finite number."),
        ('{"seed": {"a": [1]}}', "seed={'a': [1]} is not allowed, it should be a valid integer."),
        ('{"raw_path": null}', "raw_path=None is not allowed, it should be a valid string."),
        ('{"max_iter": 1e30}', "max_iter=1e+30 is not allowed, it should be"),
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
@pytest.mark.parametrize("parameter", ["checkpoint", "run"])
def test_the_name_of_a_run_cannot_leave_its_folder(
    command: Command, parameter: str, name: str
) -> None:
    answer = command("run", "data-science", "--param", f"{parameter}={name}")
    assert answer.exit_code == 2
    assert answer.err.startswith(f"Error: {parameter}={name!r} is not allowed, it should match")


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


def test_an_address_with_a_password_is_refused_without_saying_it(command: Command) -> None:
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
        (data_engineer, "run", "../x"),
        (data_engineer, "test_data_ratio", float("nan")),
        (data_engineer, "seed", "many"),
    ]
    for flow, name, value in refused:
        with pytest.raises(ParameterTypeError, match=name):
            flow(**{name: value})
    with pytest.raises(checks.BadData) as caught:
        data_engineer(raw_path="https://ana:hush@example.org/iris.csv")
    assert "it is an address, not a file: download it first" in str(caught.value)
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
    assert reports._as_is(name) == markdown


# ---- files that somebody sends


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """A folder that comes into being when a payload is run."""
    folder = tmp_path / "code was run"
    pickle.loads(pickle.dumps(Payload(folder)))  # noqa: S301
    folder.rmdir()
    return folder


def sent(project: Path, content: bytes, serializer: Any, **changes: Any) -> str:
    """Put a checkpoint with a record that fits it into the project; return its location."""
    folder = project / "data" / "processed" / RUN
    name = f"sent{EXTENSIONS.get(str(serializer), '.bin')}"
    checksum = hashlib.sha256(content).hexdigest()
    record = {"file": f"{RUN}/{name}", "sha256": checksum, "serializer": {"type": serializer}}
    (folder / ".records").mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    (folder / ".records" / "sent.json").write_text(json.dumps(record | changes), "utf-8")
    return f"{RUN}/sent"


def parquet(columns: dict[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    sink = io.BytesIO()
    table = pa.table(columns).replace_schema_metadata(metadata)
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def zipped(**entries: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return sink.getvalue()


@pytest.mark.parametrize(
    "serializer", [*EXTENSIONS, "pickle", "cloudpickle", "compressed/pickle", "json", None, ["x"]]
)
def test_a_checkpoint_that_is_a_pickle_is_not_opened(
    project: Path, mark: Path, serializer: Any
) -> None:
    location = sent(project, pickle.dumps(Payload(mark)), serializer)
    with pytest.raises(UserError, match=r"is damaged|which is not opened"):
        PROCESSED.read(location)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("serializer", "content"),
    [
        ("json-value", b"[" * 200_000),
        ("json-value", b"9" * 5000),
        ("json-value", b"\xff"),
        ("parquet", b"PAR1" + bytes(100) + b"PAR1"),
        ("parquet", parquet({"a": [1]}, {"pandas": "{"})),
        ("parquet", parquet({"a": [1]}, {"pandas": '{"index_columns": ["__import__(\'os\')"]}'})),
        ("parquet", parquet({"a": [1]}, {"label_columns": "[["})),
        ("parquet", parquet({"a": [1]}, {"label_columns": '["b"]'})),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_checkpoint_with_odd_content_is_refused_by_name(
    project: Path, serializer: str, content: bytes
) -> None:
    with pytest.raises(UserError, match=f"^data/processed/{RUN}/sent.*is damaged: run its flow"):
        PROCESSED.read(sent(project, content, serializer))


@pytest.mark.parametrize(
    "file", ["../../secret.json", "/etc/passwd", "..\\..\\secret.json", "link/secret.json"]
)
def test_a_record_cannot_point_out_of_the_folder(project: Path, file: str) -> None:
    (project / "secret.json").write_text('"secret"', encoding="utf-8")
    location = sent(project, b'"secret"', "json-value", file=file)
    if os.name != "nt":  # there it takes a right to make one
        (project / "data" / "processed" / "link").symlink_to(project)
    with pytest.raises(UserError, match=r"leads out of data/processed|There is no"):
        PROCESSED.read(location)


@pytest.mark.parametrize("file", [5, ["x"], None, "", ".", "a\0b", "x" * 5000], ids=str)
def test_a_record_that_names_no_file_is_refused(project: Path, file: Any) -> None:
    with pytest.raises(UserError, match="is damaged: run its flow"):
        PROCESSED.read(sent(project, b"1", "json-value", file=file))


def test_a_checkpoint_that_swells_when_it_is_opened_is_not_opened(project: Path) -> None:
    blob = parquet({f"column {i}": np.zeros(10_000_000) for i in range(4)})
    assert len(blob) < 300_000
    with pytest.raises(UserError, match=r"would take 320 MB .* it is not opened"):
        PROCESSED.read(sent(project, blob, "parquet"))


def test_a_model_that_swells_when_it_is_opened_is_not_opened() -> None:
    blob = zipped(**{"schema.json": b" " * 200_000_000})
    assert len(blob) < 300_000
    with pytest.raises(UserError, match=r"would take 200 MB .* it is not opened"):
        models.loads(blob)


def test_a_model_whose_entries_lead_elsewhere_writes_nothing(project: Path, mark: Path) -> None:
    names = ("../escaped", "/escaped", "..\\escaped", "schema.json")
    before = sorted(project.parent.rglob("*"))
    for content in (b"{}", b"[" * 200_000, pickle.dumps(Payload(mark))):
        with pytest.raises(UserError, match="damaged"):
            models.loads(zipped(**dict.fromkeys(names, content)))
    assert sorted(project.parent.rglob("*")) == before


@pytest.mark.parametrize("model", [LogisticRegression(), {"a": 1}], ids=str)
def test_predict_refuses_what_train_model_did_not_make(
    project: Path, command: Command, model: Any
) -> None:
    path = project / "models" / RUN / "train_model.skops"
    path.parent.mkdir(parents=True)
    path.write_bytes(SkopsSerializer().dumps(model))
    answer = command("predict", "1")
    assert answer.exit_code == 2
    assert (
        answer.err
        == f"Error: models/{RUN}/train_model.skops is not a model that train_model made.\n"
    )


@pytest.mark.usefixtures("prefect_server")
def test_a_record_of_another_file_is_no_record_of_a_checkpoint(project: Path) -> None:
    run = data_engineer()
    records = project / "data" / "interim" / ".records"
    [path] = records.iterdir()
    record = json.loads(path.read_text("utf-8"))
    storage = PROCESSED.model_copy(update={"dir": "data/interim"})
    key = record["storage_key"]
    assert json.loads(storage.records.read_path(key)) == record
    for changes in (
        {"storage_key": f"../processed/{run}/get_classes.json"},
        {"serializer": {"type": "pickle"}},
    ):
        path.write_text(json.dumps(record | changes), "utf-8")
        with pytest.raises((ValueError, UserError)):
            storage.records.read_path(key)
    assert data_engineer() != run  # it is computed again
