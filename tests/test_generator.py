"""What is generated: the right files, which all parse whatever was answered."""

from __future__ import annotations

import ast
import datetime
import json
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import PROJECT_FOLDER, Bake, BakedProject, Run, typed_answers
from cookiecutter.generate import generate_context
from cookiecutter.prompt import prompt_for_config
from cookiecutter.utils import create_env_with_context
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jinja2 import DictLoader
from markdown_it import MarkdownIt
from post_gen_project import TRANSLATED_FILES
from template_copy import REPO

from local_extensions import MAX_LENGTHS

LICENCE_TITLES = {
    "MIT": "MIT License",
    "BSD-3-Clause": "BSD 3-Clause License",
    "Apache-2.0": "Apache License",
}
HOSTILE_NAMES = {
    "apostrophe": "L'été d'Íris",
    "quotes": '"Iris" \'""" and \'\'\' end',
    "backslashes": "C:\\new\\table \\",
    "jinja": "{{ 7 * 7 }} {% raw %} {# gone #} {{ cookiecutter }} {{ undefined_name }}",
    "jinja-attack": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "jinja-unclosed": "{{ {% {# }}",
    "shell": "${HOME} $(id) `id` %PATH% ; & | > <",
    "newlines": "Iris\r\n\r\n# Other heading\n\tname = 'x'\u2028---\x85",
    "prefect": "{{ $HOME }} {{ prefect.variables.secret }}",
    "markdown": "# <script>alert(1)</script> [a](b) ![c](d) *e* _f_ ~~g~~ a|b &lt; <!-- `h` #",
    "toml": 'x"]\n[tool.evil]\nname = "y',
    "yaml": "x: y # z\n- !!python/name:os.system *a &b",
    "emoji": "🌸 Íris 👩‍🔬",
    "right-to-left": "مشروع السوسن",
    "chinese": "鸢尾花",
    "digits": "2024",
    "markup": "[bold]Iris[/bold]",
    "long": "x" * MAX_LENGTHS["project_name"],
}
ANY_NAME = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"),
    min_size=1,
    max_size=MAX_LENGTHS["project_name"],
).filter(str.strip)
LANGUAGES = ["en", "pt-BR"]


