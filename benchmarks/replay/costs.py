"""What a searcher can know of the costs: those it has seen, and a regression on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.replay.tables import Floats

_RIDGE = 1e-3


class SeenCosts:
    """Costs of steps, exact for trials that have reported, log-linear in the others' parameters.

    Before any has reported every step costs 1. See `Costs`.
    """

    def __init__(self, encode: Callable[[Mapping[str, Any]], Floats]) -> None:
        self._encode = encode
        self._features: dict[int, Floats] = {}
        self._seen: dict[int, float] = {}
        self._steps: dict[int, int] = {}
        self._weights: Floats | None = None

    def begin(self, number: int, drawn: Mapping[str, Any]) -> None:
        """A trial was started."""
        self._features[number] = self._encode(drawn)
        self._steps[number] = 0

    def see(self, number: int, step: int, rate: float) -> None:
        """A trial has come to `step`, each step at the cost `rate`."""
        self._steps[number] = step
        if number not in self._seen:
            self._seen[number] = rate
            self._weights = None

    def of_new(self, drawn: Mapping[str, Any], until: int) -> float:
        """See `Costs.of_new`."""
        return until * self._rate_at(self._encode(drawn))

    def to_go(self, number: int, until: int) -> float:
        """See `Costs.to_go`."""
        rate = self._seen.get(number)
        if rate is None:
            rate = self._rate_at(self._features[number])
        return max(0, until - self._steps[number]) * rate

    def _rate_at(self, features: Floats) -> float:
        if not self._seen:
            return 1.0
        if self._weights is None:
            self._weights = self._fit()
        return float(np.exp(self._weights[0] + features @ self._weights[1:]))

    def _fit(self) -> Floats:
        """Weights of the logarithm, the constant's first; ridge on the others."""
        inputs = np.stack([self._features[number] for number in self._seen])
        inputs = np.column_stack([np.ones(len(inputs)), inputs])
        logs = np.log(list(self._seen.values()))
        penalty = _RIDGE * np.eye(inputs.shape[1])
        penalty[0, 0] = 0.0
        # The pseudo-inverse: one-hot features and a few trials leave directions undetermined.
        solved = np.linalg.pinv(inputs.T @ inputs + penalty) @ (inputs.T @ logs)
        return np.asarray(solved, dtype=np.float64)
