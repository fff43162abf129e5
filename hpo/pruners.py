"""What stops hopeless trials, each stage judged against itself.

Every rule here is a function of the stored curves alone: it compares the current value with the
others' at the same step, which on one grid is the same step of the same stage. Optuna's own median
looks at the best value so far, which a good stage A would shield; its halving remembers
rungs in attributes written before the verdict is obeyed, so that a driver killed between the two
would come back to a trial that was never stopped.

A rule that compares trials stops nobody at a step whose ranks are not known to predict the final
ones; divergence and collapse are no rule's business here and stop a trial always.
"""

from __future__ import annotations

import numpy as np
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from core.task import Grid
from hpo.declarations import PrunerSettings
from hpo.declarations.study import (
    HyperbandSettings,
    NoPrunerSettings,
    PatientSettings,
    PercentileSettings,
    RankPrunerSettings,
    SuccessiveHalvingSettings,
)
from hpo.reliability import measure_at
from hpo.rungs import rungs


def build_pruner(settings: PrunerSettings, grid: Grid) -> BasePruner:
    """The pruner for a study whose curves lie on `grid`."""
    if isinstance(settings, NoPrunerSettings):
        return NopPruner()
    if isinstance(settings, PatientSettings):
        around = build_pruner(settings.around, grid)
        return Patient(around, grid, patience=settings.patience, min_delta=settings.min_delta)
    rule = _build_rule(settings, grid)
    return rule if settings.trust == "always" else Measured(rule)


def _build_rule(settings: RankPrunerSettings, grid: Grid) -> BasePruner:
    if isinstance(settings, SuccessiveHalvingSettings):
        return Halving(
            grid,
            min_resource=settings.min_resource or grid.eval_every,
            reduction_factor=settings.reduction_factor,
            min_early_stopping_rate=settings.min_early_stopping_rate,
            bootstrap_count=settings.bootstrap_count,
        )
    if isinstance(settings, HyperbandSettings):
        return Hyperband(
            grid,
            min_resource=settings.min_resource or grid.eval_every,
            max_resource=settings.max_resource or grid.total_steps,
            reduction_factor=settings.reduction_factor,
            bootstrap_count=settings.bootstrap_count,
        )
    return CurrentPercentile(
        settings.percentile if isinstance(settings, PercentileSettings) else 50.0,
        n_startup_trials=settings.n_startup_trials,
        n_warmup_steps=settings.n_warmup_steps,
        interval_steps=settings.interval_steps,
        n_min_trials=settings.n_min_trials,
    )


class Measured(BasePruner):
    """Another pruner, heeded only at steps whose ranks are known to predict the final ranks.

    Around hyperband it lets the sampler see the trials of all brackets.
    """

    def __init__(self, around: BasePruner) -> None:
        self.around = around

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or not self.around.prune(study, trial):
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        curves = [
            (other.intermediate_values, other.value)
            for other in complete
            if other.value is not None
        ]
        return measure_at(step, curves).is_good


class Patient(BasePruner):
    """Another pruner, asked only about a trial that has stopped improving.

    That is one whose best value among the last `patience` evaluations of its stage is not better
    by more than `min_delta` than its best before them in that stage. Optuna's counts across
    stages, and takes `min_delta` for the loss that it bears, not for the gain that it asks for.
    """

    def __init__(self, around: BasePruner, grid: Grid, *, patience: int, min_delta: float) -> None:
        self.around = around
        self._grid = grid
        self._patience = patience
        self._min_delta = min_delta

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or not self._has_stalled(trial, step, study.direction):
            return False
        return self.around.prune(study, trial)

    def _has_stalled(self, trial: FrozenTrial, step: int, direction: StudyDirection) -> bool:
        begin = max((end for end in self._stage_ends() if end < step), default=0)
        sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
        values = [
            sign * value
            for at, value in sorted(trial.intermediate_values.items())
            if begin < at <= step
        ]
        before, last = values[: -self._patience], values[-self._patience :]
        return bool(before) and max(last) <= max(before) + self._min_delta

    def _stage_ends(self) -> list[int]:
        return [self._grid.stage_end(name) for name, _ in self._grid.stages]


