"""The README's first command, in a new project: it works, and takes the tested versions."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
import upgrade
from conftest import PROJECT_FOLDER, Run

REPO = Path(__file__).parent.parent
UV = Path(sys.executable).with_name("uv")
HOME = Path.home()  # the user's, which tests do not see: what it has downloaded is used again
VERSIONS = ("3.11", "3.12", "3.13", "3.14")


@cache
def pythons() -> dict[str, Path]:
    """Return the Pythons of this machine by version; pyenv's are not all on the path."""
    root = Path(os.environ.get("PYENV_ROOT", HOME / ".pyenv"))
    found: dict[str, Path] = {}
    for version in VERSIONS:
        of_pyenv = root.glob(f"versions/{version}.*/bin/python")
        on_path = shutil.which(f"python{version}")
        for path in [*([Path(on_path)] if on_path else []), *of_pyenv]:
            asked = subprocess.run([str(path), "--version"], capture_output=True, check=False)
            if asked.returncode == 0:
                found.setdefault(version, path)
    return found


@cache
def uv_cache() -> str:
    """Return the folder of uv's cache in the user's home."""
    home = {**os.environ, "HOME": str(HOME), "USERPROFILE": str(HOME)}
    command = [str(UV), "cache", "dir"]
    done = subprocess.run(command, env=home, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def _uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", uv_cache())
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    monkeypatch.setenv("PATH", os.pathsep.join([str(UV.parent), os.environ["PATH"]]))
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)


def test_a_project_says_which_version_of_the_template_made_it() -> None:
    template = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (REPO / PROJECT_FOLDER / "pyproject.toml").read_text(encoding="utf-8")
    made_by = tomllib.loads(text)["tool"][template["name"]]
    assert made_by["version"] == template["version"]
    changelog = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{made_by['version']}] - {made_by['date']}\n" in changelog


def test_the_first_command_works(run: Run, template: Path, tmp_path: Path) -> None:
    folder = "Pasta de Íris"
    run("cookiecutter", template, "--no-input", "-o", folder, "language=pt-BR", cwd=tmp_path)
    first = run("uv", "run", "main.py", cwd=tmp_path / folder / "iris-project")
    assert first.returncode == 0, first.stderr
    assert "Accuracy     93.33% of the test set" in first.stdout


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_uv_takes_the_versions_of_requirements_txt(
    version: str, run: Run, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if version not in pythons():
        pytest.skip(f"Python {version} is not on this machine")
    monkeypatch.setenv("UV_PYTHON", str(pythons()[version]))
    run("cookiecutter", template, "--no-input", cwd=tmp_path)
    project = tmp_path / "iris-project"
    if version == max(pythons()):  # tests/project/test_changes.py runs them on this Python
        tests = run("uv", "run", "pytest", "-q", cwd=project)
        assert tests.returncode == 0, tests.stdout + tests.stderr
    else:
        assert run("uv", "sync", cwd=project).returncode == 0
    monkeypatch.delenv("UV_PYTHON")
    same = run("uv", "pip", "install", "--dry-run", "-r", "requirements.txt", cwd=project)
    assert "Would make no changes" in same.stderr


@pytest.mark.slow
def test_a_package_is_added_as_its_owner_expects(run: Run, template: Path, tmp_path: Path) -> None:
    run("cookiecutter", template, "--no-input", cwd=tmp_path)
    project = tmp_path / "iris-project"
    added = run("uv", "add", "--no-sync", "humanize", cwd=project)
    assert added.returncode == 0, added.stderr
    assert '"humanize>=' in (project / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_folder_of_wheels_is_enough(
    run: Run, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/teaching.md has it; it tells no upload times, after which `exclude-newer` asks."""
    monkeypatch.delenv("UV_PYTHON", raising=False)  # else uv installs there, not in `.venv`
    run("cookiecutter", template, "--no-input", cwd=tmp_path)
    project = tmp_path / "iris-project"
    wheels = project / "wheelhouse"
    wheels.mkdir()
    pinned = next(
        line
        for line in (project / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("tzlocal==")
    )
    name = pinned.replace("==", "-")
    download = run(sys.executable, "-m", "pip", "download", "--no-deps", pinned, cwd=wheels)
    assert list(wheels.glob(f"{name}-*.whl")), download.stderr
    page = (REPO / "docs" / "teaching.md").read_text(encoding="utf-8")
    make, install, start = re.findall(r"^uv .*", page, re.MULTILINE)
    for command in (
        make,
        install.replace("-r requirements.txt", f"--no-deps {pinned}"),
        start.replace("main.py", "python -c 'import tzlocal'"),
    ):
        done = run(*shlex.split(command), cwd=project, UV_OFFLINE="1")
        assert done.returncode == 0, done.stderr


def test_an_upgrade_counts_the_newest_version_where_platforms_differ() -> None:
    lines = "numpy==2.10.0 ; python_version >= '3.12'\nnumpy==2.9.1 ; python_version < '3.12'\n"
    assert upgrade.versions(lines) == {"numpy": "2.10.0"}


@pytest.mark.parametrize(
    ("bounds", "newest", "raised"),
    [
        ('"obstore>=0.12,<0.13"', "0.12.3", '"obstore>=0.12,<0.13"'),
        ('"obstore>=0.12,<0.13"', "0.14.2", '"obstore>=0.12,<0.15"'),
        ('"pandera[pandas]>=0.29,<1"', "2.1.0", '"pandera[pandas]>=0.29,<3"'),
        ('"prefect>=3.9.1,<4"', "3.10.0", '"prefect>=3.10.0,<4"'),
    ],
)
def test_an_upgrade_raises_a_bound_that_keeps_a_newer_version_out(
    bounds: str, newest: str, raised: str
) -> None:
    found = upgrade.BOUNDED.search(bounds)
    assert found
    assert upgrade.raised(found, {found["name"]: newest}) == raised
