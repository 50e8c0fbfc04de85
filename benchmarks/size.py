"""Goal 9: the size of an environment and of a new project, and the time of each import."""

from __future__ import annotations

import statistics
import subprocess
from pathlib import Path

from contenders import folder, generate
from environments import BUILD, OURS, make_environment
from measure import Command, compare
from sections import Section

PEERS = ("plain", "luigi", "kedro", "metaflow", "dagster", "prefect", OURS)
HEAVY = ("prefect", "pandas", "numpy", "sklearn", "matplotlib", "pyarrow", "skops")
MIB, KIB = 2**20, 2**10


def size(rounds: int) -> Section:
    """Count bytes and files, and time `import` of each module in a process of its own."""
    section = Section(
        "size",
        "Size and imports",
        "Environments with their compiled bytecode, as installed from the pinned requirements "
        "(ours includes the tools to test the project). Projects without git's own files. "
        "Imports: seconds beyond an empty Python, each in a process of its own. "
        f"Rounds after a warm-up: {rounds}.",
        ["", "MiB", "files"],
    )
    found = {peer: _measure(make_environment(peer)) for peer in PEERS}
    for peer, (size_in_bytes, files) in found.items():
        section.rows.append([f"environment: {peer}", f"{size_in_bytes / MIB:.0f}", str(files)])
    least = min(found, key=found.__getitem__)
    others = {peer: amount for peer, (amount, _) in found.items() if peer not in (OURS, "plain")}
    largest = max(others, key=others.__getitem__)
    figure = f"{found[OURS][0] / MIB:.0f} MiB; {least} {found[least][0] / MIB:.0f} MiB, "
    figure += f"{largest} {others[largest] / MIB:.0f} MiB"
    section.holds(9, "Size of the environment, against the peers'", figure, None)

    project = _measure(generate(BUILD / OURS / "sized"))
    kedro = _measure(_kedro_new())
    for name, (size_in_bytes, files) in (("ours", project), ("kedro new", kedro)):
        section.rows.append([f"new project: {name}", f"{size_in_bytes / MIB:.3f}", str(files)])
    figure = f"{project[0] / KIB:.0f} KiB, {project[1]} files; "
    figure += f"`kedro new` {kedro[0] / KIB:.0f} KiB, {kedro[1]} files"
    section.holds(9, "Size of a new project, against the peers' starters", figure, None)

    _add_imports(section, rounds)
    return section


def _add_imports(section: Section, rounds: int) -> None:
    """Add the time of each import, and say what `main.py --help` imports."""
    ours = folder(OURS, "imports")
    rooms = ("flows", "ml", "runtime")
    files = [path for room in rooms for path in sorted((ours.path / room).glob("[!_]*.py"))]
    modules = [f"{path.parent.name}.{path.stem}" for path in files]
    commands = [ours.command("nothing", "-c", "pass")]
    for module in ("main", "prefect", "pandas", "sklearn.linear_model", *modules):
        commands.append(ours.command(module, "-c", f"import {module}"))
    samples = compare(commands, rounds)
    base = statistics.median(samples["nothing"].seconds)
    for module in list(samples)[1:]:
        seconds = statistics.median(samples[module].seconds) - base
        section.rows.append([f"import {module}, s", f"{seconds:.2f}", ""])
    heavy = _heavy_imports(ours.command("help", "-X", "importtime", "main.py", "--help"))
    figure = f"it imports {', '.join(heavy)}" if heavy else "it imports none of them"
    section.holds(9, f"`main.py --help` imports none of {', '.join(HEAVY)}", figure, not heavy)


def _heavy_imports(command: Command) -> list[str]:
    words = [str(word) for word in command.argv]
    done = subprocess.run(
        words, cwd=command.cwd, env=command.env, capture_output=True, text=True, check=True
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    return [name for name in HEAVY if name in imported]


def _kedro_new() -> Path:
    kedro = folder("kedro", "sized")
    new = ("--name", "iris", "--tools", "none", "--example", "n", "--telemetry", "no")
    command = kedro.command("kedro new", "kedro", "new", *new)
    made = kedro.path / "made"
    made.mkdir()
    env = command.env | {"PYTHONPATH": ""}
    words = [str(word) for word in command.argv]
    subprocess.run(words, cwd=made, env=env, check=True, capture_output=True)
    return made / "iris"


def _measure(path: Path) -> tuple[int, int]:
    """Return bytes and number of the files below a folder, without those of git."""
    sizes = [
        file.stat().st_size
        for file in path.rglob("*")
        if file.is_file() and not file.is_symlink() and ".git" not in file.relative_to(path).parts
    ]
    return sum(sizes), len(sizes)
