"""Runs a study from its declaration to its result: owner, storage, data, driver, finals, test."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import TrialState

from core.errors import SettingsError
from core.settings import RunConfig
from core.task import Facts
from hpo import attributes, trials
from hpo.clock import Deadline, StudyClock
from hpo.declarations import Study
from hpo.declarations.assembly import build_groups, end_points
from hpo.disk import check_room, estimate_bytes, telling_of_room
from hpo.driver import Driver, Stop
from hpo.events import Note, Observe, StudyStarted
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
from hpo.ledger import Opening, Run, read_ledger
from hpo.lock import own
from hpo.opening import open_study, settle_facts
from hpo.protocol import stored_lock
from hpo.pruners import build_pruner
from hpo.reading import read_study
from hpo.records import StudyRecord, TestReading
from hpo.reserve import Reserve
from hpo.roster import Roster, mend_folders
from hpo.sampling import build_config
from hpo.schedulers import Scheduler
from hpo.schedulers.choosing import build_scheduler
from hpo.slots import Slot
from hpo.storage import close, locate, open_for_driver, telling
from hpo.workers.local import local_slots

MakeSlots = Callable[[int, Path], Sequence[Slot]]
"""(number of slots, cache folder) -> the slots."""


@dataclass(frozen=True)
class RunOptions:
    """How a study is run; none of it changes what its trials compute."""

    trials: int | None = None
    """Finished trials the study is to have at the end; the study's own number by default."""
    time_limit_s: float | None = None
    """Wall-clock seconds over the study, earlier runs included."""
    jobs: int = 1
    """Trials at the same time."""
    runs_dir: Path = Path("runs")
    storage: str | None = None
    """URL of the database; `hpo.db` in the runs folder by default."""
    again: bool = False
    """Read the test set once more."""
    begun: float | None = None
    """`time.monotonic()` when the time limit began to count for this run; now by default."""


@dataclass(frozen=True)
class Result:
    """What a run of a study came to."""

    record: StudyRecord
    interrupted: bool
    """Ctrl-C or SIGTERM; the same call goes on from here."""
    reading: TestReading | None
    """The test reading that stands; `None` where there is none."""
    already_finished: bool
    """The study had all its trials before."""
    failure: str | None = None
    """Why the run failed, in one line; `None` where it did not."""


def launch(
    study: Study,
    options: RunOptions,
    observe: Observe,
    *,
    make_slots: MakeSlots = local_slots,
    scheduler: Scheduler | None = None,
) -> Result:
    """Runs `study`, or goes on with it where it stands, until its trials are finished.

    Raises: UserError for what the user can mend, among them StudyOwnedError where another driver
        has the study and StudyConflictError where it was begun as something else.
    """
    begun = time.monotonic() if options.begun is None else options.begun
    _check(options)
    runs = options.runs_dir.expanduser().resolve()
    folder = StudyFolder(runs, study.name)
    database = locate(options.storage, runs)
    with ExitStack() as stack:
        # The first lock guards the study's rows, the second its folder: two drivers may name the
        # same database with different folders, or the other way round.
        stack.enter_context(own(database.lock_of(study.name), study.name))
        stack.enter_context(own(folder.lock, study.name))
        stack.enter_context(telling_of_room(runs))
        stack.enter_context(telling(database))
        storage = open_for_driver(database)
        stack.callback(close, storage)
        total = options.trials or study.trials
        found = open_study(study, storage, folder, total=total, observe=observe)
        mend_folders(study, found, folder)
        clock = StudyClock(
            found.user_attrs.get(attributes.ELAPSED_S, 0.0),
            lambda elapsed_s: found.set_user_attr(attributes.ELAPSED_S, elapsed_s),
            begun=begun,
        )
        run = _Run(study, options, total, folder, found, clock, observe)
        run.do(make_slots, scheduler or build_scheduler(study))
    return Result(
        record=read_study(options.storage, study.name, runs),
        interrupted=run.stop is Stop.INTERRUPTED,
        reading=run.reading,
        already_finished=run.stop is None,
        failure=run.failure,
    )


