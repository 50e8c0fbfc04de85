"""The lessons: each check says the right sentence, and both languages say the same things.

The cases are in `tests/lessons/<lesson>.toml`: changes to the lesson's solution that are right in
another way, or wrong, with the key of the sentence that names the mistake. `make test-all` tries
what is named in `each_time`: the right ones that differ most, and wrong ones that are hard to tell
from them; `make torture` tries the rest.
One lesson alone: `python -m pytest tests/test_lessons.py -k 01_tasks -m ''`.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT_FOLDER, Run
from template_copy import REPO, copy_template

LESSONS = REPO / PROJECT_FOLDER / "lessons"
NAMES = sorted(folder.name for folder in LESSONS.glob("[0-9][0-9]_*"))
LANGUAGES = ("en", "pt-BR")
# What of the project a lesson's exercise uses, as the project's own flows do.
MAY_IMPORT = {
    "06_caching_input": {"runtime"},
    "07_persisted_output": {"runtime"},
    "08_another_flows_output": {"runtime"},
    "15_the_project": {"flows", "ml", "runtime"},
}
SERVES = "exercise.serving("
SERVING = ("ui", "serve")  # these end with Ctrl-C, and are tried in test_running.py


@dataclass(frozen=True)
class Case:
    """A file to check in the place of an exercise, and what the check has to say."""

    lesson: str
    name: str
    source: str
    expects: str | None
    each_time: bool = True
    limit_seconds: float = 1000  # only a hang takes so long
    encoding: str = "utf-8"

    def __str__(self) -> str:
        """Return what the test is called."""
        return f"{self.lesson}-{self.name}"


Check = Callable[[Case], Any]


def toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def texts(lesson: str, language: str = "en") -> dict[str, Any]:
    """Return the texts of a lesson, or of `workshop`."""
    return toml(LESSONS / lesson / f"texts.{language}.toml")


def source(lesson: str, case: dict[str, Any]) -> str:
    """Return the file that a case describes."""
    if "source" in case:
        return str(case["source"])
    text = (LESSONS / lesson / f"{case.get('base', 'solution')}.py").read_text(encoding="utf-8")
    for old, new in case["change"]:
        assert old in text, f"{lesson} has no {old!r} any more"
        text = text.replace(old, new)
    return text


def serves(lesson: str) -> bool:
    """Tell whether the exercise of a lesson, once run, serves deployments until Ctrl-C."""
    return SERVES in (LESSONS / lesson / "test_lesson.py").read_text(encoding="utf-8")


def cases() -> list[Case]:
    """Return all files to check."""
    found = []
    for name in NAMES:
        first = next(iter(texts(name, "en")["findings"]))
        for file, expects in (("exercise", first), ("solution", None)):
            if file == "solution" and name != NAMES[0]:
                continue  # one command checks them all, below
            text = (LESSONS / name / f"{file}.py").read_text(encoding="utf-8")
            found.append(Case(name, file, text, expects))
    for name, file in [(NAMES[0], "any"), *((name, name) for name in NAMES)]:
        described = toml(REPO / "tests" / "lessons" / f"{file}.toml")
        for kind in ("right", "wrong"):
            for title, case in described[kind].items():
                options = {key: case[key] for key in ("limit_seconds", "encoding") if key in case}
                options["each_time"] = f"{kind}.{title}" in described["each_time"]
                called = f"{'any-' if file == 'any' else ''}{kind}-{title}"
                found.append(Case(name, called, source(name, case), case.get("expects"), **options))
    return found


def marked_cases() -> list[Any]:
    """Return the same as parameters of a test; `make test` tries one that is right, one wrong."""

    def mark(case: Case) -> Any:
        if not case.each_time:
            return pytest.mark.torture
        quick = case.lesson == NAMES[0] and case.name in ("exercise", "solution")
        return () if quick else pytest.mark.slow

    return [pytest.param(case, id=str(case), marks=mark(case)) for case in cases()]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the workshop's package, with a server that runs; the rest of the tests see nothing."""
    before, here = dict(os.environ), Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPO / PROJECT_FOLDER)
        server = importlib.import_module("lessons.workshop.server")
        patch.setattr(server, "HOME", tmp_path_factory.mktemp("home") / "São Paulo")
        started = server.start_server()
        runtime_server = importlib.import_module("runtime.server")
        try:
            runtime_server.wait_until_ready(started)
            yield importlib.import_module("lessons.workshop")
        finally:
            runtime_server.stop(started)
            os.environ.clear()
            os.environ.update(before)
            os.chdir(here)


