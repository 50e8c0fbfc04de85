"""The workshop as a student and a teacher see it: keys in, screen out, and what the class gets."""

from __future__ import annotations

import csv
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import PROJECT_FOLDER, BakedProject, Run
from cookiecutter.main import cookiecutter
from measure import free_port
from template_copy import REPO
from test_lessons import LESSONS, NAMES, texts

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 600  # only a hang takes so long
LARGE, SMALL = (80, 24), (40, 12)
COLOUR = re.compile(rb"\x1b\[[0-9;]*3[0-7]m")


@pytest.fixture(scope="module")
def delivered(template: Path, tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """Return a project with lessons, as it is delivered. Tests only copy it."""
    folder = tmp_path_factory.mktemp("São Paulo")
    answers = {"lessons": "yes"}
    path = cookiecutter(str(template), no_input=True, extra_context=answers, output_dir=str(folder))
    return BakedProject(Path(path))


@pytest.fixture
def project(delivered: BakedProject, tmp_path: Path) -> Path:
    """Return a project with lessons of this test's own."""
    return Path(shutil.copytree(delivered.path, tmp_path / "my project"))


class Terminal:
    """A student at a terminal: a real pseudo-terminal, and what is seen on its screen."""

    def __init__(self, project: Path, size: tuple[int, int], **environment: str) -> None:
        """Open the workshop."""
        pexpect, pyte = importlib.import_module("pexpect"), importlib.import_module("pyte")
        self.screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self.screen)
        self.sent = b""  # all that came, escape sequences too
        left_out = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM")
        kept = {name: value for name, value in os.environ.items() if name not in left_out}
        self.child = pexpect.spawn(
            sys.executable,
            ["main.py", "lessons"],
            cwd=str(project),
            env={**kept, "TERM": "xterm-256color", **environment},
            dimensions=size[::-1],
        )

    @property
    def lines(self) -> list[str]:
        """The lines on the screen, without those that are empty."""
        return [line.rstrip() for line in self.screen.display if line.strip()]

    @property
    def text(self) -> str:
        """What the screen says, with its lines joined."""
        return " ".join(" ".join(self.lines).split())

    def wait(self, *said: str, until: Callable[[], bool] = lambda: True) -> None:
        """Read until the whole screen is there and says this."""
        pexpect = importlib.import_module("pexpect")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (all(one in self.text for one in said) and until()):
            assert time.monotonic() < deadline, f"{said} not in:\n" + "\n".join(self.lines)
            try:
                new = self.child.read_nonblocking(65536, timeout=0.2)
            except pexpect.TIMEOUT:
                continue
            self.sent += new
            self._stream.feed(new)

    def press(self, key: str, *said: str) -> None:
        """Press a key and wait for what the screen says then."""
        self.child.send(key)
        self.wait(*said)

    def resize(self, size: tuple[int, int]) -> None:
        """Make the window smaller or larger."""
        self.screen.resize(size[1], size[0])
        self.child.setwinsize(size[1], size[0])

    def quit(self) -> None:
        """Press q; nothing that was started may be left."""
        everyone = psutil.Process(self.child.pid).children(recursive=True)
        assert len(everyone) >= 2, "a server and a judge"
        self.child.send("q")
        self.child.wait()
        assert self.child.exitstatus == 0
        assert psutil.wait_procs(everyone, timeout=PATIENCE_SECONDS)[1] == []


pty = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals for this")


