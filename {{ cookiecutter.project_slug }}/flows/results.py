"""Where outputs are kept and read again: `LocalResult`, `S3Result` and `GCSResult`.

Each is a Prefect file system, for the `result_storage` of a task, with one thing more: `read`.
`results_in` takes the one that OUTPUTS asks for.
Beside a result lies its record (`.records/<task>.json`): the checksum of the file, and the
fingerprint of what it was computed from. A file without a record that fits counts as not there.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect.filesystems import WritableFileSystem
from prefect.serializers import Serializer
from prefect.settings import get_current_settings

from flows import CannotWrite, UserError, outputs
from flows.buckets import GCS, S3, Bucket
from flows.history import has_kept, newest_first
from flows.places import Folder, Place, place
from flows.records import Records, UnfitError, record_key, vouch
from flows.runs import current_run, unwritten

LATEST = "latest"


@dataclass(frozen=True)
class Result:
    """What `read` returns: the location (`<run>/<task>`) that was meant, and the value there."""

    location: str
    value: Any


class _ResultStorage(WritableFileSystem):
    """What the three have in common; a subclass says its place."""

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
        advice = "check its name"
        if run == LATEST:
            advice = "run `python main.py run data-engineer` first"
        raise UserError(f"There is no {location!r} in {self.where('')}: {advice}.")

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

    @property
    def place(self) -> Place:
        """Where the files are."""
        raise NotImplementedError

    def runs(self) -> list[str]:
        """Return the names of all runs, newest first."""
        return newest_first(self.place.runs())

    def counts(self, run: str, task: str) -> bool:
        """Tell whether a run's output may be the latest: not if it was killed, or failed."""
        return has_kept(run, task)

    def get(self, key: str) -> bytes:
        """Return a file's bytes; raise `FileNotFoundError` where there is none."""
        return self.place.get(key)

    def put(self, key: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        self.place.put(key, content)

    def touch(self, key: str) -> None:
        """Note that a file is in use."""
        self.place.touch(key)

    def where(self, key: str) -> str:
        """Return a file's place in words."""
        return self.place.where(key)


class LocalResult(_ResultStorage):
    """Results in the folder `dir` of this machine, relative to the project."""

    _block_type_name = "Local Result"

    dir: str

    @property
    def place(self) -> Folder:
        """Where the files are."""
        return Folder(self.dir)


class _BucketResult(_ResultStorage):
    """Results in a bucket, below `prefix`."""

    bucket: str
    prefix: str = ""

    def counts(self, run: str, task: str) -> bool:
        """Do as for a folder, where the bucket is that of the runs; another knows no run's end."""
        return not outputs() or has_kept(run, task)


class S3Result(_BucketResult):
    """Results in an Amazon S3 bucket, or another that speaks S3, below `prefix`.

    Credentials and address are those of boto3, as in the environment variables AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL. Raises `UserError` without the extra `s3`, and
    where the bucket does not answer as it should.
    """

    _block_type_name = "S3 Result"

    @property
    def place(self) -> S3:
        """Where the objects are."""
        return S3(self.bucket, self.prefix)


class GCSResult(_BucketResult):
    """Results in a Google Cloud Storage bucket, below `prefix`.

    Credentials are Google's application default credentials. Raises `UserError` without the extra
    `gcs`, and where the bucket does not answer as it should.
    """

    _block_type_name = "GCS Result"

    @property
    def place(self) -> GCS:
        """Where the objects are."""
        return GCS(self.bucket, self.prefix)


def results_in(folder: str) -> _ResultStorage:
    """Return the results in a folder, of the project or of the bucket that OUTPUTS names."""
    found = place(folder)
    if not isinstance(found, Bucket):
        return LocalResult(dir=folder)
    kind = S3Result if isinstance(found, S3) else GCSResult
    return kind(bucket=found.name, prefix=found.prefix)
