"""Goal 5: how long it takes to generate a project."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from contenders import cookiecutter_config, folder
from environments import BUILD, REPO, SCRIPTS
from measure import Command, compare, ratios
from sections import Section

EMPTY, WHOLE, ASIDE = "cookiecutter, one file", "ours", "ours, without git's first commit"
FLOOR = "cookiecutter, as many files as ours, neither rendered nor hooked"


def generation(rounds: int) -> Section:
    """Measure our template, an empty one, and the starters of the peers."""
    # Inside another repository, as build/ is, the hook would make no commit.
    with tempfile.TemporaryDirectory() as outside:
        return _generation(rounds, Path(outside).resolve())


def _generation(rounds: int, out: Path) -> Section:
    template = BUILD / "template"
    copy = [sys.executable, str(REPO / "tests" / "template_copy.py"), str(template)]
    subprocess.run(copy, check=True)
    kedro, ccds = folder("kedro", "new"), folder("ccds")
    env = kedro.env | {"PYTHONPATH": ""}

    def cookiecutter(name: str, source: Path, **changes: str) -> Command:
        words = [sys.executable, "-m", "cookiecutter", str(source), "--no-input"]
        words += ["--config-file", str(cookiecutter_config()), "--output-dir", str(out / "made")]
        return Command(name, words, out, env | changes, clean)

    def clean() -> None:
        shutil.rmtree(out / "made", ignore_errors=True)
        (out / "made").mkdir()

    new = ("--name", "iris", "--tools", "none", "--example", "n", "--telemetry", "no")
    starter = Command(
        "kedro new", [kedro.venv / SCRIPTS / "kedro", "new", *new], out / "made", env, clean
    )
    commands = [
        cookiecutter(EMPTY, _template(out / "empty", files=1)),
        cookiecutter(FLOOR, _template(out / "floor", files=_number_of_files(template))),
        cookiecutter(ASIDE, template, PATH=""),  # the hook makes a commit where it finds git
        cookiecutter(WHOLE, template),
        starter,
    ]
    text = (
        f"Rounds after a warm-up: {rounds}. The starter of Kedro is what `kedro new` writes with "
        "neither tools nor an example; those with an example come from the internet."
    )
    science = ccds.command("ccds", "ccds", "--no-input", "--output-dir", str(out / "made"))
    science = Command(science.name, science.argv, out, science.env, clean)
    if _works(science):
        commands.append(science)
    else:
        text += (
            " cookiecutter-data-science is left out: its package brings no template, `ccds` "
            "clones it, and here it could not."
        )
    samples = compare(commands, rounds)
    columns = ["", "seconds", "times cookiecutter on one file"]
    section = Section("generation", "Generating a project", text, columns)
    section.add_times(samples, EMPTY)
    base = samples[EMPTY].seconds
    text = "Generation, git's first commit aside, against a template of one file"
    section.at_most(5, text, 1.3, ratios(samples[ASIDE].seconds, base))
    for name in ("kedro new", "ccds"):
        if name not in samples:
            section.holds(5, f"Generation faster than `{name}`", "not measured, see below", None)
            continue
        times = ratios(samples[WHOLE].seconds, samples[name].seconds)
        section.at_most(5, f"Generation, all in all, against `{name}`", 1, times)
    return section


def _template(path: Path, files: int) -> Path:
    """Write a template of `files` files of one line, which are only copied; return its path."""
    project = path / "{{ cookiecutter.project_slug }}"
    project.mkdir(parents=True)
    for number in range(files):
        (project / f"{number}.md").write_text("# A line\n", encoding="utf-8")
    answers = {"project_slug": "iris-project", "_copy_without_render": ["*.md"]}
    (path / "cookiecutter.json").write_text(json.dumps(answers), encoding="utf-8")
    return path


def _number_of_files(template: Path) -> int:
    """Return how many files a template's project has before its hook removes some."""
    project = template / "{{ cookiecutter.project_slug }}"
    return sum(path.is_file() for path in project.rglob("*"))


def _works(command: Command) -> bool:
    command.prepare()
    words = [str(word) for word in command.argv]
    try:
        done = subprocess.run(
            words, cwd=command.cwd, env=command.env, capture_output=True, check=False, timeout=60
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0
