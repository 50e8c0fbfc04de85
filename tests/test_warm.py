"""Runs that start warm while `ui` is up: they are as any other run, and never old."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conftest import BakedProject, Run
from cookiecutter.main import cookiecutter
from team import LONG, ask, wait_for
from test_running import Terminal, plain_environment, project, terminals

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="runs start warm on Linux alone"),
]

__all__ = ["plain_environment", "project"]  # fixtures

PROBE = '''"""A flow that shows how it was run."""

import os
import sys
import time
from pathlib import Path

import numpy as np
from prefect import flow

from runtime import in_run_folder


@flow(name="probe", log_prints=True)
@in_run_folder
def probe(until: str = "", exit_code: int = 0) -> None:
    """Print what a test looks for, and wait until there is a file, where one is named."""
    print("answer", 0)
    print("warm" if "runtime.server.warm" in sys.modules else "Windows could run it, too")
    print("random", np.random.random())  # noqa: NPY002
    print("process", os.getpid(), "of", Path(f"/proc/{os.getppid()}/cmdline").read_text())
    print("here", os.getcwd(), "colour", os.environ.get("COLOUR"), "rights", oct(os.umask(0o022)))
    while until and not Path(until).exists():
        time.sleep(0.05)
    if exit_code:
        os._exit(exit_code)
'''


@pytest.fixture(scope="module")
def ui(project: BakedProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Open the dashboard of a project that has a flow which shows how it was run."""
    (project.path / "flows" / "probe.py").write_text(PROBE, encoding="utf-8")
    with terminals(project, tmp_path_factory.mktemp("warm")) as open_terminal:
        terminal = open_terminal("ui", "--no-browser")
        terminal.wait_for(lambda: waits(project))
        yield terminal
        waiting = waiting_process(terminal)
        terminal.press_ctrl_c()
        assert not waiting.is_running()
        assert not (project.path / ".prefect" / "warm").exists()


def new_project(template: Path, folder: Path) -> BakedProject:
    """Generate a project that has a flow which shows how it was run."""
    path = cookiecutter(str(template), no_input=True, output_dir=str(folder))
    (Path(path) / "flows" / "probe.py").write_text(PROBE, encoding="utf-8")
    return BakedProject(Path(path))


def waits(project: BakedProject) -> bool:
    """Tell whether a process waits for runs."""
    folder = os.open(project.path, os.O_PATH)  # the address of a socket must be short
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.connect(f"/proc/self/fd/{folder}/.prefect/warm")
        os.close(folder)
        return True
    os.close(folder)
    return False


def waiting_process(terminal: Terminal) -> psutil.Process:
    """Return the process that waits for runs, of a terminal's."""
    [process] = [
        child
        for child in psutil.Process(terminal.process.pid).children()
        if "warm.py" in " ".join(child.cmdline())  # nothing while it becomes another program
    ]
    return process


def is_warm(shown: str) -> bool:
    """Tell whether a run of the flow `probe` was carried out by a fork."""
    [parent] = re.findall(r"process \d+ of (.*)", shown)
    return "server/warm.py" in parent


