"""The code of a run: the commit that is checked out, and whether files differ from it."""

import subprocess
from typing import Any

from runtime import settings

PATIENCE_SECONDS = 10  # with a large repository, or one on a slow disk


def read_revision() -> dict[str, Any]:
    """Return `code` for run.json; {} without git, or if the project is not in a repository."""
    try:
        # The second name exists only where the project itself is in git, not just a folder above.
        commit = _git("rev-parse", "HEAD", "HEAD:./main.py").decode().split()[0]
        return {"code": {"commit": commit, "dirty": bool(_git("status", "--porcelain", "."))}}
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(*arguments: str) -> bytes:
    command = ["git", "--no-optional-locks", *arguments]  # a person may use git meanwhile
    options: dict[str, Any] = {"cwd": settings.ROOT, "capture_output": True, "check": True}
    return bytes(subprocess.run(command, timeout=PATIENCE_SECONDS, **options).stdout)
