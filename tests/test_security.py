"""Who may ask the server: pages of other origins in a real browser; and whom a run asks."""

from __future__ import annotations

import contextlib
import http.server
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from conftest import BakedProject, Run
from measure import free_port
from team import LONG, answers, ask
from template_copy import REPO
from test_running import Terminal, open_terminal, plain_environment, project

__all__ = ["open_terminal", "plain_environment", "project"]  # fixtures

PATIENCE_MS = 600_000  # only a hang takes so long
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")

# What a page can try. Each attempt ends in a line: what it tried, and what came of it.
ATTACK = """
const api = "%s", results = {};
const attempt = async (name, act) => {
  try { results[name] = await act() } catch (error) { results[name] = "failed" }
};
const json = {"Content-Type": "application/json"};
const evil = JSON.stringify({name: "evil"});
const post = options => fetch(api + "/flows/", {method: "POST", body: evil, ...options});
const opened = path => new Promise((yes, no) => {
  const socket = new WebSocket(api.replace("http", "ws") + path);
  socket.onopen = () => yes("opened"); socket.onerror = no;
});
const framed = () => new Promise(done => {
  const frame = document.createElement("iframe");
  frame.onload = () => done("loaded");
  frame.src = api.replace("/api", "/dashboard"); document.body.append(frame);
});
window.attack = async () => {
  await attempt("read", async () =>
    (await fetch(api + "/flows/filter", {method: "POST", headers: json, body: "{}"})).text());
  await attempt("read the version", async () => (await fetch(api + "/admin/version")).text());
  await attempt("preflight", async () => (await post({headers: json})).status);
  await attempt("as text", async () => (await post({mode: "no-cors"})).type);
  const bytes = {mode: "no-cors", body: new Blob([evil])};
  await attempt("as bytes", async () => (await post(bytes)).type);
  await attempt("beacon", async () => navigator.sendBeacon(api + "/flows/", new Blob([evil])));
  await attempt("web socket in", () => opened("/events/in"));
  await attempt("web socket out", () => opened("/events/out"));
  await attempt("frame", framed);
  return results;
};
"""
FORM = """<form method=post enctype=text/plain action="%s/flows/">
<input name='{"name": "evil", "x": "' value='"}'></form>"""


@contextlib.contextmanager
def web_page(html: str) -> Iterator[str]:
    """Serve a page on a port of its own; its address is another origin."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


def attack(url: str) -> dict[str, object]:
    """Let a page of another origin try all it can against a server, and return what came of it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM:
        pytest.skip("needs Chromium")
    html = f"<script>{ATTACK % f'{url}/api'}</script><body>{FORM % f'{url}/api'}"
    with web_page(html) as page_url, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(page_url)
        results: dict[str, object] = page.evaluate("attack()")
        results["frame"] = page.frames[1].evaluate("document.body.innerText")
        with page.expect_navigation():
            page.evaluate("document.forms[0].submit()")
        results["form"] = page.evaluate("document.body.innerText")
        # DNS rebinding: the browser takes the server for evil.example.
        port = url.rpartition(":")[2]
        rebound = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * 127.0.0.1"],
        ).new_page()
        answer = rebound.goto(f"http://evil.example:{port}/dashboard")
        results["rebinding"] = answer.status
    return results


def names_of_flows(url: str) -> list[str]:
    return [flow["name"] for flow in ask(f"{url}/api/flows/filter", {})]


def listeners(process: psutil.Process) -> set[str]:
    """Return the addresses on which a process and its children listen."""
    addresses = set()
    for one in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            addresses |= {c.laddr.ip for c in one.net_connections("inet") if c.status == "LISTEN"}
    return addresses


