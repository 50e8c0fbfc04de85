"""The code of a run: the commit that is checked out, and whether files differ from it."""

import os
import subprocess
from typing import Any

from runtime import settings

PATIENCE_SECONDS = 10  # with a large repository, or one on a slow disk


def read_revision() -> dict[str, Any]:
    """Return `code` for run.json: the `commit`, and whether the tree is `dirty`.

    Nothing where there is no git, and where the project is not in it.
    """
    try:
        # Both names are known only where the project itself is in git, not just a folder above it.
        commit = _git("rev-parse", "HEAD", "HEAD:./main.py").split()[0]
        dirty = bool(_git("status", "--porcelain", "--", "."))
        return {"code": {"commit": commit, "dirty": dirty}}
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments],  # noqa: S607  (wherever it is installed)
        cwd=settings.ROOT,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # a person may use it meanwhile
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        encoding="utf-8",
        errors="replace",
        timeout=PATIENCE_SECONDS,
    ).stdout
