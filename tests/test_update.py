"""Generating again: replay, overwriting, zip files, and cruft."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from conftest import PROJECT_FOLDER, Bake, BakedProject, Run

OWN_FILES = ["notes.md", "notes.pt-BR.md", "licenses/MY-DATA", ".venv/lib/x.pt-BR.md"]
OWN_FILES += ["docs/notes.pt-BR.md", "lessons/01_tasks/mine.py", "lessons/notes.md"]


def git(folder: Path, *arguments: str) -> None:
    """Run git with an identity for the test."""
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    command = ["git", *identity, *arguments]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)


@pytest.fixture
def template_repo(template: Path, tmp_path: Path) -> Path:
    """Return the template as a git repository of its own."""
    repo = shutil.copytree(template, tmp_path / "template")
    git(repo, "init")
    git(repo, "add", "--all")
    git(repo, "commit", "-m", "Template")
    return repo


def test_replay_gives_the_same_project_again(run: Run, template: Path, tmp_path: Path) -> None:
    answers = ["project_name=Íris 'São' 1", "language=pt-BR", "license=none"]
    run("cookiecutter", template, "--no-input", *answers, "-o", "first", cwd=tmp_path)
    finished = run("cookiecutter", template, "--replay", "-o", "second", cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    first, second = (BakedProject(tmp_path / x / "iris-sao-1") for x in ("first", "second"))
    assert first.names() == second.names()
    for name in first.names():
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()


def test_an_existing_folder_is_not_touched_without_f(
    run: Run, template: Path, tmp_path: Path
) -> None:
    (tmp_path / "iris-project").mkdir()
    finished = run("cookiecutter", template, "--no-input", cwd=tmp_path)
    assert finished.returncode == 1
    assert "already exists" in finished.stdout
    assert not list((tmp_path / "iris-project").iterdir())


@pytest.mark.parametrize(("language", "lessons"), [("en", "no"), ("pt-BR", "yes")])
def test_overwriting_keeps_a_person_s_own_files(
    run: Run, template: Path, tmp_path: Path, language: str, lessons: str
) -> None:
    run("cookiecutter", template, "--no-input", f"lessons={lessons}", cwd=tmp_path)
    project = BakedProject(tmp_path / "iris-project")
    before = project.names()
    for name in OWN_FILES:
        (project.path / name).parent.mkdir(parents=True, exist_ok=True)
        (project.path / name).write_text("mine", encoding="utf-8")
    (project.path / "main.py").write_text("damaged", encoding="utf-8")
    again = ["--no-input", "-f", f"language={language}", f"lessons={lessons}"]
    finished = run("cookiecutter", template, *again, cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert project.names() == sorted([*before, *OWN_FILES], key=lambda name: Path(name).parts)
    assert {project.text(name) for name in OWN_FILES} == {"mine"}
    assert project.text("main.py") != "damaged"


@pytest.mark.parametrize("lessons", ["no", "yes"])
def test_overwriting_keeps_the_exercises_that_a_student_has_edited(
    run: Run, template: Path, tmp_path: Path, lessons: str
) -> None:
    run("cookiecutter", template, "--no-input", "lessons=yes", cwd=tmp_path)
    project = BakedProject(tmp_path / "iris-project")
    solved = "lessons/01_tasks/exercise.py"
    delivered = project.text(solved)
    (project.path / solved).write_text("solved", encoding="utf-8")
    finished = run("cookiecutter", template, "--no-input", "-f", f"lessons={lessons}", cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert project.text(solved) == "solved"
    if lessons == "no":
        assert [name for name in project.names() if name.startswith("lessons/")] == [solved]
    else:
        assert project.text("lessons/workshop/originals/01_tasks.txt") == delivered
        assert ".set-aside" not in {path.name for path in project.path.iterdir()}


@pytest.mark.parametrize("answers", [["language=pt-BR", "license=none"], ["lessons=yes"]])
def test_skipping_what_exists_keeps_each_file_of_a_person(
    run: Run, template: Path, tmp_path: Path, answers: list[str]
) -> None:
    run("cookiecutter", template, "--no-input", "lessons=yes", cwd=tmp_path)
    project = BakedProject(tmp_path / "iris-project")
    generated = project.names()
    for name in (*generated, "README.pt-BR.md", "licenses/MIT", "runtime/server/mine.py"):
        (project.path / name).parent.mkdir(exist_ok=True)
        (project.path / name).write_text(f'mine, about lessons\nlicense = "none"\n{name}', "utf-8")
    mine = {name: project.text(name) for name in project.names()}
    lost = ["docs/caching.md", "flows/tune.py", "LICENSE", "pyproject.toml"]
    for name in lost:
        (project.path / name).unlink()
    again = ["--no-input", "-f", "-s", *answers]
    finished = run("cookiecutter", template, *again, cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for name in mine.keys() - set(lost):
        assert project.text(name) == mine[name], name
    without = {"LICENSE"} if "license=none" in answers else set()
    assert set(project.names()) == mine.keys() - without, "what was lost is there again, no more"
    assert tomllib.loads(project.text("pyproject.toml"))["project"]["name"] == "iris-project-flows"
    assert ("lessons" in project.text("pyproject.toml")) == ("lessons=yes" in answers)
    portuguese = "language=pt-BR" in answers
    assert project.text("docs/caching.md").startswith("# Cache e" if portuguese else "# Caching")


def test_a_folder_that_holds_a_repository_s_first_files_keeps_them(
    run: Run, template: Path, tmp_path: Path
) -> None:
    project = BakedProject(tmp_path / "iris-project")
    project.path.mkdir()
    mine = {"README.md": "# Mine\n", "LICENSE": "Mine\n", "notes.ipynb": "{}"}
    for name, text in mine.items():
        (project.path / name).write_text(text, encoding="utf-8")
    finished = run("cookiecutter", template, "--no-input", "-f", "-s", cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert {name: project.text(name) for name in mine} == mine
    assert {"main.py", "docs/caching.md", "flows/tune.py"} <= set(project.names())
    assert not [name for name in project.names() if "pt-BR" in name or "licenses" in name]
    assert not (project.path / ".git").exists(), "the first commit is for a new project"


def test_each_file_that_cookiecutter_never_skips_is_set_aside(
    template: Path, bake: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = bake(lessons="yes").path
    monkeypatch.chdir(project)
    runpy.run_path(str(template / "hooks" / "pre_gen_project.py"), run_name="__main__")
    questions = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    names = [
        path.relative_to(template / PROJECT_FOLDER)
        for path in (template / PROJECT_FOLDER).rglob("*")
        if path.is_file()
    ]
    never_skipped = {
        name
        for name in names
        for pattern in questions["_copy_without_render"]
        if fnmatch(str(name), pattern)
    }
    assert {name for name in never_skipped if (project / name).exists()} <= {
        path.relative_to(project / ".set-aside") for path in (project / ".set-aside").rglob("*")
    }


def test_a_zip_file_of_the_repository_works(run: Run, template: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(
        str(tmp_path / "template"), "zip", root_dir=template.parent, base_dir=template.name
    )
    finished = run("cookiecutter", archive, "--no-input", cwd=tmp_path)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "README.md" in BakedProject(tmp_path / "iris-project").names()


@pytest.mark.parametrize("given", [".", "./template", "../here/template/"])
def test_a_relative_path_to_the_template_works(
    run: Run, template: Path, tmp_path: Path, given: str
) -> None:
    copy = shutil.copytree(template, tmp_path / "here" / "template")
    here = copy if given == "." else copy.parent
    finished = run("cookiecutter", given, "--no-input", "-o", "a b", cwd=here)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "README.md" in BakedProject(here / "a b" / "iris-project").names()


def test_cruft_creates_and_updates(run: Run, template_repo: Path, tmp_path: Path) -> None:
    name = "\"Turma\" 'Íris'"
    answers = json.dumps({"project_name": name, "author_name": name, "language": "pt-BR"})
    created = run(
        "cruft", "create", template_repo, "--no-input", "--extra-context", answers, cwd=tmp_path
    )
    assert created.returncode == 0, created.stdout + created.stderr
    assert " add --all" in created.stdout
    [path] = (folder for folder in tmp_path.iterdir() if (folder / ".cruft.json").exists())
    project = BakedProject(path)
    assert not (path / ".git").exists(), "cruft's own file would not be in the commit"
    git(path, "init")
    git(path, "add", "--all")
    git(path, "commit", "-m", "Generated")

    hook = template_repo / "hooks" / "post_gen_project.py"
    hook.write_text(hook.read_text(encoding="utf-8") + "\n# Newer\n", encoding="utf-8")
    for readme in ("README.md", "README.pt-BR.md"):
        source = template_repo / PROJECT_FOLDER / readme
        line = "\n{{ cookiecutter.__new_line }}\n"
        source.write_text(source.read_text(encoding="utf-8") + line, encoding="utf-8")
    questions = template_repo / "cookiecutter.json"
    content = json.loads(questions.read_text(encoding="utf-8"))
    content["__new_line"] = "{{ cookiecutter.language }} is new"
    questions.write_text(json.dumps(content), encoding="utf-8")
    git(template_repo, "commit", "--all", "-m", "Newer")

    updated = run("cruft", "update", "--skip-apply-ask", cwd=path)
    assert updated.returncode == 0, updated.stdout + updated.stderr
    assert "Seu projeto" not in updated.stdout, "an update is no new project"
    assert project.text("README.md").endswith("\npt-BR is new\n")
    assert name in project.text("LICENSE")
    assert not [found for found in project.names() if found.endswith((".rej", ".orig"))]
    assert not (path / "README.pt-BR.md").exists()

    checked = run("cruft", "check", cwd=path)
    assert checked.returncode == 0, checked.stdout
    unchanged = run("cruft", "diff", "--exit-code", cwd=path)
    assert unchanged.returncode == 0, unchanged.stdout + unchanged.stderr


def test_cruft_prints_why_an_answer_is_refused(
    run: Run, template_repo: Path, tmp_path: Path
) -> None:
    answers = json.dumps({"project_slug": "No!"})
    options = ["--no-input", "--extra-context", answers]
    finished = run("cruft", "create", template_repo, *options, cwd=tmp_path)
    assert finished.returncode != 0
    assert "project_slug 'No!'" in finished.stderr
    assert not (tmp_path / "No!").exists()
