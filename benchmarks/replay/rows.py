"""The rows of a replay and their summary."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean

from benchmarks.replay.tables import Table
from benchmarks.replay.world import Mark
from core.errors import DataError

BUDGETS = (1, 2, 5, 10, 20)
"""In mean costs of a full training."""


@dataclass(frozen=True)
class Row:
    """Where one run stands at one budget."""

    corpus: str
    method: str
    signal: str
    workers: int
    seed: int
    budget: int
    total_cost: float
    """The budget in the table's unit of cost, summed over the workers."""
    incumbent: float | None
    """BLEU; `None` before the first report that counts."""
    regret: float
    """0 for the table's best configuration, 1 for its median."""
    trials_started: int
    decision_cpu_s: float


@dataclass(frozen=True)
class Result:
    """One run: its rows, and how many decisions its CPU seconds were spent on."""

    rows: tuple[Row, ...]
    decisions: int


def regret_of(table: Table, incumbent: float | None) -> float:
    """How far an incumbent is from the best, in units of the way from the median to the best."""
    reached = table.worst if incumbent is None else incumbent
    return (table.best - reached) / (table.best - table.median)


def result_of(
    table: Table, method: str, signal: str, workers: int, seed: int, marks: Sequence[Mark]
) -> Result:
    """The rows of a run from its marks at `BUDGETS`."""
    rows = tuple(
        Row(
            corpus=table.corpus,
            method=method,
            signal=signal,
            workers=workers,
            seed=seed,
            budget=budget,
            total_cost=round(budget * table.mean_cost, 6),
            incumbent=mark.incumbent,
            regret=round(regret_of(table, mark.incumbent), 9),
            trials_started=mark.trials_started,
            decision_cpu_s=round(mark.decision_cpu_s, 6),
        )
        for budget, mark in zip(BUDGETS, marks, strict=True)
    )
    return Result(rows, marks[-1].decisions)


def check_writable(path: Path) -> None:
    """Raises: DataError if no file can be written at `path`; told before hours of replay."""
    try:
        with path.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise DataError(
            f"--out {path} cannot be written: {error.strerror}", way_out="Name another file."
        ) from None


def write_csv(path: Path, results: Iterable[Result]) -> None:
    """One line for each row, with a header."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [one.name for one in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for result in results for row in result.rows)


def summary(results: Sequence[Result]) -> str:
    """A table in text: mean regret at each budget, CPU of decisions, by method and corpus."""
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        first = result.rows[0]
        groups[first.corpus, first.method].append(result)
        groups["all", first.method].append(result)
    # The mean over corpora last.
    ordered = sorted(groups, key=lambda key: key[0] == "all")
    head = ["corpus", "method", *(f"@{budget}" for budget in BUDGETS), "CPU s/run", "ms/decision"]
    lines = [head]
    for corpus, method in ordered:
        group = groups[corpus, method]
        cpu = [result.rows[-1].decision_cpu_s for result in group]
        lines.append(
            [
                corpus,
                method,
                *(
                    f"{fmean(result.rows[place].regret for result in group):.3f}"
                    for place in range(len(BUDGETS))
                ),
                f"{fmean(cpu):.2f}",
                f"{1000 * sum(cpu) / max(1, sum(result.decisions for result in group)):.2f}",
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
