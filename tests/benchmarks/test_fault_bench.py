"""Every fault a few times: nothing lost, nothing run twice, nothing left RUNNING.

How long recovering takes is for `make faults` to judge: no test depends on the machine's speed.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults.registry import FAMILIES

ROOT = Path(__file__).parents[2]
NOT_DONE = "not done: "
"""A fault says so, and why, where the machine lacks what it needs."""


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on an idle machine
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_lost(family: str, tmp_path: Path) -> None:
    table = tmp_path / "faults.csv"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", "--short", "--only", family, "--csv", table],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    print(done.stdout)
    assert table.exists(), done.stdout + done.stderr
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert rows, done.stdout
    for row in rows:
        counts = [row[count] for count in ("lost", "twice", "RUNNING", "problems")]
        assert counts == ["0", "0", "0", ""], done.stdout
        is_done = not row["note"].startswith(NOT_DONE)
        assert is_done == (int(row["injections"]) > 0), done.stdout
