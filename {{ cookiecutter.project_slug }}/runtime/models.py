"""Model files, without Prefect: bytes of skops, the types that may be in them, a run's model.

A skops file opens without running code as long as all types in it are known to do nothing but
compute. These are trusted: classes of scikit-learn, what the project's own folder `ml` defines, and
what `trusted_types` in pyproject.toml names.
"""

from importlib import import_module
from pathlib import PurePosixPath
from typing import Any

import skops.io

from runtime import settings
from runtime.errors import UserError
from runtime.history import LATEST, counts, newest_first
from runtime.records import read_verified
from runtime.storage import storage

NUMPY_TYPES = {"numpy.dtype"}  # it describes an array


def dumps(model: Any) -> bytes:
    """Return a model as the bytes of a skops file; raise `UserError` for a type not trusted."""
    content = skops.io.dumps(model)
    _trusted(content)
    return bytes(content)


def loads(content: bytes) -> Any:
    """Return the model in the bytes of a skops file.

    Raises `UserError` for bytes that are no skops file, or hold a type that is not trusted.
    """
    try:
        return skops.io.loads(content, trusted=_trusted(content))
    except UserError:
        raise
    except Exception as error:  # a damaged file fails anywhere inside zipfile, json or NumPy
        raise UserError(f"The model cannot be read, it is damaged: {error}.") from None


def read_model(run: str = LATEST) -> tuple[str, Any]:
    """Return a run and its model; the run `latest` is the newest whose flow completed.

    Raises `UserError` for a missing file, a damaged one, and one that is no model.
    """
    files = storage("models")
    for name in newest_first(name for name in files.folders() if run in (LATEST, name)):
        for key in sorted(files.files(name), reverse=True):
            path = PurePosixPath(key)
            if path.suffix == ".skops" and (run != LATEST or counts(name, path.stem)):
                try:
                    _, content = read_verified(files, str(path.with_suffix("")))
                except FileNotFoundError:  # a file that somebody sent, without its record
                    content = files.get(key)
                try:
                    return name, loads(content)
                except UserError as error:
                    raise UserError(f"{files.location(key)}: {error}") from None
    if run == LATEST:
        raise UserError("There is no model yet: train one with `python main.py`.")
    raise UserError(f"There is no model of a run {run!r} in {files.location()}: check its name.")


def _trusted(content: bytes) -> list[str]:
    """Return the types that skops asks about; raise `UserError` for one that is not trusted."""
    untrusted = skops.io.get_untrusted_types(data=content)
    allowed = NUMPY_TYPES.union(settings.trusted_types())
    foreign = [name for name in untrusted if name not in allowed and not _is_known(name)]
    if foreign:
        raise UserError(
            f"The model holds types that are not trusted: {', '.join(foreign)}. If you know that "
            "they are safe, name them in pyproject.toml: trusted_types, below [tool.runtime]."
        )
    return untrusted


def _is_known(name: str) -> bool:
    """Return whether a name is that of a class of scikit-learn, or defined in the folder `ml`."""
    module, _, attribute = name.rpartition(".")
    package = module.partition(".")[0]
    if package not in ("sklearn", "ml"):
        return False
    try:
        value = getattr(import_module(module), attribute, None)
    except ImportError:  # a method: its module is a class
        return False
    if package == "ml":  # not what a file of it imports, such as shutil.rmtree
        return str(getattr(value, "__module__", "")).partition(".")[0] == "ml"
    # Only classes: among scikit-learn's functions are some that delete files.
    return isinstance(value, type)
