"""What stops hopeless trials, each stage judged against itself.

Every rule here is a function of the stored curves alone: it compares the current value with the
others' at the same step, which on one grid is the same step of the same stage. Optuna's own median
looks at the best value so far, which a good stage A would shield; its halving remembers
rungs in attributes written before the verdict is obeyed, so that a driver killed between the two
would come back to a trial that was never stopped.
"""

from __future__ import annotations

import statistics

from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from core.task import Grid
from hpo.declarations import PrunerSettings
from hpo.declarations.study import (
    HyperbandSettings,
    MedianSettings,
    SuccessiveHalvingSettings,
)
from hpo.rungs import rungs


def build_pruner(settings: PrunerSettings, grid: Grid) -> BasePruner:
    """The pruner for a study whose curves lie on `grid`."""
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
    if isinstance(settings, MedianSettings):
        return CurrentMedian(
            n_startup_trials=settings.n_startup_trials,
            n_warmup_steps=settings.n_warmup_steps,
            interval_steps=settings.interval_steps,
            n_min_trials=settings.n_min_trials,
        )
    return NopPruner()


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


class CurrentMedian(BasePruner):
    """Stops a trial whose current value is worse than the complete trials' median at that step."""

    def __init__(
        self, *, n_startup_trials: int, n_warmup_steps: int, interval_steps: int, n_min_trials: int
    ) -> None:
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
        return _is_worse(own, statistics.median(values), study.direction)

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
