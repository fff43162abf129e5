"""The command `python -m benchmarks.faults`."""

from __future__ import annotations

import argparse
import csv
import os
import platform
import random
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.families import inject_families
from benchmarks.faults.registry import FAMILIES, Fault, all_faults
from benchmarks.faults.rig import SEED, Bench, Row

MISTAKE = 2
HEADER = (
    "fault", "injections", "lost", "twice", "RUNNING", "repeated", "median s", "max s", "message",
)  # fmt: skip
COLUMNS = (*HEADER, "problems", "slow", "note")


def main(argv: Sequence[str]) -> int:
    """Injects faults and prints the table.

    Returns 1 if a count is not 0, an expectation not met or a bound on time not kept; 2 for a
    mistake in what was asked.
    """
    arguments = _read_arguments(argv)
    chosen = [fault for fault in all_faults() if _is_chosen(fault, arguments.only)]
    if not chosen:
        names = ", ".join([*FAMILIES, *(fault.name for fault in all_faults())])
        print(f"faults: no such fault, got {arguments.only}. Allowed: {names}.", file=sys.stderr)
        return MISTAKE
    if arguments.jobs > 1:
        return _inject_together(chosen, arguments, argv)
    begun, rows = time.monotonic(), []
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    bench = Bench(folder, seed=arguments.seed, short=arguments.short, storage=arguments.storage)
    try:
        _print_cells(HEADER)
        for fault in chosen:
            rows.append(_inject(fault, bench))
            _print(rows[-1])
    finally:
        bench.close()
    is_good = all(row.is_clean and not row.slow for row in rows)
    if is_good:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"\nWhat there was is in {folder}")
    if arguments.csv is not None:
        _write_csv(arguments.csv, rows)
    _print_end(sum(row.injections for row in rows), begun, arguments.seed, argv)
    return 0 if is_good else 1


def _inject_together(
    chosen: Sequence[Fault], arguments: argparse.Namespace, argv: Sequence[str]
) -> int:
    """The same with several families at a time; what each prints comes when it has ended."""
    options = ["--seed", str(arguments.seed), *(["--short"] if arguments.short else [])]
    if arguments.storage is not None:
        options += ["--storage", arguments.storage]
    families: dict[str, list[str]] = {}
    for fault in chosen:
        families.setdefault(fault.family, []).append(fault.name)
    begun, is_good = time.monotonic(), True
    found = []
    for printed, code, rows in inject_families(families, options, arguments.jobs):
        print(printed, flush=True)
        is_good &= code == 0  # a signal's is below 0
        found += rows
    if arguments.csv is not None:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(found)
    _print_end(sum(int(row["injections"]) for row in found), begun, arguments.seed, argv)
    return 0 if is_good else 1


def _print_end(injections: int, begun: float, seed: int, argv: Sequence[str]) -> None:
    minutes = (time.monotonic() - begun) / 60
    print(
        f"\n{injections} injections in {minutes:.1f} minutes; seed {seed}, the studies' own "
        f"{SEED}; {_machine()}\n"
        f"python -m benchmarks.faults {shlex.join(argv)}".rstrip()
    )


def _inject(fault: Fault, bench: Bench) -> Row:
    """One fault's row; a fault that itself breaks is a problem, not the end of the bench."""
    row = Row(fault.name)
    bench.random = random.Random(f"{bench.seed} {fault.name}")
    try:
        fault.run(bench, row)
    except Exception:
        row.problems.append(" ".join(traceback.format_exc().split()))
    finally:
        bench.end_drivers()
    return row


def _print(row: Row) -> None:
    _print_cells(_cells(row))
    for line in (*row.problems, *row.slow, *([row.note] if row.note else [])):
        print(f"    {line}")
    sys.stdout.flush()


def _cells(row: Row) -> tuple[object, ...]:
    recovery = tuple(f"{one:.2f}" for one in row.recovery or ()) or ("", "")
    counts = (row.injections, row.lost, row.twice, row.running, row.repeated)
    return (row.fault, *counts, *recovery, row.message)


def _print_cells(cells: Sequence[object]) -> None:
    name, *figures, message = cells
    print(f"{name:<52}", *(f"{one:>10}" for one in figures), f" {message}".rstrip())


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([*_cells(row), "\n".join(row.problems), "\n".join(row.slow), row.note])


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores, {platform.system()} {platform.release()}, Python {sys.version.split()[0]}"
    )


def _is_chosen(fault: Fault, only: Sequence[str]) -> bool:
    return not only or fault.family in only or fault.name in only


def _read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults",
        description="Inject faults into a toy study and count what is lost.",
        allow_abbrev=False,
    )
    parser.add_argument("--short", action="store_true", help="every fault at least once")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="faults or families of faults")
    parser.add_argument("--storage", metavar="URL", help="a server; by default SQLite")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="families at a time, each in a process",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="where the rows are written too")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what happens when")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
