"""Families of faults at the same time, each injected by a process of its own."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

LONGEST_FIRST = ("calls", "signals", "servers", "files", "moments", "breakdowns", "drivers")
"""So that none is left to run alone at the end."""


def inject_families(
    families: Mapping[str, Sequence[str]], options: Sequence[str], jobs: int
) -> Iterator[tuple[str, int, list[dict[str, str]]]]:
    """What each family's process printed, its exit code and its rows, as soon as it has ended.

    `families` has the names of each one's faults, `options` are the command's that hold for all.
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        running = [
            pool.submit(_inject, families[family], options, Path(folder) / f"{family}.csv")
            for family in sorted(families, key=_turn)
        ]
        for one in as_completed(running):
            yield one.result()


def _turn(family: str) -> int:
    is_long = family in LONGEST_FIRST
    return LONGEST_FIRST.index(family) if is_long else len(LONGEST_FIRST)


def _inject(
    faults: Sequence[str], options: Sequence[str], table: Path
) -> tuple[str, int, list[dict[str, str]]]:
    command = [sys.executable, "-m", "benchmarks.faults", "--only", *faults, *options]
    done = subprocess.run(  # our own module
        [*command, "--csv", str(table)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    rows = []
    if table.exists():
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
    return done.stdout, done.returncode, rows
