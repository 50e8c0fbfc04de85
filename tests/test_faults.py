"""A run under what happens to machines: killed, without room or right, without its server.

Everything here is done for real, to projects as they are generated, with the whole program.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from cookiecutter.main import cookiecutter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL"),
]

LONG = 400  # seconds; only a hang takes so long
KILLS, SERVER_KILLS, PIECES = 200, 50, 25  # of `make torture`
OUTPUTS = ("data/interim", "data/processed", "models", "reports")


@pytest.fixture(scope="module", autouse=True)
def plain_environment() -> Iterator[None]:
    """Let nothing of whoever runs the tests decide which Prefect server is used."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def generated(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a generated project that is only copied."""
    folder = tmp_path_factory.mktemp("faults")
    return Path(cookiecutter(str(template), no_input=True, output_dir=str(folder)))


@dataclass(frozen=True)
class Ended:
    """How a program ended, what it showed, and how long it took."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def accuracy(self) -> str:
        """What it says of the accuracy."""
        return str(re.findall(r"^Accuracy +(.*)$", self.out, re.MULTILINE)[0])


class Program:
    """`python main.py` in a project, in a session of its own."""

    def __init__(self, project: Path, *arguments: str, before: tuple[str, ...] = (), **more: str):
        """Start it; `before` is a command that starts it, `more` are environment variables."""
        self.log = project.parent / f"{project.name}.err"
        self.began = time.monotonic()
        with self.log.open("w", encoding="utf-8") as err:
            self.process = subprocess.Popen(
                [*before, sys.executable, "main.py", *arguments],
                cwd=project,
                env={**os.environ, **more},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
                encoding="utf-8",
                start_new_session=True,
            )
        self.known: set[psutil.Process] = set()

    def children(self) -> set[psutil.Process]:
        """Return all processes that it has had so far, as far as anybody looked."""
        with suppress(psutil.NoSuchProcess):
            self.known |= set(psutil.Process(self.process.pid).children(recursive=True))
        return self.known

    def end(self) -> Ended:
        """Wait for its end, and assert that no process is left."""
        try:
            out, _ = self.process.communicate(timeout=LONG)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        seconds = time.monotonic() - self.began
        alive = psutil.wait_procs(self.children(), timeout=LONG)[1]
        assert not alive, f"stayed behind: {alive}"
        return Ended(self.process.returncode, out, self.shown, seconds)

    @property
    def shown(self) -> str:
        """What it has written to the terminal so far, but for its last words."""
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> None:
        """Return when it has shown a text."""
        while text not in self.shown:
            assert self.process.poll() is None, self.shown
            assert time.monotonic() - self.began < LONG, self.shown
            time.sleep(0.02)

    def pause_until(self, moment: float) -> None:
        """Return at a moment in seconds after its begin, or when it has ended by itself."""
        while self.process.poll() is None and time.monotonic() - self.began < moment:
            self.children()
            time.sleep(0.01)


def run(project: Path, *arguments: str, before: tuple[str, ...] = (), **more: str) -> Ended:
    """Run the program to its end."""
    return Program(project, *arguments, before=before, **more).end()


def assert_sentence(ended: Ended) -> str:
    """Assert that it failed with one sentence and no traceback; return the sentence."""
    assert ended.code in (1, 2), ended
    assert ended.out == ""
    assert "Traceback" not in ended.err
    [sentence] = [line for line in ended.err.splitlines() if line.startswith("Error: ")]
    return sentence


def assert_whole(project: Path) -> None:
    """Assert that no file of a run is half-written, but for those that obstore does not list."""
    for path in [one for folder in OUTPUTS for one in (project / folder).rglob("*.*")]:
        if path.is_dir() or re.search(r"#\d+$", path.name):
            continue
        content = path.read_bytes()
        if path.suffix == ".json":
            json.loads(content)
        elif path.suffix == ".parquet":
            pq.read_table(io.BytesIO(content))
        elif path.suffix == ".skops":
            assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
        elif path.suffix == ".png":
            assert content.endswith(b"IEND\xaeB`\x82")
        else:
            assert content.endswith(b"</html>\n"), path


def states(project: Path) -> list[str]:
    """Return the state of each run, by its run.json, in the order of their names."""
    paths = sorted((project / "data" / "processed").glob("*/run.json"))
    return [json.loads(path.read_text(encoding="utf-8"))["state"] for path in paths]


def assert_as_if_nothing_had_been(project: Path, accuracy: str) -> float:
    """Assert that the next run is as good as any; return the seconds that it takes."""
    assert_whole(project)
    before = states(project)
    again = run(project)
    assert again.code == 0, again.err
    assert again.accuracy == accuracy
    assert not re.search(r"Traceback|locked|ERROR", again.err), again.err
    after = states(project)
    assert after.count("Completed") == before.count("Completed") + 1
    assert "Running" not in after
    assert list((project / ".prefect" / "running").iterdir()) == []
    assert not (project / ".prefect" / "server.json").exists()
    return again.seconds


# ---- killed at any moment


class Sweep:
    """Kills runs, or their servers, at moments spread over a run; two at a time."""

    def __init__(self, generated: Path, folder: Path):
        """Measure a run that nobody kills."""
        self.generated, self.folder = generated, folder
        self.used = Path(shutil.copytree(generated, folder / "used"))
        first, second = run(self.used), run(self.used)
        assert (first.code, second.code) == (0, 0), first.err + second.err
        self.accuracy = first.accuracy
        self.seconds = {True: first.seconds, False: second.seconds}

    def new(self, name: str, *, is_first: bool = True) -> Path:
        """Return a copy of the project; where the run is not its first, of one with two runs."""
        source = self.generated if is_first else self.used
        return Path(shutil.copytree(source, self.folder / name))

    def kill(self, moment: float, number: int, *, server: bool) -> str:
        """Kill at a moment (0 to 1) of a run, its first in every second project; say what came."""
        is_first = number % 2 == 0
        project = self.new(f"{'server' if server else 'run'}-{number}", is_first=is_first)
        program = Program(project)
        program.pause_until(moment * self.seconds[is_first])
        if server:
            for child in program.children():
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        else:
            program.process.kill()
        ended = program.end()
        if server and ended.code:
            assert_sentence(ended)
        took = assert_as_if_nothing_had_been(project, self.accuracy)
        self.seconds[False] = (self.seconds[False] + took) / 2 if not is_first else took
        last = ["", *ended.err.splitlines()][-1][15:90]
        shutil.rmtree(project)
        return f"{moment:6.1%} {ended.code:3} {ended.seconds:5.1f} s  {last}"

    def all(self, numbers: list[int], of: int, *, server: bool) -> list[str]:
        """Kill at each of some of the moments, and print what came of each."""
        with ThreadPoolExecutor(2) as pool:
            tries = [
                pool.submit(self.kill, (number + 0.5) / of, number, server=server)
                for number in numbers
            ]
            lines = []
            for one in tries:
                lines.append(one.result())
                print(lines[-1], flush=True)
        return lines


@pytest.fixture(scope="module")
def sweep(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Return a sweep whose run that nobody kills is measured."""
    return Sweep(generated, tmp_path_factory.mktemp("sweep"))