def questions() -> dict[str, Any]:
    """Return the content of `cookiecutter.json`."""
    found = json.loads((REPO / "cookiecutter.json").read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def one_line(name: str) -> str:
    """Return a name as files have it."""
    return " ".join(name.split())


def strings_in(value: object) -> set[str]:
    """Return all strings in a parsed document."""
    if isinstance(value, dict):
        return strings_in([*value.keys(), *value.values()])
    if isinstance(value, list):
        return set().union(*map(strings_in, value))
    return {value} if isinstance(value, str) else set()


def assert_all_parses(project: BakedProject, but: str = "") -> None:
    """Parse each generated file whose format has a grammar, those that end in `but` excepted."""
    parsers: dict[str, Callable[[str], object]] = {
        ".ipynb": json.loads,
        ".json": json.loads,
        ".py": ast.parse,
        ".toml": tomllib.loads,
        ".yaml": yaml.safe_load,
        ".yml": yaml.safe_load,
    }
    for path in project.files():
        if path.suffix in parsers and path.suffix != but:
            parsers[path.suffix](path.read_text(encoding="utf-8"))


def outline(markdown: str) -> list[str]:
    """Return the blocks that a Markdown text consists of, and the links and HTML in them."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
    inline = [child.type for token in tokens for child in token.children or []]
    return [token.type for token in tokens] + [kind for kind in inline if "text" not in kind]


def title(markdown: str) -> str:
    """Return the first heading as a reader sees it."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
    heading = next(token for token in tokens if token.type == "inline")
    return "".join(child.content for child in heading.children or [])


def test_there_are_at_most_six_questions_each_explained() -> None:
    found = questions()
    asked = {name: default for name, default in found.items() if not name.startswith("_")}
    assert len(asked) <= 6
    assert set(found["__prompts__"]) == set(asked)
    for name, default in asked.items():
        if isinstance(default, list):
            assert set(found["__prompts__"][name]) == {"__prompt__", *default}


@pytest.mark.parametrize("name", ["pyproject.toml", "prefect.yaml"])
def test_the_template_folder_parses_before_it_is_rendered(name: str) -> None:
    text = (REPO / PROJECT_FOLDER / name).read_text(encoding="utf-8")
    parsed = tomllib.loads(text) if name.endswith(".toml") else yaml.safe_load(text)
    assert any("cookiecutter" in value for value in strings_in(parsed))


def test_no_python_file_has_jinja_in_it() -> None:
    for path in (REPO / PROJECT_FOLDER).rglob("*.py"):
        assert "{{ cookiecutter" not in path.read_text(encoding="utf-8"), path


def test_the_project_of_the_defaults_is_complete(default_project: BakedProject) -> None:
    names = default_project.names()
    assert default_project.path.name == "iris-project"
    assert {"main.py", "README.md", "LICENSE", "pyproject.toml", "prefect.yaml"} <= set(names)
    assert_all_parses(default_project)


def test_nothing_is_left_over(default_project: BakedProject) -> None:
    for path in default_project.files():
        content = path.read_bytes()
        assert content.strip(), f"{path} is empty"
        if path.suffix not in {".png", ".parquet", ".skops"} and "-pool" not in path.name:
            assert b"{{" not in content.replace(b"${{", b""), path  # GitHub's
            assert b"{%" not in content, path
        assert "{{" not in str(path.relative_to(default_project.path))


def test_only_the_chosen_language_is_there(default_project: BakedProject) -> None:
    assert not [name for name in default_project.names() if "pt-BR" in name]
    source = "README.pt-BR.md" if default_project.language == "pt-BR" else "README.md"
    text = (REPO / PROJECT_FOLDER / source).read_text(encoding="utf-8")
    text = re.sub(r"{%-? if .*?{%-? endif -?%}", "", text, flags=re.DOTALL)  # not the lessons
    lines = [line for line in text.splitlines() if "{{" not in line]
    assert set(lines) <= set(default_project.text("README.md").splitlines())


def test_each_translated_file_is_known_to_the_hook() -> None:
    found = {
        path.relative_to(REPO / PROJECT_FOLDER).as_posix().replace(".pt-BR", "")
        for path in (REPO / PROJECT_FOLDER).rglob("*.pt-BR.*")
        if not path.is_relative_to(REPO / PROJECT_FOLDER / "lessons")  # they stay in both
    }
    assert found == set(TRANSLATED_FILES)


def test_without_the_lessons_no_file_speaks_of_them(default_project: BakedProject) -> None:
    for path in default_project.files():
        words = f"{path.relative_to(default_project.path)}\n{path.read_bytes().decode('utf-8')}"
        found = re.search(r".*(lesson|workshop|lição|lições|oficina).*", words, re.IGNORECASE)
        assert not found, f"{path}: {found[0]}"
    assert not [path for path in default_project.path.rglob("*") if "lessons" in path.name]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_lessons_are_there_in_both_languages(run: Run, bake: Bake, language: str) -> None:
    project = bake(lessons="yes", language=language)
    template = REPO / PROJECT_FOLDER / "lessons"
    names = {name for name in project.names() if name.startswith("lessons/")}
    wanted = {path.relative_to(template.parent).as_posix() for path in template.rglob("*.*")}
    originals = {name for name in names if name.startswith("lessons/workshop/originals/")}
    assert names - originals == {name for name in wanted if not name.endswith(".pyc")}
    exercises = {name for name in names if re.fullmatch(r"lessons/\d\d_\w+/exercise.py", name)}
    assert {f"lessons/{Path(name).stem}/exercise.py" for name in originals} == exercises
    for name in originals:
        exercise = f"lessons/{Path(name).stem}/exercise.py"
        assert project.text(name) == project.text(exercise), "it is what `reset` puts back"
    assert_all_parses(project)
    for path in project.files():
        if "-pool" not in path.name:  # whose gaps Prefect fills
            assert "{{" not in path.read_text(encoding="utf-8").replace("${{", ""), path
    listed = run(sys.executable, "main.py", "lessons", "list", cwd=project.path)
    assert {"en": "1 Tasks: open\n", "pt-BR": "1 Tarefas: em aberto\n"}[language] in listed.stdout


def test_the_help_names_the_lessons_without_importing_them(run: Run, bake: Bake) -> None:
    project = bake(lessons="yes")
    (project.path / "lessons" / "workshop" / "commands.py").write_text("1 / 0", encoding="utf-8")
    helped = run(sys.executable, "main.py", "--help", cwd=project.path)
    assert helped.returncode == 0
    assert "lessons" in helped.stdout


@pytest.mark.parametrize("licence", LICENCE_TITLES)
def test_the_chosen_licence_is_there(bake: Bake, licence: str) -> None:
    project = bake(license=licence, author_name="Íris \n da Silva")
    text = project.text("LICENSE")
    year = datetime.datetime.now(datetime.UTC).year
    assert text.strip().startswith(LICENCE_TITLES[licence])
    assert f"{year} Íris da Silva\n" in text
    assert not (project.path / "licenses").exists()
    assert tomllib.loads(project.text("pyproject.toml"))["project"]["license"] == licence


def test_without_a_licence_no_file_speaks_of_one(bake: Bake) -> None:
    project = bake(license="none")
    assert not {"LICENSE", "licenses"} & {path.name for path in project.path.iterdir()}
    assert "license" not in project.text("pyproject.toml")
    assert not re.search("licen[cs]", project.text("README.md"), re.IGNORECASE)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Iris Project", "iris-project"),
        ("Íris São Paulo", "iris-sao-paulo"),
        ("  Iris\n\tProject  ", "iris-project"),
        ("L'été -- 2024!", "l-ete-2024"),
        ("2024 Iris", "2024-iris"),
        ("🌸", "project"),
        ("Con", "con-project"),  # Windows reserves the name
        ("x" * 100, "x" * 50),
    ],
)
def test_the_folder_is_named_after_the_project(name: str, slug: str) -> None:
    assert answers_for(project_name=name)["project_slug"] == slug


