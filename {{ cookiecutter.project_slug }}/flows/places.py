"""Where runs keep what they make: folders of this project, or the same in the bucket of OUTPUTS.

A place is asked by key: the path of a file below it, with slashes. It does without Prefect: a
prediction asks it, too.
"""

import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from uuid import uuid4

from flows import ROOT, CannotWrite, UserError, outputs

RUN = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[A-Za-z0-9_-]+")  # its name


class Place(ABC):
    """Keeps files, each of which is there as a whole or not at all."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Return a file's bytes; raise `FileNotFoundError` where there is none."""

    @abstractmethod
    def get_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the bytes of those of the files that are there, by key."""

    @abstractmethod
    def put(self, key: str, content: bytes) -> None:
        """Write a file; raise `UserError` where that is not possible."""

    @abstractmethod
    def create(self, key: str, content: bytes, owner: str) -> bool:
        """Write the first file of a run; return False where another owner was faster."""

    @abstractmethod
    def runs(self) -> list[str]:
        """Return the names of the runs that have files here."""

    @abstractmethod
    def files(self, run: str = "") -> dict[str, float]:
        """Return the keys of all files of a run, or of all, and when each was last changed.

        That is in seconds since 1970.
        """

    @abstractmethod
    def touch(self, key: str) -> None:
        """Note that a file is in use: what was not for long, `flows.retention` removes."""

    @abstractmethod
    def remove(self, keys: list[str]) -> None:
        """Delete files, in this order."""

    @abstractmethod
    def remove_run(self, run: str) -> bool:
        """Delete a run's files; return False where another run was faster."""

    @abstractmethod
    def clear_up(self, runs: Iterable[str] = (), owners: Iterable[str] = ()) -> None:
        """Delete what was left half written by killed runs, and half removed by any."""

    @abstractmethod
    def where(self, key: str) -> str:
        """Return a file's place in words."""


def place(folder: str) -> Place:
    """Return the place of a folder, relative to the project, or to OUTPUTS where that is set."""
    address = outputs()
    if not address:
        return Folder(folder)
    from flows.buckets import bucket

    return bucket(f"{address}/{folder}")


def check_outputs(ask: bool = False) -> None:
    """Raise `UserError` where OUTPUTS is no address or lacks its extra.

    With `ask` also where its bucket cannot be used, for which Prefect is imported.
    """
    if address := outputs():
        from flows.buckets import bucket

        bucket(address).check(ask)


class Folder(Place):
    """A folder of this project."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def get(self, key: str) -> bytes:
        """Return a file's bytes; raise `FileNotFoundError` where there is none."""
        return self.path(key).read_bytes()

    def get_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the bytes of those of the files that are there, by key."""
        found = {}
        for key in keys:
            try:
                found[key] = (ROOT / self.folder / key).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                found[key] = b""  # is as good as damaged
        return found

    def put(self, key: str, content: bytes) -> None:
        """Write a file; raise `CannotWrite` where there is no room or no right."""
        write_whole(self.path(key), content)

    def create(self, key: str, content: bytes, owner: str) -> bool:
        """Make a run's folder together with its first file, in one step."""
        path = self.path(key)
        aside = path.parent.with_name(f".{path.parent.name}.{owner}")
        write_whole(aside / path.name, content)
        try:
            aside.rename(path.parent)
        except OSError:
            shutil.rmtree(aside)
            if not path.exists():
                raise
            return False
        return True

    def runs(self) -> list[str]:
        """Return the names of the runs that have files here."""
        return [path.name for path in self.path("").glob("[!.]*/")]

    def files(self, run: str = "") -> dict[str, float]:
        """Return the keys of all files of a run, or of all, and when each was last changed."""
        folder, found = self.path(""), {}
        for at, folders, files in os.walk(folder / run):  # goes on where another run removes
            is_empty = not (folders or files) and Path(at) != folder / run
            for path in [Path(at)] if is_empty else map(Path(at).joinpath, files):
                with suppress(OSError):
                    found[path.relative_to(folder).as_posix()] = path.stat().st_mtime
        return found

    def touch(self, key: str) -> None:
        """Note that a file is in use."""
        with suppress(OSError):  # nobody may write there
            os.utime(self.path(key))

    def remove(self, keys: list[str]) -> None:
        """Delete files, in this order."""
        for key in keys:
            with suppress(OSError):  # Windows shows it to somebody
                self.path(key).unlink(missing_ok=True)

    def remove_run(self, run: str) -> bool:
        """Hide a run's folder in one step, then delete it."""
        folder = self.path("") / run
        try:
            if folder.is_symlink():
                return False
            folder.rename(folder.with_name(f".{run}.removed"))
        except OSError:  # there is none, or Windows shows a file of it to somebody
            return False
        shutil.rmtree(folder.with_name(f".{run}.removed"), ignore_errors=True)
        return True

    def clear_up(self, runs: Iterable[str] = (), owners: Iterable[str] = ()) -> None:
        """Delete what killed runs left: hidden folders, and files that were being written."""
        folder = self.path("")
        for owner in owners:
            for aside in folder.glob(f".*.{owner}"):
                shutil.rmtree(aside, ignore_errors=True)
        for run in runs:
            for path in (folder / run).rglob(".*"):
                if re.fullmatch(r"\..+\.[0-9a-f]{32}", path.name):
                    path.unlink(missing_ok=True)
        for path in folder.glob(".*.removed"):
            if RUN.fullmatch(path.name[1:].removesuffix(".removed")):
                shutil.rmtree(path, ignore_errors=True)

    def where(self, key: str) -> str:
        """Return a file's place in words."""
        return str(PurePosixPath(self.folder, key))

    def path(self, key: str) -> Path:
        """Return a file's path; raise `UserError` for one that is elsewhere."""
        folder = (ROOT / self.folder).resolve()
        path = (folder / key).resolve()
        if not path.is_relative_to(folder):
            raise UserError(f"{key!r} leads out of {self.folder}.")
        return path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or not at all, whatever happens in between.

    Raises `CannotWrite` where there is no room or no right.
    """
    aside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        where = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path
        raise CannotWrite(f"{where} cannot be written: {error.strerror or error}.") from None
