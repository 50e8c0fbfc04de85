"""Looks for what keeps a run from working on this machine, and says what to do about it."""

import re
import shutil
import socket
import subprocess
import sys
import tempfile
from importlib import metadata
from urllib.request import getproxies

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from runtime import server, settings
from runtime.errors import Unavailable, UserError, without_password
from runtime.server.surroundings import import_prefect
from runtime.storage import Storage

SYNCED = re.compile(r"OneDrive|Dropbox|Google ?Drive|iCloud|Mobile Documents|Nextcloud|^\\\\")


class Note(Exception):
    """Something that a run can do without."""


def examine() -> bool:
    """Print a line for each check; return whether a run can work."""
    healthy = True
    for check in (python, packages, folders, port, proxies, graphviz, prefect_server, outputs):
        try:
            mark, text = "ok", check()
        except Note as note:
            mark, text = "note", str(note)
        except UserError as error:
            mark, text, healthy = "FAIL", str(error), False
        name = check.__name__.rpartition("_")[2].capitalize()
        print(f"{mark:<5}{name:<10}{text}", flush=True)
    return healthy


def python() -> str:
    """Check Python's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    wanted = str(settings.pyproject()["project"]["requires-python"])
    if version not in SpecifierSet(wanted):
        raise UserError(f"{version}: install Python {wanted}")
    return version


def packages() -> str:
    """Check that the packages of pyproject.toml are installed, in versions that fit."""
    wrong, lines = [], settings.pyproject()["project"]["dependencies"]
    requirements = [Requirement(line) for line in lines]
    for wanted in requirements:
        if wanted.marker and not wanted.marker.evaluate():
            continue  # not for this machine
        try:
            installed = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
        else:
            if installed not in wanted.specifier:
                wrong.append(f"{wanted.name} is {installed}")
    if wrong:
        raise UserError(f"{', '.join(wrong)}: run `uv sync`, or `pip install -r requirements.txt`")
    return f"{len(requirements)} packages fit pyproject.toml"


def folders() -> str:
    """Check that the folders of the outputs can be written to."""
    for folder in (".prefect", "data/interim", "data/processed", "models", "reports"):
        try:
            (settings.ROOT / folder).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=settings.ROOT / folder):
                pass
        except OSError as error:
            raise UserError(f"{folder} cannot be written to: {error.strerror}") from None
    free = shutil.disk_usage(settings.ROOT).free / 2**30
    if free < 1:
        raise UserError(f"only {free:.1f} GiB are free: make room")
    if SYNCED.search(str(settings.ROOT)):
        raise Note("are synced, where Prefect's database may be locked or damaged: keep them local")
    return f"can be written to, {free:.0f} GiB free"


def port() -> str:
    """Check the dashboard's port."""
    if running := server.find():
        return f"this project's dashboard runs at {running.ui_url}"
    with socket.socket() as probe:
        if probe.connect_ex((server.HOST, server.FIRST_PORT)) == 0:
            raise Note(f"{server.FIRST_PORT} is in use: the dashboard takes the next free one")
    return f"{server.FIRST_PORT} is free"


def proxies() -> str:
    """Name the proxies that are set."""
    found = {name: url for name, url in getproxies().items() if name != "no"}
    if not found:
        return "none"
    urls = ", ".join(f"{name} {without_password(url)}" for name, url in found.items())
    return f"{urls}: not asked for this project's own server"


def graphviz() -> str:
    """Check that graphs can be drawn as pictures."""
    if path := shutil.which("dot"):
        if subprocess.run([path, "-Tsvg"], input=b"graph {}", capture_output=True).returncode:
            raise Note(f"{path} cannot draw: try `dot -c`, or install Graphviz again")
        return path
    raise Note("not found: `visualize` draws Mermaid only; see https://graphviz.org/download")


def prefect_server() -> str:
    """Start the server that a run would use, and check that it answers."""
    used = server.use_server()
    try:
        server.wait_until_ready(used)
    except Unavailable:
        import_prefect()  # its settings may be why
        raise
    if used.is_own:  # and has answered: importing Prefect's client would take as long again
        return "starts and answers" if used.process else f"answers at {used.api_url}"
    import_prefect()  # now it knows which server is meant
    from prefect.client.orchestration import get_client

    from runtime.server.errors import explain

    with get_client(sync_client=True) as client:
        if problem := client.api_healthcheck():
            known = explain(problem)
            raise known or UserError(f"{used.api_url} does not answer: {problem}")
    return f"answers at {used.api_url}"


def outputs() -> str:
    """Check the bucket of OUTPUTS."""
    if address := settings.outputs():
        Storage(address).check()
        return f"go to {address}"
    return "stay in this folder"