def test_the_distribution_never_has_the_name_of_a_dependency(bake: Bake) -> None:
    project = bake(project_slug="prefect")
    assert tomllib.loads(project.text("pyproject.toml"))["project"]["name"] == "prefect-flows"
    pins = project.text("requirements.txt")
    assert not re.search("^[a-z0-9-]+-flows==", pins, re.MULTILINE)


def test_the_longest_name_gives_an_author_who_is_legal_too(bake: Bake) -> None:
    name = "x" * MAX_LENGTHS["project_name"]
    assert f"{name} authors" in bake(project_name=name).text("LICENSE")


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES.keys())
def test_any_name_is_legal_and_stays_what_it_is(bake: Bake, name: str) -> None:
    project = bake(project_name=name, author_name=name)
    assert_all_parses(project)
    metadata = tomllib.loads(project.text("pyproject.toml"))
    assert metadata["project"]["authors"] == [{"name": one_line(name)}]
    assert "evil" not in metadata.get("tool", {})
    assert f" {one_line(name)}\n" in project.text("LICENSE")
    for text in strings_in(yaml.safe_load(project.text("prefect.yaml"))):
        assert "$" not in text
        assert "{{" not in text, "Prefect would take it for a variable"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES.keys())
def test_no_name_changes_what_the_readme_consists_of(
    template: Path, language: str, name: str
) -> None:
    source = "README.md" if language == "en" else "README.pt-BR.md"
    usual, hostile = (
        render(template / PROJECT_FOLDER / source, answers_for(project_name=x, author_name=x))
        for x in ("Iris Project", name)
    )
    assert outline(hostile) == outline(usual)
    assert title(hostile) == title(usual).replace("Iris Project", one_line(name))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=ANY_NAME, author=ANY_NAME)
