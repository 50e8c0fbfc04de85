"""What a teacher has: submissions and grades, the class's table, a wheelhouse, own lessons."""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import test_lessons
from conftest import PROJECT_FOLDER, Bake, Run
from template_copy import REPO
from test_lessons import LESSONS, NAMES, texts

Import = Callable[[str], Any]

WRITES = """
import pathlib, lessons, runtime
for package in (lessons, runtime):
    for path in pathlib.Path(package.__file__).parents[1].rglob("*"):
        if path.is_file():
            path.write_text("def test_nothing(): pass", encoding="utf-8")
"""
NEVER_ENDS = "while True: pass"
KILLS = "import os; os.kill(os.getpid(), 9)"
ANSWERS = """
import os
for number in range(3, 30):
    try: os.write(number, b'{"key": ["<script>"], "values": 7}\\n')
    except OSError: pass
os._exit(0)
"""


def checksum(folder: Path) -> str:
    """Return the checksum of all files in a folder, without Python's caches."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def write_zip(path: Path, **members: str | bytes) -> None:
    """Write a zip with these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Import:
    """Return a function that imports a module of the workshop, which writes elsewhere."""
    monkeypatch.syspath_prepend(REPO / PROJECT_FOLDER)
    server = importlib.import_module("lessons.workshop.server")
    monkeypatch.setattr(server, "HOME", tmp_path / "home of the workshop")
    return lambda name: importlib.import_module(f"lessons.workshop.{name}")