@pytest.fixture(scope="module")
def check(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Check]:
    """Return a function that checks a case; a judge checks many, as it does for a student."""
    checking = importlib.import_module(f"{workshop.__name__}.checking")
    catalogue = importlib.import_module(f"{workshop.__name__}.catalogue")
    folder = tmp_path_factory.mktemp("files")
    judges = [checking.Judge()]

    def check(case: Case) -> Any:
        file = folder / f"{case}.py"
        file.write_text(case.source, encoding=case.encoding)
        if judges[-1].is_spent:
            judges.pop().stop()
            judges.append(checking.Judge())
        lesson = catalogue.Lesson(LESSONS / case.lesson)
        return judges[-1].check(lesson, file, limit_seconds=case.limit_seconds)

    yield check
    for judge in judges:
        judge.stop()


@pytest.mark.parametrize("case", marked_cases())
def test_a_check_says_what_is_wrong_and_nothing_else(case: Case, check: Check) -> None:
    outcome = check(case)
    assert (outcome.key, outcome.values)[: 1 if outcome.key == case.expects else 2] == (
        case.expects,
    )
    if outcome.key:
        catalogue = importlib.import_module("lessons.workshop.catalogue")
        for language in LANGUAGES:
            sentence = catalogue.Lesson(LESSONS / case.lesson).sentence(
                outcome.key, outcome.values, language
            )
            assert not re.search(r"{\w+}|None|Traceback", sentence), sentence
            assert "\n" not in sentence


@pytest.mark.parametrize("lesson", NAMES)
def test_a_lesson_is_complete(lesson: str) -> None:
    assert {path.name for path in (LESSONS / lesson).iterdir() if path.name != "__pycache__"} >= {
        *("LESSON.md", "LESSON.pt-BR.md", "texts.en.toml", "texts.pt-BR.toml"),
        *("exercise.py", "solution.py", "test_lesson.py"),
    }
    described = toml(REPO / "tests" / "lessons" / f"{lesson}.toml")
    assert len(described["right"]) >= 2
    assert len(described["wrong"]) >= 4
    often = [one.split(".") for one in described["each_time"]]
    assert all(title in described[kind] for kind, title in often)
    assert [kind for kind, _ in often].count("right") >= 2
    assert [kind for kind, _ in often].count("wrong") >= 4


