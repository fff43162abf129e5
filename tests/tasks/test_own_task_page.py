"""docs/own-task.md, read out and run as a user would: its files, its commands, in its order."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from task_cases import PAGE, page_commands, write_page

from hpo.cli import main
from hpo.reading import read_study

MOST_LINES = 80


def _hpo(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints. Python's path has the current folder no more than the installed
    command's has."""
    words = shlex.split(command)
    assert words[0] == "hpo"
    code, said = main(words[1:]), capsys.readouterr()
    assert code == 0, f"{command}\n{said.out}\n{said.err}"
    return said.out


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with the page's files; what is imported from there is forgotten."""
    write_page(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("spirals", None)


def test_the_file_is_short() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.S | re.M)
    lines = [line for line in block.split("\n") if line.strip() and not line.startswith("#")]
    assert len(lines) < MOST_LINES


@pytest.mark.slow
@pytest.mark.timeout(600)  # two runs, each of which starts interpreters that import torch
def test_the_page_runs_prunes_and_goes_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validate, first, second, show, report = page_commands()
    said = _hpo(first, capsys)
    assert re.search(r"^FINAL_TEST_ERROR = \d+\.\d\d \(points wrong\)$", said, re.M), said
    before = read_study(None, "spirals", folder / "runs")
    assert len(before.trials) == 5
    _hpo(second, capsys)
    record = read_study(None, "spirals", folder / "runs")
    assert [trial.curve for trial in record.trials[:5]] == [one.curve for one in before.trials]
    states = [trial.state for trial in record.trials]
    assert len(states) == 12 and set(states) == {"complete", "pruned"}
    assert all(max(one.curve) < 400 for one in record.trials if one.state == "pruned")
    assert record.best is not None and record.best.value is not None
    complete = [one.value for one in record.trials if one.state == "complete"]
    assert record.best.value == min(value for value in complete if value is not None)

    # Who only reads a study does not import its task.
    del sys.modules["spirals"]
    assert "error" in _hpo(show, capsys)
    assert (folder / _hpo(report, capsys).strip()).is_file()
    assert "spirals" not in sys.modules

    assert "12 trials over spirals" in _hpo(validate, capsys)
    assert "spirals" in sys.modules


def test_a_task_that_is_not_there_is_said_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "spirals.py").unlink()
    assert main(["run", "--study", "spirals"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "spirals.toml: task module 'spirals': there is no module 'spirals'." in said
