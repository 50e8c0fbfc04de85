"""Any answers typed at the prompts: refused with a sentence, or a project in which all parses.

Cookiecutter's prompts are replaced, and its hooks run in this process, since hundreds of examples
would otherwise start a thousand interpreters. `make torture` tries thousands.

Answers on the command line are rendered by cookiecutter itself, and are not tried here.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import shutil
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import PROJECT_FOLDER, BakedProject, Run, typed_answers
from cookiecutter import hooks
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from test_generator import assert_all_parses, one_line, outline, questions, strings_in

CANARY = "canary"
NASTY = [
    *(
        "../x",
        "../../x/y",
        "..",
        ".",
        "/abs",
        "~",
        "C:\\x",
        "\\\\host\\x",
        "a/b",
        ".git",
        "-rf",
        "--",
    ),
    *("con", "NUL", "aux.txt", "com1", "prefect", "pandas", "iris-project", "x" * 10_000, "-", "_"),
    *(
        "\0",
        "\r\n",
        "\n\n# x\n",
        "\t",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "\u2028",
        "\ufeff",
        "\u202e",
        "\ud800",
    ),
    *(
        "'",
        '"',
        "'''",
        '"""',
        "\\",
        "\\'",
        '\\"',
        "`",
        "\\N{BULLET}",
        "\\x00",
        "%s",
        "{0}",
        "$",
        "${HOME}",
    ),
    *(
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "{% raw %}",
        "{{ cookiecutter }}",
        "{{ 7 * 7 }}",
        "${{ x }}",
    ),
    *(
        ": ",
        " #",
        "- ",
        "*a",
        "&a",
        "!!",
        "|",
        ">",
        "[",
        "]",
        "<",
        "---",
        "...",
        "? ",
        "=",
        "\n[tool.x]\n",
    ),
    *("<script>", "<!--", "](x)", "![x](y)", "| a |", "```", "~~~", "&lt;", "$x$", "* * *", "<a>"),
    f"$(touch {CANARY})",
    f"`touch {CANARY}`",
    f"; touch {CANARY} #",
    f"'; touch {CANARY}; '",
    f"& echo x > {CANARY} &",
    f"!!python/object/apply:os.mkdir [{CANARY}]",
    f"__import__('os').mkdir('{CANARY}')",
    f'"""); __import__("os").mkdir("{CANARY}") #',
    f"{{{{ cycler.__init__.__globals__.os.mkdir('{CANARY}') }}}}",
    f"{{% set x = cycler.__init__.__globals__.os.mkdir('{CANARY}') %}}",
    *("Iris", "São Paulo", "🌸", "مشروع", "鸢尾花", " ", "2024", "ß", "ﬁ", "İ"),
]
ANSWER = st.one_of(
    st.lists(st.sampled_from(NASTY), min_size=1, max_size=4).map("".join),
    st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=8)), max_size=6).map("".join),
    st.text(st.characters(), max_size=130),
)
SLUG = st.one_of(ANSWER, st.from_regex(r"[a-z0-9]{1,9}(-[a-z0-9]{1,9}){0,3}", fullmatch=True))


@st.composite
def answers(draw: st.DrawFn) -> dict[str, str]:
    """Return answers to some of the questions; the others stay at their defaults."""
    given_answers = {}
    for name, default in questions().items():
        if name.startswith("_") or not draw(st.booleans()):
            continue
        if isinstance(default, list):
            given_answers[name] = draw(st.sampled_from(default))
        else:
            given_answers[name] = draw(SLUG if name == "project_slug" else ANSWER)
    return given_answers


