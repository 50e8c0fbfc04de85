"""What is set on a machine and is no business of a run: it runs, or says in a sentence why not."""

import errno
import io
import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import PROJECT, SERVER, Answer, wait_until
from runtime import cli, doctor, server, settings
from runtime.errors import CannotWrite, UserError
from runtime.server import surroundings

Command = Callable[..., Answer]
Program = Callable[..., "subprocess.Popen[str]"]

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
REFUSED = "http://127.0.0.1:9"  # nobody listens there


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets environment variables; all that is changed after the first call is set back."""
    monkeypatch.setattr(os, "environ", {**os.environ})

    def set_variables(**values: str) -> None:
        os.environ.update(values)

    return set_variables


# ---- proxies

PROXIES: dict[str, dict[str, str]] = {
    "small letters": {"http_proxy": REFUSED, "no_proxy": "localhost"},
    "capitals": {"HTTP_PROXY": REFUSED, "HTTPS_PROXY": REFUSED, "NO_PROXY": "example.org"},
    "both": {"http_proxy": REFUSED, "NO_PROXY": "127.0.0.1", "no_proxy": "example.org"},
    "without scheme": {"all_proxy": "127.0.0.1:9"},
    "IPv6 ranges": {"NO_PROXY": "localhost,fd07:b51a:cc66:f0::/64,::1,[::1],10.0.0.0/8"},
    "what is no host": {"http_proxy": REFUSED, "no_proxy": "host:port, é.fr,,<local>"},
    "all": {"http_proxy": REFUSED, "no_proxy": "*"},
    "SOCKS": {"ALL_PROXY": "socks://127.0.0.1:9/", "all_proxy": "socks5h://127.0.0.1:9"},
    "no port": {"HTTP_PROXY": "http://proxy:port/", "https_proxy": " http://proxy:1"},
}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("kind", PROXIES)
def test_no_proxy_is_asked_for_a_server_on_this_machine(
    kind: str, environment: Callable[..., None]
) -> None:
    for name in VARIABLES:
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    environment(**PROXIES[kind])
    surroundings.avoid_proxies()
    url = f"{SERVER.api_url}/health"
    assert httpx.get(url, verify=False).json() is True
    assert json.load(urllib.request.urlopen(url)) is True
    # As websockets asks it.
    assert urllib.request.proxy_bypass(url.split("/")[2])


def test_a_proxy_that_works_is_left_to_what_asks_others(environment: Callable[..., None]) -> None:
    environment(https_proxy="http://ana:a@b@proxy:8080", all_proxy="socks5://proxy:1", no_proxy="x")
    surroundings.avoid_proxies()
    assert urllib.request.getproxies_environment()["https"] == "http://ana:a@b@proxy:8080"
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "127.0.0.1,localhost,x"


# ---- certificates


@pytest.mark.parametrize("name", ["gone.pem", ".", "main.py"])
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "PREFECT_API_SSL_CERT_FILE"])
def test_certificates_that_cannot_be_read_matter_only_where_they_are_needed(
    variable: str, name: str, environment: Callable[..., None]
) -> None:
    file = str(PROJECT / name)
    environment(**{variable: file})
    with pytest.raises(UserError) as caught:
        surroundings.check_certificates("https://prefect.example/api")
    assert str(caught.value).startswith(f"{variable}={file} is no file of certificates: ")
    environment(**{variable: file})
    surroundings.check_certificates(SERVER.api_url)
    assert variable not in os.environ  # Prefect's client would stop at it


# ---- Prefect's settings

BAD_SETTINGS = {
    "PREFECT_LOGGING_LEVEL=verbose": "PREFECT_LOGGING_LEVEL='VERBOSE' (a variable, or in "
    "prefect.toml, .env or profiles.toml) is not allowed, it should be 'DEBUG', 'INFO', ",
    "PREFECT_SERVER_API_PORT=abc": "PREFECT_SERVER_API_PORT='abc' (a variable",
    "PREFECT_API_URL=http://[::1/api": "Prefect's settings (a variable, or in ",
    ".env PREFECT_TASKS_DEFAULT_RETRIES=-1": "PREFECT_TASKS_DEFAULT_RETRIES='-1' (a variable",
    ".env \0\udcff": "Prefect's settings (a variable, or in prefect.toml, .env or profiles.toml) ",
}


@pytest.mark.parametrize(
    "setting",
    [
        "PREFECT_LOGGING_LEVEL=verbose",
        *(pytest.param(each, marks=pytest.mark.slow) for each in [*BAD_SETTINGS][1:]),
    ],
)
def test_a_bad_setting_of_prefects_is_named(setting: str, project: Path) -> None:
    name, _, value = setting.partition("=")
    if name.startswith(".env "):
        content = setting.removeprefix(".env ").encode(errors="surrogateescape")
        (project / ".env").write_bytes(content)
    environment = {key: text for key, text in os.environ.items() if key != "PREFECT_API_URL"}
    if not name.startswith(".env "):
        environment[name] = value
    code = (
        "from runtime import cli, server\n"
        "def use():\n    from runtime.server.surroundings import import_prefect; import_prefect()\n"
        "cli.app = lambda *_, **__: use()\n"
        "raise SystemExit(cli.main([]))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.startswith(f"Error: {BAD_SETTINGS[setting]}")
    assert answer.stderr.count("\n") == 1


# ---- the address of a server

BAD_ADDRESSES = {
    "http://127.0.0.1:9/api": "http://127.0.0.1:9/api cannot be reached: ",
    "http://127.0.0.1:9": "write it as http://host:4200/api, with /api.",
    "127.0.0.1:9/api": "write it as http://host:4200/api, with /api.",
    "http://127.0.0.1:port/api": "cannot be reached: ",
    "http://no-such-host.invalid/api": "cannot be reached: ",
}


@pytest.mark.parametrize("url", BAD_ADDRESSES)
def test_an_address_at_which_nobody_listens_is_not_asked_again_and_again(url: str) -> None:
    with pytest.raises(UserError) as caught:
        server.wait_until_ready(server.Server(url))
    assert BAD_ADDRESSES[url] in str(caught.value)


# ---- the terminal, the folder, the home


@pytest.mark.parametrize("closed", [False, True])
def test_a_command_needs_neither_standard_output_nor_error(
    closed: bool, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdin", "stdout", "stderr"):
        stream = io.StringIO()  # like a notebook's, it has no `reconfigure`
        stream.close()
        monkeypatch.setattr(sys, name, stream if closed else None)
    assert command("visualize").exit_code == 0


def test_a_system_that_knows_no_home_is_as_good(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object) -> None:
        raise KeyError("getpwuid(): uid not found: 54321")

    for name in ("HOME", "USERPROFILE", "HOMEDRIVE", "HOMEPATH", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    if os.name != "nt":
        monkeypatch.setattr("pwd.getpwuid", nobody)
    with pytest.raises(RuntimeError):
        Path("~").expanduser()
    assert server._chosen_by_user() is None


def test_a_database_that_is_not_ours_to_write_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, mode: str = "r", **options: Any) -> Any:  # as root may write any file
        if path == database and mode == "r+b":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return path_open(path, mode, **options)

    database, path_open = tmp_path / "prefect.db", Path.open
    database.touch()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CannotWrite) as caught:
        server.start()
    assert str(caught.value) == f"{database} cannot be used: {os.strerror(errno.EACCES)}."


def test_doctor_notes_a_folder_that_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "ROOT", tmp_path / "OneDrive - Escola" / "iris")
    with pytest.raises(doctor.Note, match="synced"):
        doctor.folders()


@pytest.mark.parametrize("name", ["firefox", "w3m", "/usr/bin/lynx", None])
def test_a_browser_never_takes_the_terminal(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = threading.Event()

    class Browser:
        def open(self, url: str) -> None:
            assert url == SERVER.ui_url
            opened.set()

    browser = Browser()
    if name:
        vars(browser)["name"] = name
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    cli.open_browser(SERVER.ui_url)
    assert opened.wait(None if name in ("firefox", None) else 0) == (name in ("firefox", None))


@pytest.mark.parametrize("name", ["prefect.py", "pandas.py", "logging.py", "re.py", "types.py"])
def test_a_file_with_the_name_of_a_package_is_named(
    name: str, project: Path, program: Program
) -> None:
    (project / name).write_text("x = 1\n", "utf-8")
    process = program("predict", 1)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"Error: {name} takes the place of ")
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no folder that is in use")
def test_a_run_depends_on_nothing_around_it(project: Path, tmp_path: Path) -> None:
    """All at once, so that one run is enough."""
    gone = tmp_path / "gone"
    gone.mkdir()
    project = project.rename(tmp_path / "what?")  # in an address, a ? ends the path
    (project / "test.py").write_text("raise RuntimeError('not for you')", "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")},
            **{"http_proxy": url, "https_proxy": url, "no_proxy": "localhost,fd07::/64"},
            **{"ALL_PROXY": "socks://127.0.0.1:7890/", "SSL_CERT_FILE": str(gone / "certificates")},
            **{
                "PYTHONSAFEPATH": "1",
                "PYTHONIOENCODING": "cp1252",
                "TERM": "dumb",
                "COLUMNS": "40",
            },
        }
        command = 'cd "$1" && rmdir "$1" && exec "$2" "$3" run data-engineer <&- >&- 2>&-'
        shell = ["sh", "-c", command, "sh", str(gone), sys.executable, str(project / "main.py")]
        process = subprocess.Popen(shell, env=environment)
        try:
            wait_until(lambda: process.poll() is not None)
        finally:
            process.kill()
        assert process.returncode == 0
        assert list(project.glob("data/processed/*/split_data.parquet"))
        assert (project / ".prefect" / "prefect.db").stat().st_size
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_from_a_deleted_folder_only_relative_paths_are_lost(project: Path, tmp_path: Path) -> None:
    if os.name == "nt":
        pytest.skip("Windows deletes no folder that is in use")
    gone = tmp_path / "gone"
    gone.mkdir()
    command = 'cd "$1" && rmdir "$1" && exec "$2" "$3" run --param-file my.json'
    answer = subprocess.run(
        ["sh", "-c", command, "sh", gone, sys.executable, project / "main.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "a folder that was deleted/my.json cannot be read" in answer.stderr.replace("\n", " ")
