"""Asynchronous successive halving that pauses what it does not promote, and may promote it later.

Source: Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning", algorithm 2. Two
departures: a trial that is promotable when it comes to a rung goes on in its slot, and where the
paper never ends, something is brought to the end of its curve before the study's end.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

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
    takes a new trial. When the study's trials are used up, what is not promotable stays paused,
    unless a time limit leaves time to finish it. Whatever the rungs say, the leader goes on to its
    end if nothing is complete when the trials are used up, or the time nearly so.
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
        """Promotes, else proposes, else spends what time is left on the best that are paused."""
        if self._is_to_finish(standing):
            leader = self._best(standing, {*standing.running, *standing.paused})
            if leader in standing.paused:
                return Thaw(leader)
        for rung in reversed(self.rungs):
            for number in self._promotable(rung, standing.trials):
                if number in standing.paused and self._rung_of(standing.paused[number]) == rung:
                    return Thaw(number)
        early = [number for number, at in standing.paused.items() if self._rung_of(at) == 0]
        if early:  # another scheduler, which the study had before, paused them
            return Thaw(min(early))
        if self._has_more(standing):
            return Propose()
        if standing.paused and standing.time_left_s is not None:
            best = self._best(standing, standing.paused.keys())
            if standing.costs.to_go(best, self._end) <= standing.time_left_s:
                return Thaw(best)
        return None

    def judge(self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing) -> Verdict:
        """PAUSE at a rung, CONTINUE between rungs and for what is promotable."""
        if evaluation.step not in self.rungs:
            return Verdict.CONTINUE
        if trial.number in self._promotable(evaluation.step, standing.trials):
            return Verdict.CONTINUE
        if self._is_to_finish(standing):
            leader = self._best(standing, {*standing.running, *standing.paused})
            return Verdict.CONTINUE if trial.number == leader else Verdict.PAUSE
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
        unfinished = {*standing.running, *standing.paused}
        if not unfinished or any(one.state == TrialState.COMPLETE for one in standing.trials):
            return False
        if not self._has_more(standing):
            return True
        if standing.time_left_s is None:
            return False
        cost = standing.costs.to_go(self._best(standing, unfinished), self._end)
        return standing.time_left_s < _FINISH_EARLY * cost

    def _best(self, standing: Standing, among: Collection[int]) -> int:
        """The best at the highest rung that one of the trials `among` has reached."""

        def place(number: int) -> tuple[int, float, int]:
            curve = standing.trials[number].intermediate_values
            rung = max((rung for rung in self.rungs if rung in curve), default=None)
            return (0, 0.0, -number) if rung is None else (rung, self._sign * curve[rung], -number)

        return max(among, key=place)

    def _rung_of(self, step: int) -> int:
        """The last rung up to a step; 0 before the first."""
        return max((rung for rung in self.rungs if rung <= step), default=0)


def _value_at(trial: FrozenTrial, rung: int) -> float | None:
    """A trial's value at a rung; one complete before it stands there with its last."""
    value = trial.intermediate_values.get(rung)
    return trial.value if value is None and trial.state == TrialState.COMPLETE else value
