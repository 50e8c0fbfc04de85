"""Looks for what keeps a run from working on this machine, and says what to do about it."""

import shutil
import socket
import sys
import tempfile
import tomllib
from collections.abc import Callable
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from flows import ROOT, UserError, outputs
from flows.places import check_outputs
from flows.server import FIRST_PORT, HOST, find, use_server, wait_until_ready

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


class Finding(Exception):
    """What is wrong, and what to do."""


def examine() -> bool:
    """Print a line for each check; return whether a run can work."""
    healthy = True
    for name, check, needed in CHECKS:
        try:
            mark, text = "ok", check()
        except Finding as finding:
            mark, text = ("FAIL" if needed else "note"), str(finding)
            healthy = healthy and not needed
        if text:
            print(f"{mark:<5}{name:<10}{text}", flush=True)
    return healthy


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = PROJECT["requires-python"]
    if version not in SpecifierSet(wanted):
        raise Finding(f"{version}: install Python {wanted}")
    return version


def _packages() -> str:
    wrong = []
    for line in PROJECT["dependencies"]:
        wanted = Requirement(line)
        if wanted.marker and not wanted.marker.evaluate():
            continue  # not for this machine
        try:
            installed = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            installed = "missing"
        if installed == "missing" or installed not in wanted.specifier:
            wrong.append(f"{wanted.name} is {installed}")
    if wrong:
        raise Finding(f"{', '.join(wrong)}: run pip install -r requirements.txt")
    return f"{len(PROJECT['dependencies'])} packages fit pyproject.toml"


def _folders() -> str:
    for folder in (".prefect", "data/interim", "data/processed", "models", "reports"):
        try:
            (ROOT / folder).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=ROOT / folder):
                pass
        except OSError as error:
            raise Finding(f"{folder} cannot be written to: {error.strerror}") from None
    free = shutil.disk_usage(ROOT).free / 2**30
    if free < 1:
        raise Finding(f"only {free:.1f} GiB are free: make room")
    return f"can be written to, {free:.0f} GiB free"


def _outputs() -> str:
    try:
        check_outputs(ask=True)
        return f"go to {outputs()}" if outputs() else ""  # else they go where Folders has looked
    except UserError as error:
        raise Finding(str(error)) from None


def _port() -> str:
    if running := find():
        return f"this project's dashboard runs at {running.ui_url}"
    with socket.socket() as probe:
        if probe.connect_ex((HOST, FIRST_PORT)) == 0:
            raise Finding(f"{FIRST_PORT} is in use: the dashboard takes the next free one")
    return f"{FIRST_PORT} is free"


def _graphviz() -> str:
    if path := shutil.which("dot"):
        return path
    raise Finding("not found: `visualize` draws Mermaid only; see https://graphviz.org/download")


def _server() -> str:
    server = use_server()
    try:
        wait_until_ready(server)
    except UserError as error:
        raise Finding(str(error)) from None
    from prefect.client.orchestration import get_client  # now it knows which server is meant

    from flows.server_errors import in_words

    with get_client(sync_client=True) as client:
        if problem := client.api_healthcheck():
            known = in_words(problem)
            raise Finding(str(known or f"{server.api_url} does not answer: {problem}"))
    return "starts and answers" if server.process else f"answers at {server.api_url}"


CHECKS: list[tuple[str, Callable[[], str], bool]] = [
    ("Python", _python, True),
    ("Packages", _packages, True),
    ("Folders", _folders, True),
    ("Port", _port, False),
    ("Graphviz", _graphviz, False),
    ("Server", _server, True),
    ("Outputs", _outputs, True),  # may import Prefect, which must know its server by then
]
