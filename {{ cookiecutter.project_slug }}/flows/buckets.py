"""Buckets of Amazon S3 (or what speaks it) and Google Cloud Storage, as places for outputs.

The credentials are those that prefect-aws and prefect-gcp find; the extras s3 and gcs install them.
"""

import io
import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar
from urllib.parse import urlsplit

from flows import Unavailable, UserError, without_password
from flows.places import Place

LARGE_BYTES = 8 * 2**20  # from here on boto3 sends and fetches in parts
REQUESTS_AT_ONCE = 8  # both clients keep ten connections
GOOGLE_RETRIES_SECONDS = 20  # its client goes on for two minutes; that of S3 tries five times


class Bucket(Place):
    """What is in a bucket below a prefix; a subclass knows its client."""

    extra: ClassVar[str]
    package: ClassVar[str]  # of the extra
    scheme: ClassVar[str]
    credentials: ClassVar[str]  # where they are said
    packages: ClassVar[tuple[str, ...]]  # whose errors tell of the bucket

    def __init__(self, name: str, prefix: str = "") -> None:
        self.name = name
        self.prefix = prefix

    def get(self, key: str) -> bytes:
        """Return an object's bytes; raise `FileNotFoundError` where there is none."""
        with self._errors_in_words(of_object=True):
            return self._get(self._object(key))

    def get_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the bytes of those of the objects that are there, by key."""

        def content(key: str) -> bytes | None:
            try:
                return self.get(key)
            except FileNotFoundError:
                return None

        keys = list(keys)
        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            found = dict(zip(keys, pool.map(content, keys), strict=True))
        return {key: blob for key, blob in found.items() if blob is not None}

    def put(self, key: str, content: bytes) -> None:
        """Write an object; a bucket shows it whole or not at all."""
        with self._errors_in_words():
            self._put(self._object(key), content)

    def create(self, key: str, content: bytes, owner: str) -> bool:
        """Write an object where there is none; return False where there is one."""
        with self._errors_in_words():
            return self._create(self._object(key), content)

    def runs(self) -> list[str]:
        """Return the names of the runs that have objects here."""
        return list(dict.fromkeys(key.partition("/")[0] for key in self.files() if "/" in key))

    def files(self, run: str = "") -> dict[str, float]:
        """Return the keys of all objects of a run, or of all, and when each was last changed."""
        begin = self._object("")
        with self._errors_in_words():
            listed = dict(self._list(f"{begin}{run}/" if run else begin))
        return {name.removeprefix(begin): changed for name, changed in listed.items()}

    def touch(self, key: str) -> None:
        """Note that an object is in use."""
        with self._errors_in_words():
            self._touch(self._object(key))

    def remove(self, keys: list[str]) -> None:
        """Delete objects, in this order."""
        with self._errors_in_words():
            self._remove([self._object(key) for key in keys])

    def remove_run(self, run: str) -> bool:
        """Delete a run's objects, that which says that it is a run last."""
        keys = list(self.files(run))
        last = f"{run}/run.json"
        self.remove([key for key in keys if key != last])
        self.remove([last] if last in keys else [])
        return bool(keys)

    def clear_up(self, runs: Iterable[str] = (), owners: Iterable[str] = ()) -> None:
        """Do nothing: an object is never half there."""

    def where(self, key: str) -> str:
        """Return an object's place in words."""
        return f"{self.scheme}://" + "/".join(filter(None, [self.name, self.prefix, key]))

    def check(self, ask: bool) -> None:
        """Raise `UserError` where the extra is missing, or the bucket, if asked, cannot be used."""
        with self._errors_in_words():
            if not find_spec(self.package):
                raise ImportError
            if ask:
                self._look()

    def _object(self, key: str) -> str:
        """Return the name of the object of a key; raise `UserError` for one that is elsewhere."""
        if {"..", "."} & set(key.split("/")) or key.startswith("/"):
            raise UserError(f"{key!r} leads out of {self.where('')}.")
        return f"{self.prefix}/{key}" if self.prefix else key

    @contextmanager
    def _errors_in_words(self, of_object: bool = False) -> Iterator[None]:
        try:
            yield
        except ImportError:
            raise UserError(
                f"{self.where('')} needs the extra {self.extra}: "
                f'run `pip install ".[{self.extra}]"` in the project.'
            ) from None
        except Exception as error:
            ours = (type(error).__module__ or "").startswith(self.packages)
            if not ours and not isinstance(error, ConnectionError | TimeoutError):
                raise
            status, code = self._answer(error)
            if of_object and code == "NoSuchKey":
                raise FileNotFoundError(self.where("")) from None
            said = without_password(" ".join(self._said(error).split()))[:300].rstrip(".")
            kind: type[UserError] = Unavailable
            advice = "see whether it is reached from here"
            if status == 404:
                kind, advice = UserError, "create the bucket, or correct its address"
            elif status in (400, 401, 403):
                kind, advice = UserError, f"see whether {self.credentials}"
            raise kind(f"{self.where('')} cannot be used: {said}: {advice}.") from None

    @abstractmethod
    def _answer(self, error: Exception) -> tuple[int, str]:
        """Return the HTTP status that an error tells of, and its code; 0 where none answered."""

    def _said(self, error: Exception) -> str:
        return str(error)

    @abstractmethod
    def _look(self) -> None: ...
    @abstractmethod
    def _get(self, name: str) -> bytes: ...
    @abstractmethod
    def _put(self, name: str, content: bytes) -> None: ...
    @abstractmethod
    def _create(self, name: str, content: bytes) -> bool: ...
    @abstractmethod
    def _list(self, begin: str) -> Iterator[tuple[str, float]]: ...
    @abstractmethod
    def _touch(self, name: str) -> None: ...
    @abstractmethod
    def _remove(self, names: list[str]) -> None: ...


