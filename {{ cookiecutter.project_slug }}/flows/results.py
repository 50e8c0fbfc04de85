"""Where outputs are kept and read again: `LocalResult`, `S3Result` and `GCSResult`.

Each is a Prefect file system, for the `result_storage` of a task, with one thing more: `read`.
Beside a result lies its record (`.records/<task>.json`): the checksum of the file, and the
fingerprint of what it was computed from. A file without a record that fits counts as not there.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect.filesystems import WritableFileSystem
from prefect.serializers import Serializer

from flows import ROOT, UserError
from flows.records import Records, record_key, write_whole

LATEST = "latest"


@dataclass(frozen=True)
class Result:
    """What `read` returns: the location (`<run>/<task>`) that was meant, and the value there."""

    location: str
    value: Any


class _ResultStorage(WritableFileSystem):
    """What the three have in common; a subclass says how a file is listed, read and written."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        # A task takes a file system only if it has the id of a block that was saved to the server
        # (Prefect's Task.__init__). Ours is all said in the code: it needs no server, and is never
        # loaded from one. tests/test_results.py says so when Prefect no longer needs this line.
        self._block_document_id = uuid5(NAMESPACE_URL, repr(self))

    @property
    def records(self) -> Records:
        """Storage of the records, for the `key_storage` of a cache policy."""
        return Records(storage=self)

    def read(self, location: str) -> Result:
        """Return the value at `<run>/<task>`; the run `latest` is the newest that has such a value.

        Raises `UserError` where there is none, or where its file is damaged.
        """
        run, _, task = location.rpartition("/")
        for name in self.runs() if run == LATEST else [run]:
            key = record_key(f"{name}/{task}")
            try:
                record = json.loads(self.get(key))
                content = self.get(record["file"])
            except FileNotFoundError:
                continue
            except (ValueError, KeyError):
                raise UserError(f"{self.where(key)} is damaged: run its flow again.") from None
            if hashlib.sha256(content).hexdigest() != record["sha256"]:
                raise UserError(f"{self.where(record['file'])} is damaged: run its flow again.")
            value = Serializer(type=record["serializer"]["type"]).loads(content)
            return Result(f"{name}/{task}", value)
        raise UserError(
            f"There is no {location!r} in {self.where('')}: run `python main.py run data-engineer`"
            " first. (Results are kept only while results.persist_by_default is true.)"
        )

    def read_path(self, path: str, **options: Any) -> bytes:  # type: ignore[override]
        """Return the bytes of a result; `path` is a key of `flows.caching`."""
        return self.get(path.partition("#")[0])

    def write_path(self, path: str, content: bytes, **options: Any) -> None:  # type: ignore[override]
        """Write the bytes of a result; the file appears whole or not at all."""
        self.put(path.partition("#")[0], content)

    async def aread_path(self, path: str) -> bytes:
        """Do as `read_path`, for async flows."""
        return self.read_path(path)

    async def awrite_path(self, path: str, content: bytes) -> None:
        """Do as `write_path`, for async flows."""
        self.write_path(path, content)

    def runs(self) -> list[str]:
        """Return the names of all runs, newest first; a name begins with its time."""
        raise NotImplementedError

    def get(self, key: str) -> bytes:
        """Return a file's bytes; raise `FileNotFoundError` where there is none."""
        raise NotImplementedError

    def put(self, key: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        raise NotImplementedError

    def where(self, key: str) -> str:
        """Return a file's place in words."""
        raise NotImplementedError


class LocalResult(_ResultStorage):
    """Results in the folder `dir` of this machine, relative to the project."""

    _block_type_name = "Local Result"

    dir: str

    def runs(self) -> list[str]:
        """Return the names of all runs, newest first; a name begins with its time."""
        folder = ROOT / self.dir
        if not folder.is_dir():
            return []
        return sorted((path.name for path in folder.glob("[!.]*/")), reverse=True)

    def get(self, key: str) -> bytes:
        """Return a file's bytes; raise `FileNotFoundError` where there is none."""
        return self._path(key).read_bytes()

    def put(self, key: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        write_whole(self._path(key), content)

    def where(self, key: str) -> str:
        """Return a file's place in words."""
        return str(Path(self.dir, key))

    def _path(self, key: str) -> Path:
        folder = (ROOT / self.dir).resolve()
        path = (folder / key).resolve()
        if not path.is_relative_to(folder):
            raise UserError(f"{key!r} leads out of {self.dir}.")
        return path


class S3Result(_ResultStorage):
    """Results in an Amazon S3 bucket, or another that speaks S3, below `prefix`.

    Credentials and address are those of boto3, as in the environment variables AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL. Raises `UserError` without the extra `s3`, and
    where the bucket does not answer as it should.
    """

    _block_type_name = "S3 Result"

    bucket: str
    prefix: str = ""

    def runs(self) -> list[str]:
        """Return the names of all runs, newest first; a name begins with its time."""
        with self._errors_in_words():
            found = self._block().list_objects(folder="")
        return _first_folders([item["Key"] for item in found], self.prefix)

    def get(self, key: str) -> bytes:
        """Return an object's bytes; raise `FileNotFoundError` where there is none."""
        with self._errors_in_words():
            return self._block().read_path(key)

    def put(self, key: str, content: bytes) -> None:
        """Write an object; a bucket shows it whole or not at all."""
        with self._errors_in_words():
            self._block().write_path(key, content)

    def where(self, key: str) -> str:
        """Return an object's place in words."""
        return "s3://" + "/".join(filter(None, [self.bucket, self.prefix, key]))

    def _block(self) -> Any:
        try:
            from prefect_aws import S3Bucket
        except ImportError:
            raise UserError(_MISSING_EXTRA.format(name="S3Result", extra="s3")) from None
        return S3Bucket(bucket_name=self.bucket, bucket_folder=self.prefix)

    @contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            response = getattr(error, "response", None)  # botocore's ClientError, not imported here
            if response and response["Error"]["Code"] == "NoSuchKey":
                raise FileNotFoundError(str(error)) from None
            if type(error).__module__.startswith("botocore"):
                raise UserError(f"{self.where('')} cannot be used: {error}") from None
            raise


class GCSResult(_ResultStorage):
    """Results in a Google Cloud Storage bucket, below `prefix`.

    Credentials are Google's application default credentials. Raises `UserError` without the extra
    `gcp`, and where the bucket does not answer as it should.
    """

    _block_type_name = "GCS Result"

    bucket: str
    prefix: str = ""

    def runs(self) -> list[str]:
        """Return the names of all runs, newest first; a name begins with its time."""
        with self._errors_in_words():
            found = self._block().list_blobs(folder="")
        return _first_folders([blob.name for blob in found], self.prefix)

    def get(self, key: str) -> bytes:
        """Return an object's bytes; raise `FileNotFoundError` where there is none."""
        with self._errors_in_words():
            return self._block().read_path(key)

    def put(self, key: str, content: bytes) -> None:
        """Write an object; a bucket shows it whole or not at all."""
        with self._errors_in_words():
            self._block().write_path(key, content)

    def where(self, key: str) -> str:
        """Return an object's place in words."""
        return "gs://" + "/".join(filter(None, [self.bucket, self.prefix, key]))

    def _block(self) -> Any:
        try:
            from prefect_gcp.cloud_storage import GcsBucket
        except ImportError:
            raise UserError(_MISSING_EXTRA.format(name="GCSResult", extra="gcp")) from None
        return GcsBucket(bucket=self.bucket, bucket_folder=self.prefix)

    @contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if "No such object" in str(error):
                raise FileNotFoundError(str(error)) from None
            if type(error).__module__.startswith("google."):
                raise UserError(f"{self.where('')} cannot be used: {error}") from None
            raise


_MISSING_EXTRA = '{name} needs the extra {extra}: run `pip install ".[{extra}]"` in the project.'


def _first_folders(keys: list[str], prefix: str) -> list[str]:
    below = [key.removeprefix(prefix).lstrip("/") for key in keys]
    return sorted({key.split("/")[0] for key in below if "/" in key}, reverse=True)
