"""Files under keys: in a folder of the project, or at the same path in the bucket of OUTPUTS.

One library, obstore, serves both. A file appears whole or not at all, and if two processes create
the same one, only one succeeds.
"""

import configparser
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, from_url

from runtime import settings
from runtime.errors import CannotWrite, Unavailable, UserError, printable

REQUESTS_AT_ONCE = 8
RETRY: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=20)}


class Storage:
    """Files at an address: a folder relative to the project, or that of a bucket."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.is_bucket = "://" in address

    def get(self, key: str) -> bytes:
        """Return a file's bytes; raise `FileNotFoundError` for a missing one."""
        with self._user_errors("read", key):
            return obstore.get(self._store, key).bytes().to_bytes()

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the bytes of the files that exist, by key."""

        def get(key: str) -> dict[str, bytes]:
            try:
                return {key: self.get(key)}
            except FileNotFoundError:
                return {}

        with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
            return {key: part[key] for part in pool.map(get, keys) for key in part}

    def put(self, key: str, content: bytes) -> None:
        """Write a file; raise `UserError` where that is not possible."""
        with self._user_errors("written", key):
            obstore.put(self._store, key, content)

    def create(self, key: str, content: bytes) -> bool:
        """Write a file that does not exist yet; return False where it does."""
        try:
            with self._user_errors("written", key):
                obstore.put(self._store, key, content, mode="create")
        except AlreadyExistsError:
            return False
        except CannotWrite:  # it needs a hard link, which a USB stick (exFAT) does not have
            if self._path(key).exists():
                return False
            self.put(key, content)
        return True

    def folders(self) -> list[str]:
        """Return the names of the folders at the top."""
        with self._user_errors("read"):
            return list(obstore.list_with_delimiter(self._store)["common_prefixes"])

    def files(self, folder: str = "") -> dict[str, datetime]:
        """Return the keys of all files in a folder, and when each was last changed."""
        with self._user_errors("read", folder):
            pages = obstore.list(self._store, folder or None)
            return {file["path"]: file["last_modified"] for page in pages for file in page}

    def delete(self, keys: list[str]) -> None:
        """Delete files in this order; those that do not exist are no error."""
        for key in keys:
            with self._user_errors("deleted", key), suppress(FileNotFoundError):
                obstore.delete(self._store, key)

    def delete_folder(self, folder: str, last: str) -> None:
        """Delete a folder; in a bucket, its file `last` is deleted last."""
        if self.is_bucket:
            self.delete(sorted(self.files(folder), key=lambda key: key == f"{folder}/{last}"))
        else:  # with the partial files of a killed process; obstore would follow links
            shutil.rmtree(self._path(folder), ignore_errors=True)

    def location(self, key: str = "") -> str:
        """Return where a file is, for a message."""
        return f"{self.address}/{key}".rstrip("/")

    def check(self) -> None:
        """Raise `UserError` where the bucket cannot be used."""
        with self._user_errors("used"):
            next(iter(obstore.list(self._store, chunk_size=1)), None)

    @property
    def _store(self) -> Any:
        return _store(self.address if self.is_bucket else self._path())

    def _path(self, key: str = "") -> Path:
        return settings.ROOT / self.address / key

    @contextmanager
    def _user_errors(self, doing: str, key: str = "") -> Iterator[None]:
        try:
            yield
        except AlreadyExistsError:
            raise
        except (BaseError, OSError, ValueError) as error:
            text, reason = str(error), _reason(error)
            no_bucket = re.search("NoSuchBucket|(bucket|container) does not exist", text)
            if isinstance(error, FileNotFoundError) and not no_bucket:
                raise
            if not self.is_bucket:
                raise CannotWrite(f"{self.location(key)} cannot be {doing}: {reason}.") from None
            kind: type[UserError] = UserError
            if no_bucket:
                advice = "create the bucket, or correct its address"
            elif REFUSED.search(text):
                advice = CREDENTIALS[self.address.partition("://")[0]]
            else:
                kind, advice = Unavailable, "see whether it is reached from here"
            raise kind(f"{self.location()} cannot be used: {reason}: {advice}.") from None


# Signs in obstore's errors of credentials that are missing, unreadable or not accepted. Without
# any, obstore asks the metadata service of a cloud's machine, at one of these addresses.
REFUSED = re.compile(r"status code: 40[013]|[Cc]redential|pem file|/latest/|/computeMetadata/")
CREDENTIALS = {
    "s3": "see whether AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or those in ~/.aws, are right "
    "and may write there",
    "gs": "see whether you are logged in (`gcloud auth application-default login`, or "
    "GOOGLE_APPLICATION_CREDENTIALS), and may write there",
    "az": "see whether AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY are right, and may "
    "write there",
}


def storage(folder: str) -> Storage:
    """Return the files of a folder of the project, in the bucket of OUTPUTS where that is set."""
    address = settings.outputs()
    return Storage(f"{address}/{folder}" if address else folder)


@cache
def _store(address: str | Path) -> Any:
    """Return obstore's store for the address of a bucket, or the path of a folder."""
    if isinstance(address, Path):
        return LocalStore(address, automatic_cleanup=True, mkdir=True)
    config: Any = _aws_profile() if address.startswith("s3://") else {}
    return from_url(address, config=config, client_options={"allow_http": True}, retry_config=RETRY)


def _aws_profile() -> dict[str, str]:
    """Return keys and region from the files in ~/.aws, which obstore does not read by itself.

    Environment variables come first; obstore itself finds the roles of machines and containers.
    """
    profile = os.environ.get("AWS_PROFILE", "default")
    credentials = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    config = os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")
    files = configparser.RawConfigParser()
    paths = [os.path.expanduser(path) for path in (credentials, config)]  # noqa: PTH111
    files.read(paths, encoding="utf-8")
    names = []
    if not os.environ.get("AWS_ACCESS_KEY_ID"):
        names += ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"]
    if not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        names += ["region"]
    sections = [name for name in (f"profile {profile}", profile) if files.has_section(name)]
    pairs = [pair for section in sections for pair in files.items(section)]
    return {name: value for name, value in pairs if name in names}


def _reason(error: Exception) -> str:
    """Return the message of store, login or operating system that obstore's error contains."""
    text = getattr(error, "strerror", None) or str(error)
    words = (
        r'<Message>(.*?)</Message>|"error_description": ?"(.*?)"'
        r'|(Unable to open service account .*?) \(os error|(?:message|error): "(.*?)"'
    )
    match = re.search(words, text, re.DOTALL)
    reason = match[match.lastindex or 0] if match else text.partition("\n")[0]
    return printable(" ".join(reason.split()), 300).rstrip(".")
