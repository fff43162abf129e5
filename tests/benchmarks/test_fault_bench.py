"""Every fault at least once: nothing lost, nothing run twice, nothing left RUNNING.

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
TOGETHER = (
    "servers",
    "silence",
    "files calls",
    "cluster",
    "moments",
    "breakdowns signals",
    "workers drivers ownership endurance",
)
"""Families that one process injects, which imports for three seconds; shares of like size."""


def test_all_families_are_tested() -> None:
    assert sorted(" ".join(TOGETHER).split()) == sorted(FAMILIES)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on an idle machine
@pytest.mark.parametrize("families", TOGETHER)
def test_nothing_is_lost(families: str, tmp_path: Path) -> None:
    table = tmp_path / "faults.csv"
    command = [sys.executable, "-m", "benchmarks.faults", "--short"]
    done = subprocess.run(
        [*command, "--only", *families.split(), "--csv", table],
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
