"""The scheduler that a study declares."""

from __future__ import annotations

from optuna.study import StudyDirection

from hpo.declarations import Study
from hpo.declarations.study import PromoteSettings, ThawSettings
from hpo.sampling import SpacePoints
from hpo.schedulers import Scheduler
from hpo.schedulers.groups import GroupedScheduler
from hpo.schedulers.plain import PlainScheduler
from hpo.schedulers.promote import PromoteScheduler


def build_scheduler(study: Study) -> Scheduler:
    """The study's scheduler, its new trials grouped by structure where that was asked for."""
    settings, grid, direction = study.scheduler, study.grid, study.spec.metric.direction
    points = SpacePoints(study.space, study.spec.structure_group)
    if isinstance(settings, ThawSettings):  # which weighs shared structures itself
        from hpo.schedulers.thaw import ThawScheduler  # with scipy, a third of a second

        return ThawScheduler(
            points,
            grid,
            direction,
            seed=study.seed,
            trials_per_structure=settings.trials_per_structure,
        )
    scheduler: Scheduler = PlainScheduler()
    if isinstance(settings, PromoteSettings):
        scheduler = PromoteScheduler(
            grid,
            StudyDirection[direction.upper()],
            min_resource=settings.min_resource,
            reduction_factor=settings.reduction_factor,
        )
    if settings.trials_per_structure == 1 or len(grid.stages) == 1:
        return scheduler
    return GroupedScheduler(
        scheduler,
        points,
        direction=direction,
        total_steps=grid.total_steps,
        trials_per_structure=settings.trials_per_structure,
        seed=study.seed,
    )