@dataclass
class _Run:
    """One run of a study that is open and owned."""

    study: Study
    options: RunOptions
    total: int
    folder: StudyFolder
    optuna_study: optuna.Study
    clock: StudyClock
    observe: Observe
    stop: Stop | None = None
    """Why the driver stopped; `None` where there was nothing for it to do."""
    reading: TestReading | None = None
    failure: str | None = None
    _facts: Facts | None = field(default=None, init=False)
    _finals: Finals | None = field(default=None, init=False)

    def do(self, make_slots: MakeSlots, scheduler: Scheduler) -> None:
        """Finishes the trials, repeats the best, and reads the test set if that is to be done."""
        with ExitStack() as stack:
            slots = make_slots(self.options.jobs, self.folder.cache)
            for slot in slots:
                stack.enter_context(closing(slot))
            if not self._is_finished:
                self._drive(slots, scheduler)
            if self.stop not in (Stop.INTERRUPTED, Stop.FAILED):
                self._hold_finals(slots)
            if self.stop not in (Stop.INTERRUPTED, Stop.FAILED):
                self._read_test_set(slots)
        if self._finals is not None and self.stop is not Stop.INTERRUPTED:
            self._finals.compare()

    @property
    def _is_finished(self) -> bool:
        # Only brute force runs out of points; another sampler may find more to do.
        exhausted = self.optuna_study.user_attrs.get(attributes.EXHAUSTED)
        if exhausted and self.study.sampler.name == "brute_force":
            return True
        return len(trials.finished(self.optuna_study)) >= self.total

    def _drive(self, slots: Sequence[Slot], scheduler: Scheduler) -> None:
        facts = self._prepare()
        check_room(
            self.folder.path,
            estimate_bytes(
                _most_weights(self.study),
                jobs=len(slots),
                keep=self.study.storage.keep + self.study.finals.top * self.study.finals.seeds,
            ),
        )
        pruner = build_pruner(self.study.pruner, self.study.grid)
        roster = Roster(self.study, facts, self.optuna_study, self.folder, pruner=pruner)
        known = gather(self.study, self.options.storage, self.folder.runs, jobs=self.options.jobs)
        forecast = Forecast(self.study, known.model, roster)
        driver = Driver(
            self.study,
            roster,
            scheduler,
            forecast=forecast,
            deadline=self._deadline(forecast, roster),
            observe=self.observe,
            total=self.total,
        )
        self.stop = driver.run(slots)
        self.failure = driver.failure
        if self.stop is Stop.TIME:
            self.observe(Note("the time limit is reached"))
            if roster.best is None:
                self.failure = (
                    "no trial came to its end within the time limit; the same command with a "
                    "longer one goes on"
                )
        if self.stop is Stop.EXHAUSTED:
            self.optuna_study.set_user_attr(attributes.EXHAUSTED, True)
            self.observe(Note("every point of the search space has been tried"))

    def _deadline(self, forecast: Forecast, roster: Roster) -> Deadline:
        limit_s = self.options.time_limit_s
        if limit_s is None:
            return Deadline(self.clock)
        reserve = Reserve(self.study, forecast, roster, limit_s=limit_s)
        return Deadline(self.clock, limit_s, test_s=reserve.test_s)

    def _prepare(self) -> Facts:
        """What the data hold, prepared once and compared with what earlier runs found."""
        if self._facts is None:
            study = self.study
            facts = study.spec.prepare(study.protocol, study.data, self.folder.cache)
            settle_facts(study, self.optuna_study, self.folder, facts)
            for note in facts.notes:
                self.observe(Note(note))
            self._facts = facts
        return self._facts

    def _hold_finals(self, slots: Sequence[Slot]) -> None:
        """Repeats the finalists on fresh seeds, as far as there is time."""
        self._finals = Finals(
            self.study,
            self.optuna_study,
            self.folder,
            observe=self.observe,
            may_start=lambda _: self.stop is not Stop.TIME,
        )
        if self._finals.is_done:
            return
        if self.stop is None:
            self._tell_that_it_goes_on(len(slots))
        if not self._finals.run(slots, self._prepare()):
            self.stop = Stop.INTERRUPTED
        elif self.stop is None:
            self.stop = Stop.FINISHED

    def _tell_that_it_goes_on(self, slots: int) -> None:
        best, finished = trials.best(self.optuna_study), len(trials.finished(self.optuna_study))
        leader = None if best is None or best.value is None else (best.number, best.value)
        started = StudyStarted(self.study.name, finished, self.total, slots, True, leader)
        self.observe(started)

    def _read_test_set(self, slots: Sequence[Slot]) -> None:
        """Reads the test set for all finalists, unless an earlier opening stands."""
        assert self._finals is not None
        metric, standings = self.study.spec.metric, self._finals.standings
        selected = selected_of(standings, metric)
        earlier = read_ledger(self.folder.path)
        opening = Opening.under_way(self.folder.path)
        if earlier and opening is None and not self.options.again:
            self.reading = earlier[-1]
            self._tidy_repeats(self.reading)
            self._tell_what_was_not_read(self.reading, selected)
            return
        if selected is None:
            return
        facts = self._prepare()
        if opening is None:
            runs = candidates(standings, self._values(), self.folder, metric)
            digest = facts.digests["data"]
            opening = begin_opening(
                self.folder.path, selected, digest, runs, metric=metric, earlier=earlier
            )
        if opening is None:
            self.failure = (
                f"the test set cannot be read: the weights of the best trial, {selected}, are "
                f"not in {self.folder.trial(selected)}"
            )
            return
        reader = TestSetReader(
            opening, self.folder, lambda run: self._config_of(run, facts), self.observe
        )
        self.reading = reader.read(slots)
        self.failure = reader.failure
        if reader.is_interrupted:
            self.stop = Stop.INTERRUPTED
        if self.reading is not None:
            self._compare_signature(self.reading)
            self._tidy_repeats(self.reading)

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


def _check(options: RunOptions) -> None:
    for name, value in (("trials", options.trials), ("jobs", options.jobs)):
        if value is not None and value < 1:
            raise SettingsError(f"{name} must be at least 1", got=value)
    if options.time_limit_s is not None and not options.time_limit_s > 0:
        raise SettingsError("the time limit must be positive", got=options.time_limit_s)


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
