"""Runs a study from its declaration to its result: owner, storage, data, driver, test reading."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from core.errors import SettingsError
from core.task import Facts, Scores
from hpo import attributes, trials
from hpo.clock import Deadline, StudyClock
from hpo.declarations import Study
from hpo.declarations.assembly import build_groups, end_points
from hpo.disk import WEIGHTS, check_room, estimate_bytes, telling_of_room
from hpo.driver import Driver, Stop
from hpo.events import Note, Observe
from hpo.experience import gather
from hpo.folders import StudyFolder
from hpo.forecast import Forecast
from hpo.ledger import read_ledger, read_test_set
from hpo.lock import own
from hpo.opening import open_study, settle_facts
from hpo.pruners import build_pruner
from hpo.reading import read_study
from hpo.records import StudyRecord, TestReading
from hpo.reserve import Reserve
from hpo.roster import Roster, mend_folders
from hpo.sampling import build_config
from hpo.schedulers import Scheduler
from hpo.schedulers.choosing import build_scheduler
from hpo.slots import Slot, WorkerError, WorkerMistakeError
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

    def do(self, make_slots: MakeSlots, scheduler: Scheduler) -> None:
        """Finishes the trials, then reads the test set if that is still to be done."""
        with ExitStack() as stack:
            slots = make_slots(self.options.jobs, self.folder.cache)
            for slot in slots:
                stack.enter_context(closing(slot))
            if not self._is_finished:
                self._drive(slots, scheduler)
            if self.stop not in (Stop.INTERRUPTED, Stop.FAILED):
                self._read_test_set(slots[0])

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
                _most_weights(self.study), jobs=len(slots), keep=self.study.storage.keep
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

    def _read_test_set(self, slot: Slot) -> None:
        """Reads the test set for the best trial, unless an earlier reading stands."""
        best = trials.best(self.optuna_study)
        earlier = read_ledger(self.folder.path)
        if earlier and not self.options.again:
            self.reading = earlier[-1]
            if best is not None and best.number != self.reading.trial:
                self.observe(
                    Note(
                        f"the test set was read for trial {self.reading.trial}; trial "
                        f"{best.number} is the best now. Read it again with --again."
                    )
                )
            return
        if best is None:
            return
        place = self.folder.trial(best.number)
        if not (place / WEIGHTS).is_dir():
            self.failure = (
                f"the test set cannot be read: the weights of the best trial, {best.number}, are "
                f"not in {place}"
            )
            return
        facts = self._prepare()
        realised = {name: best.user_attrs[name] for name in best.user_attrs if "." in name}
        config = build_config(self.study, realised, facts, best.number)

        def score() -> Scores:
            try:
                return slot.score_test(config, place)
            except WorkerError as fault:
                self.observe(Note(f"test set: {fault.reason}; trying it again"))
                return slot.score_test(config, place)

        try:
            self.reading = read_test_set(
                self.folder.path, best.number, facts.digests["data"], score
            )
        except (WorkerError, WorkerMistakeError) as error:
            self.failure = f"the test set could not be read: {error}"


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
