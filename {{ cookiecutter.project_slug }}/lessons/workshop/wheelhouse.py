"""The packages of requirements.txt, for laptops of any system without a network."""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from lessons.workshop.catalogue import fill
from runtime.errors import Unavailable, UserError
from runtime.settings import ROOT

FOLDER = ROOT / "wheelhouse"
SYSTEMS = {  # their values of `sys_platform` and `platform_machine`, and the wheels that they take
    "windows": ("win32", "AMD64", ["win_amd64"]),
    "macos": ("darwin", "arm64", ["macosx_14_0_arm64"]),
    "macos-intel": ("darwin", "x86_64", ["macosx_14_0_x86_64"]),
    "linux": ("linux", "x86_64", [f"manylinux{one}_x86_64" for one in ("_2_28", "_2_27", "2014")]),
}


def download(system: str, python: str, texts: dict[str, Any]) -> None:
    """Put the wheels for a system and a version of Python, such as `3.12`, into `wheelhouse/`.

    Raises `UserError` where there is neither pip nor uv, and `Unavailable` where a download fails.
    """
    platform, machine, wheels = SYSTEMS[system]
    # pip would evaluate these for its own system, and leave out what only the other one needs.
    markers = {"sys_platform": platform, "platform_machine": machine, "python_version": python}
    releases = [{**markers, "python_full_version": f"{python}.{patch}"} for patch in (0, 99)]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    wanted = [one for one in listed if not one.marker or any(map(one.marker.evaluate, releases))]
    pip, uv = [sys.executable, "-m", "pip"], shutil.which("uv")
    if not importlib.util.find_spec("pip"):  # as in an environment of uv's
        if not uv:
            raise UserError(texts["no_pip"])
        pip = [uv, "tool", "run", "pip"]
    options = ["--quiet", "--no-deps", "--only-binary=:all:", f"--python-version={python}"]
    options += [f"--platform={wheel}" for wheel in wheels]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "requirements.txt")
        text = "".join(f"{one.name}{one.specifier}\n" for one in wanted)
        file.write_text(text, encoding="utf-8")
        command = [*pip, "download", *options, f"--dest={FOLDER}", f"--requirement={file}"]
        if subprocess.run(command, check=False).returncode:
            values = {"system": system, "python": python}
            raise Unavailable(fill(texts["wheelhouse_failed"], values))
