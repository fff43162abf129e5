"""The one owner of a running study: hands out work, answers events, counts the budget, stops.

It knows slots by their protocol only, so its tests pass fakes that yield a curve. Slots call it
from their threads; one lock makes their calls take turns.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from core.task import Evaluation, Outcome, OutcomeState, Progress, Verdict
from hpo.clock import Deadline
from hpo.declarations import Study
from hpo.endings import Ending, ending_of, ending_of_fault
from hpo.events import (
    Note,
    Observe,
    StudyStarted,
    TrialEnded,
    TrialEvaluated,
    TrialProgressed,
    TrialStarted,
)
from hpo.forecast import Forecast, prudent_s
from hpo.interrupts import listening
from hpo.roster import Entry, Roster
from hpo.schedulers import Propose, Scheduler, Standing, Thaw
from hpo.slots import Slot, Work, WorkerError, enforcing, serve

RETRIES = 1
"""Further attempts, each in a fresh process, that a trial is given when its worker breaks down."""
FAILURES_IN_A_ROW = 5
"""So many failed trials one after another are no accident: the study stops."""
_LOOK_EVERY_S = 0.2
MISFITS = 3
"""So many proposals one after another that cannot end in time, and no more are asked for."""


class Stop(enum.Enum):
    """Why a run of a study ended."""

    FINISHED = "finished"
    EXHAUSTED = "exhausted"
    """Every point of the search space has been tried."""
    IDLE = "idle"
    """The scheduler has nothing to do, though trials are paused."""
    TIME = "time"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass
class _Running:
    """An attempt in a slot."""

    entry: Entry
    work: Work
    is_to_pause: bool = False
    """The scheduler answered PAUSE, rather than somebody's Ctrl-C."""
    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun


