"""How seconds follow from work: a power of its operations, and an overhead for each call.

The law of one kind of work, such as optimizer updates, is

    seconds = exp(offset) * (pivot * (flops / pivot)^slope * exp(rate) + calls * exp(overhead))

with noise in the logarithm. Its parameters have a normal prior, so that it answers before it has
seen anything and learns from few observations; what the law leaves over is smoothed between
similar works. Older observations count less, the oldest are forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.task import Load

_RATE, _SLOPE, _OVERHEAD, _OFFSETS = 0, 1, 2, 3
_SLOPE_SD, _OFFSET_SD = 0.1, 0.4
_NOISE, _NOISE_WEIGHT = 0.12, 3.0
"""Standard deviation of the log of a run's speed, and how many observations that is worth."""
_FORGET, _KEPT = 0.97, 128
"""What an observation counts less for each newer one, as machines get busy and idle again; and how
many are kept: the oldest of them counts two hundredths."""
_REACH = 0.3
"""Distance in log load over which what the law leaves over is similar."""
_SAME_RUN = 0.85
"""Correlation of one run's deviations between kinds of work."""
_DRIFT = 0.04
"""How well a run's own speed foretells its speed from here, at best."""
_ITERATIONS = 12

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Estimate:
    """Seconds of something, log-normal."""

    log_s: float
    """Logarithm of the median."""
    variance: float
    """Of the logarithm."""


@dataclass(frozen=True)
class Part:
    """So many equal pieces of work."""

    kind: str
    count: float
    load: Load


@dataclass(frozen=True)
class _Observation:
    """What some parts took together; the first part is most of it."""

    parts: tuple[Part, ...]
    log_s: float
    variance: float
    """Beyond the noise of runs: how uncertain the reading itself is."""


@dataclass(frozen=True)
class Prior:
    """What is believed before anything is seen: medians, and standard deviations of their logs."""

    seconds_per_flop: float
    flop_sd: float
    seconds_per_call: float
    call_sd: float