@pytest.mark.parametrize("lesson", NAMES)
def test_an_exercise_is_short_and_imports_what_it_may(lesson: str) -> None:
    text = (LESSONS / lesson / "exercise.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    gaps = re.findall(r"# TODO (\d+)", text)
    assert gaps
    assert gaps == sorted(gaps)
    assert "TODO" not in (LESSONS / lesson / "solution.py").read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        imported += [one.name for one in node.names] if isinstance(node, ast.Import) else []
        own = {"flows", "ml", "runtime", "lessons", "exercise"}
        assert {name.split(".")[0] for name in imported} & own <= MAY_IMPORT.get(lesson, set())


@pytest.mark.parametrize("lesson", NAMES)
def test_the_sentences_are_those_that_the_check_may_say(lesson: str) -> None:
    common = texts("workshop", "en")["findings"].keys()
    own = texts(lesson, "en")["findings"].keys()
    said = set(
        re.findall(
            r'(?:expect\([^"]*?|Finding\()"(\w+)"|, "(\w+)"(?:,|\))',
            (LESSONS / lesson / "test_lesson.py").read_text(encoding="utf-8"),
        )
    )
    keys = {key for pair in said for key in pair if key}
    assert own - common <= keys, "a sentence that nothing says"
    tested = {
        case.get("expects")
        for case in toml(REPO / "tests" / "lessons" / f"{lesson}.toml")["wrong"].values()
    }
    assert own <= {*tested, next(iter(own))}, "a sentence that no wrong solution brings up"


@pytest.mark.parametrize("lesson", ["workshop", *NAMES])
def test_both_languages_have_the_same_sentences_with_the_same_gaps(lesson: str) -> None:
    def gaps(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: gaps(one) for key, one in value.items()}
        if isinstance(value, list):
            return [gaps(one) for one in value]
        return sorted(re.findall(r"{\w+}", value))

    one, other = (texts(lesson, language) for language in LANGUAGES)
    assert gaps(one) == gaps(other)
    assert list(one.get("findings", {})) == list(other.get("findings", {}))


@pytest.mark.parametrize("lesson", NAMES)
def test_both_pages_have_the_same_headings_and_code(lesson: str) -> None:
    def outline(name: str) -> tuple[list[str], list[str], list[str]]:
        text = (LESSONS / lesson / name).read_text(encoding="utf-8")
        blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
        prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
        headings = re.findall(r"^#+", prose, re.MULTILINE)
        return headings, blocks, sorted(re.findall(r"\]\((.*?)\)", prose))

    assert outline("LESSON.md") == outline("LESSON.pt-BR.md")


# Each page, its aim, and the heading of its questions.
PAGES = [
    ("LESSON.md", r"You will\*\* .+ · \*\*(\d+) minutes\*\* · \*\*Before:\*\* .+", "Questions"),
    (
        "LESSON.pt-BR.md",
        r"Você vai\*\* .+ · \*\*(\d+) minutos\*\* · \*\*Antes:\*\* .+",
        "Perguntas",
    ),
]


@pytest.mark.parametrize("lesson", NAMES)
@pytest.mark.parametrize(("page", "aim", "heading"), PAGES, ids=LANGUAGES)
def test_a_page_begins_with_its_aim_and_ends_with_three_questions(
    lesson: str, page: str, aim: str, heading: str
) -> None:
    text = (LESSONS / lesson / page).read_text(encoding="utf-8")
    top = text[: text.index("\n## ")]
    assert re.search(rf"\n\n\*\*{aim}\n$", top)
    *_, questions, _ = re.split(r"^## ", text, flags=re.MULTILINE)
    assert questions.startswith(f"{heading}\n")
    asked = re.findall(r"<details><summary>(.+?)</summary>\s*(.+?)\s*</details>", questions, re.S)
    assert len(asked) == 3
    assert all(question.endswith("?") for question, _ in asked)


def is_complete(block: str) -> bool:
    """Tell whether a block of code imports or defines each name that it uses."""
    known, used = {"__name__", *dir(builtins)}, set[str]()
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            known |= {(one.asname or one.name).split(".")[0] for one in node.names}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else known).add(node.id)
    return "import " in block and used <= known


def kept_by_name(block: str) -> set[str]:
    """Return the names of the tasks whose decorator says where their results are kept."""
    return {
        node.name
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        for keyword in getattr(decorator, "keywords", [])
        if str(keyword.arg).startswith("result_storage")
    }


# Runs each file that it is given, and ends with a line of JSON: the files that each has made.
RUN_BLOCKS = """
import json, runpy, sys
from pathlib import Path

def files():
    return {str(path) for path in (*Path("data").rglob("*"), *Path(".prefect").rglob("*"))}

made = []
for file in sys.argv[1:]:
    before = files()
    runpy.run_path(file)
    made.append(sorted(files() - before))
print()
print(json.dumps(made))
"""


