"""Whether the next trial takes a structure whose stage A is there already, or a new one.

Gaussian random effects: a trial's final value is its structure's level plus what fine-tuning adds.
Both spreads are learned from the complete trials, the second held at first to half the variance.
Another fine-tuning of a structure is worth the improvement that it is expected to bring over the
best so far, by the second that it costs; a new structure likewise, at the price of its stage A.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist, fmean, variance
from typing import Any, Literal

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from core.settings import canonical_json, derive_seed
from core.task import Evaluation, Verdict
from hpo.schedulers import Choice, Points, Propose, Scheduler, Standing

_KNOWN = 2
"""Complete trials before anything is compared."""
_PRIOR_TRIALS = 3.0
"""What the assumption on the two spreads weighs, in pairs of trials of one structure."""
_TRIES = 200
"""Points drawn at random to find a structure that more trials may have."""
_PRICED = 16
"""Points drawn at random to price a new structure."""


class GroupedScheduler:
    """Another scheduler, whose new trials share structures where that is worth more."""

    def __init__(
        self,
        inner: Scheduler,
        points: Points,
        *,
        direction: Literal["maximize", "minimize"],
        total_steps: int,
        trials_per_structure: int,
        seed: int,
    ) -> None:
        """`trials_per_structure`: at most so many trials may share a structure, unless none is
        found that may have more."""
        self._inner = inner
        self._points = points
        self._sign = 1.0 if direction == "maximize" else -1.0
        self._total_steps = total_steps
        self._most = trials_per_structure
        self._seed = seed

    def choose(self, standing: Standing) -> Choice | None:
        """The inner scheduler's choice, a new trial's structure perhaps chosen for it."""
        choice = self._inner.choose(standing)
        if isinstance(choice, Propose) and not choice.drawn:
            return replace(choice, drawn=self.structure_for(standing))
        return choice

    def judge(self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing) -> Verdict:
        """The inner scheduler's verdict."""
        return self._inner.judge(trial, evaluation, standing)

    def structure_for(self, standing: Standing) -> Mapping[str, Any]:
        """The structure that the next trial is to have, in drawn values; empty leaves it to the
        sampler."""
        groups: dict[str, list[float]] = defaultdict(list)
        counts: Counter[str] = Counter()
        structures: dict[str, Mapping[str, Any]] = {}
        for trial in standing.trials:
            structure = self._structure_of(trial)
            if structure is None:
                continue
            key = canonical_json(structure)
            structures[key] = structure
            counts[key] += 1
            if trial.state == TrialState.COMPLETE and trial.value is not None:
                groups[key].append(self._sign * trial.value)
        values = [value for group in groups.values() for value in group]
        generator = np.random.default_rng(derive_seed(self._seed, "groups", len(standing.trials)))
        if len(values) < _KNOWN:
            return self._new_structure(generator, counts)
        between, within = _spreads(list(groups.values()))
        overall, best = fmean(map(fmean, groups.values())), max(values)
        gain = _improvement(overall - best, between + within)
        worth = {"": gain / self._price(generator, {}, standing)}
        for key, group in groups.items():
            if counts[key] >= self._most:
                continue
            # The structure's level, shrunk towards all structures' by what is known of it.
            share = between / (between + within / len(group)) if between > 0 else 0.0
            level = overall + share * (fmean(group) - overall)
            spread = between * (1 - share) + within
            price = self._price(generator, structures[key], standing)
            worth[key] = _improvement(level - best, spread) / price
        chosen = max(worth, key=lambda key: worth[key])
        return structures[chosen] if chosen else self._new_structure(generator, counts)

    def _new_structure(
        self, generator: np.random.Generator, counts: Mapping[str, int]
    ) -> Mapping[str, Any]:
        """One at random that more trials may have, where the sampler could take one that has all
        it may have; else empty, which leaves it to the sampler."""
        if max(counts.values(), default=0) < self._most:
            return {}
        for _ in range(_TRIES):
            structure = self._structure_in(self._points.draw(generator))
            if counts.get(canonical_json(structure), 0) < self._most:
                return structure
        return {}

    def _structure_of(self, trial: FrozenTrial) -> Mapping[str, Any] | None:
        """A trial's structure in drawn values; `None` before it is drawn."""
        return self._structure_in(trial.params) or None

    def _structure_in(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        return {name: drawn[name] for name in sorted(self._points.structure & set(drawn))}

    def _price(
        self, generator: np.random.Generator, fixed: Mapping[str, Any], standing: Standing
    ) -> float:
        """Seconds that a trial is expected to take."""
        draws = 1 if fixed else _PRICED
        prices = [
            standing.costs.of_new(self._points.draw(generator, fixed), self._total_steps)
            for _ in range(draws)
        ]
        return max(fmean(prices), 1e-3)


def _spreads(groups: list[list[float]]) -> tuple[float, float]:
    """Variance between structures and within one, of values grouped by structure."""
    total = variance([value for group in groups for value in group])
    pairs = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in pairs)
    squares = sum(variance(group) * (len(group) - 1) for group in pairs)
    within = (squares + _PRIOR_TRIALS * total / 2) / (freedom + _PRIOR_TRIALS)
    return max(total - within, 0.1 * total), within


def _improvement(lead: float, spread: float) -> float:
    """Expected improvement of a normal value, `lead` above the best so far on average."""
    deviation = math.sqrt(spread)
    if deviation == 0.0:
        return max(lead, 0.0)
    normal = NormalDist()
    z = lead / deviation
    return lead * normal.cdf(z) + deviation * normal.pdf(z)
