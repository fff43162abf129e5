"""Syne Tune's schedulers in the place of ours, for comparison. An optional extra, `replay`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from core.errors import UserError
from core.task import Evaluation, Grid, Verdict
from hpo.schedulers import Choice, Propose, Standing

_VALUE, _STEP = "value", "step"
_VERDICTS = {"CONTINUE": Verdict.CONTINUE, "STOP": Verdict.STOP}


class SyneTuneScheduler:
    """A scheduler of `syne_tune.optimizer.baselines` with that library's defaults.

    It remembers what it has been told, so it serves a replay, not a study that is resumed.
    """

    def __init__(
        self, name: str, grid: Grid, distributions: Mapping[str, BaseDistribution], seed: int
    ) -> None:
        """`name`: ASHA or BOHB, which stop and do not pause.

        Raises: UserError if Syne Tune is not installed.
        """
        try:
            # A hint about each of its own settings, at every construction.
            logging.getLogger("syne_tune").setLevel(logging.ERROR)
            from syne_tune.optimizer import baselines
        except ImportError as error:
            raise UserError(
                f"Syne Tune's {name} needs the package {error.name}, which is not installed",
                way_out="Install it: pip install -e '.[replay]'.",
            ) from None
        # What is left without a seed in there draws from NumPy's global generator.
        np.random.seed(seed)
        self._scheduler = getattr(baselines, name)(
            config_space=_space_of(distributions),
            metric=_VALUE,
            do_minimize=False,
            time_attr=_STEP,
            max_t=grid.total_steps,
            grace_period=grid.eval_every,
            random_seed=seed,
        )
        self._trials: dict[int, Any] = {}
        """Syne Tune's own, by number."""
        self._ended: set[int] = set()

    def choose(self, standing: Standing) -> Choice | None:
        """What it suggests."""
        self._catch_up(standing.trials)
        if not standing.can_propose:
            return None
        suggestion = self._scheduler.suggest()
        return None if suggestion is None else Propose(suggestion.config)

    def judge(self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing) -> Verdict:
        """Its decision on a result."""
        self._catch_up(standing.trials)
        result = {_VALUE: evaluation.value, _STEP: evaluation.step}
        decision = self._scheduler.on_trial_result(self._trials[trial.number], result)
        return _VERDICTS[decision]

    def _catch_up(self, stored: Sequence[FrozenTrial]) -> None:
        """Tells it of trials that were started, as they were stored, and of those complete."""
        from syne_tune.backend.trial_status import Trial

        for one in stored[len(self._trials) :]:
            self._trials[one.number] = Trial(one.number, dict(one.params), datetime.min)
            self._scheduler.on_trial_add(self._trials[one.number])
        for one in stored:
            if one.state == TrialState.COMPLETE and one.number not in self._ended:
                self._ended.add(one.number)
                result = {_VALUE: one.value, _STEP: one.last_step}
                self._scheduler.on_trial_complete(self._trials[one.number], result)


def _space_of(distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    from syne_tune.config_space import choice, randint

    space: dict[str, Any] = {}
    for name, distribution in distributions.items():
        if isinstance(distribution, CategoricalDistribution):
            space[name] = choice(list(distribution.choices))
        else:
            assert isinstance(distribution, IntDistribution)
            low, high = distribution.low, distribution.high
            space[name] = low if low == high else randint(low, high)
    return space