class Begun:
    """A run of the flow `probe` that lasts until the test releases it."""

    def __init__(
        self, project: BakedProject, folder: Path, *, cold: bool = False, **environment: str
    ):
        """Start it, and return when it has begun."""
        self.file, self.log = folder / "go", folder / "log.txt"
        with self.log.open("w", encoding="utf-8") as output:
            self.command = subprocess.Popen(
                [sys.executable, "main.py", "probe", "--param", f"until={self.file}"],
                cwd=project.path,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_for(lambda: " of " in self.shown and self.shown.endswith("\n"), self.command)
        self.process = psutil.Process(int(re.findall(r"process (\d+)", self.shown)[0]))
        assert is_warm(self.shown) is not cold

    @property
    def shown(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8")

    def let_go(self) -> int:
        """Let it come to its end; return its exit code."""
        self.file.touch()
        return self.command.wait(LONG)


def probe(run: Run, project: BakedProject, *arguments: object, **environment: str) -> str:
    """Run the flow `probe`; return all that it has printed."""
    done = run(sys.executable, "main.py", "probe", *arguments, cwd=project.path, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def of_one_run(text: str) -> list[str]:
    """Return the lines of a text, without what differs from run to run, and in a fixed order."""
    text = re.sub(r"\d\d:\d\d:\d\d\.\d+|\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[a-z-]+", "…", text)
    text = re.sub(r"(Flow run|flow run) '[a-z-]+'|-[0-9a-f]{3}'|flow-run/[0-9a-f-]+", "…", text)
    text = re.sub(r"Cached\(type=COMPLETED\)", "Completed()", text)
    return sorted(text.splitlines())


COMMANDS = {
    "main-flow": ["--param", "test_data_ratio=0.3"],
    "a file that is lost": ["data-engineer", "--param", "raw_path=data/raw/lost.csv"],
    "a value out of bounds": ["--param", "test_data_ratio=3"],
    "data-science": ["data-science"],
}


@pytest.mark.usefixtures("ui")
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=list(COMMANDS))
def test_a_warm_run_shows_and_leaves_what_a_cold_one_does(
    project: BakedProject, run: Run, arguments: list[str]
) -> None:
    def files() -> list[str]:
        return sorted(
            re.sub(r"/\d{4}-[^/]*", "", path.relative_to(project.path).as_posix())
            for room in ("data/processed", "models", "reports")
            for path in (project.path / room).rglob("*")
            if path.is_file()
        )

    ends = []
    for warm in ("no", "yes"):
        before = files()
        done = run(sys.executable, "main.py", *arguments, cwd=project.path, WARM=warm)
        new = files()
        for name in before:
            new.remove(name)
        ends.append((done.returncode, of_one_run(done.stdout), of_one_run(done.stderr), new))
    assert ends[0] == ends[1]


@pytest.mark.usefixtures("ui")
def test_a_run_has_the_folder_environment_and_numbers_of_its_own(
    project: BakedProject, run: Run
) -> None:
    first = probe(run, project, COLOUR="blue")
    second = probe(run, project)
    assert is_warm(first)
    assert is_warm(second)
    assert f"here {project.path} colour blue" in first
    assert "colour None" in second
    numbers = [re.findall(r"random (.*)", shown) for shown in (first, second)]
    assert numbers[0] != numbers[1]


@pytest.mark.usefixtures("ui")
def test_an_edited_task_is_the_one_that_runs(project: BakedProject, run: Run) -> None:
    flow = project.path / "flows" / "probe.py"
    # Python itself misses an edit in the same second that leaves a file as long as it was.
    for number in (1, 10, 100, 1000, 10_000):
        source = flow.read_text(encoding="utf-8")
        flow.write_text(re.sub(r'"answer", \d+', f'"answer", {number}', source), encoding="utf-8")
        shown = probe(run, project)
        assert is_warm(shown)
        assert f"answer {number}\n" in shown


def test_an_edit_counts_at_once_two_hundred_times(template: Path, run: Run, tmp_path: Path) -> None:
    """A module of the project is edited and run; without Prefect, which would only take longer."""
    project = new_project(template, tmp_path)
    (project.path / ".prefect").mkdir()
    module, script = project.path / "edited.py", project.path / "ask.py"
    script.write_text(
        "import sys; sys.path.insert(0, 'runtime/server')\n"
        "from pathlib import Path; from warm import hand_over\n"
        "sys.exit(hand_over('edited', Path.cwd()))",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, "runtime/server/warm.py"], cwd=project.path, stdin=subprocess.PIPE
    ) as waiting:
        wait_for(lambda: waits(project), waiting)
        for code in (*range(1, 101), *range(1, 101)):
            text = f"import sys  # {'longer ' * code}\nsys.exit({code})"
            module.write_text(text, encoding="utf-8")
            assert run(sys.executable, "ask.py", cwd=project.path).returncode == code


@pytest.mark.usefixtures("ui")
@pytest.mark.parametrize(
    "odd",
    [{"WARM": "no"}, {"PYTHONHASHSEED": "1"}, {"OMP_NUM_THREADS": "1"}],
    ids=["no", "Python", "threads"],
)
def test_what_is_odd_starts_cold_without_a_word(
    project: BakedProject, run: Run, odd: dict[str, str]
) -> None:
    shown = probe(run, project, **odd)
    assert not is_warm(shown)
    assert "WARM" not in shown
    assert ("Windows could run it, too" in shown) == (odd == {"WARM": "no"})
    assert is_warm(probe(run, project)), "the next run, which is not odd"


@pytest.mark.usefixtures("ui")
def test_where_files_are_to_be_private_a_run_starts_cold(project: BakedProject, run: Run) -> None:
    command = f"umask 077; exec '{sys.executable}' main.py probe"
    done = run("sh", "-c", command, cwd=project.path)
    assert done.returncode == 0
    assert not is_warm(done.stderr)
    assert "rights 0o77" in done.stderr


@pytest.mark.usefixtures("ui")
def test_another_program_keeps_the_run_that_it_starts(project: BakedProject, run: Run) -> None:
    """Such as a debugger or a profiler, which would see nothing of a run in a fork."""
    script = "from runtime.cli import main; main(['probe'])"
    done = run(sys.executable, "-c", script, cwd=project.path)
    assert done.returncode == 0
    assert "answer" in done.stderr
    assert not is_warm(done.stderr)


@pytest.mark.usefixtures("ui")
def test_a_setting_of_prefect_counts_in_a_warm_run(project: BakedProject, run: Run) -> None:
    assert is_warm(probe(run, project))
    quiet = run(
        *(sys.executable, "main.py", "probe"), cwd=project.path, PREFECT_LOGGING_LEVEL="ERROR"
    )
    assert "answer" not in quiet.stdout + quiet.stderr
    command = (sys.executable, "../main.py")
    bad, cold = (
        run(*command, cwd=project.path / "data", PREFECT_LOGGING_LEVEL="LOUD", WARM=warm)
        for warm in ("yes", "no")
    )
    assert (bad.returncode, bad.stdout, bad.stderr) == (2, cold.stdout, cold.stderr)
    assert bad.stderr.startswith("Error: PREFECT_LOGGING_LEVEL='LOUD' ")


def test_a_package_that_is_installed_counts_at_once(
    template: Path, run: Run, tmp_path: Path
) -> None:
    """What tells of it is the folder of packages: here one of an environment of its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    [packages] = (tmp_path / "venv").glob("lib/*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    python = tmp_path / "venv" / "bin" / "python"
    project = new_project(template, tmp_path)

    def shown() -> str:
        return run(python, "main.py", "probe", cwd=project.path).stderr

    with subprocess.Popen(
        [python, "main.py", "ui", "--no-browser"],
        cwd=project.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as ui:
        wait_for(lambda: waits(project), ui)
        assert is_warm(shown())
        (packages / "new-1.0.dist-info").mkdir()
        assert not is_warm(shown())
        wait_for(lambda: waits(project), ui)
        assert is_warm(shown())
        os.killpg(ui.pid, signal.SIGINT)


@pytest.mark.usefixtures("ui")
def test_a_bad_setting_is_refused(project: BakedProject, run: Run) -> None:
    done = run(sys.executable, "main.py", cwd=project.path, WARM="maybe")
    assert done.returncode == 2
    assert done.stderr == "Error: WARM='maybe' is not allowed: yes or no.\n"


@pytest.mark.usefixtures("ui")
def test_ctrl_c_exit_codes_and_signals_are_those_of_the_run(
    project: BakedProject, tmp_path: Path, run: Run
) -> None:
    interrupted = Begun(project, tmp_path)
    os.killpg(interrupted.command.pid, signal.SIGINT)
    assert interrupted.command.wait(LONG) == 130
    assert not interrupted.process.is_running()

    done = run(sys.executable, "main.py", "probe", "--param", "exit_code=7", cwd=project.path)
    assert done.returncode == 7

    killed = Begun(project, tmp_path)
    killed.process.kill()
    assert killed.command.wait(LONG) == -signal.SIGKILL


def test_of_a_command_that_is_killed_nothing_stays_and_the_run_is_marked(
    project: BakedProject, tmp_path: Path, ui: Terminal
) -> None:
    begun = Begun(project, tmp_path)
    begun.command.kill()
    psutil.wait_procs([begun.process], timeout=LONG)
    assert not begun.process.is_running()
    flows = {"name": {"any_": ["probe"]}}

    def is_marked() -> bool:
        runs = ask(f"{ui.url}/api/flow_runs/filter", {"flows": flows, "sort": "START_TIME_DESC"})
        return bool(runs[0]["state"]["name"] == "Crashed")

    ui.wait_for(is_marked)


@pytest.mark.usefixtures("ui")
def test_a_signal_that_the_command_ignores_is_ignored_by_its_run_which_starts_cold(
    project: BakedProject, tmp_path: Path
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        begun = Begun(project, tmp_path, cold=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    os.killpg(begun.command.pid, signal.SIGHUP)
    begun.process.send_signal(signal.SIGHUP)
    assert begun.let_go() == 0


@pytest.mark.usefixtures("ui")
def test_two_runs_at_once_are_two_processes(
    project: BakedProject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one = Begun(project, tmp_path_factory.mktemp("one"), COLOUR="red")
    other = Begun(project, tmp_path_factory.mktemp("other"), COLOUR="green")
    assert one.process.pid != other.process.pid
    assert (other.let_go(), one.let_go()) == (0, 0)
    assert ("colour red" in one.shown, "colour green" in other.shown) == (True, True)


def test_a_quick_run_starts_warm(project: BakedProject, ui: Terminal) -> None:
    url = f"{ui.url}/api"
    deployment = ask(f"{url}/deployments/name/probe/iris-project")["id"]
    state = {"state": {"type": "SCHEDULED"}}
    begun = ask(f"{url}/deployments/{deployment}/create_flow_run", state)["id"]
    ui.wait_for(lambda: ask(f"{url}/flow_runs/{begun}")["state"]["type"] == "COMPLETED")
    logs = {"logs": {"flow_run_id": {"any_": [begun]}}}
    ui.wait_for(lambda: "process" in json.dumps(ask(f"{url}/logs/filter", logs)))
    shown = "\n".join(log["message"] for log in ask(f"{url}/logs/filter", logs))
    assert is_warm(shown), "Prefect starts flow runs differently: mend runtime/server/warm_start"


@pytest.mark.usefixtures("ui")
def test_nobody_else_can_hand_over_a_run(project: BakedProject) -> None:
    address = project.path / ".prefect" / "warm"
    assert address.stat().st_mode & 0o077 == 0
    assert address.stat().st_uid == os.getuid()


@pytest.fixture
def opened(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[BakedProject, Terminal]]:
    """Generate a project of its own, and open its dashboard."""
    folder = tmp_path_factory.mktemp("own")
    project = new_project(template, folder)
    with terminals(project, folder) as open_terminal:
        terminal = open_terminal("ui", "--no-browser")
        terminal.wait_for(lambda: waits(project))
        yield project, terminal


def test_where_the_waiting_process_is_killed_runs_end_and_others_start_cold(
    opened: tuple[BakedProject, Terminal], tmp_path: Path, run: Run
) -> None:
    project, terminal = opened
    begun = Begun(project, tmp_path)
    waiting_process(terminal).kill()
    assert begun.let_go() == 0
    assert "Finished in state Completed()" in begun.shown
    assert not is_warm(probe(run, project))
    terminal.press_ctrl_c()


def test_where_ui_is_killed_no_process_stays(opened: tuple[BakedProject, Terminal]) -> None:
    project, terminal = opened
    waiting = waiting_process(terminal)
    terminal.process.kill()
    terminal.process.wait(LONG)
    waiting.wait(LONG)
    assert not waits(project)


def test_memory_is_given_back_where_nothing_is_run(template: Path, tmp_path: Path) -> None:
    """A script shortens the time; what follows it is the process as it is."""
    project = new_project(template, tmp_path)
    noted = project.path / ".prefect" / "imported.txt"
    noted.parent.mkdir()
    noted.write_text("pandas\nsklearn.linear_model\n", encoding="utf-8")
    script = (
        "import sys; sys.path.insert(0, 'runtime/server'); import warm\n"
        "warm.IDLE_SECONDS = 0.1; sys.path.insert(0, ''); warm.main()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=project.path, stdin=subprocess.PIPE
    ) as command:
        process = psutil.Process(command.pid)
        wait_for(lambda: "asleep" in process.cmdline(), command)
        assert process.memory_info().rss < 50e6
        wait_for(lambda: waits(project), command)  # this wakes it
        wait_for(lambda: process.memory_info().rss > 100e6 and waits(project), command)


# Looking through the modules makes garbage, and taking it away lets the other thread go on.
NOTE_WHILE_IMPORTING = """
import sys, threading
sys.path.insert(0, "runtime/server")
import warm

class Garbage:
    def __init__(self):
        self.myself = self
    def __del__(self):
        sum(range(1000))

def import_many():
    for number in range(100_000):
        sys.modules[f"m{number}"] = sys

sys.modules |= {f"n{number}": sys for number in range(2_000)}
sys.setswitchinterval(1e-5)
thread = threading.Thread(target=import_many, daemon=True)
thread.start()
while thread.is_alive():
    garbage = [Garbage() for _ in range(300)]
    del garbage
    warm.note_imports()
"""


def test_imports_are_noted_while_another_thread_imports(project: BakedProject, run: Run) -> None:
    noted = run(sys.executable, "-c", NOTE_WHILE_IMPORTING, cwd=project.path)
    assert (noted.returncode, noted.stderr) == (0, "")
