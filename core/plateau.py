"""Reducing the learning rate when the metric has stopped improving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from core.settings import Recipe, SchedulerType
from core.task import Metric

_THRESHOLD = 1e-4
"""Of the best value's size: what a value must gain on it to count as better."""


class PlateauRecipe(Recipe):
    """A recipe whose learning rate may follow the evaluations."""

    lr_scheduler_type: Literal[SchedulerType, "reduce_on_plateau"] = "linear"  # type: ignore[assignment]
    """Decay after the warmup; `reduce_on_plateau` keeps the rate while scores improve."""
    plateau_patience: int = Field(default=5, ge=0)
    """With reduce_on_plateau: evaluations in a row that may be no better than the best one before
    the learning rate is reduced."""
    plateau_factor: float = Field(default=0.5, gt=0, lt=1)
    """What the learning rate is multiplied by then."""
    plateau_least: float = Field(default=0.05, gt=0, le=1)
    """Share of the learning rate below which it is not reduced."""


def reduction(values: Sequence[float], recipe: Recipe, metric: Metric) -> float:
    """Factor of the scheduled learning rate after a stage's evaluations so far, in order.

    With `reduce_on_plateau` it begins at 1 and is multiplied by `plateau_factor` as soon as more
    than `plateau_patience` evaluations in a row were not better than the best one, and again each
    time that happens, counted anew; it ends at `plateau_least`. Other schedules keep 1.

    As torch's ReduceLROnPlateau has it, but for its relative threshold, which with values below
    zero takes a slightly worse one for better. It is a function of the curve alone, which is in
    every checkpoint.
    """
    if not isinstance(recipe, PlateauRecipe) or recipe.lr_scheduler_type != "reduce_on_plateau":
        return 1.0
    factor, best, waited = 1.0, None, 0
    for value in values:
        if best is None or _is_clearly_better(value, best, metric):
            best, waited = value, 0
            continue
        waited += 1
        if waited > recipe.plateau_patience:
            factor, waited = max(factor * recipe.plateau_factor, recipe.plateau_least), 0
    return factor


def _is_clearly_better(value: float, best: float, metric: Metric) -> bool:
    gain = _THRESHOLD * abs(best)
    return metric.is_better(value, best + gain if metric.direction == "maximize" else best - gain)
