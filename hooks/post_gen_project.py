"""Finishes a project that cookiecutter has just written, from inside its folder.

Keeps the files of the chosen language and licence, makes a first commit where that makes sense,
and says what to do next. Runs on the standard library alone. A crash here would make cookiecutter
delete the project, so what is not essential (git, printing) may fail and does no harm. The files
are named one by one: with `--overwrite-if-exists` the folder may hold a person's own work. With
`--skip-if-file-exists` each file that was there before is left as it was.
What not every project needs is imported where it is used: imports are most of a hook's time.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

PAGES = ["buckets-and-clusters", "caching", "changing", "deploying", "settings", "teams"]
TRANSLATED_FILES = ["README.md", *(f"docs/{page}.md" for page in PAGES), "notebooks/explore.ipynb"]
LICENCES = ["MIT", "BSD-3-Clause", "Apache-2.0"]
LESSON_FILES = ["exercise.py", "solution.py", "test_lesson.py"]
LESSON_FILES += ["LESSON.md", "LESSON.pt-BR.md", "texts.en.toml", "texts.pt-BR.toml"]
WORKSHOP_FILES = ["__init__.py", "conftest.py", "pytest.ini", "workshop/*.py", "workshop/*.toml"]
WORKSHOP_FILES += ["workshop/grades.html", "workshop/skeleton/*.txt"]
ORIGINALS = "workshop/originals"  # the exercises as they were delivered
FILES_WITH_LESSONS = ["runtime/cli.py", "pyproject.toml"]  # each line there that has the word
SET_ASIDE = ".set-aside"  # copies of the files that were there: see pre_gen_project.py
COMMIT_MESSAGE = "Generate the project"

MESSAGES = {
    "en": {
        "ready": "Your project is ready. Train the first model with",
        "or": "or, without uv, with",
        "commit": "When you want to keep its history in git:",
        "git failed": "The first git commit was not made: {}\nTo make it yourself:",
    },
    "pt-BR": {
        "ready": "Seu projeto está pronto. Treine o primeiro modelo com",
        "or": "ou, sem uv, com",
        "commit": "Quando quiser guardar o histórico no git:",
        "git failed": "O primeiro commit no git não foi feito: {}\nPara fazê-lo:",
    },
}
GIT_COMMANDS = [
    "git init",
    "git -c core.excludesFile= add --all",
    f'git commit --message "{COMMIT_MESSAGE}"',
]


def main() -> None:
    """Finish the project in the current folder."""
    answers = json.loads(r"""{{ cookiecutter | tojson }}""")
    project = Path.cwd()
    is_new = not (project / SET_ASIDE).exists()
    skips_existing = any(not (project / "licenses" / name).read_bytes() for name in LICENCES)
    keep_language(project, answers["language"])
    keep_licence(project, answers["license"])
    if answers["lessons"] == "no":
        remove_lessons(project)
    else:
        keep_originals(project)
    put_back(project, everything=skips_existing)

    if is_update_by_cruft(project, answers):
        return
    messages = MESSAGES[answers["language"]]
    hint = ""
    if "_commit" in answers:  # cruft adds a file of its own after this, so the commit must wait
        hint = messages["commit"]
    elif is_new and shutil.which("git") and not is_inside_work_tree(project):
        failure = make_first_commit(project, answers["author_name"])
        hint = messages["git failed"].format(failure) if failure else ""
    commands = ["main.py"]
    if answers["lessons"] == "yes":
        commands.append("main.py lessons")
    say(next_steps(folder_as_seen(project, answers), messages, commands))
    if hint:
        say(f"{hint}\n\n{indented(GIT_COMMANDS)}\n")


def keep_language(project: Path, language: str) -> None:
    """Leave each translated file in the chosen language, under its plain name."""
    for name in TRANSLATED_FILES:
        plain = project / name
        translation = plain.with_suffix(f".pt-BR{plain.suffix}")
        if language == "pt-BR":
            translation.replace(plain)
        else:
            translation.unlink()


def keep_licence(project: Path, licence: str) -> None:
    """Leave the text of the chosen licence as `LICENSE`, or no mention of a licence at all."""
    folder = project / "licenses"
    for name in LICENCES:
        text = folder / name
        if name == licence:
            text.replace(project / "LICENSE")
        else:
            text.unlink()
    with contextlib.suppress(OSError):  # not empty: a person keeps files of that name
        folder.rmdir()
    if licence == "none":
        metadata = project / "pyproject.toml"
        # Bytes: neither the line ends nor the encoding are to change.
        metadata.write_bytes(
            re.sub(rb'^license = "none"\r?\n', b"", metadata.read_bytes(), flags=re.MULTILINE)
        )


def remove_lessons(project: Path) -> None:
    """Remove the files of the workshop, and the lines that mention it."""
    folder = project / "lessons"
    patterns = [*WORKSHOP_FILES, f"{ORIGINALS}/*.txt"]
    for pattern in (*patterns, *(f"[0-9][0-9]_*/{name}" for name in LESSON_FILES)):
        for path in folder.glob(pattern):
            path.unlink()
    for path in (*folder.glob("workshop/*/"), *folder.glob("*/"), folder):
        with contextlib.suppress(OSError):  # not empty: a person keeps files of their own there
            path.rmdir()
    for name in FILES_WITH_LESSONS:
        path = project / name
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for line in lines if b"lessons" not in line))


def keep_originals(project: Path) -> None:
    """Keep a copy of each exercise, for `python main.py lessons reset`."""
    originals = project / "lessons" / ORIGINALS
    originals.mkdir(exist_ok=True)
    for exercise in (project / "lessons").glob("[0-9][0-9]_*/exercise.py"):
        shutil.copyfile(exercise, originals / f"{exercise.parent.name}.txt")


def put_back(project: Path, *, everything: bool) -> None:
    """Put back what `pre_gen_project.py` has set aside: everything, or what a student has edited.

    A file that has not changed is not written.
    """
    set_aside = project / SET_ASIDE
    originals = set_aside / "lessons" / ORIGINALS
    for copy in [path for path in set_aside.rglob("*") if path.is_file()]:
        name = copy.relative_to(set_aside)
        if not everything:
            original = originals / f"{name.parent.name}.txt"
            if not name.match("lessons/[0-9][0-9]_*/exercise.py") or (
                original.exists() and original.read_bytes() == copy.read_bytes()
            ):
                continue
        target = project / name
        if not target.exists() or target.read_bytes() != copy.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(copy, target)
    shutil.rmtree(set_aside, ignore_errors=True)


def is_update_by_cruft(project: Path, answers: dict[str, Any]) -> bool:
    """Return whether `cruft update` or `cruft diff` made this project, in a temporary folder."""
    if "_commit" not in answers:  # only cruft sets it
        return False
    import tempfile

    above = project.parent
    temporary = Path(tempfile.gettempdir()).resolve()
    return above.parent == temporary and above.name.startswith("tmp")


def is_inside_work_tree(project: Path) -> bool:
    """Return whether the project or a folder above it is a git repository already."""
    return any((folder / ".git").exists() for folder in (project, *project.parents))


def make_first_commit(project: Path, author: str) -> str:
    """Make a git repository with one commit; return why that failed, or ""."""
    import subprocess

    try:
        git(project, "init", "--quiet", "--template=")
        git(project, "add", "--all")
        identity = [] if has_identity(project) else own_identity(author)
        git(project, *identity, "commit", "--quiet", "--no-gpg-sign", "-m", COMMIT_MESSAGE)
    except subprocess.CalledProcessError as error:
        return " ".join((error.stderr or str(error)).split())
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ""


def git(project: Path, *arguments: str) -> str:
    """Run git in the project, out of reach of the user's hooks and of an outer git process."""
    import subprocess

    settings = [f"core.hooksPath={os.devnull}", "core.fsmonitor=false", "core.safecrlf=false"]
    settings.append("core.excludesFile=")  # else a user's `*.csv` would leave the data out
    options = [word for setting in settings for word in ("-c", setting)]
    outer = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}
    finished = subprocess.run(
        ["git", *options, *arguments],
        cwd=project,
        env={name: value for name, value in os.environ.items() if name not in outer},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=60,
        check=True,
    )
    return finished.stdout