def run_hook_here(script_path: str, cwd: Path | str = ".") -> None:
    """Run a rendered hook as cookiecutter does, but in this process."""
    with contextlib.chdir(cwd):
        try:
            runpy.run_path(script_path, run_name="__main__")
        except SystemExit as ended:
            if ended.code:
                raise FailedHookException(f"exit status: {ended.code}") from None


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with one for the output in it; the hooks run in this process, without git."""
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "work").mkdir()
    find = shutil.which
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder / "work"):
        patch.setattr(hooks, "run_script", run_hook_here)
        patch.setattr(shutil, "which", lambda name, *a, **k: name != "git" and find(name, *a, **k))
        patch.setenv("PWD", str(folder / "work"))
        yield folder


def generate(template: Path, sandbox: Path, given_answers: dict[str, str]) -> BakedProject | str:
    """Return the project, or the sentence with which the answers were refused."""
    output = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with (
        contextlib.redirect_stderr(output),
        contextlib.redirect_stdout(output),
        typed_answers(given_answers),
    ):
        try:
            path = cookiecutter(str(template), output_dir=str(sandbox / "work"))
        except FailedHookException as refusal:
            return str(refusal)
    return BakedProject(Path(path), given_answers.get("language", "en"))


def check(template: Path, sandbox: Path, given_answers: dict[str, str]) -> str:
    """Generate, assert what the module promises, and clean up; return "refused" or "generated"."""
    result = generate(template, sandbox, given_answers)
    paths = sorted(path.relative_to(sandbox) for path in sandbox.glob("*/*"))
    if isinstance(result, str):
        sentence = ("No project was generated, because", "Nenhum projeto foi gerado, por causa")
        assert result.strip().startswith(sentence), result
        assert not [c for c in result.replace("\n", "") if unicodedata.category(c) == "Cc"]
        assert paths == []
        return "refused"
    try:
        assert paths == [Path("work", result.path.name)]
        assert not [path for path in sandbox.rglob("*") if path.name == CANARY]
        assert all(path.resolve().is_relative_to(result.path) for path in result.path.rglob("*"))
        check_project(template, result, given_answers)
    finally:
        shutil.rmtree(result.path)
    return "generated"


def check_project(template: Path, project: BakedProject, given_answers: dict[str, str]) -> None:
    """Assert that no answer has become anything but text."""
    for path in project.files():  # the Python files are those of the template, to the byte
        if path.suffix == ".py":
            name = path.relative_to(project.path)
            lines = (template / PROJECT_FOLDER / name).read_bytes().splitlines(keepends=True)
            if not has_lessons(project):  # the hook takes out the lines about them
                lines = [line for line in lines if b"lessons" not in line]
            assert path.read_bytes() == b"".join(lines)
    assert_all_parses(project, but=".py")
    metadata = tomllib.loads(project.text("pyproject.toml"))
    assert metadata.keys() == {"project", "dependency-groups", "build-system", "tool"}
    if author := given_answers.get("author_name"):
        assert metadata["project"]["authors"] == [{"name": one_line(author)}]
    for text in strings_in(yaml.safe_load(project.text("prefect.yaml"))):
        assert "{{" not in text, "Prefect would take it for a variable"
    assert outline(project.text("README.md")) == usual_outline(template, project)


USUAL: dict[tuple[str, str, str], Any] = {}


def has_lessons(project: BakedProject) -> bool:
    """Tell whether the workshop was asked for."""
    return (project.path / "lessons").is_dir()


def usual_outline(template: Path, project: BakedProject) -> list[str]:
    """Return what the README of a project with harmless answers consists of."""
    licence = tomllib.loads(project.text("pyproject.toml"))["project"].get("license", "none")
    key = (project.language, licence, "yes" if has_lessons(project) else "no")
    if key not in USUAL:
        harmless = dict(zip(("language", "license", "lessons"), key, strict=True))
        harmless["project_slug"] = "harmless"
        usual = generate(template, project.path.parent.parent, harmless)
        assert isinstance(usual, BakedProject)
        USUAL[key] = outline(usual.text("README.md"))
        shutil.rmtree(usual.path)
    found: list[str] = USUAL[key]
    return found


HOSTILE = [
    {"project_name": f"{{{{ cycler.__init__.__globals__.os.mkdir('{CANARY}') }}}}"},
    {"author_name": f'"""); __import__("os").mkdir("{CANARY}") #'},
    {"project_name": "\ud800"},
    {"project_slug": "../../escaped"},
    {"project_slug": "con"},
    {"author_name": "x" * 10_000},
]
ANY_ANSWERS = given(given_answers=answers())
PATIENT = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


@pytest.mark.parametrize("given_answers", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_are_refused_or_stay_text(
    template: Path, sandbox: Path, given_answers: dict[str, str]
) -> None:
    check(template, sandbox, given_answers)


@pytest.mark.slow
@settings(PATIENT, max_examples=40)
@ANY_ANSWERS
def test_any_answers_are_refused_or_give_a_project_that_parses(
    template: Path, sandbox: Path, given_answers: dict[str, str]
) -> None:
    event(check(template, sandbox, given_answers))


@pytest.mark.torture
@settings(PATIENT, derandomize=False, max_examples=5_000)
@ANY_ANSWERS
def test_a_great_many_answers_are_refused_or_give_a_project_that_parses(
    template: Path, sandbox: Path, given_answers: dict[str, str]
) -> None:
    event(check(template, sandbox, given_answers))


@settings(PATIENT, max_examples=3)
@ANY_ANSWERS
def test_the_real_prompts_give_a_project_or_nothing(
    template: Path, sandbox: Path, run: Run, given_answers: dict[str, str]
) -> None:
    work = sandbox / "work"
    keyboard = typed_lines(given_answers)
    finished = run("cookiecutter", template, cwd=work, stdin=keyboard, PATH=str(work))
    projects = list(work.iterdir())
    assert len(projects) == (finished.returncode == 0), finished.stderr
    assert "Traceback" not in finished.stderr
    for path in projects:
        check_project(template, BakedProject(path, given_answers.get("language", "en")), {})
        shutil.rmtree(path)


def typed_lines(given_answers: dict[str, str]) -> str:
    """Return what a person types: a line for each question, the number of a choice."""
    lines = []
    for name, default in questions().items():
        if name.startswith("_"):
            continue
        answer = given_answers.get(name, "")
        if answer and isinstance(default, list):
            answer = str(default.index(answer) + 1)
        lines.append("".join(c for c in answer if c.isprintable()))
    return "\n".join(lines) + "\n"
