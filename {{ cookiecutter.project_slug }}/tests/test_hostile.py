"""What is sent to break in: other web pages, odd data and parameters, files with a trap in them."""

import asyncio
import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import websockets
from conftest import Answer
from sklearn.linear_model import LogisticRegression
from starlette.datastructures import Headers

from flows import UserError, models
from flows.data_engineer import PROCESSED, data_engineer
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
    assert data_engineer() > run  # it is computed again