def test_after_a_kill_the_next_run_is_as_if_nothing_had_been(sweep: Sweep) -> None:
    sweep.all(list(range(4)), 4, server=False)


@pytest.mark.parametrize("task", ["load_data", "train_model"])
def test_a_run_whose_own_server_is_killed_says_so_at_once(task: str, sweep: Sweep) -> None:
    project = sweep.new(task)
    program = Program(project)
    program.wait_for(f"Task run '{task}")
    for server in program.children():
        server.kill()
    sentence = assert_sentence(program.end())
    log = project / ".prefect" / "server.log"
    assert sentence == (
        f"Error: The Prefect server of this run has ended; {log} may say why. Run it once more."
    )
    assert_as_if_nothing_had_been(project, sweep.accuracy)


# In pieces, each with moments from the whole run: so one that is interrupted has shown something.
@pytest.mark.torture
@pytest.mark.parametrize("piece", range(PIECES))
@pytest.mark.parametrize("server", [False, True])
def test_after_any_kill_the_next_run_is_as_if_nothing_had_been(
    piece: int, server: bool, sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    number = SERVER_KILLS if server else KILLS
    with capsys.disabled():
        sweep.all(list(range(piece, number, PIECES)), number, server=server)


# ---- no room, no right


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Mount something at a folder; skip the test where that is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = shutil.which("mount")
    done = command and subprocess.run(
        [command, *options, str(folder)], capture_output=True, check=False
    )
    if not done or done.returncode:
        pytest.skip("mounting takes Linux and root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no room in the file system of a folder."""
    with suppress(OSError), (folder / "full").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with suppress(OSError), (folder / "full to the last byte").open("wb", buffering=0) as file:
        while True:
            file.write(b"0")


@pytest.fixture(scope="module")
def used(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with one run, which is only copied."""
    project = Path(shutil.copytree(generated, tmp_path_factory.mktemp("used") / "project"))
    assert run(project).code == 0
    shutil.rmtree(project / "data" / "interim")  # else the next run has nothing to write there
    return project


# Each folder once, and each kind with one that is written first and one that is written last.
@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        (".prefect", "no room"),
        ("data/interim", "no right"),
        ("data/processed", "no room"),
        ("models", "no room"),
        ("reports", "no right"),
    ],
)
def test_without_room_or_right_a_run_fails_in_a_sentence_and_the_one_before_can_be_read(
    stage: str, kind: str, used: Path, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(used, tmp_path / "project"))
    folder = project / stage
    folder.mkdir(exist_ok=True)
    if kind == "no room":
        copy = Path(shutil.copytree(folder, tmp_path / "copy"))
        options: tuple[str, ...] = ("-t", "tmpfs", "-o", "size=8m", "tmpfs")
    else:
        options = ("--bind", "-o", "ro", str(folder))
    with mounted(folder, *options):
        if kind == "no room":
            shutil.copytree(copy, folder, dirs_exist_ok=True)
            fill(folder)
        sentence = assert_sentence(run(project))
        print(sentence)
        assert stage in sentence
        assert sentence.endswith(
            "No space left on device." if kind == "no room" else "Read-only file system."
        )
        predicted = run(project, "predict", "5.1", "3.5", "1.4", "0.2")
        assert predicted.out.startswith("setosa"), predicted.err
    assert_whole(project)
    if kind == "no right":
        assert run(project).code == 0


# ---- the server goes away


class Server:
    """A Prefect server of somebody else's, on a port of its own, that can go away and come back."""

    def __init__(self, project: Path, home: Path):
        """Start it with the means of a project; its records are elsewhere."""
        self.project, self.home, self.port = project, home, 0
        self.start()

    def start(self) -> None:
        """Start it, on the port that it had."""
        serve = (
            "import sys; from runtime.server import process as s; port = int(sys.argv[1]); "
            "listen = s.listen; s.listen = lambda _: listen(port); s.main(dashboard=False)"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", serve, str(self.port)],
            cwd=self.project,
            env={**os.environ, "PREFECT_HOME": str(self.home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.api_url = self.process.stdout.readline().strip()
        self.port = int(self.api_url.rpartition(":")[2].partition("/")[0])

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def server(generated: Path, tmp_path: Path) -> Iterator[Server]:
    """Return a server that runs, and end it."""
    server = Server(generated, tmp_path / "server")
    yield server
    server.kill()


FOR_EVER = None


# How often Prefect's client asks again is a setting of Prefect's: five times by default.
@pytest.mark.parametrize(
    ("seconds", "retries"),
    [
        (10, 5),
        pytest.param(1, 5, marks=pytest.mark.torture),
        (FOR_EVER, 1),
        pytest.param(60, 5, marks=pytest.mark.torture),
        pytest.param(FOR_EVER, 5, marks=pytest.mark.torture),
    ],
)
def test_a_run_whose_server_goes_away_ends_or_says_so(
    seconds: int | None, retries: int, generated: Path, server: Server, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(generated, tmp_path / "project"))
    program = Program(
        project, PREFECT_API_URL=server.api_url, PREFECT_CLIENT_MAX_RETRIES=str(retries)
    )
    program.wait_for("Task run 'split_data")
    server.kill()
    if seconds is not None:
        time.sleep(seconds)  # that is what is tried here
        server.start()
    ended = program.end()
    print(f"away for {seconds} s: exit code {ended.code} after {ended.seconds:.0f} s")
    if ended.code:
        print(assert_sentence(ended))
    assert "Traceback" not in ended.err
    if seconds in (1, 10):
        assert ended.code == 0, ended.err
    assert_whole(project)
    again = run(project)
    assert again.code == 0, again.err


def answers(status: int, content: bytes) -> type[BaseHTTPRequestHandler]:
    """Return a server's ways: the same answer to everything."""

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    return Stranger


UNREACHABLE = "cannot be reached: see whether a Prefect server runs there, "
STRANGERS: dict[str, tuple[type[BaseHTTPRequestHandler], str]] = {
    "errors": (answers(500, b'{"exception_message": "Internal Server Error"}'), UNREACHABLE),
    "a web page": (answers(200, b"<html>Welcome!</html>"), UNREACHABLE),
    "another version": (
        answers(200, b'"2.20.3"'),
        "cannot be used: Found incompatible versions: client: 3.",
    ),
    "no access": (answers(401, b'{"detail": "Unauthorized"}'), "does not accept your key: "),
    "nothing": (BaseHTTPRequestHandler, UNREACHABLE),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_a_server_that_cannot_be_used_is_named(kind: str, generated: Path, tmp_path: Path) -> None:
    handler, words = STRANGERS[kind]
    project = Path(shutil.copytree(generated, tmp_path / "project"))
    stranger = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    url = f"http://127.0.0.1:{stranger.server_port}/api"
    try:
        if kind == "nothing":
            stranger.server_close()
        else:
            threading.Thread(target=stranger.serve_forever, daemon=True).start()
        ended = run(project, PREFECT_API_URL=url)
    finally:
        if kind != "nothing":
            stranger.shutdown()
            stranger.server_close()
    sentence = assert_sentence(ended)
    print(f"{kind}, after {ended.seconds:.0f} s: {sentence}")
    assert sentence.startswith(f"Error: {url} {words}")
