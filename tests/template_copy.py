"""Copies the template without what git ignores, so that no cache gets into a generated project.

Cookiecutter copies whatever lies in the template's folder, and that folder is run in place.
From the command line: `python tests/template_copy.py DESTINATION`.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
PARTS = ["cookiecutter.json", "local_extensions", "hooks", "{{ cookiecutter.project_slug }}"]


def copy_template(destination: Path) -> Path:
    """Copy what cookiecutter needs to `destination`, which is emptied first, and return it."""
    shutil.rmtree(destination, ignore_errors=True)
    for name in template_files():
        source, target = REPO / name, destination / name
        if source.is_file():  # not so for a file that is deleted but still known to git
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return destination


def template_files() -> list[str]:
    """Return the files of the template, relative to the repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *PARTS]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        listed = subprocess.run(command, cwd=REPO, capture_output=True, check=True)
        names = listed.stdout.decode("utf-8").split("\0")
        if "cookiecutter.json" in names:
            return [name for name in names if name]
    # A download without git: take it as it is.
    found = [path for part in PARTS for path in (REPO / part, *(REPO / part).rglob("*"))]
    return [path.relative_to(REPO).as_posix() for path in found if path.is_file()]


if __name__ == "__main__":
    copy_template(Path(sys.argv[1]))
