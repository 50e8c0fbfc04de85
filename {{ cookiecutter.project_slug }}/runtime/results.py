"""Where results are kept and read again: `LocalResult`, `S3Result` and `GCSResult`.

Each is a Prefect file system, for the `result_storage` of a task, with three additions: `read`,
and the cache policies `per_run` and `by_content`. A file without a matching record counts as
missing.
"""

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, ClassVar
from uuid import NAMESPACE_URL, uuid5

from prefect.filesystems import WritableFileSystem
from prefect.serializers import Serializer
from prefect.settings import get_current_settings

from runtime import formats
from runtime.caching import Unchanged, split_key
from runtime.errors import UserError
from runtime.history import LATEST, counts, newest_first, read_runs
from runtime.records import Mismatch, damaged, read_verified, record_key, sha256, verify
from runtime.runs import must_be_written, note_read
from runtime.storage import Storage, storage

__all__ = ["GCSResult", "LocalResult", "Result", "S3Result", "formats"]  # Prefect needs the formats


@dataclass(frozen=True)
class Result:
    """What `read` returns: the value, its location (`<run>/<task>`), and its file's SHA-256.

    `run` is the content of that run's run.json.
    """

    location: str
    value: Any
    sha256: str
    run: dict[str, Any]


class _Results(WritableFileSystem):
    """The base of the three classes; a subclass defines its storage.

    `target` names the files of `per_run`, without their extension.
    """

    target: str = "{run}/{task_name}"

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        # A task takes a file system only if it has the id of a block that was saved to the server
        # (Prefect's Task.__init__). Ours is defined in code: it needs no server, and is never
        # loaded from one. A test fails when Prefect no longer needs this line.
        self._block_document_id = uuid5(NAMESPACE_URL, repr(self))

    @property
    def storage(self) -> Storage:
        """The files."""
        raise NotImplementedError

    @property
    def per_run(self) -> Unchanged:
        """A cache policy: one file for each run, which the run finds again when it is retried."""
        return Unchanged(key_storage=_Records(results=self), target=self.target)

    @property
    def by_content(self) -> Unchanged:
        """A cache policy: one file for each content, which every later run finds."""
        target = "{task_name}-{fingerprint:.16}"
        return Unchanged(key_storage=_Records(results=self), target=target)

    def read(self, location: str) -> Result:
        """Return the value at `<run>/<task>`; the run `latest` is the newest that has such a value.

        A run that was killed, or whose flow failed, does not count as `latest`.

        Raises `UserError` for a missing value, or one whose file is damaged.
        """
        run_name, _, task = location.partition("/")
        for run in newest_first(self.storage.folders()) if run_name == LATEST else [run_name]:
            if run_name == LATEST and not counts(run, PurePosixPath(task).name):
                continue
            try:
                record, content = read_verified(self.storage, f"{run}/{task}")
            except FileNotFoundError:
                continue
            try:
                value = Serializer(type=record["serializer"]["type"]).loads(content)
            except UserError as error:
                raise UserError(f"{self.storage.location(record['file'])}: {error}") from None
            except Exception as error:
                raise damaged(self.storage, record["file"], error) from None
            facts = read_runs([run]).get(run, {})
            note_read(run, facts)
            return Result(f"{run}/{task}", value, record["sha256"], facts)
        if not get_current_settings().results.persist_by_default:
            advice = (
                "results are not kept, because results.persist_by_default "
                "(PREFECT_RESULTS_PERSIST_BY_DEFAULT) is false"
            )
        elif run_name == LATEST:
            advice = "run `python main.py run data-engineer` first"
        else:
            advice = "check its name"
        raise UserError(f"There is no {location!r} in {self.storage.location()}: {advice}.")

    def read_path(self, path: str, **options: Any) -> bytes:  # type: ignore[override]
        """Return the bytes of a result by its key."""
        return self.storage.get(split_key(path)[0])

    def write_path(self, path: str, content: bytes, **options: Any) -> None:  # type: ignore[override]
        """Write the bytes of a result; the file appears whole or not at all."""
        file, _ = split_key(path)
        with must_be_written(f"{self.storage.location(file)} cannot be written"):
            self.storage.put(file, content)


class _Records(WritableFileSystem):
    """Keeps Prefect's record of a result next to it, with what `runtime.records` needs.

    Prefect asks for the record of a key to learn whether a task has to run. If the file was
    changed, cut short, or computed from something else, no record is returned, so the task runs.
    """

    results: Any

    def write_path(self, path: str, content: bytes, **options: Any) -> None:  # type: ignore[override]
        """Write Prefect's record, `content`, with the checksum and fingerprint of the result."""
        file, fingerprint = split_key(path)
        files: Storage = self.results.storage
        with must_be_written(f"{files.location(file)} cannot be written"):
            own = {"file": file, "sha256": sha256(files.get(file)), "fingerprint": fingerprint}
            record = own | json.loads(content)
            files.put(record_key(file), json.dumps(record, indent=2).encode())

    def read_path(self, path: str, **options: Any) -> bytes:  # type: ignore[override]
        """Return Prefect's record; raise `Mismatch` where the result does not fit it."""
        file, fingerprint = split_key(path)
        files: Storage = self.results.storage
        content = files.get(record_key(file))
        record = json.loads(content)
        if record["fingerprint"] != fingerprint:
            raise Mismatch("was computed from something else")
        if record["storage_key"] != path:  # Prefect would read the file of that key
            raise Mismatch("belongs to another file")
        verify(record, files.get(file))
        files.put(record_key(file), content)  # marks it as used: retention goes by the time
        return content


class LocalResult(_Results):
    """Results in the folder `dir` of the project; with OUTPUTS, in that folder of the bucket."""

    _block_type_name = "Local Result"

    dir: str

    @property
    def storage(self) -> Storage:
        """The files."""
        return storage(self.dir)


class _BucketResult(_Results):
    """Results in a bucket, below `prefix`; a subclass defines the scheme of its address."""

    scheme: ClassVar[str]

    bucket: str
    prefix: str = ""

    @property
    def storage(self) -> Storage:
        """The objects in the bucket."""
        return Storage(f"{self.scheme}://{self.bucket}/{self.prefix}")


class S3Result(_BucketResult):
    """Results in an Amazon S3 bucket, or another that speaks S3, below `prefix`.

    Credentials and address come from environment variables, such as AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL, from `~/.aws`, or from the role of the machine.
    """

    _block_type_name = "S3 Result"
    scheme = "s3"


class GCSResult(_BucketResult):
    """Results in a Google Cloud Storage bucket, below `prefix`.

    Credentials are Google's application default credentials.
    """

    _block_type_name = "GCS Result"
    scheme = "gs"
