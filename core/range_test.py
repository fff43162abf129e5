"""A learning-rate range test: a short training whose rate rises from update to update.

Smith 2017 (arXiv:1506.01186). What it shows is read off in `hpo.analysis.range_test`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from core.errors import SettingsError
from core.optimizer import StageOptimizer
from core.precision import Precision
from core.registry import find_task
from core.seeding import put_generators, read_generators, seed_everything
from core.settings import RunConfig
from core.stage_cache import StageCache
from core.stage_entries import FOLDER, cache_limit
from core.task import OnEvent, Placement, Stage, Task
from core.train import Run


def ramp(low: float, high: float, steps: int) -> list[float]:
    """`steps` learning rates from `low` to `high`, each the same multiple of the one before."""
    ratio = high / low
    return [low * ratio ** (step / (steps - 1)) for step in range(steps)]


def range_test(  # noqa: PLR0917  # the first four as `core.run.run` has them
    config: RunConfig,
    placement: Placement,
    cache_dir: Path,
    on_event: OnEvent,
    rates: Sequence[float],
    stage: str | None = None,
) -> list[float]:
    """What `losses_at` gives at the start of a stage, by default the last one.

    The stages before it are trained, or taken from the cache in `cache_dir`, and `on_event` told
    of them; nothing else is left on disk, and every random generator is left as it was.

    Raises: SettingsError for an unknown stage, or where the run ends before it; and what the task
        raises for its data.
    """
    task = find_task(config.task).build(config, placement, cache_dir)
    names = [one.name for one in task.stages]
    if stage is not None and stage not in names:
        raise SettingsError("there is no such stage", got=stage, allowed=", ".join(names))
    cache = StageCache(cache_dir / FOLDER, cache_limit())
    device = torch.device(placement.device)
    with TemporaryDirectory(prefix="range_test_") as folder, _generators_kept(device):
        run = _Approach(task, config, placement, Path(folder), cache, on_event)
        run.reach(stage or names[-1])
        return losses_at(rates, task, run.model, run.stage, run.precision)


def losses_at(
    rates: Sequence[float], task: Task, model: nn.Module, stage: Stage, precision: Precision
) -> list[float]:
    """Training loss of each update of a stage made at these rates, before the update.

    It ends with the first loss that is not finite. All but rate and schedule is the stage's own:
    its batches, AdamW's settings, the clip. `model` is not touched, and every random generator is
    afterwards as it was before, whatever happens.
    """
    trained = copy.deepcopy(model).train()
    optimizer = StageOptimizer(trained, stage, precision, rates=rates)
    losses: list[float] = []
    with _generators_kept(next(model.parameters()).device):
        seed_everything(stage.seed)
        while len(losses) < len(rates) and all(map(math.isfinite, losses[-1:])):
            batch = task.batch(stage, len(losses) % stage.steps)
            with precision.autocast():
                loss = task.loss(trained, batch, stage)
            optimizer.update(loss)
            losses.append(loss.item())
    return losses


@contextmanager
def _generators_kept(device: torch.device) -> Iterator[None]:
    """Puts every random generator back to where it was."""
    generators = read_generators(device)
    try:
        yield
    finally:
        put_generators(generators, device)


class _Approach(Run):
    """A run that goes as far as the start of a stage."""

    def reach(self, name: str) -> None:
        """Does the stages before the one called `name`."""
        while self.stage.name != name:
            end = self.do_stage()
            if end is not None:
                raise SettingsError(
                    f"the run ends before stage {name}, so nothing can be tested there "
                    f"({end.reason or end.state.value})"
                )
