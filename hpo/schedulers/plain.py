"""A study's sampler and pruner as they are: every free slot takes a new trial."""

from __future__ import annotations

import optuna

from core.task import Evaluation, Verdict
from hpo.schedulers import Choice, Propose, Standing, Thaw


class PlainScheduler:
    """Proposes while there is something to propose, stops what the pruner gives up; no pauses."""

    def choose(self, standing: Standing) -> Choice | None:
        """Trials that another scheduler paused come first: they have cost something already."""
        if standing.paused:
            return Thaw(min(standing.paused))
        return Propose() if standing.can_propose else None

    def judge(self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing) -> Verdict:
        """The pruner's word."""
        return Verdict.STOP if trial.should_prune() else Verdict.CONTINUE
