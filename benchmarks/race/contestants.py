"""Who races: settings of the study, what judges its trials, and what its slots run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.pruners import MedianPruner

from core.task import Evaluation, Verdict
from hpo.options import RunOptions
from hpo.schedulers import Scheduler, Standing
from hpo.schedulers.plain import PlainScheduler
from hpo.slots import Slot
from hpo.workers.local import local_slots


class StockMedian(PlainScheduler):
    """Optuna's own median pruner with its defaults, which looks at the best value so far."""

    def judge(self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing) -> Verdict:
        """Stops what Optuna would prune."""
        own = standing.trials[trial.number]
        is_hopeless = MedianPruner().prune(trial.study, own)
        return Verdict.STOP if is_hopeless else Verdict.CONTINUE


@dataclass(frozen=True)
class Contestant:
    """One way of searching."""

    name: str
    settings: Mapping[str, object]
    """Of the study, by dotted key."""
    scheduler: Scheduler | None = None
    """In place of the one that the settings name."""
    module: str = "core.run"
    """What the slots' children run."""

    def slots(self, options: RunOptions, cache: Path) -> Sequence[Slot]:
        """Slots as `hpo.launch` asks for them."""
        return local_slots(options, cache, module=self.module)


_UNPRUNED = {"pruner.name": "none"}
CONTESTANTS = (
    Contestant(
        "thaw", _UNPRUNED | {"scheduler.name": "thaw", "scheduler.trials_per_structure": 8}
    ),
    Contestant("random", _UNPRUNED | {"sampler.name": "random"}),
    Contestant(
        "optuna", _UNPRUNED | {"sampler.name": "tpe"}, StockMedian(), "benchmarks.race.uncached"
    ),
)
"""`thaw` with groups; random search, which has the stage cache too; Optuna as it comes, TPE with
its median pruner, which has none."""
