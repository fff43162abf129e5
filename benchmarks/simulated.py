"""Studies whose trials cost nothing: the real driver, storage and folders, slots that only report.

What remains of a trial's time is the harness's own.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import optuna
from optuna.trial import create_trial

from core.settings import RunConfig, derive_seed
from core.task import (
    Cost,
    Evaluation,
    Facts,
    Grid,
    Health,
    OnEvent,
    Outcome,
    OutcomeState,
    Progress,
    Scores,
    Verdict,
)
from hpo import attributes, trials
from hpo.declarations import Study, load_study
from hpo.events import Event, TrialEnded, TrialStarted
from hpo.folders import StudyFolder, make_private
from hpo.launch import Result, launch
from hpo.options import RunOptions
from hpo.sampling import SpacePoints, build_config
from hpo.slots import Work
from hpo.storage import locate
from hpo.storage.steadfast import keep_in_memory
from hpo.trial_file import write_trial

_STUDY = "league"
"""Ten parameters, eight evaluations a trial."""
_SIGN_EVERY_S = 0.5
"""As often as a run gives signs of life."""
_CHEAP = {
    "scheduler.name": "optuna",
    "scheduler.trials_per_structure": 1,
    "finals.top": 1,
    "finals.seeds": 0,
    "protocol.pretrain_pairs": 200,
    "protocol.finetune_pairs": 200,
    "protocol.vocab_size": 400,
}


def simulated_study(name: str, **overrides: object) -> Study:
    """The league, declared so that nothing of it takes long but what the driver does.

    `overrides` have two underscores for a dot: `sampler__name="random"`.
    """
    changes = _CHEAP | {key.replace("__", "."): value for key, value in overrides.items()}
    written = [f"{key}={value}" for key, value in changes.items()]
    return load_study(_STUDY, overrides=written, data="pocket", name=name)


@dataclass
class Calls:
    """Seconds that slots waited for the driver, by what for, in the order of the calls."""

    clock: Callable[[], float]
    ask: list[float] = field(default_factory=list)
    """From a trial's end, told, to the next one's start."""
    report: list[float] = field(default_factory=list)
    tell: list[float] = field(default_factory=list)
    begun: float = 0.0
    """When the first trial started, on the clock of `time.perf_counter`."""
    wall_s: float = 0.0
    """From then to the last trial's end."""
    cpu_s: float = 0.0
    """Of the whole process in that time: the driver's threads and the one that writes."""
    slots: dict[int, SimulatedSlot] = field(default_factory=dict)
    """Who works on a trial."""


def run_simulated(
    study: Study,
    runs: Path,
    *,
    total: int,
    slots: int = 1,
    pace_s: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Calls, Result]:
    """Runs a study, or goes on with it, until it has `total` finished trials.

    `clock` times the calls; `time.thread_time` leaves out disks and other processes.
    """
    calls = Calls(clock)
    marks: list[tuple[float, float]] = []

    def observe(event: Event) -> None:
        if isinstance(event, TrialStarted | TrialEnded):
            marks.append((time.perf_counter(), time.process_time()))
        if isinstance(event, TrialEnded) and event.number in calls.slots:
            calls.slots.pop(event.number).has_been_told()

    def make(_options: RunOptions, _cache: Path) -> Sequence[SimulatedSlot]:
        return [SimulatedSlot(study.grid, one, calls, pace_s=pace_s) for one in range(slots)]

    with mock.patch("hpo.phases.check_room"):  # its slots write no checkpoints
        result = launch(
            study, RunOptions(trials=total, jobs=slots, runs_dir=runs), observe, make_slots=make
        )
    (begun, cpu_begun), (ended, cpu_ended) = marks[0], marks[-1]
    calls.begun, calls.wall_s, calls.cpu_s = begun, ended - begun, cpu_ended - cpu_begun
    return calls, result


