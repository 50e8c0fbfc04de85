"""Generating again: replay, overwriting, zip files, and cruft."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import PROJECT_FOLDER, BakedProject, Run

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
        assert not [name for name in project.names() if name.endswith(".student")]


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
    assert "git add --all" in created.stdout
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
