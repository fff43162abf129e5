"""The methods that can be replayed, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from benchmarks.replay.world import FINAL_BLEU, Searcher, Signal
from core.task import Grid
from hpo.declarations import PrunerSettings, SamplerSettings
from hpo.declarations.study import (
    GpSettings,
    HyperbandSettings,
    MedianSettings,
    NoPrunerSettings,
    RandomSettings,
    SuccessiveHalvingSettings,
    TpeSettings,
)
from hpo.pruners import build_pruner
from hpo.samplers import build_sampler
from hpo.schedulers import Points, Scheduler
from hpo.schedulers.plain import PlainScheduler
from hpo.schedulers.promote import PromoteScheduler
from hpo.schedulers.thaw import ThawScheduler


@dataclass(frozen=True)
class Arena:
    """What a method may know when it is built."""

    grid: Grid
    points: Points
    seed: int
    direction: StudyDirection = StudyDirection.MAXIMIZE
    signal: Signal = "bleu"


MakeSearcher = Callable[[Arena], Searcher]


def _searcher(
    arena: Arena,
    scheduler: Scheduler,
    sampler: SamplerSettings,
    pruner: PrunerSettings | None = None,
) -> Searcher:
    def sampler_of(number: int) -> BaseSampler:
        return build_sampler(sampler, seed=arena.seed, number=number, conditional=False)

    return Searcher(scheduler, sampler_of, build_pruner(pruner or NoPrunerSettings(), arena.grid))


def _plain(sampler: SamplerSettings, pruner: PrunerSettings | None = None) -> MakeSearcher:
    return lambda arena: _searcher(arena, PlainScheduler(), sampler, pruner)


def _promote(arena: Arena) -> Searcher:
    scheduler = PromoteScheduler(arena.grid, arena.direction)
    return _searcher(arena, scheduler, RandomSettings())


def _thaw(arena: Arena) -> Searcher:
    """Where only ended trials count, it is told so, and what they came to."""
    ends_count = arena.signal == "ppl"
    scheduler = ThawScheduler(
        arena.points,
        arena.grid,
        "maximize",
        seed=arena.seed,
        only_finished=ends_count,
        score_of=_final_bleu if ends_count else None,
    )
    return _searcher(arena, scheduler, RandomSettings())


def _final_bleu(trial: FrozenTrial) -> float | None:
    return trial.user_attrs.get(FINAL_BLEU)


def _syne_tune(name: str) -> MakeSearcher:
    def make(arena: Arena) -> Searcher:
        from benchmarks.replay.syne import SyneTuneScheduler

        space = arena.points.distributions
        scheduler = SyneTuneScheduler(name, arena.grid, space, arena.seed)
        return _searcher(arena, scheduler, RandomSettings())

    return make


METHODS: dict[str, MakeSearcher] = {
    "random": _plain(RandomSettings()),
    "tpe": _plain(TpeSettings()),
    "tpe-median": _plain(TpeSettings(), MedianSettings(trust="always")),
    "tpe-hyperband": _plain(TpeSettings(), HyperbandSettings(trust="always")),
    "tpe-sh2": _plain(
        TpeSettings(), SuccessiveHalvingSettings(reduction_factor=2, trust="always")
    ),
    "tpe-sh4": _plain(
        TpeSettings(), SuccessiveHalvingSettings(reduction_factor=4, trust="always")
    ),
    "promote": _promote,
    "thaw": _thaw,
    "gp": _plain(GpSettings()),
    "syne-asha": _syne_tune("ASHA"),
    "syne-bohb": _syne_tune("BOHB"),
}
"""A method's searcher is built anew for each run; another scheduler is one more line."""
