"""Asynchronous successive halving that pauses what it does not promote, and may promote it later.

Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2. Two
departures: a trial that is promotable when it comes to a rung goes on in its slot, and where the
paper never ends, something is brought to the end of its curve before the study's end.
"""

from __future__ import annotations

from collections.abc import Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from core.task import Evaluation, Grid, Verdict
from hpo.rungs import rungs
from hpo.schedulers import Choice, Propose, Standing, Thaw

_FINISH_EARLY = 2.0
"""The leader is brought to its end when there is time for so many times what that costs."""


class PromoteScheduler:
    """Pauses a trial at each rung unless it is among the best 1/reduction_factor there.

    A free slot promotes the best paused trial of the highest rung that has one to promote, else
    takes a new trial. When the study's trials are used up, what is not promotable stays paused.
    Whatever the rungs say, the leader is finished when nothing else would bring a trial to its
    end: when the trials are used up, or when the time is nearly so.
    """

    def __init__(
        self,
        grid: Grid,
        direction: StudyDirection,
        *,
        min_resource: int | None = None,
        reduction_factor: int = 4,
    ) -> None:
        """`min_resource`: step of each stage's first rung; `eval_every` by default."""
        first = min_resource or grid.eval_every
        self.rungs = tuple(sorted(set(rungs(grid, first, reduction_factor))))
        self._end = grid.total_steps
        self._sign = 1.0 if direction == StudyDirection.MAXIMIZE else -1.0
        self._reduction_factor = reduction_factor

    def choose(self, standing: Standing) -> Choice | None:
        """Promotes, else proposes."""
        if self._is_to_finish(standing):
            leader = self._leader(standing)
            if leader is not None and leader in standing.paused:
                return Thaw(leader)
        for rung in reversed(self.rungs):
            for number in self._promotable(rung, standing.trials):
                # A trial paused elsewhere, say by a scheduler that the study had before, is
                # promoted from the last rung that it has reached.
                if number in standing.paused and self._rung_of(standing.paused[number]) == rung:
                    return Thaw(number)
        unplaced = [n for n, step in standing.paused.items() if self._rung_of(step) is None]
        if unplaced:
            return Thaw(min(unplaced))
        return Propose() if self._has_more(standing) else None

    def judge(self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing) -> Verdict:
        """PAUSE at a rung, CONTINUE between rungs and for what is promotable."""
        if evaluation.step not in self.rungs:
            return Verdict.CONTINUE
        if trial.number in self._promotable(evaluation.step, standing.trials):
            return Verdict.CONTINUE
        if self._is_to_finish(standing) and trial.number == self._leader(standing):
            return Verdict.CONTINUE
        return Verdict.PAUSE

    def _promotable(self, rung: int, trials: Sequence[FrozenTrial]) -> list[int]:
        """The best 1/reduction_factor of those that reached a rung, best first."""
        values = [
            (-self._sign * value, trial.number)
            for trial in trials
            if (value := _value_at(trial, rung)) is not None
        ]
        return [number for _, number in sorted(values)[: len(values) // self._reduction_factor]]

    def _has_more(self, standing: Standing) -> bool:
        """Whether the study is to have trials that were not begun yet."""
        begun = standing.finished + len(standing.running) + len(standing.paused)
        return standing.can_propose and begun < standing.total

    def _is_to_finish(self, standing: Standing) -> bool:
        """Whether nothing is complete and it is time that something were."""
        leader = self._leader(standing)
        if leader is None or any(one.state == TrialState.COMPLETE for one in standing.trials):
            return False
        if not self._has_more(standing):
            return True
        if standing.time_left_s is None:
            return False
        return standing.time_left_s < _FINISH_EARLY * standing.costs.to_go(leader, self._end)

    def _leader(self, standing: Standing) -> int | None:
        """The best at the highest rung that an unfinished trial has reached."""
        unfinished = [
            trial
            for trial in standing.trials
            if trial.number in standing.running or trial.number in standing.paused
        ]
        for rung in reversed(self.rungs):
            reached = [one for one in unfinished if rung in one.intermediate_values]
            if reached:
                return min(
                    reached,
                    key=lambda one: (-self._sign * one.intermediate_values[rung], one.number),
                ).number
        return None

    def _rung_of(self, step: int) -> int | None:
        return max((rung for rung in self.rungs if rung <= step), default=None)


def _value_at(trial: FrozenTrial, rung: int) -> float | None:
    """A trial's value at a rung; one complete before it stands there with its last."""
    value = trial.intermediate_values.get(rung)
    return trial.value if value is None and trial.state == TrialState.COMPLETE else value
