"""What the small commands cost before they answer: CPU seconds, and the heaviest imports.

`python -m benchmarks.startup --runs-dir DIR --study NAME` times also those that open a study; it
only reads it. CPU seconds, the median of five, since a busy machine stretches wall-clock seconds.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

TIMES = 5
SHOWN = 6
_IMPORT = re.compile(r"import time: +([0-9]+) \| +[0-9]+ \| +([^ .]+)")


def main(argv: Sequence[str]) -> None:
    """Prints a line a command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs-dir", default="runs")
    parser.add_argument("--study", help="one that was run, and is not running")
    arguments = parser.parse_args(argv)
    commands = [["--version"], ["--help"], ["run", "--help"], ["validate"]]
    reading = [["studies"], ["leaderboard"]]
    if arguments.study is not None:
        reading += [[name, arguments.study] for name in ("show", "status", "stop")]
    commands += [[*words, "--runs-dir", arguments.runs_dir] for words in reading]
    print(f"{'command':<24}{'CPU s':>7}  heaviest imports in ms, as -X importtime tells them")
    for words in commands:
        spent = statistics.median(_cpu_s(words) for _ in range(TIMES))
        heaviest = ", ".join(f"{name} {ms:.0f}" for name, ms in _imports(words)[:SHOWN])
        print(f"{' '.join(words[:2]).split(' --runs')[0]:<24}{spent:7.2f}  {heaviest}", flush=True)
    print(f"{TIMES} times each; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _cpu_s(words: Sequence[str]) -> float:
    """User and system seconds of one run of a command."""
    before = os.times()
    _run([], words)
    after = os.times()
    return (
        after.children_user + after.children_system - before.children_user - before.children_system
    )


def _imports(words: Sequence[str]) -> list[tuple[str, float]]:
    """Milliseconds on the clock of each top-level package's own modules, the most first."""
    spent: Counter[str] = Counter()
    for line in _run(["-X", "importtime"], words).splitlines():
        if found := _IMPORT.match(line):
            spent[found[2]] += int(found[1])
    return [(name, us / 1000) for name, us in spent.most_common()]


def _run(options: Sequence[str], words: Sequence[str]) -> str:
    """What a command said on standard error."""
    command = [sys.executable, *options, "-m", "hpo", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stderr


if __name__ == "__main__":
    main(sys.argv[1:])
