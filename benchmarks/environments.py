"""The environments, one for each contender, from exactly pinned requirements."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from measure import WrongError, say

REPO = Path(__file__).resolve().parents[1]
PEERS = Path(__file__).resolve().parent / "peers"
BUILD = REPO / "build" / "bench"
TEMPLATE_FOLDER = REPO / "{{ cookiecutter.project_slug }}"
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
OURS = "ours"
# What every pipeline computes with, in the same versions.
LIBRARIES = ("pandas", "pyarrow", "scikit-learn", "skops", "matplotlib")


def requirements(peer: str) -> Path:
    """Return the file with the exact versions of a contender."""
    return (TEMPLATE_FOLDER if peer == OURS else PEERS / peer) / "requirements.txt"


def make_environment(peer: str) -> Path:
    """Return the environment of a contender; make it if its requirements are new."""
    venv, file = BUILD / peer / "venv", requirements(peer)
    stamp = venv / "requirements.sha256"
    mark = hashlib.sha256(file.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == mark:
        return venv
    say(f"Making the environment of {peer} ...")
    uv = Path(sys.executable).with_name("uv")
    program = str(uv) if uv.exists() else shutil.which("uv")
    if program is None:
        raise SystemExit("uv is needed, in this environment or on the PATH.")
    subprocess.run([program, "venv", "-q", "--clear", "-p", sys.executable, str(venv)], check=True)
    install = [program, "pip", "install", "-q", "--compile-bytecode"]
    subprocess.run(
        [*install, "--python", str(venv / SCRIPTS / "python"), "-r", str(file)], check=True
    )
    stamp.write_text(mark, encoding="utf-8")
    return venv


def version(peer: str, package: str) -> str:
    """Return the version of a package that a contender's requirements name."""
    for line in requirements(peer).read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{package}=="):
            return line.split("==")[1].split(";")[0].strip()
    raise WrongError(f"{requirements(peer)} names no {package}")


def same_libraries() -> None:
    """Raise `WrongError` where a peer computes with other versions than our project."""
    for peer in sorted(path.parent.name for path in PEERS.glob("*/pipeline.py")):
        for package in LIBRARIES:
            if version(peer, package) != version(OURS, package):
                raise WrongError(f"{peer} has another {package} than our project: see README.md")