class S3(Bucket):
    """A bucket of Amazon S3, or of a store that speaks it."""

    extra, package, scheme = "s3", "prefect_aws", "s3"
    credentials = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are right, and may write there"
    packages = ("botocore", "boto3", "s3transfer", "urllib3")

    def _answer(self, error: Exception) -> tuple[int, str]:
        response: Any = getattr(error, "response", None)
        if response is None:
            # No credentials at all, or a name that no bucket can have, are found before asking.
            return (403 if "Credentials" in type(error).__name__ else 0), ""
        status, code = response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]
        # A download first asks for the size (HEAD), whose answer has no text but its status.
        return status, "NoSuchKey" if code == "404" else code

    def _said(self, error: Exception) -> str:
        response: Any = getattr(error, "response", None) or {}
        return response.get("Error", {}).get("Message") or str(error)

    @property
    def _client(self) -> Any:
        from prefect_aws import AwsCredentials

        return AwsCredentials().get_s3_client()  # prefect-aws keeps it

    def _look(self) -> None:
        self._client.list_objects_v2(Bucket=self.name, Prefix=self._object(""), MaxKeys=1)

    def _get(self, name: str) -> bytes:
        from botocore.exceptions import BotoCoreError

        answer = self._client.get_object(Bucket=self.name, Key=name)
        with closing(answer["Body"]) as body, suppress(BotoCoreError):
            if answer["ContentLength"] <= LARGE_BYTES:
                return body.read()
        # Large, or cut in the middle: this asks for parts at once, and again where one is cut.
        with io.BytesIO() as file:
            self._client.download_fileobj(Bucket=self.name, Key=name, Fileobj=file)
            return file.getvalue()

    def _put(self, name: str, content: bytes) -> None:
        self._client.upload_fileobj(io.BytesIO(content), Bucket=self.name, Key=name)

    def _create(self, name: str, content: bytes) -> bool:
        try:
            self._client.put_object(Bucket=self.name, Key=name, Body=content, IfNoneMatch="*")
        except Exception as error:
            if self._answer(error)[0] not in (409, 412):
                raise
            return False
        return True

    def _list(self, begin: str) -> Iterator[tuple[str, float]]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.name, Prefix=begin):
            for one in page.get("Contents", []):
                yield one["Key"], one["LastModified"].timestamp()

    def _touch(self, name: str) -> None:
        source = {"Bucket": self.name, "Key": name}
        options = {"MetadataDirective": "REPLACE"}  # else a copy onto itself is refused
        self._client.copy(source, Bucket=self.name, Key=name, ExtraArgs=options)

    def _remove(self, names: list[str]) -> None:
        for first in range(0, len(names), 1000):  # as many as S3 takes at once
            keys = [{"Key": name} for name in names[first : first + 1000]]
            self._client.delete_objects(Bucket=self.name, Delete={"Objects": keys, "Quiet": True})


class GCS(Bucket):
    """A bucket of Google Cloud Storage."""

    extra, package, scheme = "gcs", "prefect_gcp", "gs"
    credentials = (
        "you are logged in (`gcloud auth application-default login`, or "
        "GOOGLE_APPLICATION_CREDENTIALS), and may write there"
    )
    packages = ("google.", "requests", "urllib3")

    def _answer(self, error: Exception) -> tuple[int, str]:
        if type(error).__module__.startswith("google.auth"):
            return (0 if "Transport" in type(error).__name__ else 401), ""
        status = int(getattr(error, "code", None) or 0)
        missing = status == 404 and "bucket does not exist" not in str(error)
        return status, "NoSuchKey" if missing else ""

    def _said(self, error: Exception) -> str:
        said = str(error.args[0] if error.args else error)
        return said.partition(": ")[2] or said  # what comes first is the request

    @property
    def _bucket(self) -> Any:
        return _google_client().bucket(self.name)

    def _look(self) -> None:
        list(self._bucket.list_blobs(prefix=self._object(""), max_results=1, retry=_retry()))

    def _get(self, name: str) -> bytes:
        content: bytes = self._bucket.blob(name).download_as_bytes(retry=_retry())
        return content

    def _put(self, name: str, content: bytes) -> None:
        self._bucket.blob(name).upload_from_string(content, retry=_retry())

    def _create(self, name: str, content: bytes) -> bool:
        try:
            self._bucket.blob(name).upload_from_string(
                content, if_generation_match=0, retry=_retry()
            )
        except Exception as error:
            if self._answer(error)[0] != 412:
                raise
            return False
        return True

    def _list(self, begin: str) -> Iterator[tuple[str, float]]:
        for blob in self._bucket.list_blobs(prefix=begin, retry=_retry()):
            yield blob.name, blob.updated.timestamp()

    def _touch(self, name: str) -> None:
        blob = self._bucket.blob(name)
        blob.rewrite(blob, retry=_retry())

    def _remove(self, names: list[str]) -> None:
        # What is missing, another run has deleted.
        self._bucket.delete_blobs(names, on_error=lambda blob: None, retry=_retry())


@cache
def _google_client() -> Any:
    from prefect_gcp import GcpCredentials

    # What it tries again is told when it has failed for good.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    return GcpCredentials().get_cloud_storage_client()


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY

    return DEFAULT_RETRY.with_timeout(GOOGLE_RETRIES_SECONDS)


def bucket(address: str) -> Bucket:
    """Return the place at an address that `flows.outputs` lets pass, or at one below it."""
    parts = urlsplit(address)
    kind = {"s3": S3, "gs": GCS}[parts.scheme]
    return kind(parts.netloc, parts.path.strip("/"))
