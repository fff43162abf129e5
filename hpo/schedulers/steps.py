"""Costs where nothing better is known: a second a step, whatever the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class StepCosts:
    """Every step of every trial costs the same. See `Costs`."""

    def __init__(self, step_of: Callable[[int], int]) -> None:
        """`step_of`: number of a trial -> the step at which it stands."""
        self._step_of = step_of

    def of_new(self, drawn: Mapping[str, Any], until: int) -> float:
        """See `Costs.of_new`."""
        return float(until)

    def to_go(self, number: int, until: int) -> float:
        """See `Costs.to_go`."""
        return float(max(0, until - self._step_of(number)))