def test_any_two_names_give_a_project_that_parses(bake: Bake, name: str, author: str) -> None:
    project = bake(project_name=name, author_name=author)
    assert_all_parses(project)
    authors = tomllib.loads(project.text("pyproject.toml"))["project"]["authors"]
    assert authors == [{"name": one_line(author)}]


@settings(max_examples=200, deadline=None)
@given(name=ANY_NAME)
@example("{{ cookiecutter.project_name }}")
@example("\\")
@example('"')
def test_any_name_is_the_same_in_toml_yaml_and_json(name: str) -> None:
    answers = answers_for(project_name=name, author_name=name)
    assert answers["project_name"] == name
    for escaped in (answers["__project_name"], answers["__author_name"]):
        assert tomllib.loads(f'name = "{escaped}"') == {"name": one_line(name)}
        assert yaml.safe_load(f'name: "{escaped}"') == {"name": one_line(name)}
        assert json.loads(f'{{"name": "{escaped}"}}') == {"name": one_line(name)}
    tag = yaml.safe_load(f'"{answers["__project_tag"]}"')
    assert not re.search("[{}$]", tag)
    assert len(tag) == len(one_line(name))


def test_jinja_typed_at_the_prompt_is_not_rendered(
    run: Run, template: Path, tmp_path: Path
) -> None:
    name = "{{ 7 * 7 }}{% set x = 1 %}{# no #}"
    keyboard = f"\n{name}\n{name}\n\n\n\n"
    for options, stdin in ((["-o", "typed"], keyboard), (["--replay", "-o", "replayed"], "")):
        finished = run("cookiecutter", template, *options, cwd=tmp_path, stdin=stdin)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        project = BakedProject(tmp_path / options[-1] / "7-7-set-x-1-no")
        metadata = tomllib.loads(project.text("pyproject.toml"))
        assert metadata["project"]["authors"] == [{"name": name}]


def test_the_prompts_are_in_both_languages(run: Run, template: Path, tmp_path: Path) -> None:
    keyboard = "2\nÍris São Paulo\nAna d'Ávila\n\n3\n2\n"
    finished = run("cookiecutter", template, cwd=tmp_path, stdin=keyboard)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    for words in ("Nome do projeto", "(iris-sao-paulo)", "Português do Brasil", "MIT: ", "lições"):
        assert words in finished.stdout
    project = BakedProject(tmp_path / "iris-sao-paulo")
    assert "Apache License" in project.text("LICENSE")
    assert (project.path / "lessons" / "01_tasks" / "LESSON.md").exists()
    authors = tomllib.loads(project.text("pyproject.toml"))["project"]["authors"]
    assert authors == [{"name": "Ana d'Ávila"}]
    assert "Seu projeto está pronto" in finished.stdout


@pytest.mark.parametrize("lessons", ["no", "yes"])
def test_a_generated_project_is_clean_under_ruff_and_mypy(
    run: Run, bake: Bake, lessons: str
) -> None:
    project = bake(lessons=lessons)
    tools = [["ruff", "check"], ["ruff", "format", "--check"]]
    if lessons == "yes":  # all Python files there are, those of a project without lessons too
        tools.append(["mypy"])
    for tool in tools:
        finished = run(sys.executable, "-m", *tool, ".", cwd=project.path)
        assert finished.returncode == 0, finished.stdout + finished.stderr


def answers_for(**answers: str) -> dict[str, Any]:
    """Return all variables of `cookiecutter.json` when these answers are typed."""
    with typed_answers(answers):
        return dict(prompt_for_config(generate_context(str(REPO / "cookiecutter.json"))))


def render(path: Path, answers: dict[str, Any]) -> str:
    """Return a file of the template as cookiecutter renders it."""
    environment = create_env_with_context({"cookiecutter": answers})
    environment.loader = DictLoader({path.name: path.read_text(encoding="utf-8")})
    rendered: str = environment.get_template(path.name).render(cookiecutter=answers)
    return rendered
