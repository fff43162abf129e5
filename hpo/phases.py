"""The phases of one run of a study: search, finals, test set, each within what time is left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from core.settings import RunConfig
from core.task import Facts, Outcome
from hpo import attributes, trials
from hpo.clock import StudyClock
from hpo.declarations import Study
from hpo.declarations.assembly import build_groups, end_points
from hpo.disk import check_room, estimate_bytes
from hpo.driver import Driver, Stop
from hpo.events import Event, Note, Observe, StudyStarted
from hpo.experience import gather
from hpo.finals.repeats import Finals, realised_of
from hpo.finals.test_set import (
    TestSetReader,
    begin_opening,
    candidates,
    selected_of,
    tidy_repeats,
)
from hpo.folders import StudyFolder
from hpo.forecast import Forecast
from hpo.ledger import Opening, Run, read_ledger, remember, unlisted
from hpo.memory import MemoryCheck, slot_memory
from hpo.opening import settle_facts
from hpo.options import RunOptions
from hpo.outlook import Outlook
from hpo.protocol import stored_lock
from hpo.pruners import build_pruner
from hpo.records import TestReading
from hpo.roster import Roster
from hpo.sampling import build_config
from hpo.schedulers import Scheduler
from hpo.shift import Shift
from hpo.slots import Slot, is_on_gpu
from hpo.warm_start import Prior

MakeSlots = Callable[[RunOptions, Path], Sequence[Slot]]
"""(options, cache folder) -> the slots, which are to be closed."""


@dataclass
class Phases:
    """One run of a study that is open and owned: search, finals, test set."""

    study: Study
    options: RunOptions
    total: int
    folder: StudyFolder
    optuna_study: optuna.Study
    clock: StudyClock
    observe: Observe
    prior: Prior | None
    slots: Sequence[Slot]
    stop: Stop | None = None
    """Why the driver stopped; `None` where there was nothing for it to do."""
    reading: TestReading | None = None
    failure: str | None = None
    _finals: Finals | None = field(default=None, init=False)
    _shift: Shift = field(init=False)

    def __post_init__(self) -> None:
        self._shift = Shift(self.slots, self._tell_quarantine)

    def interrupt(self) -> None:
        """Asks for an end as Ctrl-C does; the second time what runs is killed. Takes no lock."""
        self._shift.interrupt()

    def run(self, scheduler: Scheduler) -> None:
        """Finishes the trials, repeats the best, and reads the test set if that is to be done."""
        if not self._is_finished:
            self._drive(scheduler)
        self._shift.narrow(self._processes)  # what follows is done one run at a time in each
        if self.stop not in (Stop.INTERRUPTED, Stop.FAILED):
            self._hold_finals()
        if self.stop not in (Stop.INTERRUPTED, Stop.FAILED):
            self._read_test_set()
        if self._finals is not None and self.stop is not Stop.INTERRUPTED:
            self._finals.compare(self._has_time)
        if self.stop is not None:
            self.optuna_study.set_user_attr(attributes.STOPPED, self.stop.value)
            self.clock.save(now=True)

    @property
    def _processes(self) -> int:
        """Of the slots, which come first those that have no other one before them in it."""
        return max(len(self.slots) // self.options.seats, 1)

    @property
    def _is_finished(self) -> bool:
        # Only brute force runs out of points; another sampler may find more to do.
        exhausted = self.optuna_study.user_attrs.get(attributes.EXHAUSTED)
        if exhausted and self.study.sampler.name == "brute_force":
            return True
        return len(trials.finished(self.optuna_study)) >= self.total

    def _tell_quarantine(self, device: str, reason: str) -> None:
        """Says that a device is given no more work, and remembers it in the study."""
        self.observe(Note(f"{device} is given no more work, it breaks down too often: {reason}"))
        before = self.optuna_study.user_attrs.get(attributes.QUARANTINED, {})
        self.optuna_study.set_user_attr(attributes.QUARANTINED, {**before, device: reason})

    def _drive(self, scheduler: Scheduler) -> None:
        memory = MemoryCheck(self.study, slot_memory([slot.device for slot in self.slots]))
        for slot in self.slots:
            slot.warm()
        roster, finals = self._roster, self.study.finals
        room = estimate_bytes(
            _most_weights(self.study),
            jobs=len(self.slots),
            keep=self.study.kept + finals.top * finals.seeds,
        )
        check_room(self.folder.path, room)
        self._tell_methods()
        driver = Driver(
            self.study,
            roster,
            scheduler,
            forecast=self._forecast,
            deadline=self._outlook.deadline,
            observe=self.observe,
            total=self.total,
            refuse=memory.refusal,
        )
        self.optuna_study.set_user_attr(attributes.STOPPED, None)
        self.stop = driver.run(self._shift)
        self.failure = driver.failure
        if self.stop is Stop.TIME:
            self.observe(Note("the time for trials is used up"))
            if roster.best is None:
                self.failure = (
                    "no trial came to its end within the time limit; the same command with a "
                    "longer one goes on"
                )
        if self.stop is Stop.EXHAUSTED:
            self.optuna_study.set_user_attr(attributes.EXHAUSTED, True)
            self.observe(Note("every point of the search space has been tried"))

    def _tell_methods(self) -> None:
        """Says what the sampler cannot learn, and records and says which studies are a prior."""
        sampler, pruner = self.study.sampler.name, self.study.pruner.name
        if sampler == "gp" and self.study.scheduler.name == "optuna" and pruner != "none":
            self.observe(
                Note(
                    "sampler gp learns from complete trials only, nothing from those that pruner "
                    f"{pruner} stops: consider --set pruner.name=none"
                )
            )
        before = self.optuna_study.user_attrs.get(attributes.WARM_START, [])
        if self.prior is not None:
            names = list(self.prior.studies)
            shared = ", ".join(self.prior.shared)
            self.observe(Note(f"warm start from {', '.join(names)}: they tell of {shared}"))
            if names != before:
                self.optuna_study.set_user_attr(attributes.WARM_START, names)
        elif before:
            again = f"--warm-start {' '.join(before)}"
            self.observe(Note(f"no warm start from now on: give {again} to go on with it"))

    # What all phases rest on, made when the first of them asks

    @cached_property
    def _roster(self) -> Roster:
        pruner = build_pruner(self.study.pruner, self.study.grid)
        return Roster(
            self.study,
            self._facts,
            self.optuna_study,
            self.folder,
            pruner=pruner,
            prior=self.prior,
        )

    @cached_property
    def _forecast(self) -> Forecast:
        known = gather(
            self.study,
            self.options.storage,
            self.folder.runs,
            jobs=self._processes,
            on_gpu=is_on_gpu(self.slots[0].device),
        )
        return Forecast(self.study, known.model, self._roster)

    @cached_property
    def _outlook(self) -> Outlook:
        return Outlook(
            self.study,
            self._roster,
            self._forecast,
            self.clock,
            limit_s=self.options.time_limit_s,
            slots=self._processes,
        )

    @cached_property
    def _facts(self) -> Facts:
        """What the data hold, prepared once and compared with what earlier runs found."""
        study = self.study
        facts = study.spec.prepare(study.protocol, study.data, self.folder.cache)
        settle_facts(study, self.optuna_study, self.folder, facts)
        for note in facts.notes:
            self.observe(Note(note))
        return facts

    def _hold_finals(self) -> None:
        """Repeats the finalists on fresh seeds, as far as there is time."""
        self._finals = Finals(
            self.study,
            self.optuna_study,
            self.folder,
            observe=self._observe_and_save,
            may_start=self._may_repeat,
            is_over=self._is_finals_over,
            learn_repeat=self._learn_repeat,
        )
        if self._finals.is_done:
            return
        if self.stop is None:
            self._tell_that_it_goes_on()
        try:
            if not self._finals.run(self._shift, self._facts):
                self.stop = Stop.INTERRUPTED
            elif self.stop is None:
                self.stop = Stop.FINISHED
        finally:
            self.clock.save(now=True)

    def _observe_and_save(self, event: Event) -> None:
        self.observe(event)
        self.clock.save()

    # Not the outlook's own: finals that are done must not have it made, data and all.

    def _may_repeat(self, config: RunConfig) -> bool:
        return self._outlook.may_repeat(config, readings=self._readings_to_come())

    def _learn_repeat(self, config: RunConfig, outcome: Outcome) -> None:
        self._forecast.learn_repeat(config, outcome)

    def _has_time(self, seconds: float) -> bool:
        return self.options.time_limit_s is None or self._outlook.has_time(seconds)

    def _is_finals_over(self) -> bool:
        if self.options.time_limit_s is None:
            return False
        assert self._finals is not None
        standings = self._finals.standings
        config = self._finals.config(standings.finalists[0], 1, self._facts)
        return self._outlook.is_finals_over(config, readings=self._readings_to_come())

    def _readings_to_come(self) -> int:
        """Readings of the test set beside the first: of other finalists and of repeats."""
        assert self._finals is not None
        standings = self._finals.standings
        return len(standings.finalists) - 1 + len(standings.repeats) + self._processes - 1

    def _tell_that_it_goes_on(self) -> None:
        best, finished = trials.best(self.optuna_study), len(trials.finished(self.optuna_study))
        leader = None if best is None or best.value is None else (best.number, best.value)
        name, slots = self.study.name, self._processes
        self.observe(StudyStarted(name, finished, self.total, slots, True, leader))

    def _read_test_set(self) -> None:
        """Reads the test set for all finalists, unless an earlier opening stands."""
        assert self._finals is not None
        metric, standings = self.study.spec.metric, self._finals.standings
        selected = selected_of(standings, metric)
        earlier = read_ledger(self.folder.path)
        opening = Opening.under_way(self.folder.path)
        if opening is None and not self.options.again and self._is_seal_broken(earlier):
            return
        if earlier and opening is None and not self.options.again:
            self.reading = earlier[-1]
            self._tidy_repeats(self.reading)
            self._tell_what_was_not_read(self.reading, selected)
            return
        if selected is None:
            return
        facts = self._facts
        if opening is None:
            runs = candidates(standings, self._values(), self.folder, metric)
            digest = facts.digests["data"]
            opening = begin_opening(
                self.folder.path,
                selected,
                digest,
                runs,
                metric=metric,
                earlier=earlier,
                observe=self.observe,
            )
        if opening is None:
            self.failure = (
                f"the test set cannot be read: the weights of the best trial, {selected}, are "
                f"not in {self.folder.trial(selected)}"
            )
            return
        reader = TestSetReader(
            opening,
            self.folder,
            lambda run: self._config_of(run, facts),
            self.observe,
            may_read=self._outlook.may_read,
            is_over=lambda: not self._outlook.has_time(0.0),
            on_opened=partial(remember, self.optuna_study, opening),
            learn_reading=self._learn_reading,
        )
        try:
            self.reading = reader.read(self._shift)
        finally:
            self.clock.save(now=True)
        self.failure = reader.failure
        if self._shift.is_interrupted:
            self.stop = Stop.INTERRUPTED
        if self.reading is not None:
            self._tell_why_there_is_no_mean(self.reading)
            self._compare_signature(self.reading)
            self._tidy_repeats(self.reading)

    def _learn_reading(self, groups: Mapping[str, Mapping[str, Any]], seconds: float) -> None:
        self._forecast.learn_test(groups, seconds)
        self.clock.save()

    def _tell_why_there_is_no_mean(self, reading: TestReading) -> None:
        if reading.fresh is not None and reading.fresh > 1 and reading.unread:
            name = self.study.spec.final_line.replace("FINAL_", "CLEAN_", 1)
            self.observe(
                Note(
                    f"no {name}: {reading.unread} of the {reading.fresh} repeats of trial "
                    f"{reading.selected} were not read on the test set"
                )
            )

    def _is_seal_broken(self, listed: Sequence[TestReading]) -> bool:
        """Whether the ledger has lost all openings that there were; says how many it has lost."""
        lost = unlisted(self.optuna_study, listed)
        told = f"the ledger lacks {lost} of {lost + len(listed)} openings of the test set"
        if lost and listed:
            self.observe(Note(told))
        elif lost:
            self.failure = f"{told}, which is not read again without --again"
        return bool(lost and not listed)

    def _tidy_repeats(self, reading: TestReading) -> None:
        assert self._finals is not None
        metric, keep = self.study.spec.metric, self.study.storage.keep
        tidy_repeats(self.folder, self._finals.standings, reading, metric, keep)

    def _tell_what_was_not_read(self, reading: TestReading, selected: int | None) -> None:
        if selected is not None and selected != reading.selected:
            self.observe(
                Note(
                    f"the test set was read for trial {reading.selected}; trial "
                    f"{selected} is the best now. Read it again with --again."
                )
            )
            return
        assert self._finals is not None
        standings, read = self._finals.standings, {(run.trial, run.seed) for run in reading.runs}
        runs = candidates(standings, self._values(), self.folder, self.study.spec.metric)
        unread = sum(run.seed is not None and (run.trial, run.seed) not in read for run in runs)
        if unread:
            self.observe(
                Note(
                    f"the test set was not read for {unread} of the finals' repeats. "
                    "Read it again with --again."
                )
            )

    def _compare_signature(self, reading: TestReading) -> None:
        """Says where a task scores otherwise than it told when the protocol was locked."""
        lock = stored_lock(self.optuna_study.user_attrs.get(attributes.PROTOCOL))
        if lock is not None and lock.signature not in (None, reading.signature):
            self.observe(
                Note(
                    f"the test score was computed as {reading.signature}, and the protocol says "
                    f"{lock.signature}: the leaderboard will leave this study out"
                )
            )

    def _values(self) -> dict[int, float]:
        """Validation scores of the complete trials."""
        complete = self.optuna_study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return {one.number: one.value for one in complete if one.value is not None}

    def _config_of(self, run: Run, facts: Facts) -> RunConfig:
        """The configuration of a run of the search, or of one on a fresh seed."""
        assert self._finals is not None
        number, seed = run
        if seed is not None:
            return self._finals.config(number, seed, facts)
        realised = realised_of(trials.frozen(self.optuna_study, number))
        return build_config(self.study, realised, facts, number)


def _most_weights(study: Study) -> int:
    """Weights of the largest model the search space can draw; 0 where the task cannot tell."""
    if study.spec.count_weights is None:
        return 0
    return max(
        study.spec.count_weights(
            build_groups(study.space, study.spec, point, where=str(study.space.path)),
            study.protocol,
        )
        for point in end_points(study.space)
    )
