"""The run whose model is taken elsewhere: of the best configuration, or of one trial's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UserError
from core.run import read_config, trained
from core.task import Placement, Task
from hpo.analysis.finals import leader_of
from hpo.disk import WEIGHTS
from hpo.folders import StudyFolder
from hpo.records import StudyRecord

if TYPE_CHECKING:
    import torch


class NoModelError(UserError):
    """There is no trained model where one is asked for."""


@dataclass(frozen=True)
class KeptRun:
    """A completed run whose weights are on disk."""

    study: StudyRecord
    trial: int
    """The trial that drew its configuration."""
    seed: int | None
    """A fresh seed of the finals, from 1; `None`: the run of the search."""
    value: float
    """Validation score."""
    folder: Path

    @property
    def name(self) -> str:
        """`quickstart, trial 3`, or `quickstart, trial 3, fresh seed 2`."""
        seed = "" if self.seed is None else f", fresh seed {self.seed}"
        return f"{self.study.name}, trial {self.trial}{seed}"


def find_kept(record: StudyRecord, trial: int | None = None) -> KeptRun:
    """The run to take of a study: of the configuration that stands for it, or of `trial`'s.

    Of several runs of one configuration, the search's and the finals', it is the best on
    validation of those whose weights are kept, the search's among equals.

    Raises: NoModelError.
    """
    chosen = leader_of(record) if trial is None else trial
    where, look = record.name, f"See `hpo show {record.name}`."
    if chosen is None:
        raise NoModelError("no trial is complete yet, so there is no model", where=where)
    if chosen not in {one.number for one in record.trials}:
        raise NoModelError(f"there is no trial {chosen}", where=where, way_out=look)
    best: KeptRun | None = None
    for run in _runs(record, chosen):
        if best is None or record.metric.is_better(run.value, best.value):
            best = run
    if best is None:
        state = next(one.state for one in record.trials if one.number == chosen)
        kept = [str(one.number) for one in record.trials if any(_runs(record, one.number))]
        raise NoModelError(
            f"no weights of trial {chosen} ({state}) are kept",
            where=where,
            allowed=f"trials with weights: {', '.join(kept) or 'none'}",
            way_out="The study's storage.keep says how many complete trials keep theirs.",
        )
    return best


def _runs(record: StudyRecord, number: int) -> Iterator[KeptRun]:
    """A configuration's runs with weights, the search's first."""
    for trial in record.trials:
        is_scored = trial.state == "complete" and trial.value is not None
        if trial.number == number and is_scored and (trial.folder / WEIGHTS).is_dir():
            assert trial.value is not None
            yield KeptRun(record, number, None, trial.value, trial.folder)
    folder = StudyFolder(record.folder.parent, record.name)
    for entrant in record.finals.entrants if record.finals is not None else ():
        if entrant.trial == number:
            for seed, value in zip(entrant.seeds, entrant.values, strict=True):
                if (folder.repeat(number, seed) / WEIGHTS).is_dir():
                    yield KeptRun(record, number, seed, value, folder.repeat(number, seed))


@contextmanager
def opened(run: KeptRun, placement: Placement) -> Iterator[tuple[Task, torch.nn.Module]]:
    """Its task and model, as `core.run.trained` has them. Raises as that does."""
    cache = StudyFolder(run.study.folder.parent, run.study.name).cache
    with trained(read_config(run.folder), placement, run.folder, cache) as both:
        yield both
