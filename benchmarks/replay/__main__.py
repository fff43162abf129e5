"""The command `python -m benchmarks.replay`."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import optuna

from benchmarks.replay.methods import METHODS, Arena
from benchmarks.replay.rows import (
    BUDGETS,
    Result,
    check_writable,
    result_of,
    summary,
    write_csv,
)
from benchmarks.replay.tables import Table, load_tables
from benchmarks.replay.world import Signal, World
from core.errors import UserError
from hpo.declarations.errors import choice_help

MISTAKE = 2


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message, way_out="See --help.")


@dataclass(frozen=True)
class Job:
    """One run to do, in this process or another."""

    table: Table
    method: str
    signal: Signal
    workers: int
    seed: int


def replay(job: Job) -> Result:
    """Does one run; the same job gives the same rows but for the CPU time."""
    table = job.table
    searcher = METHODS[job.method](Arena(table.grid, table, job.seed, signal=job.signal))
    name = f"{table.corpus}-{job.method}-{job.seed}"
    world = World(table, searcher, job.workers, job.seed, job.signal, name)
    marks = world.spend([budget * table.mean_cost for budget in BUDGETS])
    return result_of(table, job.method, job.signal, job.workers, job.seed, marks)


def main(argv: Sequence[str]) -> int:
    """Replays and writes; returns 0, or 2 for a mistake in what was asked, told in one line."""
    try:
        arguments = _read_arguments(argv)
        if arguments.list_methods:
            print("\n".join(METHODS))
            return 0
        _replay_all(arguments)
    except UserError as error:
        print(f"replay: {error}", file=sys.stderr)
        return MISTAKE
    return 0


def _replay_all(arguments: argparse.Namespace) -> None:
    methods = _methods_in(arguments.methods)
    tables = load_tables(arguments.tables)
    for method in methods:  # whether what it needs is installed
        METHODS[method](Arena(tables[0].grid, tables[0], 0))
    check_writable(arguments.out)
    jobs = [
        Job(table, method, arguments.signal, arguments.workers, seed)
        for table in tables
        for method in methods
        for seed in range(arguments.seeds)
    ]
    if arguments.jobs == 1:
        _be_quiet()
        results = _counted(map(replay, jobs), len(jobs))
    else:
        with ProcessPoolExecutor(arguments.jobs, initializer=_be_quiet) as pool:
            results = _counted(pool.map(replay, jobs), len(jobs))
    write_csv(arguments.out, results)
    print(summary(results))


def _counted(results: Iterable[Result], total: int) -> list[Result]:
    """All of them, with a count on a terminal while they come."""
    done = []
    for result in results:
        done.append(result)
        if sys.stderr.isatty():
            end = "\n" if len(done) == total else ""
            print(f"\r{len(done)}/{total} runs", end=end, file=sys.stderr, flush=True)
    return done


def _be_quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # nobody at a command line can mend a library's warning


def _methods_in(text: str) -> list[str]:
    names = list(dict.fromkeys(name for name in text.split(",") if name))
    for name in names:
        if name not in METHODS:
            raise UserError(f"unknown method {name!r}", **choice_help(name, METHODS))
    if not names:
        raise UserError("--methods names none", allowed=", ".join(METHODS))
    return names


def _read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m benchmarks.replay",
        description="Replay tables of real learning curves to schedulers, samplers and pruners.",
        allow_abbrev=False,
    )
    parser.add_argument("--tables", type=Path, metavar="FOLDER", help="of *.json, one a corpus")
    parser.add_argument("--methods", metavar="a,b,c", help="see --list-methods", default="")
    parser.add_argument("--workers", type=_positive, default=4, metavar="N")
    parser.add_argument("--seeds", type=_positive, default=20, metavar="N", help="runs of each")
    parser.add_argument(
        "--signal",
        choices=("bleu", "ppl"),
        default="bleu",
        help="what is reported while a trial runs; with ppl, BLEU is known of ended ones only",
    )
    parser.add_argument("--out", type=Path, metavar="CSV", help="where the rows are written")
    parser.add_argument("--jobs", type=_positive, default=1, metavar="N", help="processes")
    parser.add_argument("--list-methods", action="store_true", help="list the methods and exit")
    arguments = parser.parse_args(argv)
    for name in ("tables", "methods", "out"):
        if not arguments.list_methods and not getattr(arguments, name):
            parser.error(f"--{name} is required")
    return arguments


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
