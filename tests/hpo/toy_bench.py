"""Studies of the toy task, slots that run it in this process, and a bench to drive them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from core.settings import RunConfig
from core.task import Facts, OnEvent, Outcome, Placement, Scores
from hpo.clock import Deadline, StudyClock
from hpo.costs import CostModel
from hpo.declarations import Study
from hpo.driver import Driver, Stop
from hpo.events import Event
from hpo.folders import StudyFolder
from hpo.forecast import Forecast
from hpo.options import RunOptions
from hpo.pruners import build_pruner
from hpo.roster import Roster
from hpo.schedulers import Scheduler
from hpo.schedulers.plain import PlainScheduler
from hpo.shift import Shift
from hpo.slots import Slot, Work
from hpo.workers.devices import local_places

MakeStudy = Callable[..., Study]
MakeBench = Callable[..., "Bench"]

SPACE = """
task = "toy"
[parameters]
"model.width" = { type = "int", low = 2, high = 97 }
"finetune.rate" = { type = "float", low = 1e-5, high = 1e-1, log = true }
"""
KINDS = """
task = "toy"
[parameters]
"model.width" = { type = "int", low = 2, high = 97 }
"model.kind" = { type = "categorical", choices = ["fine", "crash", "memory", "diverge"] }
"""
GRID = """
task = "toy"
[parameters]
"model.width" = { type = "int", low = 2, high = 4 }
"model.kind" = { type = "categorical", choices = ["fine", "diverge"] }
"""
"""Six points."""
HALVING = {
    "pruner.name": "successive_halving",
    "pruner.reduction_factor": 2,
    # Seven trials are too few to know whom to trust.
    "pruner.trust": "always",
}


def enqueue(width: int, kind: str = "fine") -> str:
    """A point of `KINDS` to try first, as a study declares it."""
    return f'[[enqueue]]\n"model.width" = {width}\n"model.kind" = "{kind}"\n'


def write_study(folder: Path, *, space: str = SPACE, rest: str = "") -> None:
    """Writes `toy.toml`, seven trials of the toy task, and its search space."""
    folder.mkdir(exist_ok=True)
    (folder / "space.toml").write_text(space)
    (folder / "toy.toml").write_text(
        f'task = "toy"\nsearch_space = "space.toml"\ntrials = 7\nseed = 3\n{rest}'
    )


class ToySlot:
    """A slot that runs the toy task in the calling thread."""

    def __init__(self, cache: Path, name: str = "cpu", device: str = "cpu") -> None:
        self.cache = cache
        self.name = name
        self.device = device
        self.is_closed = False

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        import toy_curves

        return toy_curves.run(work.config, Placement(), work.folder, self.cache, on_event)

    def score_test(self, config: RunConfig, folder: Path) -> Scores:
        import toy_curves

        return toy_curves.score_test(config, Placement(), folder, self.cache)

    def warm(self) -> None:
        pass

    def kill(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


def toy_slots(options: RunOptions, cache: Path) -> list[ToySlot]:
    """Slots as `launch` asks for them."""
    return [ToySlot(cache, place.name, place.device) for place in local_places(options, ())]


@dataclass
class Bench:
    """A study in memory with its folder, run by one driver after another."""

    study: Study
    runs: Path
    found: optuna.Study = field(init=False)
    events: list[Event] = field(default_factory=list)
    elapsed_s: float = 0.0
    failure: str | None = None
    quarantined: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        direction = self.study.spec.metric.direction
        self.found = optuna.create_study(study_name=self.study.name, direction=direction)
        self.folder = StudyFolder(self.runs, self.study.name)
        self.folder.trials.mkdir(parents=True)

    def run(
        self,
        total: int = 7,
        *,
        slots: int | Sequence[Slot] = 1,
        scheduler: Scheduler | None = None,
        limit_s: float | None = None,
        on_event: Callable[[Driver, Event], None] | None = None,
    ) -> Stop:
        """One driver from start to stop; `on_event` sees its events, and may interrupt it."""
        grid = self.study.grid
        facts = Facts({"data": "d" * 64})
        roster = Roster(
            self.study, facts, self.found, self.folder, build_pruner(self.study.pruner, grid)
        )

        def observe(event: Event) -> None:
            self.events.append(event)
            if on_event is not None:
                on_event(driver, event)

        driver = Driver(
            self.study,
            roster,
            scheduler or PlainScheduler(),
            forecast=Forecast(self.study, CostModel(self.study), roster),
            deadline=Deadline(
                StudyClock(self.elapsed_s, lambda s: setattr(self, "elapsed_s", s)), limit_s
            ),
            observe=observe,
            total=total,
        )
        if isinstance(slots, int):
            slots = toy_slots(RunOptions(jobs=slots), self.folder.cache)
        stop = driver.run(Shift(slots, self.quarantined.__setitem__))
        self.failure = driver.failure
        return stop

    def told(self) -> list[tuple[Any, ...]]:
        """All that is stored of the trials but times and attempts."""
        return [
            (one.number, one.state.name, one.params, one.value, one.intermediate_values)
            for one in self.found.get_trials()
        ]

    def states(self) -> str:
        """The trials' states, one letter each: Complete, Pruned, Fail, Running, Waiting."""
        return "".join(one.state.name[0] for one in self.found.get_trials())

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]