@pty
def test_a_student_at_a_terminal(project: Path) -> None:
    said, first, second = texts("workshop"), texts(NAMES[0]), texts(NAMES[1])
    title = f"Lesson 1: {first['title']}"
    exercise = project / "lessons" / NAMES[0] / "exercise.py"
    delivered = exercise.read_text(encoding="utf-8")
    solution = exercise.with_name("solution.py").read_text(encoding="utf-8")
    finding = next(iter(first["findings"].values())).replace("{name}", "load_data")
    keys = " ".join(said["keys"].split())

    editor = project / "editor of a student.py"
    editor.write_text(
        "import pathlib, sys\n"
        "file = pathlib.Path(sys.argv[1])\n"
        "file.write_bytes(file.with_name('solution.py').read_bytes())\n",
        encoding="utf-8",
    )

    terminal = Terminal(project, LARGE, VISUAL="", EDITOR=f"'{sys.executable}' '{editor}'")
    terminal.wait(title, first["task"], f"0/{len(NAMES)}", keys)
    terminal.wait(finding, keys)
    terminal.press("h", f"Hint 1 of {len(first['hints'])}: {first['hints'][0]}", keys)
    terminal.press("h", "Hint 2", keys)

    # Saved half-written: one sentence, and the next save is checked.
    exercise.write_text(delivered[: delivered.index("return") + 20], encoding="utf-8")
    terminal.wait("is never closed", keys)
    assert "Hint" not in terminal.text, "it was about another text"

    # What runs on is stopped by q, or by Ctrl-C, which does not end the workshop.
    runs_on = f"{delivered}    print('begun', flush=True)\n    __import__('time').sleep(1000)\n"
    exercise.write_text(runs_on, encoding="utf-8")
    terminal.wait(finding, keys)
    for stop in ("q", "\x03"):
        terminal.press("x", "exercise.py is running", "virginica", "begun")
        terminal.press(stop, said["any_key"])
        terminal.press(" ", title, keys)

    terminal.press("e", said["is_right"], f"1/{len(NAMES)}", keys)
    assert exercise.read_text(encoding="utf-8") == solution

    terminal.press("n", f"Lesson 2: {second['title']}", keys)
    terminal.press("p", title, keys)
    terminal.press("s", said["ask_s"], keys)
    terminal.press("h", title, keys)
    assert said["any_key"] not in terminal.text, "the solution is asked for twice"
    terminal.child.send("ss")
    terminal.wait(said["any_key"], solution.strip().splitlines()[-1].strip())
    terminal.press(" ", title, keys)

    terminal.resize(SMALL)
    terminal.wait(title, keys, until=lambda: len(terminal.lines[0]) <= SMALL[0])
    terminal.press("l", f"> 1 {first['title']}: {said['solved']}", keys)
    for _ in NAMES:
        terminal.child.send("n")
    terminal.wait(f"> {int(NAMES[-1][:2])}", keys)
    terminal.press("l", "Not yet", keys)
    for _ in NAMES:
        terminal.child.send("p")
    terminal.wait(title, keys)
    terminal.child.send("rr")
    terminal.wait("exercise.1.bak", finding, keys)
    assert exercise.read_text(encoding="utf-8") == delivered
    assert exercise.with_name("exercise.1.bak").read_text(encoding="utf-8") == solution

    assert COLOUR.search(terminal.sent)
    terminal.quit()


@pty
def test_a_page_is_read_in_screens_and_its_answers_come_last(project: Path) -> None:
    said = texts("workshop")
    page = (project / "lessons" / NAMES[0] / "LESSON.md").read_text(encoding="utf-8")
    *_, (question, answer) = re.findall(r"<summary>(.*?)</summary>\s*(.*?)\s*</details>", page)
    terminal = Terminal(project, LARGE)
    terminal.wait("Lesson 1: ", " ".join(said["keys"].split()))
    terminal.press("t", "You will", said["more"])
    seen = [terminal.text]

    def is_another_screen() -> bool:
        shows_the_keys = said["more"] in terminal.text or said["any_key"] in terminal.text
        return terminal.text != seen[-1] and shows_the_keys

    while said["any_key"] not in seen[-1]:
        terminal.child.send(" ")
        terminal.wait(until=is_another_screen)
        seen.append(terminal.text)
    assert question in " ".join(seen[:-1])
    assert answer not in " ".join(seen[:-1])
    assert answer in seen[-1]
    terminal.press("t", texts(NAMES[0])["task"])
    terminal.press("t", said["more"])
    terminal.press("q", texts(NAMES[0])["task"])
    terminal.quit()