@pytest.mark.slow
def test_submissions_are_graded_and_none_of_them_is_trusted(
    run: Run, bake: Bake, tmp_path: Path
) -> None:
    project = bake(lessons="yes").path

    def lessons(*arguments: str) -> Any:
        return run(sys.executable, "main.py", "lessons", *arguments, cwd=project)

    for arguments, said in ((["submit"], "--name Ana"), (["submit", "--name", "A"], "no exercise")):
        refused = lessons(*arguments)
        assert (refused.returncode, said in refused.stderr) == (2, True)
    assert lessons("grade", str(tmp_path)).returncode == 2

    first = project / "lessons" / NAMES[0]
    delivered = (first / "exercise.py").read_bytes()
    (first / "exercise.py").write_bytes((first / "solution.py").read_bytes())
    submitted = lessons("submit", "--name", '=Ana/.. "São"')
    assert submitted.returncode == 0, submitted.stderr
    path = project / submitted.stdout.strip()
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["submission.json", f"{NAMES[0]}/exercise.py"]
        assert "prefect" in json.loads(archive.read("submission.json"))["versions"]
    (first / "exercise.py").write_bytes(delivered)

    folder = tmp_path / "zips"
    (folder / "1").mkdir(parents=True)
    path.replace(folder / "1" / path.name)
    (folder / "2.zip").write_bytes(b"not a zip")
    exercises: list[str | bytes] = [WRITES, delivered, NEVER_ENDS, KILLS, ANSWERS]
    exercises.append(bytes(100_000_000))
    members = {f"{name}/exercise.py": text for name, text in zip(NAMES, exercises, strict=False)}
    about = {"student": "<script>", "solved_at": dict.fromkeys(NAMES, "2026-01-01T00:00:00")}
    members |= {"submission.json": json.dumps(about), "../../outside.py": "", "/outside.py": ""}
    members |= {f"{name}/test_lesson.py": "def test_it(): pass" for name in NAMES}
    members |= {f"lessons/{name}/exercise.py": "" for name in NAMES}
    write_zip(folder / "3.zip", **members)
    before = checksum(project / "lessons"), checksum(project / "runtime")

    graded = lessons("grade", str(folder))
    assert graded.returncode == 0, graded.stderr
    assert graded.stdout.splitlines()[:3] == [
        f'=Ana/.. "São" (1/{path.name}), lessons solved: 1',
        "2 (2.zip), lessons solved: 0",
        "<script> (3.zip), lessons solved: 0",
    ]
    assert (checksum(project / "lessons"), checksum(project / "runtime")) == before
    assert not list(tmp_path.rglob("outside.py"))
    table = (project / "reports" / "grades.csv").read_text(encoding="utf-8-sig")
    ana, unreadable, hostile = csv.DictReader(table.splitlines())
    assert [ana[one] for one in ("student", "points", NAMES[0], NAMES[1], "feedback")] == [
        *('\'=Ana/.. "São"', "1", "1", "", ""),
    ]
    assert unreadable["feedback"] == texts("workshop")["no_submission"]
    assert [hostile[name] for name in NAMES] == ["0"] * 6 + [""] * (len(NAMES) - 6)
    sentences = hostile["feedback"].split(" | ")
    common = texts("workshop")
    assert sentences[0].startswith(f"{NAMES[0]}: "), "it has written over a copy only"
    assert sentences[2:] == [
        f"{NAMES[2]}: {common['findings']['endless_at'].replace('{line}', '1')}",
        f"{NAMES[3]}: {common['findings']['ended']}",
        f"{NAMES[4]}: {common['findings']['ended']}",
        f"{NAMES[5]}: {common['damaged_exercise']}",
    ]
    page = (project / "reports" / "grades.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert all(sentence.split(": ", 1)[0] in page for sentence in sentences)


@pytest.mark.parametrize(
    "about", ["", "[" * 100_000, "7", '{"student": 7}', '{"student": "a\\nb\\u0000"}']
)
def test_a_zip_without_a_good_name_has_that_of_its_file(
    about: str, module: Import, tmp_path: Path
) -> None:
    write_zip(tmp_path / "Bia.zip", **{"submission.json": about, "x/exercise.py": "1"})
    submission = module("submission").read_submission(tmp_path / "Bia.zip")
    assert (submission.student, submission.exercises) == ("Bia", {})


def test_a_damaged_member_spoils_no_other(module: Import, tmp_path: Path) -> None:
    file = tmp_path / "Bia.zip"
    names = [f"{name}/exercise.py" for name in NAMES[:3]]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(names[0], "MARK")
        archive.writestr(names[1], "right")
        archive.writestr(names[2], bytes(10_000_000), zipfile.ZIP_BZIP2)
    file.write_bytes(file.read_bytes().replace(b"MARK", b"KRAM"))
    submission = module("submission").read_submission(file)
    assert submission.exercises == dict(zip(NAMES, [None, b"right", None], strict=False))


class Class:
    """A class's server that answers as it is told, in place of a Prefect server."""

    def __init__(self, module: Import, monkeypatch: pytest.MonkeyPatch) -> None:
        """Answer each client of the workshop."""
        self._httpx = importlib.import_module("httpx")
        classroom, reports = module("classroom"), module("reports")
        self.runs: list[dict[str, Any]] = []
        self.sent: list[dict[str, Any]] = []
        self.fails: Exception | None = None
        self.status = 200
        self.answers = threading.Event()
        self.answers.set()
        transport = self._httpx.MockTransport(self._answer)
        self.client = self._httpx.Client(base_url="http://teacher/api", transport=transport)
        monkeypatch.setattr(classroom, "client_for", lambda *_: self.client)
        monkeypatch.setattr(reports, "client_for", lambda *_: self.client)

    def add(self, student: str, lesson: str, outcome: str, finding: str, minutes: int) -> None:
        """Let the server know of a check so many minutes ago."""
        when = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
        parameters = {"student": student, "lesson": lesson, "outcome": outcome}
        parameters |= {"finding": finding, "time": when}
        self.runs.append({"parameters": parameters, "created": when.replace("+00:00", "Z")})

    def _answer(self, request: Any) -> Any:
        self.answers.wait()
        if self.fails:
            raise self.fails
        if self.status != 200:
            return self._httpx.Response(self.status)
        if request.url.path.endswith("csrf-token"):
            return self._httpx.Response(422)
        if request.url.path.endswith("filter"):
            return self._httpx.Response(200, json=self.runs)
        self.sent.append(json.loads(request.content))
        return self._httpx.Response(200, json={"id": "1"})


@pytest.fixture
def class_(module: Import, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Class:
    """Return a class whose table is written to a folder of the test's."""
    reports = module("reports")
    monkeypatch.setattr(reports, "ROOT", tmp_path)
    monkeypatch.setattr(reports, "CLASS", tmp_path / "class.csv")
    return Class(module, monkeypatch)


@pytest.mark.parametrize("language", ["en", "pt-BR"])
def test_the_table_says_where_help_is_due(
    class_: Class, module: Import, tmp_path: Path, language: str
) -> None:
    for number in range(3):
        class_.add(f"S{number}", NAMES[0], "open", "no_task", number)
    class_.add("S2", NAMES[0], "right", "", 0)
    class_.add("Bia", NAMES[1], "open", "of_another_release", 30)
    class_.add("Caio", NAMES[1], "open", "raised_at", 2)
    class_.add("Davi", "", "joined", "", 40)
    said, table = texts("workshop", language), module("reports").write_class("http://x", language)
    lines = table.splitlines()
    own = texts(NAMES[0], language)["findings"]["no_task"].replace("{name}", "…")
    all_of = {"en": "of", "pt-BR": "de"}[language]
    assert f"2 {all_of} 6: " in table
    assert own in table
    assert "{" not in table
    nothing, idle = (
        said[key].replace("{minutes}", "15").replace("{students}", name)
        for key, name in (("class_nothing", "Davi"), ("class_idle", "Bia"))
    )
    assert {nothing, idle} <= set(lines)
    rows = list(csv.DictReader((tmp_path / "class.csv").read_text("utf-8-sig").splitlines()))
    kept = [[row["student"], row["checks"], row["finding"]] for row in rows]
    assert ["S2", "2", ""] in kept
    assert ["Davi", "0", ""] in kept
    assert ["Caio", "1", "raised_at"] in kept


def test_away_slow_refused_and_strange_are_told_apart(class_: Class, module: Import) -> None:
    httpx = importlib.import_module("httpx")
    errors = importlib.import_module("runtime.errors")
    for fails, status, key in (
        (httpx.ConnectError("no"), 200, "away"),
        (httpx.ConnectTimeout("no"), 200, "away"),
        (httpx.ReadTimeout("no"), 200, "slow"),
        (None, 401, "refused"),
        (None, 404, "strange"),
    ):
        class_.fails, class_.status = fails, status
        with pytest.raises(errors.UserError) as raised:
            module("reports").write_class("http://teacher/api", "en")
        sentence = texts("workshop")[f"class_{key}"].replace("{address}", "http://teacher/api")
        assert str(raised.value) == sentence
        reporter = module("classroom").Reporter(class_.client, key)
        assert reporter.stop() > 0
        assert f"kept_{reporter.reason}" == f"kept_{key}"


def test_a_slow_server_gets_every_report(class_: Class, module: Import) -> None:
    class_.answers.clear()
    classroom, catalogue = module("classroom"), module("catalogue")
    reporter = classroom.Reporter(class_.client, "Ana")
    wrong = module("checking").Outcome("raised_at", {"line": "7", "error": "secret"})
    reporter.report(catalogue.Lesson(LESSONS / NAMES[0]), wrong)
    waited: list[str] = []

    def slow() -> None:
        waited.append("slow")
        class_.answers.set()

    assert reporter.stop(slow) == 0
    assert waited == ["slow"]
    runs = [one["parameters"] for one in class_.sent if "parameters" in one]
    assert [(one["lesson"], one["outcome"], one["finding"]) for one in runs] == [
        ("", "joined", ""),
        (NAMES[0], "open", "raised_at"),
    ]
    assert "secret" not in json.dumps(class_.sent)


@pytest.fixture
def asked(module: Import, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the commands of a pip that downloads nothing, each followed by its requirements."""
    asked: list[Any] = []

    def run(command: list[str], **_: Any) -> Any:
        lines = (
            Path(command[-1].removeprefix("--requirement="))
            .read_text(encoding="utf-8")
            .splitlines()
        )
        asked.extend([command, lines])
        return subprocess.CompletedProcess(command, 1 if "--python-version=3.14" in command else 0)

    monkeypatch.setattr(module("wheelhouse").subprocess, "run", run)
    return asked


def test_a_wheelhouse_has_each_systems_own_packages(module: Import, asked: list[Any]) -> None:
    for system in ("windows", "linux", "macos", "macos-intel"):
        module("wheelhouse").download(system, "3.12", {})
    windows, linux, macos, intel = asked[1::2]
    assert "--platform=win_amd64" in asked[0]
    assert any(line.startswith("pywin32==") for line in windows)
    assert not any(line.startswith("pywin32") for line in linux + macos + intel)
    names = [line.partition("=")[0] for line in windows]
    assert len(names) == len(set(names)), "one version of each"
    assert not any(";" in line for lines in asked[1::2] for line in lines)
    assert set(macos) != set(intel)
    module("wheelhouse").download("linux", "3.11", {})
    assert any(line.startswith("async-timeout==") for line in asked[-1]), "for its first releases"


def test_what_goes_wrong_with_a_wheelhouse_is_said(
    module: Import, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = importlib.import_module("runtime.errors")
    said, wheelhouse = texts("workshop"), module("wheelhouse")
    with pytest.raises(errors.Unavailable, match=r"for linux with Python 3\.14"):
        wheelhouse.download("linux", "3.14", said)
    monkeypatch.setattr(wheelhouse.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(wheelhouse.shutil, "which", lambda _: "uv")
    wheelhouse.download("linux", "3.12", said)
    assert asked[-2][1:4] == ["tool", "run", "pip"]
    monkeypatch.setattr(wheelhouse.shutil, "which", lambda _: None)
    with pytest.raises(errors.UserError, match="ensurepip"):
        wheelhouse.download("linux", "3.12", said)


@pytest.mark.slow
def test_a_lesson_of_ones_own(run: Run, bake: Bake, monkeypatch: pytest.MonkeyPatch) -> None:
    project = bake(lessons="yes").path

    def lessons(*arguments: str, stdin: str = "") -> Any:
        return run(sys.executable, "main.py", "lessons", *arguments, cwd=project, stdin=stdin)

    for wrong in ("Own", "own-data", "tasks", "../x", "a" * 31):
        refused = lessons("new", wrong)
        assert (refused.returncode, "as the name of a lesson" in refused.stderr) == (2, True)
    name = f"{len(NAMES) + 1:02}_own_data"
    assert lessons("new", "own_data").stdout.strip() == str(Path("lessons", name))
    monkeypatch.setattr(test_lessons, "LESSONS", project / "lessons")
    test_lessons.test_an_exercise_is_short_and_imports_what_it_may(name)
    test_lessons.test_both_languages_have_the_same_sentences_with_the_same_gaps(name)
    test_lessons.test_both_pages_have_the_same_headings_and_code(name)
    for page in test_lessons.PAGES:
        test_lessons.test_a_page_begins_with_its_aim_and_ends_with_three_questions(name, *page)
    for tool in (["check"], ["format", "--check"]):
        linted = run(sys.executable, "-m", "ruff", *tool, ".", cwd=project)
        assert linted.returncode == 0, linted.stdout

    number = str(int(name[:2]))
    before = lessons("check", number)
    assert before.returncode == 1, before.stderr
    assert before.stdout.splitlines()[-1].strip().startswith("`double` is not a task yet")
    assert lessons("solve", number, "--write").returncode == 0
    # A screen reader's way: what is new, line by line, and a key is a line.
    shown = lessons("--plain", stdin="n\n" * len(NAMES) + "h\nl\n\n")
    assert shown.returncode == 0, shown.stderr
    assert "\x1b" not in shown.stdout
    lines = shown.stdout.splitlines()
    assert lines.count(f"Lesson {number}: Own data") == 2, "and once more after the list"
    assert [line for line in lines if line.startswith("Hint 1 of 2: ")]
    assert lines[-1] == texts("workshop")["is_right"]
    command = [sys.executable, "main.py", "lessons", "--plain"]
    with subprocess.Popen(
        command, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        process.stdin.write(b"q\n")
        process.stdin.flush()  # and it stays open, as a keyboard does
        assert process.stderr
        assert (process.wait(), process.stderr.read()) == (0, b"")
    assert lessons("reset", number).returncode == 0
