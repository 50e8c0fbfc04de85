"""Fixtures: a clean copy of the template, projects baked from it, and the real commands."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
from cookiecutter import prompt
from cookiecutter.main import cookiecutter
from template_copy import copy_template

# A shell lets what it runs in the background ignore Ctrl-C, and so would all that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT_FOLDER = "{{ cookiecutter.project_slug }}"
# The tests of the project have a server of their own, and run by themselves: see the Makefile.
collect_ignore = ["project"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with which `make pictures` writes the pictures of the documentation."""
    parser.addoption(
        "--pictures", action="store_true", help="write the pictures of docs/images again"
    )


@dataclass(frozen=True)
class BakedProject:
    """A generated project."""

    path: Path
    language: str = "en"

    def text(self, name: str) -> str:
        """Return the text of one of its files."""
        return (self.path / name).read_text(encoding="utf-8")

    def files(self) -> list[Path]:
        """Return its files, without those of git."""
        return sorted(
            path
            for path in self.path.rglob("*")
            if path.is_file() and ".git" not in path.relative_to(self.path).parts
        )

    def names(self) -> list[str]:
        """Return the names of its files, relative to it."""
        return [path.relative_to(self.path).as_posix() for path in self.files()]


class Bake(Protocol):
    """Generates a project with some answers given and the others left at their defaults."""

    def __call__(self, **answers: str) -> BakedProject:
        """Return the project."""


class Run(Protocol):
    """Runs a command in a folder and returns what came of it."""

    def __call__(
        self, *command: object, cwd: Path, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Return the finished process."""


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give every test an empty home, out of reach of the settings of whoever runs them."""
    folder = tmp_path_factory.mktemp("home")
    config = folder / "cookiecutter.yaml"
    replays, templates = (folder / "replay").as_posix(), (folder / "templates").as_posix()
    config.write_text(f"replay_dir: {replays}\ncookiecutters_dir: {templates}\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("GIT_", "EMAIL"))]:
            patch.delenv(name)
        for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(folder))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("COOKIECUTTER_CONFIG", str(config))
        patch.setenv("PYTHONUTF8", "1")
        yield folder


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the template as git would hand it on."""
    return copy_template(tmp_path_factory.mktemp("template") / "cookiecutter-iris-prefect")


@contextlib.contextmanager
def typed_answers(answers: dict[str, str]) -> Iterator[None]:
    """Answer cookiecutter's prompts with `answers`, and the others with their defaults."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            prompt, "read_user_variable", lambda name, default, *_: answers.get(name, default)
        )
        patch.setattr(
            prompt, "read_user_choice", lambda name, choices, *_: answers.get(name, choices[0])
        )
        yield


@pytest.fixture
def bake(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """Return a function that generates a project in a folder of its own."""

    def bake(**answers: str) -> BakedProject:
        with typed_answers(answers):
            path = cookiecutter(str(template), output_dir=str(tmp_path_factory.mktemp("baked")))
        return BakedProject(Path(path))

    return bake


@pytest.fixture(scope="session", params=["en", "pt-BR"])
def default_project(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> BakedProject:
    """Return the project of the defaults, in each language. Tests only read it."""
    path = cookiecutter(
        str(template),
        no_input=True,
        extra_context={"language": request.param},
        output_dir=str(tmp_path_factory.mktemp("default")),
    )
    return BakedProject(Path(path), request.param)


@pytest.fixture(scope="session")
def run() -> Run:
    """Return a function that runs a command as a person does, with stdin as the keyboard.

    `cookiecutter` and `cruft` are those of the environment that runs the tests. Keyword arguments
    are environment variables.
    """
    scripts = sysconfig.get_path("scripts")

    def run(
        *command: object, cwd: Path, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        name = str(command[0])
        program = name if name == sys.executable else shutil.which(name, path=scripts) or name
        return subprocess.run(
            [program, *map(str, command[1:])],
            cwd=cwd,
            env={**os.environ, "PWD": str(cwd), **environment},
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=3000,  # only a hang takes so long
            check=False,
        )

    return run
