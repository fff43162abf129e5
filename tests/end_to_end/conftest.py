"""One tiny study, run once for all tests that only look at it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hpo.cli import main
from tests.end_to_end.command import TINY, Command, hpo


@pytest.fixture(scope="session")
def tiny_study(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder in which `depth_sweep` was run with a tiny budget, and how that went."""
    folder = tmp_path_factory.mktemp("tiny")
    return folder, hpo("run", *TINY, cwd=folder)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process, which saves seconds of imports."""

    def go(*words: str, cwd: Path) -> tuple[int, str, str]:
        monkeypatch.chdir(cwd)
        code = main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return go
