"""Where outputs are kept and read again: `LocalResult`, `S3Result` and `GCSResult`.

Each is a Prefect file system, for the `result_storage` of a task, with one thing more: `read`.
Beside a result lies its record (`.records/<task>.json`): the checksum of the file, and the
fingerprint of what it was computed from. A file without a record that fits counts as not there.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from uuid import NAMESPACE_URL, uuid5

from prefect.filesystems import WritableFileSystem
from prefect.serializers import Serializer
from prefect.settings import get_current_settings

from flows import ROOT, CannotWrite, UserError
from flows.history import has_kept, newest_first
from flows.records import Records, UnfitError, record_key, vouch, write_whole
from flows.runs import current_run, unwritten

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

        A run that was killed, or whose flow failed, does not count as `latest`.

        Raises `UserError` where there is none, or where its file is damaged.
        """
        run, _, task = location.partition("/")
        wanted = PurePosixPath(task).name
        for name in self.runs() if run == LATEST else [run]:
            if run == LATEST and not self.counts(name, wanted):
                continue
            file = record_key(f"{name}/{task}")
            try:
                record = json.loads(self.get(file))
                content = self.get(record["file"])
                file = record["file"]
                vouch(record, content)
                value = Serializer(type=record["serializer"]["type"]).loads(content)
            except FileNotFoundError:
                continue
            except (UserError, PermissionError):
                raise
            except Exception as error:  # anything may be in a file that somebody sent
                reason = error if isinstance(error, UnfitError) else "is damaged"
                raise UserError(f"{self.where(file)} {reason}: run its flow again.") from None
            return Result(f"{name}/{task}", value)
        if not get_current_settings().results.persist_by_default:
            raise UserError(
                f"There is no {location!r} in {self.where('')}: results are not kept, because "
                "results.persist_by_default (PREFECT_RESULTS_PERSIST_BY_DEFAULT) is false."
            )
        raise UserError(
            f"There is no {location!r} in {self.where('')}: "
            "run `python main.py run data-engineer` first."
        )

    def read_path(self, path: str, **options: Any) -> bytes:  # type: ignore[override]
        """Return the bytes of a result; `path` is a key of `flows.caching`."""
        return self.get(path.partition("#")[0])

    def write_path(self, path: str, content: bytes, **options: Any) -> None:  # type: ignore[override]
        """Write the bytes of a result; the file appears whole or not at all."""
        key = path.partition("#")[0]
        with self.noting_errors(key):
            self.put(key, content)

    @contextmanager
    def noting_errors(self, key: str) -> Iterator[None]:
        """Note why a result is not written: Prefect only logs it, and its task is completed."""
        try:
            yield
        except UserError as error:
            unwritten.setdefault(current_run(), error)
            raise
        except Exception as error:
            error_in_words = CannotWrite(f"{self.where(key)} cannot be written: {error}.")
            unwritten.setdefault(current_run(), error_in_words)
            raise

    async def aread_path(self, path: str) -> bytes:
        """Do as `read_path`, for async flows."""
        return self.read_path(path)

    async def awrite_path(self, path: str, content: bytes) -> None:
        """Do as `write_path`, for async flows."""
        self.write_path(path, content)

    def runs(self) -> list[str]:
        """Return the names of all runs, newest first."""
        raise NotImplementedError

    def counts(self, run: str, task: str) -> bool:
        """Tell whether a run's output may be the latest; a bucket does not know how runs ended."""
        return True

    def get(self, key: str) -> bytes:
        """Return a file's bytes; raise `FileNotFoundError` where there is none."""
        raise NotImplementedError

    def put(self, key: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        raise NotImplementedError

    def touch(self, key: str) -> None:
        """Note that a file is in use; a bucket has rules of its own for what is old."""

    def where(self, key: str) -> str:
        """Return a file's place in words."""
        raise NotImplementedError


class LocalResult(_ResultStorage):
    """Results in the folder `dir` of this machine, relative to the project."""

    _block_type_name = "Local Result"

    dir: str

    def runs(self) -> list[str]:
        """Return the names of all runs, newest first."""
        folder = ROOT / self.dir
        if not folder.is_dir():
            return []
        return newest_first(path.name for path in folder.glob("[!.]*/"))

    def counts(self, run: str, task: str) -> bool:
        """Tell whether a run's output may be the latest: not if it was killed, or failed."""
        return has_kept(run, task)

    def get(self, key: str) -> bytes:
        """Return a file's bytes; raise `FileNotFoundError` where there is none."""
        return self._path(key).read_bytes()

    def put(self, key: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        write_whole(self._path(key), content)

    def touch(self, key: str) -> None:
        """Note that a file is in use: what was not for long, `flows.retention` removes."""
        with suppress(OSError):  # nobody may write there
            os.utime(self._path(key))

    def where(self, key: str) -> str:
        """Return a file's place in words."""
        return str(Path(self.dir, key))

    def _path(self, key: str) -> Path:
        folder = (ROOT / self.dir).resolve()
        path = (folder / key).resolve()
        if not path.is_relative_to(folder):
            raise UserError(f"{key!r} leads out of {self.dir}.")
        return path


class _BucketResult(_ResultStorage):
    """Results in a bucket, below `prefix`, through Prefect's own block for such buckets."""

    bucket: str
    prefix: str = ""

    _extra: ClassVar[str]
    _scheme: ClassVar[str]
    _errors: ClassVar[str]  # the package of the errors that tell of the bucket

    def runs(self) -> list[str]:
        """Return the names of all runs, newest first."""
        with self._errors_in_words():
            keys = [key.removeprefix(self.prefix).lstrip("/") for key in self._keys()]
        return newest_first({key.split("/")[0] for key in keys if "/" in key})

    def get(self, key: str) -> bytes:
        """Return an object's bytes; raise `FileNotFoundError` where there is none."""
        with self._errors_in_words():
            content: bytes = self._block().read_path(key)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Write an object; a bucket shows it whole or not at all."""
        with self._errors_in_words():
            self._block().write_path(key, content)

    def where(self, key: str) -> str:
        """Return an object's place in words."""
        return f"{self._scheme}://" + "/".join(filter(None, [self.bucket, self.prefix, key]))

    @contextmanager
    def _errors_in_words(self) -> Iterator[None]:
        try:
            yield
        except ImportError:
            name, extra = type(self).__name__, self._extra
            raise UserError(
                f'{name} needs the extra {extra}: run `pip install ".[{extra}]"` in the project.'
            ) from None
        except Exception as error:
            if self._is_missing_object(error):
                raise FileNotFoundError(str(error)) from None
            if type(error).__module__.startswith(self._errors):
                raise UserError(f"{self.where('')} cannot be used: {error}") from None
            raise

    def _block(self) -> Any:
        """Return the Prefect block of the bucket; raise `ImportError` without the extra."""
        raise NotImplementedError

    def _keys(self) -> list[str]:
        """Return the names of all objects below `prefix`."""
        raise NotImplementedError

    def _is_missing_object(self, error: Exception) -> bool:
        """Tell whether an error says that the bucket is there, but the object is not."""
        raise NotImplementedError


class S3Result(_BucketResult):
    """Results in an Amazon S3 bucket, or another that speaks S3, below `prefix`.

    Credentials and address are those of boto3, as in the environment variables AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL. Raises `UserError` without the extra `s3`, and
    where the bucket does not answer as it should.
    """

    _block_type_name = "S3 Result"
    _extra, _scheme, _errors = "s3", "s3", "botocore"

    def _block(self) -> Any:
        from prefect_aws import S3Bucket

        return S3Bucket(bucket_name=self.bucket, bucket_folder=self.prefix)

    def _keys(self) -> list[str]:
        return [item["Key"] for item in self._block().list_objects(folder="")]

    def _is_missing_object(self, error: Exception) -> bool:
        # A download first asks for the size (HEAD), whose answer has no text but its status.
        response: Any = getattr(error, "response", None)
        return bool(response) and response["Error"]["Code"] in ("NoSuchKey", "404")


class GCSResult(_BucketResult):
    """Results in a Google Cloud Storage bucket, below `prefix`.

    Credentials are Google's application default credentials. Raises `UserError` without the extra
    `gcp`, and where the bucket does not answer as it should.
    """

    _block_type_name = "GCS Result"
    _extra, _scheme, _errors = "gcp", "gs", "google."

    def _block(self) -> Any:
        from prefect_gcp.cloud_storage import GcsBucket

        return GcsBucket(bucket=self.bucket, bucket_folder=self.prefix)

    def _keys(self) -> list[str]:
        return [blob.name for blob in self._block().list_blobs(folder="")]

    def _is_missing_object(self, error: Exception) -> bool:
        return "No such object" in str(error)
