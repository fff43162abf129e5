"""The steps of a curve at which trials compete."""

from __future__ import annotations

from collections.abc import Iterator

from core.task import Grid


def rungs(grid: Grid, first: int, factor: int) -> Iterator[int]:
    """Steps on the whole curve, counted from the start of each stage.

    A stage's rungs lie at `first` x `factor` ** k, moved on to the next evaluation; the end of the
    curve is none, as a trial that got there has nothing left to save.
    """
    start = 0
    for _, length in grid.stages:
        rung = first
        while rung <= length:
            # Every evaluation lies on a multiple of eval_every, and so does every stage's start.
            step = start + -(-rung // grid.eval_every) * grid.eval_every
            if step < grid.total_steps:
                yield step
            rung *= factor
        start += length
