"""Which answers are refused and how, the first commit, and what is printed at the end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import post_gen_project
import pytest
from conftest import BakedProject, Run

import local_extensions

BAD_SLUGS = [
    "Iris",
    "íris",
    "iris project",
    "iris_project",
    "-iris",
    "iris-",
    "iris--project",
    "x" * 61,
    "con",
    "lpt1",
    "",
    ".",
    "..",
    "../evil",
    "../../evil/deep",
    "a/b/c",
    "C:\\evil",
    "iris\n",
    "'; echo evil; '",
]
POSIX = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell or a POSIX program")


def everything_under(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("slug", BAD_SLUGS)
def test_a_bad_folder_name_is_refused_and_leaves_nothing(
    run: Run, template: Path, tmp_path: Path, slug: str
) -> None:
    here = tmp_path / "work" / "here"
    here.mkdir(parents=True)
    before = everything_under(tmp_path)
    finished = run("cookiecutter", template, "--no-input", f"project_slug={slug}", cwd=here)
    assert finished.returncode == 1
    assert repr(slug)[1:-1][:60] in finished.stdout, "the answer is quoted"
    assert everything_under(tmp_path) == before


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("project_name= \t ", "a name is needed"),
        ("author_name=", "a name is needed"),
        ("project_name=" + "x" * 101, "at most 100 characters"),
        ("author_name=a\x1b[31mb", "except control characters"),
        ("project_name=a\x7fb", "except control characters"),
    ],
)
def test_a_bad_name_is_refused(
    run: Run, template: Path, tmp_path: Path, answer: str, why: str
) -> None:
    finished = run("cookiecutter", template, "--no-input", answer, cwd=tmp_path)
    assert finished.returncode == 1
    assert why in finished.stdout
    assert "\x1b" not in finished.stdout
    assert "Traceback" not in finished.stderr
    assert not list(tmp_path.iterdir())


@POSIX
def test_a_name_that_is_no_unicode_is_refused(run: Run, template: Path, tmp_path: Path) -> None:
    invalid = os.fsdecode(b"Iris \xff")
    for question in ("project_name", "author_name"):
        answer = f"{question}={invalid}"
        finished = run("cookiecutter", template, "--no-input", answer, cwd=tmp_path)
        assert finished.returncode == 1
        assert "invalid Unicode" in finished.stdout
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("slug", ["a b", "-x", "CON", "con"])
def test_a_bad_folder_name_is_refused_at_its_own_question_in_the_chosen_language(
    run: Run, template: Path, tmp_path: Path, slug: str
) -> None:
    finished = run("cookiecutter", template, cwd=tmp_path, stdin=f"2\n\n\n{slug}\n")
    assert finished.returncode == 1
    assert "Nome da pasta" in finished.stdout
    assert "Licença" not in finished.stdout, "the next question"
    assert "Nenhum projeto foi gerado" in finished.stdout
    assert f"project_slug '{slug}'" in finished.stdout
    assert "Traceback" not in finished.stderr
    assert not list(tmp_path.iterdir())


def test_all_bad_answers_are_named_at_once_in_the_chosen_language(
    run: Run, template: Path, tmp_path: Path
) -> None:
    bad = ["project_slug=Íris", "author_name= ", "language=pt-BR"]
    finished = run("cookiecutter", template, "--no-input", *bad, cwd=tmp_path)
    assert finished.returncode == 1
    for words in (
        "Nenhum projeto foi gerado",
        "project_slug 'Íris'",
        "só são permitidas letras minúsculas",
        "author_name ' '",
        "é preciso um nome",
    ):
        assert words in finished.stdout


@pytest.mark.parametrize("name", ["50 {% off", "Team {#1", "{{ Iris"])
def test_a_syntax_error_on_the_command_line_is_reported_in_one_sentence(
    run: Run, template: Path, tmp_path: Path, name: str
) -> None:
    finished = run("cookiecutter", template, "--no-input", f"author_name={name}", cwd=tmp_path)
    assert finished.returncode == 1
    assert f"'{name}' can be typed at the prompt, but not" in finished.stdout
    assert "Traceback" not in finished.stderr
    assert not list(tmp_path.iterdir())


def test_with_f_a_refused_answer_leaves_the_project_that_is_there(
    run: Run, template: Path, tmp_path: Path
) -> None:
    run("cookiecutter", template, "--no-input", cwd=tmp_path)
    before = everything_under(tmp_path)
    for bad in ("author_name=", "project_slug=.", "project_slug=iris-project/data"):
        finished = run("cookiecutter", template, "--no-input", "-f", bad, cwd=tmp_path)
        assert finished.returncode == 1
        assert everything_under(tmp_path) == before


# The first commit


def git(folder: Path, *arguments: str) -> str:
    """Return what git prints."""
    command = ["git", *arguments]
    finished = subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return finished.stdout.decode("utf-8").strip()


def test_the_project_is_committed_without_any_git_settings(
    run: Run, template: Path, tmp_path: Path
) -> None:
    run("cookiecutter", template, "--no-input", "author_name=<Ana d'Ávila>.", cwd=tmp_path)
    project = tmp_path / "iris-project"
    assert git(project, "status", "--porcelain") == ""
    assert git(project, "log", "--format=%an|%s") == "Ana d'Ávila|Generate the project"
    assert git(project, "config", "--local", "--get-regexp", ".*").count("user.") == 0


def test_the_user_s_own_identity_is_used(run: Run, template: Path, tmp_path: Path) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("[user]\nname = Bea\nemail = bea@example.org\n", encoding="utf-8")
    command = ["cookiecutter", template, "--no-input"]
    run(*command, cwd=tmp_path, GIT_CONFIG_GLOBAL=str(settings))
    assert git(tmp_path / "iris-project", "log", "--format=%an <%ae>") == "Bea <bea@example.org>"


EVERYTHING = "*.csv\ndata/\n*.json\n*.toml\n.vscode/\n.github/\nlib/\ntests/\ndocs/\n"


def test_a_clone_has_all_files_whatever_the_user_s_git_ignores(
    run: Run, template: Path, tmp_path: Path
) -> None:
    (tmp_path / "ignored").write_text(EVERYTHING, encoding="utf-8")
    settings = tmp_path / "gitconfig"
    settings.write_text(
        f"[core]\nexcludesFile = {(tmp_path / 'ignored').as_posix()}\n", encoding="utf-8"
    )
    command = ["cookiecutter", template, "--no-input"]
    run(*command, cwd=tmp_path, GIT_CONFIG_GLOBAL=str(settings))
    git(tmp_path, "clone", "iris-project", "clone")
    clone, project = BakedProject(tmp_path / "clone"), BakedProject(tmp_path / "iris-project")
    assert clone.names() == project.names()
    finished = run(sys.executable, "main.py", "run", "data-engineer", cwd=clone.path)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_in_another_repository_the_data_is_not_ignored(
    run: Run, template: Path, tmp_path: Path
) -> None:
    git(tmp_path, "init")
    (tmp_path / ".git" / "info" / "exclude").write_text("*.csv\n", encoding="utf-8")
    run("cookiecutter", template, "--no-input", cwd=tmp_path)
    (tmp_path / "iris-project" / "data" / "interim").mkdir()
    (tmp_path / "iris-project" / "data" / "interim" / "x.parquet").write_bytes(b"")
    git(tmp_path, "add", "--all")
    assert git(tmp_path, "ls-files", "iris-project/data") == "iris-project/data/raw/iris.csv"


@POSIX
def test_neither_hooks_nor_signing_of_the_user_get_in_the_way(
    run: Run, template: Path, tmp_path: Path
) -> None:
    hooks = tmp_path / "githooks"
    hooks.mkdir()
    for name in ("pre-commit", "commit-msg", "post-commit", "prepare-commit-msg"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\nexit 1\n", "utf-8")
        (hooks / name).chmod(0o755)
    settings = tmp_path / "gitconfig"
    settings.write_text(
        f"[core]\nhooksPath = {hooks}\nautocrlf = true\nsafecrlf = true\n"
        f"[commit]\ngpgSign = true\ntemplate = /nowhere\n[gpg]\nprogram = /nowhere\n"
        f"[init]\ntemplateDir = {hooks}\n",
        encoding="utf-8",
    )
    finished = run(
        "cookiecutter", template, "--no-input", cwd=tmp_path, GIT_CONFIG_GLOBAL=str(settings)
    )
    assert finished.returncode == 0
    assert not (tmp_path / "ran").exists()
    assert git(tmp_path / "iris-project", "log", "--format=%s") == "Generate the project"


def test_inside_another_repository_none_is_made(run: Run, template: Path, tmp_path: Path) -> None:
    git(tmp_path, "init")
    finished = run("cookiecutter", template, "--no-input", "-o", "deeper", cwd=tmp_path)
    assert finished.returncode == 0
    assert not (tmp_path / "deeper" / "iris-project" / ".git").exists()
    assert "git" not in finished.stdout


def test_an_outer_git_process_is_left_alone(run: Run, template: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init")
    here = tmp_path / "here"
    here.mkdir()
    environment = {"GIT_DIR": str(outer / ".git"), "GIT_WORK_TREE": str(outer)}
    run("cookiecutter", template, "--no-input", cwd=here, **environment)
    assert git(here / "iris-project", "log", "--format=%s") == "Generate the project"
    assert git(outer, "status", "--porcelain") == ""


def test_without_git_the_output_does_not_mention_it(
    run: Run, template: Path, tmp_path: Path
) -> None:
    finished = run("cookiecutter", template, "--no-input", cwd=tmp_path, PATH=str(tmp_path))
    assert finished.returncode == 0
    assert "git" not in finished.stdout
    assert "README.md" in BakedProject(tmp_path / "iris-project").names()


def test_a_commit_that_fails_is_a_hint(run: Run, template: Path, tmp_path: Path) -> None:
    settings = tmp_path / "gitconfig"
    settings.write_text("[core]\nbare = nonsense\n", encoding="utf-8")
    finished = run(
        "cookiecutter", template, "--no-input", cwd=tmp_path, GIT_CONFIG_GLOBAL=str(settings)
    )
    assert finished.returncode == 0
    assert "The first git commit was not made: " in finished.stdout
    assert "nonsense" in finished.stdout
    assert "git -c core.excludesFile= add --all\n" in finished.stdout
    assert "README.md" in BakedProject(tmp_path / "iris-project").names()


# What is printed at the end


def test_the_next_steps_name_the_folder_as_the_user_sees_it(
    run: Run, template: Path, tmp_path: Path
) -> None:
    finished = run("cookiecutter", template, "--no-input", "-o", "meine Ordner", cwd=tmp_path)
    assert "Your project is ready" in finished.stdout
    assert "uv run main.py" in finished.stdout
    assert "-m pip install -r requirements.txt" in finished.stdout
    if os.name != "nt":
        assert "cd 'meine Ordner/iris-project'\n" in finished.stdout


def test_a_console_that_knows_ascii_only_is_enough(
    run: Run, template: Path, tmp_path: Path
) -> None:
    console = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    answers = ["project_name=Íris 🌸", "project_slug=iris", "language=pt-BR"]
    command = ["cookiecutter", template, "--no-input", *answers, "-o", "Íris 🌸"]
    finished = run(*command, cwd=tmp_path, **console)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "Seu projeto est? pronto" in finished.stdout
    refused = run(*command, "-f", "author_name= ", cwd=tmp_path, **console)
    assert refused.returncode == 1
    assert "preciso um nome" in refused.stdout


@POSIX
def test_nobody_reading_does_no_harm(template: Path, tmp_path: Path) -> None:
    cookiecutter = Path(sys.executable).with_name("cookiecutter")
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [str(cookiecutter), str(template), "--no-input"]
    finished = subprocess.run(command, cwd=tmp_path, stdout=write_end, check=False)
    os.close(write_end)
    assert finished.returncode == 0
    assert "README.md" in BakedProject(tmp_path / "iris-project").names()


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("iris-project", "iris-project"),
        (r"C:\Users\ana", r"C:\Users\ana"),
        (r"C:\My Files\iris", r'"C:\My Files\iris"'),
        ("author_name=Ana d'Ávila", '''"author_name=Ana d'Ávila"'''),
        ("author_name=$x", "'author_name=$x'"),
        ("it's $x", "'it''s $x'"),
    ],
)
def test_words_are_quoted_for_windows(
    monkeypatch: pytest.MonkeyPatch, word: str, quoted: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        result = post_gen_project.quoted(word)
    assert result == quoted


@pytest.mark.parametrize("lessons", ["no", "yes"])
def test_with_the_lessons_they_come_next(
    run: Run, template: Path, tmp_path: Path, lessons: str
) -> None:
    finished = run("cookiecutter", template, "--no-input", f"lessons={lessons}", cwd=tmp_path)
    assert ("  uv run main.py\n  uv run main.py lessons\n" in finished.stdout) == (lessons == "yes")
    readme = (tmp_path / "iris-project" / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python main\.py.*", readme, re.MULTILINE)
    assert commands[:2][-1].startswith("python main.py lessons") == (lessons == "yes")


def test_on_windows_nothing_needs_to_be_activated(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "name", "nt")
        messages = post_gen_project.MESSAGES["en"]
        steps = post_gen_project.next_steps(r"C:\a b\iris", messages, ["main.py"])
    assert '  cd "C:\\a b\\iris"\n' in steps
    assert "  .venv\\Scripts\\python main.py\n" in steps
    assert "source" not in steps


def test_each_message_is_in_both_languages() -> None:
    for module in (local_extensions, post_gen_project):
        assert module.MESSAGES["en"].keys() == module.MESSAGES["pt-BR"].keys()