@pty
def test_a_small_terminal_without_colour(project: Path) -> None:
    said, first = texts("workshop"), texts(NAMES[0])
    opened = project / "opened.txt"
    code = project / "bin" / "code"  # stands for VS Code
    code.parent.mkdir()
    code.write_text(f'#!/bin/sh\nprintf %s "$*" > "{opened}"\n', encoding="utf-8")
    code.chmod(0o755)
    path = f"{code.parent}{os.pathsep}{os.environ['PATH']}"
    terminal = Terminal(project, SMALL, NO_COLOR="1", PATH=path, VISUAL="", EDITOR="code --wait")
    keys = " ".join(said["keys"].split())
    terminal.wait(f"Lesson 1: {first['title']}", first["task"], f"0/{len(NAMES)}", keys)
    terminal.press("l", f"> 1 {first['title']}: {said['not_solved']}", keys)
    terminal.press("l", first["task"], keys)
    exercise = project / "lessons" / NAMES[0] / "exercise.py"
    terminal.press("e", f"{exercise.relative_to(project)} is open in VS Code.", keys)
    assert opened.read_text(encoding="utf-8") == str(exercise)
    terminal.quit()  # even before the server is there
    assert not COLOUR.search(terminal.sent)


def test_line_by_line_no_editor_takes_over_the_terminal(project: Path, run: Run) -> None:
    finished = run(
        *(sys.executable, "main.py", "lessons", "--plain"),
        cwd=project,
        stdin="e\nq\n",
        VISUAL="",
        EDITOR=sys.executable,
    )
    assert finished.returncode in (0, 1), finished.stderr
    editor = f"The editor `{sys.executable}` would take over this terminal"
    assert f"{editor}: open lessons/{NAMES[0]}/exercise.py in another one." in finished.stdout


@pty
def test_progress_survives_a_restart_but_not_a_change(project: Path, run: Run) -> None:
    exercise = project / "lessons" / NAMES[0] / "exercise.py"
    delivered = exercise.read_bytes()
    shutil.copy(exercise.with_name("solution.py"), exercise)
    once = run(sys.executable, "main.py", "lessons", cwd=project)  # it has no terminal here
    assert once.returncode == 1, once.stderr
    assert once.stdout.startswith(f"1 of {len(NAMES)} lessons are solved.\nLesson 2: ")
    assert "Not yet: " in once.stdout
    assert "\x1b" not in once.stdout

    terminal = Terminal(project, LARGE, VISUAL="", EDITOR="no-such-editor --wait")
    terminal.wait(f"1/{len(NAMES)}", "Lesson 2: ", "Not yet")  # at once, from what is kept
    terminal.press("e", "This machine has no editor `no-such-editor --wait`: ")
    (project / "lessons" / NAMES[1] / "LESSON.md").unlink()
    terminal.press("t", f"lessons/{NAMES[1]}/LESSON.md does not exist.")
    second = project / "lessons" / NAMES[1] / "exercise.py"
    begun = second.read_bytes()
    for key in "xe":
        second.unlink()
        terminal.press(key, "There is no exercise.py in", f"lessons reset {int(NAMES[1][:2])}")
        second.write_bytes(begun)
    exercise.write_bytes(exercise.read_bytes() + b"\n# changed\n")
    terminal.press("p", "Lesson 1: ", texts("workshop")["is_right"], f"1/{len(NAMES)}")
    exercise.write_bytes(delivered)
    terminal.wait("Lesson 1: ", "Not yet", f"0/{len(NAMES)}")
    terminal.child.send("\x03")
    terminal.child.wait()


def test_the_commands_without_a_check(project: Path, run: Run) -> None:
    def lessons(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run(sys.executable, "main.py", "lessons", *arguments, cwd=project)

    folder = project / "lessons" / NAMES[0]
    delivered = (folder / "exercise.py").read_text(encoding="utf-8")
    solution = (folder / "solution.py").read_text(encoding="utf-8")
    hints = texts(NAMES[0])["hints"]

    listed = lessons("list").stdout.splitlines()
    assert listed == [f"{int(name[:2])} {texts(name)['title']}: open" for name in NAMES]
    assert lessons("hint", "1").stdout == f"Hint 1 of {len(hints)}: {hints[0]}\n"
    assert len(lessons("hint", "1", "99").stdout.splitlines()) == len(hints)
    assert lessons("solve", "1").stdout == solution
    assert lessons("solve", "1", "--write").returncode == 0
    assert (folder / "exercise.py").read_text(encoding="utf-8") == solution
    assert (folder / "exercise.1.bak").read_text(encoding="utf-8") == delivered
    assert "exercise.2.bak" in lessons("reset", "1").stdout
    assert (folder / "exercise.py").read_text(encoding="utf-8") == delivered
    assert (folder / "exercise.2.bak").read_text(encoding="utf-8") == solution
    assert lessons("report").stdout == (project / "reports" / "lessons.md").read_text("utf-8")
    unknown = lessons("check", "99", "--language", "pt-BR")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("Error: Não existe a lição 99")


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Any]:
    """Return a function that imports a module of the workshop, which keeps nothing it knows."""
    monkeypatch.syspath_prepend(REPO / PROJECT_FOLDER)
    server = importlib.import_module("lessons.workshop.server")
    monkeypatch.setattr(server, "HOME", tmp_path / "home of the workshop")
    return lambda name: importlib.import_module(f"lessons.workshop.{name}")