class Law:
    """The law of one kind of work and its variants. Deterministic in what it is told."""

    def __init__(self, kinds: Sequence[str], prior: Prior, pivot: float) -> None:
        """The first of `kinds` is the reference, to which the others have an offset."""
        self._places = {kind: place for place, kind in enumerate(kinds)}
        self._log_pivot = math.log(pivot)
        size = _OFFSETS + len(kinds) - 1
        self._prior = np.zeros(size)
        self._prior[:_OFFSETS] = (
            math.log(prior.seconds_per_flop),
            1.0,
            math.log(prior.seconds_per_call),
        )
        sds = np.full(size, _OFFSET_SD)
        sds[:_OFFSETS] = prior.flop_sd, _SLOPE_SD, prior.call_sd
        self._precision = np.diag(sds**-2.0)
        self._at: Array = self._prior.copy()
        self._covariance: Array = np.diag(sds**2.0)
        self._noise = _NOISE**2
        self._seen: dict[Hashable, _Observation] = {}
        # Of the observations in order: what the law leaves over, where, of which kind, its weight.
        self._left_over: Array = np.zeros(0)
        self._where_flops: Array = np.zeros(0)
        self._where_calls: Array = np.zeros(0)
        self._weights: Array = np.zeros(0)
        self._kinds = np.zeros(0, dtype=np.int64)

    @property
    def count(self) -> int:
        """How many observations there are."""
        return len(self._seen)

    def observe(
        self, run: Hashable, parts: Sequence[Part], seconds: float, *, sd: float = 0.0
    ) -> None:
        """Takes what `parts` took in a run, in place of what was known of the first's kind there.

        `sd` is the reading's own uncertainty, in the logarithm. It counts from the next `fit` on.
        """
        key = (run, parts[0].kind)
        self._seen.pop(key, None)
        self._seen[key] = _Observation(tuple(parts), math.log(seconds), sd**2)
        if len(self._seen) > _KEPT:
            self._seen.pop(next(iter(self._seen)))

    def estimate(self, kind: str, load: Load, run: Hashable | None = None) -> Estimate:
        """Seconds of one piece of work; `run` is one that may have been observed."""
        log_s, gradient = self._at_load(kind, load)
        expected = self._left_at(kind, load)
        spread = float(gradient @ self._covariance @ gradient)
        own = self._seen.get((run, kind)) if run is not None else None
        if own is not None:
            left, trust = self._left_by(own), self._noise / (self._noise + own.variance)
            variance = self._noise * (1 - trust) + _DRIFT**2
            return Estimate(log_s + expected + trust * (left - expected), variance)
        others = [
            found
            for other in self._places
            if run is not None and (found := self._seen.get((run, other))) is not None
        ]
        if not others:
            return Estimate(log_s + expected, spread + self._noise)
        left = sum(map(self._left_by, others)) / len(others)
        mean = expected + _SAME_RUN * (left - expected)
        return Estimate(log_s + mean, spread + self._noise * (1 - _SAME_RUN**2))

    # The law

    def _at_load(self, kind: str, load: Load) -> tuple[float, Array]:
        """Log-seconds of a load by the parameters alone, and their gradient."""
        x = math.log(load.flops) - self._log_pivot
        flops_s = math.exp(self._at[_RATE] + self._log_pivot + self._at[_SLOPE] * x)
        calls_s = load.calls * math.exp(self._at[_OVERHEAD])
        total = flops_s + calls_s
        gradient = np.zeros(len(self._at))
        gradient[:_OFFSETS] = flops_s / total, x * flops_s / total, calls_s / total
        log_s = math.log(total)
        place = self._places[kind]
        if place:
            gradient[_OFFSETS + place - 1] = 1.0
            log_s += float(self._at[_OFFSETS + place - 1])
        return log_s, gradient

    def _left_by(self, seen: _Observation) -> float:
        """What an observation's seconds are above the law, in the logarithm."""
        law_s = sum(
            part.count * math.exp(self._at_load(part.kind, part.load)[0]) for part in seen.parts
        )
        return seen.log_s - math.log(law_s)

    def _left_at(self, kind: str, load: Load) -> float:
        """What the law is expected to leave over at a load, from similar ones."""
        if not len(self._left_over):
            return 0.0
        flops = (self._where_flops - math.log(load.flops)) / _REACH
        calls = (self._where_calls - math.log(load.calls)) / _REACH
        near = self._weights * np.exp(-0.5 * (flops * flops + calls * calls))
        near *= np.where(self._kinds == self._places[kind], 1.0, _SAME_RUN)
        return float(near @ self._left_over / (near.sum() + 1.0))

    # Fitting

    def fit(self) -> None:
        """Finds the most probable parameters, by damped Gauss-Newton steps from where they are."""
        if not self._seen:
            return
        table = self._tabulate()
        ages = _FORGET ** np.arange(len(self._seen) - 1, -1, -1.0)
        weights = ages / (self._noise + table.variances)

        def badness(left: Array, at: Array) -> float:
            away = at - self._prior
            return float(weights @ (left * left) + away @ self._precision @ away)

        at = self._at
        left, gradient = table.residuals(at)
        worst, damping = badness(left, at), 1e-3
        for _ in range(_ITERATIONS):
            curvature = self._precision + gradient.T @ (gradient * weights[:, None])
            pull = gradient.T @ (weights * left) - self._precision @ (at - self._prior)
            step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), pull)
            new_left, new_gradient = table.residuals(at + step)
            reached = badness(new_left, at + step)
            if reached > worst:
                damping = max(damping * 10, 1e-2)
                continue
            is_done = worst - reached < 1e-4
            at, left, gradient, worst = at + step, new_left, new_gradient, reached
            damping *= 0.1
            if is_done:
                break
        self._at = at
        self._covariance = np.linalg.inv(
            self._precision + gradient.T @ (gradient * weights[:, None])
        )
        trusted = ages * self._noise / (self._noise + table.variances)
        known = trusted @ (left * left) + _NOISE_WEIGHT * _NOISE**2
        self._noise = float(known / (trusted.sum() + _NOISE_WEIGHT))
        self._left_over, self._weights = left, trusted
        self._where_flops = table.log_flops[table.starts]
        self._where_calls = table.log_calls[table.starts]
        self._kinds = table.kinds[table.starts]

    def _tabulate(self) -> _Table:
        seen = list(self._seen.values())
        parts = [part for one in seen for part in one.parts]
        kinds = np.array([self._places[part.kind] for part in parts])
        marks = np.zeros((len(parts), len(self._at)))
        marks[kinds > 0, _OFFSETS - 1 + kinds[kinds > 0]] = 1.0
        return _Table(
            starts=np.cumsum([0, *(len(one.parts) for one in seen[:-1])]),
            log_flops=np.log([part.load.flops for part in parts]),
            log_calls=np.log([part.load.calls for part in parts]),
            log_counts=np.log([part.count for part in parts]),
            kinds=kinds,
            marks=marks,
            log_s=np.array([one.log_s for one in seen]),
            variances=np.array([one.variance for one in seen]),
            log_pivot=self._log_pivot,
        )


@dataclass(frozen=True)
class _Table:
    """Observations as arrays: by part, and where each observation's parts start."""

    starts: NDArray[np.int64]
    log_flops: Array
    log_calls: Array
    log_counts: Array
    kinds: NDArray[np.int64]
    marks: Array
    """[part, parameter], 1 at the offset of the part's kind."""
    log_s: Array
    variances: Array
    """By observation, as `log_s`."""
    log_pivot: float

    def residuals(self, at: Array) -> tuple[Array, Array]:
        """What is observed above the law with parameters `at`, and the law's gradients there."""
        x = self.log_flops - self.log_pivot
        offset = self.log_counts + self.marks @ at
        flops_s = np.exp(offset + at[_RATE] + self.log_pivot + at[_SLOPE] * x)
        calls_s = np.exp(offset + at[_OVERHEAD] + self.log_calls)
        gradient = self.marks * (flops_s + calls_s)[:, None]
        gradient[:, _RATE] = flops_s
        gradient[:, _SLOPE] = flops_s * x
        gradient[:, _OVERHEAD] = calls_s
        totals = np.add.reduceat(flops_s + calls_s, self.starts)
        slopes = np.add.reduceat(gradient, self.starts) / totals[:, None]
        return self.log_s - np.log(totals), slopes