def assert_the_dashboard_works(port: str) -> None:
    """Open its pages by either name of this machine, and assert that nothing is refused."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        for host in ("127.0.0.1", "localhost"):
            page = browser.new_page()
            page.set_default_timeout(PATIENCE_MS)
            refused: list[str] = []
            page.on("response", lambda one, to=refused: one.status == 403 and to.append(one.url))
            page.goto(f"http://{host}:{port}/deployments")
            for flow in ("data-engineer", "data-science", "main-flow"):
                page.get_by_text(flow).first.wait_for()
            page.goto(f"http://{host}:{port}/events")
            page.get_by_text("Event Feed").first.wait_for()
            assert not refused


@pytest.mark.slow
def test_a_page_of_another_origin_gets_nothing_and_the_dashboard_works_on(
    open_terminal: Callable[..., Terminal],
) -> None:
    with contextlib.ExitStack() as taken:
        with contextlib.suppress(OSError):  # it is in use anyway
            taken.enter_context(socket.create_server(("127.0.0.1", 4200)))
        terminal = open_terminal("serve")
    port = terminal.url.rpartition(":")[2]
    assert port != "4200"
    assert listeners(psutil.Process(terminal.process.pid)) == {"127.0.0.1"}
    before = names_of_flows(terminal.url)
    results = attack(terminal.url)
    assert names_of_flows(terminal.url) == before
    for name in ("read", "read the version", "preflight", "web socket in", "web socket out"):
        assert results.pop(name) == "failed", name
    for name in ("form", "frame"):
        assert str(results.pop(name)).startswith("Refused: only this machine's programs"), name
    assert results.pop("rebinding") == 403
    # What a browser sends unasked arrives, and is refused; the page does not learn that.
    assert results == {"as text": "opaque", "as bytes": "opaque", "beacon": True}
    assert_the_dashboard_works(port)
    terminal.press_ctrl_c()


@pytest.mark.slow
def test_prefects_own_server_started_here_refuses_another_origin(project: BakedProject) -> None:
    port = free_port()
    prefect = shutil.which("prefect", path=sysconfig.get_path("scripts"))
    assert prefect
    with subprocess.Popen(
        [prefect, "server", "start", "--port", str(port)],
        cwd=project.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            deadline = time.monotonic() + LONG
            while not answers(f"http://127.0.0.1:{port}/api/health"):
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            results = attack(f"http://127.0.0.1:{port}")
            assert {results["read"], results["preflight"]} == {"failed"}
            assert "Missing CSRF token" in str(results["form"])
        finally:
            server.terminate()


# ---- what goes out, and what is written down

SECRETS = {
    "PREFECT_API_KEY": "s3cr3t-of-the-test-key",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-the-test-aws",
}
# Python runs it first of all in each process: it notes every address that is asked for.
EAVESDROP = """
import os, sys
def note(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        place = arguments[1] if event != "socket.getaddrinfo" else arguments[0]
        with open(os.environ["ADDRESSES"], "a", encoding="utf-8") as file:
            print(place[0] if isinstance(place, tuple) else place, file=file)
sys.addaudithook(note)
"""


@pytest.mark.slow
def test_a_run_is_heard_by_nobody_else_and_writes_down_no_secret(
    project: BakedProject,
    run: Run,
    open_terminal: Callable[..., Terminal],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(EAVESDROP, encoding="utf-8")
    addresses = tmp_path / "addresses.txt"
    for name in ("CI", "GITHUB_ACTIONS", "DO_NOT_TRACK"):  # none of them may be what keeps it quiet
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        **SECRETS,
        "PYTHONPATH": str(tmp_path),
        "ADDRESSES": str(addresses),
    }.items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "run.txt"
    seen: set[str] = set()
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(
            [sys.executable, "main.py"], cwd=project.path, stdout=output, stderr=output
        ) as alone,
    ):
        while alone.poll() is None:
            with contextlib.suppress(psutil.Error):
                seen |= listeners(psutil.Process(alone.pid))
            time.sleep(0.2)
    assert seen == {"127.0.0.1"}
    terminal = open_terminal("ui", "--no-browser")
    with_password = terminal.url.replace("//", "//ana:s3cr3t-of-the-test-password@") + "/api"
    beside = run(sys.executable, "main.py", cwd=project.path, PREFECT_API_URL=with_password)
    assert (alone.returncode, beside.returncode) == (0, 0)
    terminal.press_ctrl_c()

    assert set(addresses.read_text(encoding="utf-8").split()) <= {"127.0.0.1", "localhost", "::1"}
    shown = log.read_text(encoding="utf-8") + beside.stdout + beside.stderr + terminal.shown
    assert "s3cr3t-of-the-test" not in shown
    assert "//…@127.0.0.1" in beside.stdout
    for path in project.path.rglob("*"):
        assert not path.is_file() or b"s3cr3t-of-the-test" not in path.read_bytes(), path


def workflows() -> list[Path]:
    return sorted(REPO.rglob(".github/workflows/*.y*ml"))


@pytest.mark.parametrize("path", workflows(), ids=lambda path: path.name)
def test_workflows_pin_their_actions_and_ask_for_least_rights(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] in ({"contents": "read"}, {})
    assert "pull_request_target" not in workflow[True]  # "on" is YAML's word for true
    for name, job in workflow["jobs"].items():
        rights = set(job.get("permissions", {}).values())
        # What opens a pull request runs on a schedule only, and on nobody else's code.
        assert rights <= {"read", "none"} or (path.name, name) == ("weekly.yml", "upgrade")
        for step in job["steps"]:
            if action := step.get("uses"):
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
            if "actions/checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
            # Who opens a pull request chooses its title, and could write a command there.
            assert not re.search(r"\$\{\{\s*(github\.(event|head_ref)|inputs)", step.get("run", ""))


def test_the_packages_of_a_project_are_audited_each_week() -> None:
    text = (REPO / ".github" / "workflows" / "weekly.yml").read_text(encoding="utf-8")
    weekly = yaml.safe_load(text)
    assert weekly[True]["schedule"]
    steps = [step.get("run", "") for job in weekly["jobs"].values() for step in job["steps"]]
    [audit] = [step for step in steps if "pip-audit" in step]
    assert "{{ cookiecutter.project_slug }}/requirements.txt" in audit
    assert "--strict" in audit, "else it passes where no package could be looked up"


def test_readers_learn_where_to_report_a_weakness() -> None:
    text = (REPO / "SECURITY.md").read_text(encoding="utf-8")
    assert "Report a vulnerability" in text
    assert "SECURITY.md" in (REPO / "README.md").read_text(encoding="utf-8")