@pytest.mark.parametrize("language", ["en", "pt-BR"])
@pytest.mark.parametrize("size", [LARGE, SMALL], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_lesson_and_its_longest_sentence_fit_on_the_screen(
    name: str, size: tuple[int, int], language: str, packages: Callable[[str], Any]
) -> None:
    console_class = importlib.import_module("rich.console").Console
    screen, catalogue = packages("screen"), packages("catalogue")
    outcome_class = packages("checking").Outcome
    lesson, own = catalogue.Lesson(LESSONS / name), texts(name, language)
    said = texts("workshop", language)
    some_values = dict.fromkeys(["name", "line", "error", "message"], "split_data")
    findings = {**said["findings"], **own["findings"]}
    longest = max(findings, key=lambda key: len(findings[key]))
    outcomes = [None, outcome_class(None), outcome_class(longest, some_values)]
    for outcome in outcomes:
        for hints in (0, len(own["hints"])):
            console = console_class(
                file=io.StringIO(), width=size[0], height=size[1], force_terminal=True
            )
            parts = screen.lesson_parts(lesson, outcome, hints, "", language)
            screen.show(console, [lesson], parts, said["keys"])
            shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())
            assert len(shown.splitlines()) < size[1]
            assert max(map(len, shown.splitlines())) <= size[0]
            words = " ".join(shown.split())
            assert own["title"] in words
            assert " ".join(said["keys"].split()) in words
            if outcome and outcome.key and not hints:
                sentence = lesson.sentence(outcome.key, outcome.values, language)
                assert sentence in words or (size == SMALL and sentence[:100] in words)


@pytest.mark.parametrize("language", ["en", "pt-BR"])
@pytest.mark.parametrize("size", [LARGE, SMALL], ids=str)
def test_each_page_fits_on_the_screen(
    size: tuple[int, int], language: str, packages: Callable[[str], Any]
) -> None:
    console_class = importlib.import_module("rich.console").Console
    said = texts("workshop", language)
    for name in NAMES:
        page = packages("catalogue").Lesson(LESSONS / name).page(language)
        console = console_class(file=io.StringIO(), width=size[0], height=size[1])
        text = page.read_text(encoding="utf-8")
        for part in packages("screen").page_screens(text, said["answers"], console):
            console.print(part, end="")
            console.print(max(said["more"], said["any_key"], key=len))
            shown = console.file.getvalue()
            console.file = io.StringIO()
            assert len(shown.splitlines()) < size[1]
            assert max(map(len, shown.splitlines())) <= size[0]
            assert not re.search(r"</?(details|summary)\b", shown)


class Teacher:
    """A teacher with a Prefect server, which has a password and is not there yet."""

    def __init__(self, folder: Path, project: Path) -> None:
        """Choose a port; the server is started in a project, as docs/teaching.md has it."""
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}/api"
        self._folder, self._project = folder, project
        self._process: subprocess.Popen[bytes] | None = None

    def start_server(self) -> None:
        """Start the server, and wait for it."""
        environment = {
            **os.environ,
            "PREFECT_HOME": str(self._folder / "teacher"),
            "PREFECT_SERVER_API_AUTH_STRING": "class:secret",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }
        command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(self._port)]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(
            command, cwd=self._project, env=environment, stdout=quiet, stderr=quiet
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.address}/health").close()
                return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server did not start")

    def stop_server(self) -> None:
        """Stop it, and all that it has started."""
        if self._process:
            everyone = psutil.Process(self._process.pid).children(recursive=True)
            self._process.terminate()
            self._process.wait()
            for one in psutil.wait_procs(everyone, timeout=30)[1]:
                one.kill()


