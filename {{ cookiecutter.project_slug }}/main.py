"""The entry point: `python main.py` runs `main-flow`; `--help` lists the other commands."""

import os
import sys
from importlib.machinery import PathFinder

if sys.version_info < (3, 11):  # noqa: UP036 - the project may be started with an older one
    sys.exit(
        f"Error: the project needs Python 3.11 or newer, and {sys.executable} is older.\n"
        "Use `uv run main.py`, which finds or loads one; or make `.venv` with a newer one."
    )

ROOT = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - before pathlib's imports
if sys.flags.safe_path:  # PYTHONSAFEPATH keeps this folder off sys.path
    os.environ.pop("PYTHONSAFEPATH", None)
    sys.path.insert(0, ROOT)
# IDLE and notebooks may have this folder twice in sys.path.
others = [path for path in sys.path[1:] if os.path.abspath(path) != ROOT]  # noqa: PTH100
for file in os.listdir(ROOT):  # noqa: PTH208
    name, _, ending = file.rpartition(".")
    if ending == "py" and name != "test" and PathFinder.find_spec(name, others):
        sys.exit(f"Error: {file} takes the place of Python's own or a package's: rename it.")

from pathlib import Path  # noqa: E402

try:
    from runtime.cli import run_command
except ModuleNotFoundError as error:
    if error.name in ("runtime", "flows", "ml"):
        raise
    python = Path(".venv", "Scripts" if os.name == "nt" else "bin", "python")
    sys.exit(
        f"Error: this Python ({sys.executable}) does not have the project's packages.\n"
        f"Use `uv run main.py`; or `{python} main.py`, when they are installed as README.md says."
    )

if __name__ == "__main__":
    sys.exit(run_command(sys.argv[1:]))