class Halving(BasePruner):
    """Asynchronous successive halving: at each rung only the best 1/reduction_factor go on.

    Rungs are counted from the start of each stage, at min_resource x reduction_factor ** k steps
    for k = min_early_stopping_rate, ..., moved on to the next evaluation; the end of the curve is
    none, as a trial that got there has nothing left to save.
    Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", with Optuna's
    departure: before reduction_factor trials have come to a rung, only the best so far goes on.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        min_resource: int,
        reduction_factor: int,
        min_early_stopping_rate: int,
        bootstrap_count: int,
    ) -> None:
        self._reduction_factor = reduction_factor
        self._bootstrap_count = bootstrap_count
        first = min_resource * reduction_factor**min_early_stopping_rate
        self.rungs = frozenset(rungs(grid, first, reduction_factor))

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step not in self.rungs:
            return False
        values = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if step in other.intermediate_values and other.number != trial.number
        ]
        own = trial.intermediate_values[step]
        values.append(own)
        if len(values) <= self._bootstrap_count:
            return True
        places = max(1, len(values) // self._reduction_factor)
        best_first = sorted(values, reverse=study.direction == StudyDirection.MAXIMIZE)
        return _is_worse(own, best_first[places - 1], study.direction)


class Hyperband(HyperbandPruner):
    """Optuna's hyperband, its brackets judged by `Halving`.

    A trial's bracket is a hash of study name and trial number, and the sampler of a trial sees the
    trials of its bracket only; both are Optuna's.
    """

    def __init__(
        self,
        grid: Grid,
        *,
        min_resource: int,
        max_resource: int,
        reduction_factor: int,
        bootstrap_count: int,
    ) -> None:
        # A curve shorter than the first rung has one bracket, in which nothing is stopped.
        max_resource = max(min_resource, max_resource)
        super().__init__(min_resource, max_resource, reduction_factor, bootstrap_count)
        # Optuna makes the brackets at the first judgement and until then takes every trial to be
        # in the first: a resumed study would propose something else than one that went on.
        self._try_initialization(None)  # type: ignore[arg-type]  # asked only for "auto" resources
        assert self._n_brackets is not None
        self._pruners = [
            Halving(  # type: ignore[misc]  # only its `prune` is called
                grid,
                min_resource=min_resource,
                reduction_factor=reduction_factor,
                min_early_stopping_rate=bracket,
                bootstrap_count=bootstrap_count,
            )
            for bracket in range(self._n_brackets)
        ]


class CurrentPercentile(BasePruner):
    """Stops a trial whose current value is not among the best of complete trials' at that step.

    The best are so many percent of them; 50 makes it the median rule.
    """

    def __init__(
        self,
        percentile: float,
        *,
        n_startup_trials: int,
        n_warmup_steps: int,
        interval_steps: int,
        n_min_trials: int,
    ) -> None:
        self._percentile = percentile
        self._n_startup_trials = n_startup_trials
        self._n_warmup_steps = n_warmup_steps
        self._interval_steps = interval_steps
        self._n_min_trials = n_min_trials

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or not self._is_time(step, trial):
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        values = [
            other.intermediate_values[step]
            for other in complete
            if step in other.intermediate_values
        ]
        if len(complete) < self._n_startup_trials or len(values) < max(1, self._n_min_trials):
            return False
        own = trial.intermediate_values[step]
        is_rising = study.direction == StudyDirection.MAXIMIZE
        place = 100.0 - self._percentile if is_rising else self._percentile
        return _is_worse(own, float(np.percentile(values, place)), study.direction)

    def _is_time(self, step: int, trial: FrozenTrial) -> bool:
        """Whether `step` is the first evaluation of an interval after the warmup."""
        if step <= self._n_warmup_steps:
            return False
        earlier = [other for other in trial.intermediate_values if other < step]
        if not earlier or max(earlier) <= self._n_warmup_steps:
            return True
        return self._interval_of(step) > self._interval_of(max(earlier))

    def _interval_of(self, step: int) -> int:
        return (step - self._n_warmup_steps) // self._interval_steps


def _is_worse(value: float, than: float, direction: StudyDirection) -> bool:
    return value < than if direction == StudyDirection.MAXIMIZE else value > than