def has_identity(project: Path) -> bool:
    """Return whether git knows a name and an address to commit with."""
    import subprocess

    try:
        git(project, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
        git(project, "-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT")
    except subprocess.CalledProcessError:
        return False
    return True


def own_identity(author: str) -> list[str]:
    """Return git options that name the author for one commit."""
    # Git drops these characters from the ends of a name, and refuses what is then empty.
    name = " ".join(author.split()).strip(" .,:;<>\"\\'") or "author"
    return ["-c", f"user.name={name}", "-c", "user.email=author@localhost"]


def folder_as_seen(project: Path, answers: dict[str, Any]) -> str:
    """Return the project's folder as a person would name it from where they are."""
    seen = Path(answers["_output_dir"], project.name) if "_output_dir" in answers else project
    here = os.environ.get("PWD", "")  # where the shell is; not set by Windows
    if here and seen.is_relative_to(here):
        return str(seen.relative_to(here))
    return str(seen)


def next_steps(folder: str, messages: dict[str, str], commands: list[str]) -> str:
    """Return how these commands are run, one after the other, on this system."""
    enter = f"cd {quoted(folder)}"
    if os.name == "nt":  # no activation: PowerShell forbids its script unless set up
        python = r".venv\Scripts\python"
        environment = ["python -m venv .venv", f"{python} -m pip install -r requirements.txt"]
    else:
        python = "python"
        environment = [
            "python3 -m venv .venv",
            "source .venv/bin/activate",
            "python -m pip install -r requirements.txt",
        ]
    with_uv = indented([enter, *(f"uv run {command}" for command in commands)])
    plain = [f"{python} {command}" for command in commands]
    without_uv = indented([enter, *environment, *plain])
    return f"\n{messages['ready']}\n\n{with_uv}\n\n{messages['or']}\n\n{without_uv}\n"


def quoted(word: str) -> str:
    """Quote `word` for this system's shell (on Windows for cmd and PowerShell, if both can)."""
    if os.name != "nt":
        return shlex.quote(word)
    if re.fullmatch(r"[\w./\\:=+-]+", word):
        return word
    if not re.search(r'["$`%]|\\$', word):
        return f'"{word}"'
    return "'" + word.replace("'", "''").replace('"', '\\"') + "'"


def indented(commands: list[str]) -> str:
    """Return one command a line, indented."""
    return "\n".join(f"  {command}" for command in commands)


def say(text: str) -> None:
    """Print, whatever the console's encoding is and even if nobody reads it any more."""
    try:
        encoding = sys.stdout.encoding
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except (OSError, ValueError, AttributeError):
        # Else Python would try again at its exit, fail, and the project would be deleted.
        sys.stdout = None


if __name__ == "__main__":
    main()
