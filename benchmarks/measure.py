"""Runs whole processes in turn, and measures the time and the peak memory of each."""

from __future__ import annotations

import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SAMPLE_EVERY_SECONDS = 0.05
SERVER_WORDS = ("runtime.server", "prefect.server", "uvicorn")  # what a server's command line says


class WrongError(Exception):
    """A process failed, or its result is not what it should be."""


@dataclass(frozen=True)
class Command:
    """A process to measure; `prepare` runs before its clock starts, `check` after it stopped."""

    name: str
    argv: Sequence[str | Path]
    cwd: Path
    env: dict[str, str]
    prepare: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None
    exit_code: int = 0
    most_rounds: int = 1_000  # fewer for a slow command, which takes part in the first rounds


@dataclass
class Sample:
    """One run: wall time in seconds, peak memory in bytes where it was asked for."""

    seconds: float
    memory: int = 0  # of all processes that compute
    server_memory: int = 0  # of Prefect's server, which is counted apart


@dataclass
class Samples:
    """All runs of a command."""

    seconds: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    server_memory: list[int] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        """Add one run."""
        self.seconds.append(sample.seconds)
        self.memory.append(sample.memory)
        self.server_memory.append(sample.server_memory)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port on which nothing listens."""
    return free_ports(1, host)[0]


def free_ports(number: int, host: str = "127.0.0.1") -> list[int]:
    """Return `number` such ports, all different: asked one by one, the system may repeat one."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server((host, 0))) for _ in range(number)]
        return [listener.getsockname()[1] for listener in listeners]


def run(command: Command, *, memory: bool = False) -> Sample:
    """Run a command once; raise `WrongError` where it fails or its check does."""
    command.prepare()
    log = command.cwd / "bench.log"
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command.argv],
            cwd=command.cwd,
            env=command.env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        peak, server_peak = _watch(process) if memory else (0, 0)
        process.wait()
        seconds = time.perf_counter() - start
    if process.returncode != command.exit_code:
        end = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise WrongError(f"{command.name} ended with {process.returncode}:\n{end}")
    try:
        command.check()
    except WrongError as error:
        raise WrongError(f"{command.name}: {error}") from None
    return Sample(seconds, peak, server_peak)


def compare(
    commands: Sequence[Command], rounds: int, *, warmups: int = 1, memory: bool = False
) -> dict[str, Samples]:
    """Run the commands in turn (A B C, A B C, ...) and return the samples of each, by name."""
    samples = {command.name: Samples() for command in commands}
    for number in range(-warmups, rounds):
        say(f"  {'warm-up' if number < 0 else f'round {number + 1} of {rounds}'}:", end="")
        for command in commands:
            if number >= command.most_rounds or (number < 0 and command.most_rounds == 1):
                continue
            sample = run(command, memory=memory)
            say(f" {command.name} {sample.seconds:.2f}", end=";")
            if number >= 0:
                samples[command.name].add(sample)
        say("")
    return samples


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return each value divided by the one of the same round in `base`, which may have more."""
    return [value / of for value, of in zip(values, base, strict=False)]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return median, least and greatest as one text."""
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return f"{middle} (one run)"
    return f"{middle} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def say(text: str, end: str = "\n") -> None:
    """Print progress at once."""
    print(text, end=end, flush=True)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that this program started, and its children."""
    with_children = [psutil.Process(process.pid)]
    with_children += with_children[0].children(recursive=True)
    for one in with_children:
        one.terminate()
    _, alive = psutil.wait_procs(with_children, timeout=20)
    for one in alive:
        one.kill()
    process.wait()


def _watch(process: subprocess.Popen[bytes]) -> tuple[int, int]:
    """Return the peaks of resident memory, in bytes, of what computes and of servers."""
    peak = server_peak = 0
    root = psutil.Process(process.pid)
    while process.poll() is None:
        computing = servers = 0
        try:
            for one in [root, *root.children(recursive=True)]:
                if any(word in " ".join(one.cmdline()) for word in SERVER_WORDS):
                    servers += one.memory_info().rss
                else:
                    computing += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # it ended during the sample
        peak, server_peak = max(peak, computing), max(server_peak, servers)
        time.sleep(SAMPLE_EVERY_SECONDS)
    return peak, server_peak
