"""The command line of the benchmark; whether its pipelines agree, `bench.py quick` checks."""

from __future__ import annotations

import sys
from pathlib import Path

import bench
import pytest
from conftest import Run
from template_copy import REPO

PEERS = sorted(path.parent.name for path in (REPO / "benchmarks").glob("peers/*/requirements.txt"))


@pytest.mark.parametrize(
    ("words", "wanted"), [([], list(bench.PARTS)), (["size", "cold"], ["size", "cold"])]
)
def test_all_parts_are_measured_or_those_that_are_named(
    words: list[str], wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []
    monkeypatch.setattr(sys, "argv", ["bench.py", *words])
    monkeypatch.setattr(bench, "same_libraries", lambda: None)
    monkeypatch.setattr(bench, "_measure", lambda name, options: measured.append(name))
    monkeypatch.setattr("report.write", lambda: None)
    assert bench.main() == 0
    assert measured == wanted


def test_a_part_that_does_not_exist_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.py", "warm"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2
    assert "there is no part 'warm'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS)
def test_the_versions_of_a_peer_can_be_installed(peer: str, run: Run, tmp_path: Path) -> None:
    requirements = REPO / "benchmarks" / "peers" / peer / "requirements.txt"
    assert run("uv", "venv", "environment", cwd=tmp_path).returncode == 0
    install = ("uv", "pip", "install", "--dry-run", "--python", "environment")
    tried = run(*install, "--requirement", requirements, cwd=tmp_path)
    assert tried.returncode == 0, tried.stderr
