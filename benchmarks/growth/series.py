"""Measured figures against a size, and the power law through them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Series:
    """One figure at several sizes."""

    chart: str
    """What is varied: `d_model`, `trials`; series of one chart share their sizes."""
    name: str
    unit: str
    points: list[tuple[float, float]] = field(default_factory=list)
    """(size, figure), by size."""

    def add(self, size: float, figure: float) -> None:
        """Takes one more figure."""
        self.points.append((size, figure))

    @property
    def is_fitted(self) -> bool:
        """Whether there are figures enough for a law, none of them nothing."""
        return len(self.points) > 1 and all(figure > 0 for _, figure in self.points)

    def fit(self, last: int | None = None) -> tuple[float, float]:
        """(exponent, factor) of figure = factor x size ** exponent, least squares in logarithms.

        Of the `last` so many points alone, where given: a constant part hides the law of small
        sizes.
        """
        sizes, figures = np.log(np.array(self.points[-(last or len(self.points)) :])).T
        exponent, log_factor = np.polyfit(sizes, figures, 1)
        return float(exponent), math.exp(log_factor)
