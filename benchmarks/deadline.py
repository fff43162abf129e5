"""Whole runs under a time limit: does each end in time, with a score, and without idling?

    python -m benchmarks.deadline [--limits 60,120,300] [--runs 14,4,2] [--jobs 2] [--out CSV]
        [--study quickstart] [--schedulers optuna,thaw]

Each run is `python -m hpo run` in a process of its own, on the built-in corpus, with finals; the
schedulers take turns. In time means ended, report written, at most 2 percent or 2 s late. Useful
are the seconds of training and evaluation of trials that came to an end and of repeats of
finalists, as a share of slots x wall-clock; start-up, test set, waiting, report and trials cut off
are the rest.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

_USEFUL = ("pretrain_s", "finetune_s", "evaluate_s")
_GOAL = 0.85
_FINALS = ("finals.top=2", "finals.seeds=2")


@dataclass(frozen=True)
class Row:
    """What one run came to."""

    limit_s: int
    seed: int
    scheduler: str
    wall_s: float
    is_in_time: bool
    final: float | None
    """The announced test score."""
    useful: float
    """Share of slots x wall-clock."""
    trials: int
    """Complete or pruned."""
    repeats: int


def main() -> None:
    arguments = _parse()
    limits = [int(text) for text in arguments.limits.split(",")]
    counts = [int(text) for text in arguments.runs.split(",")]
    rows = []
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(field.name for field in fields(Row))
        for limit, count in zip(limits, counts, strict=True):
            for seed in range(1, count + 1):
                row = measure(arguments, limit, seed)
                rows.append(row)
                table.writerow(asdict(row).values())
                file.flush()
                print(
                    f"{limit:4} s, seed {seed}, {row.scheduler}: {row.wall_s:6.1f} s"
                    f"{'' if row.is_in_time else ' LATE'}, final {row.final}, "
                    f"useful {row.useful:.1%}, {row.trials} trials, {row.repeats} repeats",
                    flush=True,
                )
    print("\nlimit  runs  in time  scored  latest by    useful: mean  least")
    for limit in limits:
        _print_summary(limit, [row for row in rows if row.limit_s == limit])


def measure(arguments: argparse.Namespace, limit: int, seed: int) -> Row:
    """Runs one study and reads what it left."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hpo", "run", "--study", arguments.study]
        command += ["--data", "pocket", "--runs-dir", folder, "--seed", str(seed)]
        command += ["--time-limit", f"{limit}s", "--trials", "1000"]
        command += ["--jobs", str(arguments.jobs)]
        schedulers = arguments.schedulers.split(",")
        scheduler = schedulers[(seed - 1) % len(schedulers)]
        for change in (f"scheduler.name={scheduler}", *_FINALS, *arguments.set):
            command += ["--set", change]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall_s = time.monotonic() - began
        if done.returncode != 0:
            print(f"exit code {done.returncode}: {done.stderr[-500:]}", file=sys.stderr)
        final = re.search(r"^FINAL_TEST_\w+ = (-?[\d.]+)", done.stdout, re.MULTILINE)
        (study,) = (path.parent for path in Path(folder).glob("*/study.json"))
        trials = [_read(path) for path in study.glob("trials/*/trial.json")]
        ended = [trial for trial in trials if trial["state"] in ("complete", "pruned")]
        repeats = [_read(path)["outcome"] for path in study.glob("finals/*/*/outcome.json")]
        costs = [one["cost"] or {} for one in (*ended, *repeats)]
        useful_s = sum(cost.get(name) or 0.0 for cost in costs for name in _USEFUL)
        return Row(
            limit_s=limit,
            seed=seed,
            scheduler=scheduler,
            wall_s=round(wall_s, 2),
            is_in_time=wall_s <= limit + max(2.0, 0.02 * limit),
            final=float(final[1]) if final else None,
            useful=round(useful_s / (arguments.jobs * wall_s), 4),
            trials=len(ended),
            repeats=len(repeats),
        )


def _print_summary(limit: int, rows: list[Row]) -> None:
    useful = [row.useful for row in rows]
    late = max(row.wall_s for row in rows) - limit
    print(
        f"{limit:3} s  {len(rows):4}  {sum(row.is_in_time for row in rows):7}  "
        f"{sum(row.final is not None for row in rows):6}  {late:+7.2f} s  "
        f"{statistics.fmean(useful):18.1%}  {min(useful):5.1%}"
        f"{'' if min(useful) >= _GOAL else f'  below {_GOAL:.0%}'}"
    )


def _read(path: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--limits", default="60,120,300", help="seconds")
    parser.add_argument("--runs", default="14,4,2", help="how many of each limit")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--study", default="quickstart")
    parser.add_argument("--schedulers", default="optuna,thaw")
    parser.add_argument("--set", action="append", default=[], help="as of `hpo run`")
    parser.add_argument("--out", type=Path, default=Path("deadline.csv"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
