"""A server with a key, and TLS in front: what a laptop must set, and the message without it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import PROJECT_FOLDER, BakedProject, Run
from measure import free_port
from team import KEY, kill, prefect_server, wait_for
from template_copy import REPO
from test_cloud import assert_no_server_was_started
from test_running import Terminal, only_json, open_terminal, plain_environment, project

pytestmark = pytest.mark.slow

__all__ = ["open_terminal", "plain_environment", "project"]  # fixtures

NGINX = REPO / PROJECT_FOLDER / "docs" / "team" / "nginx.conf"
FRONT = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{site}
}}
"""


@dataclass(frozen=True)
class Entrance:
    """The address of a team's server, and the certificate that its owner hands out."""

    url: str
    certificate: Path

    @property
    def settings(self) -> dict[str, str]:
        """What a laptop must set."""
        return {
            "PREFECT_API_URL": self.url,
            "PREFECT_API_AUTH_STRING": KEY,
            "PREFECT_API_SSL_CERT_FILE": str(self.certificate),
        }


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for a name and this machine's address; return its file and its key's."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2"
    names = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1")
    files = ("-keyout", key, "-out", certificate)
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def entrance(
    project: BakedProject, plain_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Entrance]:
    """Start a server with a key, and nginx with the project's nginx.conf in front of it."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/bin:/opt/homebrew/bin")
    if not nginx or not shutil.which("openssl"):
        pytest.skip("needs nginx and openssl (Debian: apt-get install nginx openssl)")
    folder = tmp_path_factory.mktemp("nginx")
    certificate, key = make_certificate(folder, "localhost")
    site, port, front = NGINX.read_text(encoding="utf-8"), free_port(), free_port()
    for there, here in {
        "listen 443 ssl": f"listen 127.0.0.1:{front} ssl",
        "prefect.example.org": "localhost",
        "/etc/ssl/certs/prefect.pem": str(certificate),
        "/etc/ssl/private/prefect.key": str(key),
        "127.0.0.1:4200": f"127.0.0.1:{port}",
    }.items():
        assert site.count(there) == 1, there
        site = site.replace(there, here)
    settings = folder / "nginx.conf"
    settings.write_text(FRONT.format(folder=folder, site=site), encoding="utf-8")
    # Somewhere else than the project, which is a student's.
    elsewhere = BakedProject(tmp_path_factory.mktemp("server"))
    shutil.copy(project.path / "prefect.toml", elsewhere.path)
    with prefect_server(elsewhere, port, PREFECT_SERVER_API_AUTH_STRING=KEY):
        process = subprocess.Popen([nginx, "-c", str(settings), "-e", f"{folder}/error.log"])
        try:
            wait_for((folder / "nginx.pid").exists, process)
            yield Entrance(f"https://127.0.0.1:{front}/api", certificate)
        finally:
            kill(process)


def test_a_laptop_needs_address_key_and_certificate(
    entrance: Entrance, project: BakedProject, run: Run
) -> None:
    settings = entrance.settings
    answer = run(sys.executable, "main.py", cwd=project.path, **settings)
    assert answer.returncode == 0, answer.stderr
    assert "Traceback" not in answer.stderr
    assert "WARNING" not in answer.stderr, answer.stderr
    assert "s3cr3t" not in answer.stdout + answer.stderr
    assert_no_server_was_started(project)

    listed = run("prefect", "flow-run", "ls", "-o", "json", cwd=project.path, **settings)
    runs = json.loads(only_json(listed.stdout))
    assert [one["state"]["name"] for one in runs] == ["Completed"] * 3
    doctor = run(sys.executable, "main.py", "doctor", cwd=project.path, **settings)
    assert f"ok   Server    answers at {entrance.url}" in doctor.stdout


@pytest.mark.parametrize(
    ("mistake", "code", "sentence"),
    [
        ("wrong key", 2, "does not accept your key: "),
        ("no key", 2, "does not accept your key: "),
        ("another certificate", 1, "shows a certificate that this machine does not know: "),
        ("no certificate", 1, "shows a certificate that this machine does not know: "),
    ],
)
def test_what_is_forgotten_or_wrong_is_named_in_one_sentence(  # noqa: PLR0913, PLR0917
    mistake: str,
    code: int,
    sentence: str,
    entrance: Entrance,
    project: BakedProject,
    run: Run,
    tmp_path: Path,
) -> None:
    name = "PREFECT_API_AUTH_STRING" if "key" in mistake else "PREFECT_API_SSL_CERT_FILE"
    settings = entrance.settings
    del settings[name]
    if mistake == "wrong key":
        settings[name] = KEY[:-1]
    elif mistake == "another certificate":
        settings[name] = str(make_certificate(tmp_path, "another")[0])
    answer = run(sys.executable, "main.py", "run", "data-engineer", cwd=project.path, **settings)
    assert answer.returncode == code, answer.stderr
    last = answer.stderr.splitlines()[-1]
    assert last.startswith(f"Error: {entrance.url} {sentence}"), answer.stderr
    assert name in last
    assert "Traceback" not in answer.stderr
    assert "s3cr3t" not in answer.stdout + answer.stderr
    assert_no_server_was_started(project)


def test_a_dashboard_with_a_key_is_found(
    project: BakedProject,
    run: Run,
    open_terminal: Callable[..., Terminal],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", KEY)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", KEY)
    terminal = open_terminal("ui", "--no-browser")
    answer = run(sys.executable, "main.py", "run", "data-engineer", cwd=project.path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == f"Dashboard    {terminal.url}"
    terminal.press_ctrl_c()
