"""`hpo ladder` on a study that was run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_bench import MakeStudy
from toy_runs import run_study

from hpo.cli import main


def test_the_command_reads_a_study_that_was_run(
    make_study: MakeStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    run_study(make_study(), runs, trials=1)
    capsys.readouterr()
    place = ["--runs-dir", str(runs)]
    said = "The study varies no learning rate, so none can be best."
    assert main(["ladder", "toy", *place]) == 0
    assert capsys.readouterr().out == f"toy: {said}\n"
    assert main(["ladder", "toy", "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out) == {"study": "toy", "obstacle": said}
    assert main(["ladder", "tyo", *place]) == 2
    assert "tyo" in capsys.readouterr().err
