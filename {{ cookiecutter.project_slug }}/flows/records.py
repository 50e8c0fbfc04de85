"""What vouches for a result: a record beside each file."""

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

from prefect.filesystems import WritableFileSystem

from flows.serializers import EXTENSIONS

RECORDS_DIR = ".records"  # beside the files it is about


class UnfitError(ValueError):
    """Why a file is not what its record says."""


class Records(WritableFileSystem):
    """Keeps Prefect's record of a result beside it, and vouches that the two still fit.

    Prefect asks for the record of a cache key to learn whether a task has to run. Where the file
    was changed, cut short, or computed from something else, there is none, so the task runs.
    """

    storage: Any

    def write_path(self, path: str, content: bytes, **options: Any) -> None:  # type: ignore[override]
        """Write Prefect's record, `content`, with the checksum and fingerprint of the result."""
        file, _, fingerprint = path.partition("#")
        with self.storage.noting_errors(file):
            checksum = hashlib.sha256(self.storage.get(file)).hexdigest()
            own = {"file": file, "sha256": checksum, "fingerprint": fingerprint}
            record = own | json.loads(content)
            self.storage.put(record_key(file), json.dumps(record, indent=2).encode())

    def read_path(self, path: str, **options: Any) -> bytes:  # type: ignore[override]
        """Return Prefect's record; raise `UnfitError` where the result does not fit it."""
        file, _, fingerprint = path.partition("#")
        content: bytes = self.storage.get(record_key(file))
        record = json.loads(content)
        if record["fingerprint"] != fingerprint:
            raise UnfitError("was computed from something else")
        vouch(record, self.storage.get(file))
        if record["storage_key"] != path:  # Prefect goes on to read what stands there
            raise UnfitError("belongs to another file")
        self.storage.touch(file)
        return content

    async def aread_path(self, path: str) -> bytes:
        """Do as `read_path`, for async flows."""
        return self.read_path(path)

    async def awrite_path(self, path: str, content: bytes) -> None:
        """Do as `write_path`, for async flows."""
        self.write_path(path, content)


def vouch(record: dict[str, Any], content: bytes) -> None:
    """Raise `UnfitError` unless a file is whole, and written in a way that is safe to read.

    Prefect would also read pickles, which run code when they are opened.
    """
    if record["serializer"]["type"] not in EXTENSIONS:
        raise UnfitError(f"is a {record['serializer']['type']}, which is not opened")
    if record["sha256"] != hashlib.sha256(content).hexdigest():
        raise UnfitError("is damaged")


def record_key(file: str) -> str:
    """Return where the record of a result lies: `a/b.parquet` has it in `a/.records/b.json`."""
    path = PurePosixPath(file)
    return str(path.parent / RECORDS_DIR / f"{path.name.partition('.')[0]}.json")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex digits, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