class Driver:
    """Runs one study on its slots."""

    def __init__(
        self,
        study: Study,
        roster: Roster,
        scheduler: Scheduler,
        *,
        forecast: Forecast,
        deadline: Deadline,
        observe: Observe,
        total: int,
    ) -> None:
        """`total` is how many finished trials the study is to have."""
        self._study = study
        self._roster = roster
        self._scheduler = scheduler
        self._forecast = forecast
        self._deadline = deadline
        self._observe = observe
        self._total = total
        self._changed = threading.Condition(threading.RLock())
        self._orphans = deque(roster.orphans())
        self._running: dict[int, _Running] = {}
        self._slots: Sequence[Slot] = ()
        self._misfits = 0
        self._moves = 0
        """What has happened that could change a scheduler's mind."""
        self._has_seen_costs = any(trial.intermediate_values for trial in roster.stored())
        self._has_no_time = False
        """Something could not be started because it would not have ended."""
        self._interrupts = 0
        self._failures = 0
        self._failure: str | None = None
        self._error: BaseException | None = None

    def run(self, slots: Sequence[Slot]) -> Stop:
        """Works until the budget is spent or something stops it.

        Every trial is then finished, paused, or RUNNING with a checkpoint that the next run goes
        on from.

        Raises: whatever a slot, the storage or the observer raised, a user's mistake included.
        """
        self._slots = slots
        resumed = bool(self._roster.finished or self._orphans or self._roster.paused())
        finished, best = self._roster.finished, self._roster.best
        self._observe(
            StudyStarted(self._study.name, finished, self._total, len(slots), resumed, best)
        )
        try:
            with listening(self.interrupt), enforcing(self._is_overdue, slots):
                serve(slots, self._work_in)
        finally:
            self._deadline.clock.save(now=True)
        if error := self._error or self._roster.failure:
            raise error
        return self._why()

    @property
    def failure(self) -> str | None:
        """What made the run fail, in one line."""
        return self._failure

    def interrupt(self) -> None:
        """Asks running trials to checkpoint and stop; the second time their processes are killed.

        Called by signal handlers: takes no lock.
        """
        self._interrupts += 1
        if self._interrupts > 1:
            for slot in self._slots:
                slot.kill()

    # A slot's loop

    def _work_in(self, index: int, slot: Slot) -> None:
        try:
            work = self._next_work(index)
            while work is not None:
                work = self._attempt(work, index, slot) or self._next_work(index)
        except BaseException as error:  # told by `run`, once the other slots have stopped too
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()

    def _attempt(self, work: Work, index: int, slot: Slot) -> Work | None:
        """Carries out an attempt; returns the next one if it broke down and is given another."""
        try:
            # Nothing is begun that the database does not know. The others go on meanwhile.
            if not self._roster.sync(self._is_to_stop):
                with self._changed:
                    self._leave(self._running.pop(work.number))
                return None
            outcome = slot.run(work, partial(self._answer, work))
        except WorkerError as fault:
            return self._recover(work, index, fault)
        except BaseException as error:
            with self._changed:
                self._error = self._error or error  # before another slot could take the trial up
                self._leave(self._running.pop(work.number))
            raise
        self._conclude(work, outcome)
        return None

    # Handing out

    def _next_work(self, index: int) -> Work | None:
        """A slot's next work, waited for while a running trial may bring some; `None` to end."""
        with self._changed:
            answered = -1
            while not self._is_stopping:
                is_room = self._roster.finished + len(self._running) < self._total
                # Asked again only when something has moved: a choice may take a model to make.
                if is_room and answered != self._moves:
                    answered = self._moves
                    number = self._choose()
                    if number is not None and (work := self._start(number, index)) is not None:
                        return work
                    if number is not None:
                        answered = -1  # it cannot end in time; something else may
                        continue
                if not self._running:
                    break
                self._changed.wait(_LOOK_EVERY_S)
            return None

    def _move(self) -> None:
        """Tells waiting slots that there may be something else to do."""
        self._moves += 1
        self._changed.notify_all()

    def _choose(self) -> int | None:
        """The number of a RUNNING trial to work on: an orphan, or what the scheduler wants."""
        while self._orphans:
            if self._can_end(number := self._orphans.popleft()):
                return number
        standing = self._standing()
        choice = self._scheduler.choose(standing)
        if isinstance(choice, Thaw):
            self._roster.thaw(choice.number)
            return choice.number
        if isinstance(choice, Propose) and standing.can_propose:
            return self._roster.create(choice.drawn)
        return None

    def _can_end(self, number: int) -> bool:
        """Whether a trial is expected to come to its end before the search does.

        Before anything has been seen everything can, as something must be tried. Until a trial is
        complete the expectation counts, then the time that one trial in twenty exceeds.
        """
        left = self._deadline.search_left_s
        if left is None or not self._has_seen_costs:
            return True
        to_go = self._forecast.of_trial(number)
        can = (to_go.seconds if self._roster.best is None else prudent_s(to_go)) <= left
        self._has_no_time = self._has_no_time or not can
        return can

    def _has_room_for_more(self) -> bool:
        """Whether a new trial may be found that comes to its end before the search does."""
        left = self._deadline.search_left_s
        if left is None or not self._has_seen_costs:
            return True
        has_room = self._misfits < MISFITS and self._forecast.can_fit(left)
        self._has_no_time = self._has_no_time or not has_room
        return has_room

    def _standing(self) -> Standing:
        paused = self._roster.paused()
        return Standing(
            trials=self._roster.stored(),
            running=frozenset(self._running),
            paused={number: step for number, step in paused.items() if self._can_end(number)},
            finished=self._roster.finished,
            total=self._total,
            can_propose=self._roster.can_propose() and self._has_room_for_more(),
            costs=self._forecast,
            time_left_s=self._deadline.search_left_s,
        )

    def _start(self, number: int, index: int) -> Work | None:
        """A RUNNING trial's next attempt; `None`, and the trial put away, if it cannot end."""
        entry = self._roster.take_up(number, index)
        if not self._can_end(number):
            # A declared point says nothing of what the sampler will propose next.
            self._misfits += not entry.is_declared
            self._roster.pause(number, self._roster.step_of(number))
            return None
        self._misfits = 0
        work = Work(number, entry.attempt, entry.config, entry.folder)
        self._running[number] = _Running(entry, work)
        self._observe(
            TrialStarted(
                number, index, entry.realised, entry.attempt, self._study.grid.total_steps
            )
        )
        return work

    # Answering

    def _answer(self, work: Work, event: Progress | Evaluation) -> Verdict:
        with self._changed:
            running = self._running.get(work.number)
            if running is None or running.work is not work:
                return Verdict.PAUSE  # an attempt that is no longer the trial's current one
            if self._roster.failure is not None:
                return Verdict.PAUSE  # what it has done is in its folder
            verdict = Verdict.CONTINUE
            self._forecast.watch(running.entry, event)
            if isinstance(event, Evaluation):
                verdict = self._judge(running, event)
            else:
                self._observe(TrialProgressed(work.number, event))
                if event.warning:
                    self._observe(Note(f"trial {work.number}: {event.warning}"))
            self._deadline.clock.save()
            return Verdict.PAUSE if verdict is Verdict.CONTINUE and self._is_stopping else verdict

    def _judge(self, running: _Running, evaluation: Evaluation) -> Verdict:
        entry = running.entry
        last = max(self._roster.reported(entry), default=0)
        if self._roster.report(entry, evaluation):
            self._observe(TrialEvaluated(entry.number, evaluation))
            self._has_seen_costs = True
            self._move()
        # A step before the last stored one was judged, and the trial went on. Of the last one
        # nobody knows whether its verdict was obeyed before the driver ended.
        if evaluation.step < last or evaluation.step <= entry.settled_step:
            return Verdict.CONTINUE
        if evaluation.step >= self._study.grid.total_steps:
            return Verdict.CONTINUE
        verdict = self._scheduler.judge(entry.trial, evaluation, self._standing())
        running.is_to_pause = verdict is Verdict.PAUSE
        return verdict

    # Ending

    def _conclude(self, work: Work, outcome: Outcome) -> None:
        with self._changed:
            running = self._running.pop(work.number)
            self._forecast.learn(running.entry, outcome)
            try:
                for evaluation in outcome.curve:
                    # Nothing new, unless it is the outcome of an attempt whose driver was killed.
                    self._roster.report(running.entry, evaluation)
                if outcome.state is not OutcomeState.PAUSED:
                    self._tell(running, ending_of(outcome, self._study.spec.metric), outcome)
                elif running.is_to_pause:
                    self._roster.pause(work.number, outcome.step)
                    self._tell_observer(
                        running, "paused", outcome.value, outcome.step, outcome.reason
                    )
                else:
                    self._leave(running)
            finally:
                self._move()

    def _recover(self, work: Work, index: int, fault: WorkerError) -> Work | None:
        """After a breakdown: another attempt, or the trial's end."""
        with self._changed:
            running = self._running.pop(work.number)
            try:
                if self._is_stopping:
                    self._leave(running)
                    return None
                if self._roster.count_fault(work.number) <= RETRIES:
                    self._observe(Note(f"trial {work.number}: {fault.reason}; trying it again"))
                    again = self._start(work.number, index)
                    if again is None:
                        self._tell_observer(running, "paused", None, 0, "no time for it is left")
                    return again
                self._tell(running, ending_of_fault(fault), None)
                return None
            finally:
                self._move()

    def _tell(self, running: _Running, ending: Ending, outcome: Outcome | None) -> None:
        entry = running.entry
        self._roster.tell(entry, ending, outcome)
        self._deadline.clock.save(now=True)
        step = max(self._roster.reported(entry), default=0) if outcome is None else outcome.step
        self._tell_observer(running, ending.state, ending.value, step, ending.reason)
        self._failures = self._failures + 1 if ending.state == "failed" else 0
        if self._failures >= FAILURES_IN_A_ROW and self._failure is None:
            self._failure = f"{self._failures} trials failed one after another: {ending.reason}"

    def _leave(self, running: _Running) -> None:
        """Leaves a trial RUNNING, for the next run to take up, or for this one should it go on."""
        if not self._is_stopping:
            self._orphans.append(running.entry.number)
        reported = self._roster.reported(running.entry)
        step = max(reported, default=0)
        self._tell_observer(running, "interrupted", reported.get(step), step, "")

    def _tell_observer(
        self, running: _Running, outcome: str, value: float | None, step: int, reason: str
    ) -> None:
        number = running.entry.number
        best = self._roster.best
        is_best = outcome == "complete" and best is not None and best[0] == number
        self._observe(TrialEnded(number, outcome, value, step, reason, running.seconds, is_best))

    # Stopping

    def _is_to_stop(self) -> bool:
        with self._changed:
            return self._is_stopping

    def _is_overdue(self) -> bool:
        """Whether trials run that should have left."""
        with self._changed:
            return bool(self._running) and self._deadline.is_search_over

    @property
    def _is_stopping(self) -> bool:
        return bool(
            self._interrupts
            or self._error
            or self._failure is not None
            or self._roster.failure is not None
            or self._deadline.is_search_over
        )

    def _why(self) -> Stop:
        if self._interrupts:
            return Stop.INTERRUPTED
        if self._failure is not None:
            return Stop.FAILED
        if self._roster.finished >= self._total:
            return Stop.FINISHED
        if self._deadline.is_search_over or self._has_no_time:
            return Stop.TIME
        return Stop.IDLE if self._roster.can_propose() else Stop.EXHAUSTED
