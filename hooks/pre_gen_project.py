"""Sets aside what is in the folder already, before `--overwrite-if-exists` writes over it.

Runs in the project's folder, before a file is written; `post_gen_project.py` puts back what stays.
Cookiecutter tells no hook about `--skip-if-file-exists`, and writes over the files of
`_copy_without_render` despite it. So an empty file stands for a licence that is not the answer:
if it is still empty afterwards, existing files stay.
"""

import shutil
from pathlib import Path

SET_ASIDE = Path(".set-aside")
# What cookiecutter may write over despite `--skip-if-file-exists`, and what a hook changes.
PATTERNS = [
    "*.json",
    "*.md",
    "*.py",
    "*.toml",
    "*.txt",
    ".github/workflows/*",
    ".gitignore",
    "LICENSE",
    "data/raw/iris.csv",
]
ROOMS = ["docs", "flows", "lessons", "licenses", "ml", "notebooks", "runtime", "tests"]
NOT_THE_ANSWER = "{{ 'Apache-2.0' if cookiecutter.license == 'MIT' else 'MIT' }}"


def main() -> None:
    """Copy the files that exist already, if there are any."""
    if not any(Path().iterdir()):
        return
    SET_ASIDE.mkdir(exist_ok=True)
    for pattern in (*PATTERNS, *(f"{room}/**/*" for room in ROOMS)):
        for file in Path().glob(pattern):
            if file.is_file() and "__pycache__" not in file.parts:
                copy = SET_ASIDE / file
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, copy)
    licence = Path("licenses", NOT_THE_ANSWER)
    licence.parent.mkdir(exist_ok=True)
    licence.write_bytes(b"")


if __name__ == "__main__":
    main()