@pytest.fixture
def teacher(tmp_path: Path, project: Path) -> Iterator[Teacher]:
    """Return a teacher, whose server is stopped in the end."""
    someone = Teacher(tmp_path, project)
    yield someone
    someone.stop_server()


def test_a_class_at_a_glance(
    project: Path, run: Run, teacher: Teacher, packages: Callable[[str], Any]
) -> None:
    address = teacher.address

    def check(number: int, name: str, **environment: str) -> str:
        command = ("main.py", "lessons", "check", str(number), "--class", address, "--name", name)
        return run(sys.executable, *command, cwd=project, **environment).stdout

    password = {"PREFECT_API_AUTH_STRING": "class:secret"}
    show = ("main.py", "lessons", "class", address)
    away = run(sys.executable, *show, cwd=project)
    assert (away.returncode, away.stderr.count(address)) == (2, 1)
    assert "kept for next time: 1" in check(1, "=João")

    teacher.start_server()
    refused = run(sys.executable, *show, cwd=project)
    assert (refused.returncode, "PREFECT_API_AUTH_STRING" in refused.stderr) == (2, True)
    folder = project / "lessons" / NAMES[0]
    shutil.copy(folder / "solution.py", folder / "exercise.py")
    tried = project / "lessons" / NAMES[1] / "exercise.py"
    tried.write_text(tried.read_text(encoding="utf-8") + "# tried\n", encoding="utf-8")
    alone = run(sys.executable, "main.py", "lessons", "check", "1", cwd=project)
    assert alone.returncode == 0, alone.stdout + alone.stderr
    # What was kept is sent, too, and what was solved before; that counts once.
    for _ in range(2):
        assert "kept" not in check(2, "=João", **password)

    classroom, catalogue = packages("classroom"), packages("catalogue")
    lesson, not_yet = catalogue.Lesson(LESSONS / NAMES[1]), packages("checking").Outcome("missing")
    reporter = classroom.Reporter(classroom.client_for(address, None, {}), "Ana")
    reporter.report(lesson, not_yet)
    assert reporter.stop() == 2, "the password is missing"
    with_password = classroom.client_for(address, "class:secret", {})
    assert classroom.Reporter(with_password, "Ana").stop() == 0

    shown = run(sys.executable, *show, cwd=project, **password)
    assert shown.returncode == 0, shown.stderr
    assert [line.split() for line in shown.stdout.splitlines()[:3]] == [
        ["Student", "1", "2"],
        ["=João", "ok", "2"],
        ["Ana", "1"],
    ]
    table = (project / "reports" / "class.csv").read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(table.splitlines()))
    assert [(row["student"], row["lesson"], row["checks"]) for row in rows] == [
        ("'=João", "", "0"),
        ("'=João", NAMES[0], "1"),
        ("'=João", NAMES[1], "2"),
        ("Ana", "", "0"),
        ("Ana", NAMES[1], "1"),
    ]
    assert [bool(row["solved_at"]) for row in rows] == [False, True, False, False, False]

    runs = with_password.post("/flow_runs/filter", json={}).raise_for_status().json()
    assert len(runs) == 9
    for one in runs:
        assert set(one["parameters"]) == {"student", "lesson", "outcome", "time", "finding"}
        known = {one["parameters"]["student"], one["parameters"]["lesson"]}
        assert set(one["tags"]) == known - {""}


@pytest.mark.parametrize(
    "options", [("--class", "teacher"), ("--class", "http://teacher:4200/api"), ("--name", "Ana")]
)
def test_a_class_needs_an_address_and_a_name(
    options: tuple[str, ...], project: Path, run: Run
) -> None:
    finished = run(sys.executable, "main.py", "lessons", "check", "1", *options, cwd=project)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.startswith("Error: ")
    assert ("--name Ana" in finished.stderr) == (options[-1] == "http://teacher:4200/api")