def fill(study: Study, runs: Path, *, upto: int) -> None:
    """Gives a study that has a trial made ones like it, drawn at random, until it has `upto`.

    Rows and folders are as the driver leaves them.
    """
    folder = StudyFolder(runs.resolve(), study.name)
    points = SpacePoints(study.space, study.spec.structure_group)
    generator = np.random.default_rng(0)
    with keep_in_memory(locate(None, folder.runs), study.name) as storage:
        found = optuna.load_study(study_name=study.name, storage=storage)
        first = trials.finished(found)[0]
        facts = Facts(found.user_attrs[attributes.FACTS]["digests"])
        names = list(study.space.parameters)
        for number in range(len(storage.get_all_trials(found._study_id)), upto):
            drawn = points.draw(generator)
            realised = points.realise(drawn)
            config = build_config(study, realised, facts, number)
            curve = {step: value_at(config, step) for step in steps_of(study.grid)}
            made = create_trial(
                value=curve[study.grid.total_steps],
                params=drawn,
                distributions={name: points.distributions[name] for name in drawn},
                user_attrs=dict(first.user_attrs) | realised,
                intermediate_values=curve,
            )
            identifier = storage.create_new_trial(found._study_id, made)
            make_private(folder.trial(number))
            write_trial(folder, storage.get_trial(identifier), names)


class SimulatedSlot:
    """A slot whose trials report a made curve at once, or at a pace."""

    def __init__(self, grid: Grid, index: int, calls: Calls, *, pace_s: float = 0.0) -> None:
        """`pace_s` seconds pass before each report, with a run's signs of life."""
        self.name = f"cpu {index}"
        # Of a machine of its own: what the memory of this one holds is not to matter.
        self.device = f"node{index} cpu"
        self._grid = grid
        self._calls = calls
        self._pace_s = pace_s
        self._returned: float | None = None
        self._told: float | None = None

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        """See `Slot.run`."""
        self._calls.slots[work.number] = self
        if self._told is not None:
            self._calls.ask.append(self._calls.clock() - self._told)
        curve = []
        state = OutcomeState.COMPLETED
        for step in steps_of(self._grid):
            stage = next(
                name for name, _ in self._grid.stages if step <= self._grid.stage_end(name)
            )
            for _ in range(round(self._pace_s / _SIGN_EVERY_S)):
                time.sleep(_SIGN_EVERY_S)
                on_event(Progress(stage, step, self._grid.total_steps, 3.0, 20.0))
            curve.append(
                Evaluation(stage, step, value_at(work.config, step), elapsed_s=float(step))
            )
            begun = self._calls.clock()
            verdict = on_event(curve[-1])
            self._calls.report.append(self._calls.clock() - begun)
            if verdict is not Verdict.CONTINUE:
                is_stop = verdict is Verdict.STOP
                state = OutcomeState.STOPPED if is_stop else OutcomeState.PAUSED
                break
        if state is OutcomeState.COMPLETED:
            (work.folder / "weights").mkdir(exist_ok=True)
        last = curve[-1]
        self._returned = self._calls.clock()
        return Outcome(
            state=state,
            step=last.step,
            value=last.value,
            curve=tuple(curve),
            health=Health("healthy"),
            cost=Cost(
                prepare_s=0.2, pretrain_s=min(last.step, 1500) / 50, finetune_s=10, evaluate_s=3
            ),
            facts={"device": "cpu"},
        )

    def has_been_told(self) -> None:
        """Notes the end of a trial's end."""
        self._told = self._calls.clock()
        if self._returned is not None:
            self._calls.tell.append(self._told - self._returned)

    def score_test(self, config: RunConfig, folder: Path) -> Scores:
        """See `Slot.score_test`."""
        return Scores(value_at(config, self._grid.total_steps), signature="simulated")

    def warm(self) -> None:
        """See `Slot.warm`."""

    def kill(self) -> None:
        """See `Slot.kill`."""

    def close(self) -> None:
        """See `Slot.close`."""


def steps_of(grid: Grid) -> range:
    """Where a curve has values."""
    return range(grid.eval_every, grid.total_steps + 1, grid.eval_every)


def value_at(config: RunConfig, step: int) -> float:
    """A score that rises with the steps; which configuration is good is a matter of its groups."""
    model, finetune = config.groups["model"], config.groups["finetune"]
    rate = math.log10(finetune["learning_rate"])
    quality = 30.0 - (rate + 4.5) ** 2 - 0.1 * abs(model["num_layers"] - 5)
    noise = random.Random(derive_seed(config.seed, step)).random()
    return quality * (1 - math.exp(-step / 600)) + noise