@pytest.mark.slow
def test_the_examples_of_the_pages_run_and_keep_what_they_say(
    tmp_path: Path, workshop: Any, run: Run
) -> None:
    project = copy_template(tmp_path / "template") / PROJECT_FOLDER
    files, kept = [], []
    for name in NAMES:
        page = (LESSONS / name / "LESSON.md").read_text(encoding="utf-8")
        for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)):
            if is_complete(block):
                files.append(tmp_path / f"{name}_{number}.py")
                files[-1].write_text(block, encoding="utf-8")
                kept.append(kept_by_name(block))
    assert {file.name[:2] for file in files} >= {"01", "05", "06", "07", "08", "15"}
    own = {"PREFECT_HOME": str(project / ".prefect"), "PYTHONPATH": str(project)}
    own["PREFECT_LOCAL_STORAGE_PATH"] = str(project / ".prefect" / "storage")
    finished = run(sys.executable, "-c", RUN_BLOCKS, *files, cwd=project, **own)
    assert finished.returncode == 0, finished.stderr
    assert not re.search(r"\| (WARNING|ERROR)", finished.stdout + finished.stderr)
    made = json.loads(finished.stdout.splitlines()[-1])
    for file, names, paths in zip(files, kept, made, strict=True):
        for task in names:
            assert any(task in Path(path).name for path in paths), f"{file.name}: {task}"


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project in which every exercise is solved."""
    project = copy_template(tmp_path_factory.mktemp("solved")) / PROJECT_FOLDER
    for name in NAMES:
        shutil.copy(LESSONS / name / "solution.py", project / "lessons" / name / "exercise.py")
    return project


def run_until_it_serves(arguments: list[str], project: Path) -> None:
    """Run a command until its deployments can be run, and stop it then."""

    def polls() -> list[str]:
        """Return when each deployment was asked for by the process that serves it."""
        url = f"{os.environ['PREFECT_API_URL']}/deployments/filter"
        request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return [one["last_polled"] for one in json.load(answer) if one["last_polled"]]

    before = polls()
    process = subprocess.Popen([sys.executable, *arguments], cwd=project)
    try:
        while set(polls()) <= set(before):
            assert process.poll() is None, "it has ended and serves nothing"
            time.sleep(0.2)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("lesson", NAMES)
def test_the_commands_of_a_lesson_are_run_as_they_are_written(
    lesson: str, solved: Path, workshop: Any, run: Run
) -> None:
    page = (LESSONS / lesson / "LESSON.md").read_text(encoding="utf-8")
    number = str(int(lesson[:2]))
    commands = [
        shlex.split(line)
        for block in re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    assert ["python", "main.py", "lessons", "check", number] in commands
    for python, *arguments in commands:
        assert python == "python", arguments
        if arguments[1:3] == ["lessons", "check"]:
            assert arguments[3:] == [number]  # the solution is checked above
        elif arguments[1:3] == ["lessons", "run"] and serves(lesson):
            run_until_it_serves(arguments, solved)
        elif arguments[1] not in SERVING:
            finished = run(sys.executable, *arguments, cwd=solved)
            assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.slow
def test_the_command_checks_all_lessons_or_one(run: Run, solved: Path) -> None:
    shutil.copy(LESSONS / NAMES[0] / "exercise.py", solved / "lessons" / NAMES[0])
    one = run(sys.executable, "main.py", "lessons", "check", "1", cwd=solved)
    assert one.returncode == 1, one.stderr
    title, first = texts(NAMES[0], "en")["title"], texts(NAMES[0], "en")["findings"]["no_task"]
    assert one.stdout.splitlines()[-2:] == [
        f"Not yet: 1 {title}.",
        f"  {first.replace('{name}', 'load_data')}",
    ]
    shutil.copy(LESSONS / NAMES[0] / "solution.py", solved / "lessons" / NAMES[0] / "exercise.py")
    command = ("main.py", "lessons", "check", "--language", "pt-BR")
    every = run(sys.executable, *command, cwd=solved)
    assert every.returncode == 0, every.stdout + every.stderr
    assert every.stdout.splitlines() == [
        f"Certo: {int(name[:2])} {texts(name, 'pt-BR')['title']}." for name in NAMES
    ]
    assert every.stderr == ""


@pytest.mark.slow
def test_two_checks_at_once_do_not_see_each_other(solved: Path) -> None:
    checks = [
        subprocess.Popen(
            [sys.executable, "main.py", "lessons", "check", number],
            cwd=solved,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        for number in ("5", "10")
    ]
    for one, said in [(one, one.communicate()[0]) for one in checks]:
        assert one.returncode == 0, said


@pytest.mark.slow
def test_plain_pytest_says_the_sentence_too(run: Run, solved: Path) -> None:
    file = LESSONS / NAMES[0] / "exercise.py"
    command = ("pytest", f"lessons/{NAMES[0]}", f"--exercise={file}")
    finished = run(sys.executable, "-m", *command, cwd=solved)
    assert finished.returncode == 1
    assert texts(NAMES[0], "en")["findings"]["no_task"][8:30] in finished.stdout
    assert "Traceback" not in finished.stdout
    assert "test_lesson.py:" not in finished.stdout.replace("test_lesson.py::", "")
