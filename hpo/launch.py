"""Runs a study from its declaration to its result: owner, locks, storage, then its phases."""

from __future__ import annotations

import dataclasses
import math
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial

from core.errors import SettingsError
from core.stage_entries import cache_limit
from hpo import attributes
from hpo.clock import StudyClock
from hpo.declarations import Study
from hpo.disk import telling_of_room
from hpo.driver import Stop
from hpo.events import Note, Observe
from hpo.folders import StudyFolder
from hpo.interrupts import terminating_as_ctrl_c
from hpo.lock import own
from hpo.memory import MemoryCheck, slot_memory
from hpo.opening import open_study
from hpo.options import RunOptions
from hpo.phases import MakeSlots, Phases
from hpo.reading import read_study
from hpo.records import StudyRecord, TestReading
from hpo.roster import mend_folders
from hpo.schedulers import Scheduler
from hpo.schedulers.choosing import build_scheduler
from hpo.showcase.observer import Showcase, StudyDrawing
from hpo.sinks import check_sinks, streaming
from hpo.stopping import obeying
from hpo.storage import locate, telling
from hpo.storage.steadfast import PATIENCE_S, keep_in_memory, patiently
from hpo.study_file import write_study
from hpo.warm_start import read_prior
from hpo.workers.auto_fuse import measure_fusion
from hpo.workers.devices import refuse_contradictions
from hpo.workers.local import local_slots

_READ_BACK_S = 120.0
"""How long a server that is away is waited for when all is stored and the result is to be read."""


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
    make_slots: MakeSlots | None = None,
    scheduler: Scheduler | None = None,
    patience_s: float = PATIENCE_S,
    showcase: bool = False,
) -> Result:
    """Runs `study`, or goes on with it where it stands, until its trials are finished.

    Without `make_slots` trials run where the options say, on this machine or on a cluster. While
    the database is away training goes on, for `patience_s` at most. With `showcase` the dashboard
    is shown figures, notes and samples while it runs.

    Raises: UserError for what the user can mend, among them StudyOwnedError where another driver
        has the study and StudyConflictError where it was begun as something else.
    """
    begun = time.monotonic() if options.begun is None else options.begun
    _check(options)
    runs = options.runs_dir.expanduser().resolve()
    folder = StudyFolder(runs, study.name)
    database = locate(options.storage, runs)
    prior = None
    if options.warm_start:
        prior = read_prior(study, options.warm_start, options.storage, runs)
    with ExitStack() as stack:
        stack.enter_context(terminating_as_ctrl_c())
        stack.enter_context(telling_of_room(runs))
        # The first lock guards the study's rows, the second its folder: two drivers may name the
        # same database with different folders, or the other way round.
        patiently(lambda: stack.enter_context(database.own(study.name)))
        stack.enter_context(own(folder.lock, study.name))
        stack.enter_context(telling(database))
        if options.fuse == "auto":
            measured = measure_fusion(study, options, folder.cache, observe)
            options = dataclasses.replace(options, fuse=measured)
        make = make_slots or _choose_slots(options, observe)
        slots = make(options, folder.cache)
        for slot in slots:
            stack.enter_context(closing(slot))
        storage = stack.enter_context(
            keep_in_memory(
                database,
                study.name,
                patience_s=patience_s,
                tell=lambda text: observe(Note(text)),
            )
        )
        if not storage.get_all_studies():  # before there is a study that could never run
            MemoryCheck(study, slot_memory([slot.device for slot in slots])).refuse_start()
        total = options.trials or study.trials
        found = open_study(study, storage, folder, total=total, observe=observe)
        if found.user_attrs.get(attributes.STORAGE) != database.shown:
            found.set_user_attr(attributes.STORAGE, database.shown)
        if found.user_attrs.get(attributes.OPTIONS) != options.as_json():
            found.set_user_attr(attributes.OPTIONS, options.as_json())
        mend_folders(study, found, folder)
        if showcase:
            drawing = StudyDrawing(options.storage, study.name, runs)
            observe = stack.enter_context(Showcase(found, drawing, observe))

        def store(elapsed_s: float) -> None:
            found.set_user_attr(attributes.ELAPSED_S, elapsed_s)
            write_study(found, folder)

        if options.log:
            observe = stack.enter_context(streaming(options.log, study, folder, observe))
        clock = StudyClock(found.user_attrs.get(attributes.ELAPSED_S, 0.0), store, begun=begun)
        phases = Phases(study, options, total, folder, found, clock, observe, prior, slots)
        stack.enter_context(obeying(database, study.name, phases.interrupt))
        phases.run(scheduler or build_scheduler(study))
    return Result(
        record=read_study(options.storage, study.name, runs, patience_s=_READ_BACK_S),
        interrupted=phases.stop is Stop.INTERRUPTED,
        reading=phases.reading,
        already_finished=phases.stop is None,
        failure=phases.failure,
    )


def _choose_slots(options: RunOptions, observe: Observe) -> MakeSlots:
    if options.cluster is None:
        return partial(local_slots, say=lambda text: observe(Note(text)))
    from hpo.workers.ray_slots import ray_slots

    return ray_slots


def _check(options: RunOptions) -> None:
    refuse_contradictions(options)
    check_sinks(options.log)
    cache_limit()  # which workers read, too late to refuse it
    if options.trials is not None and options.trials < 1:
        raise SettingsError("trials must be at least 1", got=options.trials)
    if options.time_limit_s is not None and not 0 < options.time_limit_s < math.inf:
        raise SettingsError("the time limit must be positive and finite", got=options.time_limit_s)
