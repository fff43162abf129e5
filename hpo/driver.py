"""The one owner of a running study: hands out work, answers events, counts the budget, stops.

It knows slots by their protocol only, so its tests pass fakes that yield a curve. Slots call it
from their threads; one lock makes their calls take turns.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from core.task import Evaluation, Outcome, OutcomeState, Progress, Verdict
from hpo.attempts import Attempt
from hpo.clock import Deadline
from hpo.declarations import Study
from hpo.endings import Ending, ending_of, ending_of_fault, ending_of_misfit
from hpo.events import (
    Note,
    Observe,
    StudyStarted,
    TrialEnded,
    TrialEvaluated,
    TrialProgressed,
    TrialStarted,
)
from hpo.faults import FAILURES_IN_A_ROW, FailureRow
from hpo.forecast import Forecast
from hpo.horizon import Horizon
from hpo.names import label
from hpo.roster import Roster
from hpo.schedulers import Propose, Scheduler, Standing, Thaw
from hpo.shift import LOOK_EVERY_S, Shift
from hpo.slots import Slot, Work, WorkerError


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


Refuse = Callable[[Mapping[str, Any]], str | None]
"""Realised values -> why they cannot be tried, in one line; `None` where they can."""


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
        refuse: Refuse = lambda realised: None,
    ) -> None:
        """`total` is how many finished trials the study is to have.

        A new trial for whose realised values `refuse` has a reason is pruned without being tried.
        """
        self._study = study
        self._roster = roster
        self._scheduler = scheduler
        self._forecast = forecast
        self._deadline = deadline
        self._observe = observe
        self._total = total
        self._horizon = Horizon(deadline, forecast, roster)
        self._refuse = refuse
        self._queue = deque(roster.orphans())
        """RUNNING trials that nobody is at, those that broke down last first."""
        self._running: dict[int, Attempt] = {}
        self._moves = 0
        """What has happened that could change a scheduler's mind."""
        self._failures = FailureRow()
        self._failure: str | None = None

    def run(self, shift: Shift) -> Stop:
        """Works until the budget is spent or something stops it.

        Every trial is then finished, paused, or RUNNING with a checkpoint that the next run goes
        on from.

        Raises: whatever a slot, the storage or the observer raised, a user's mistake included.
        """
        self._shift, self._changed = shift, shift.changed
        resumed = bool(self._roster.finished or self._queue or self._roster.paused())
        finished, best, slots = self._roster.finished, self._roster.best, len(shift.slots)
        self._observe(StudyStarted(self._study.name, finished, self._total, slots, resumed, best))
        try:
            shift.run(self._work_in)
        except BaseException:
            # What ended the run is to be told, not that the storage is gone by now too.
            with suppress(Exception):
                self._deadline.clock.save(now=True)
            raise
        if self._roster.failure is not None:
            raise self._roster.failure
        self._deadline.clock.save(now=True)
        return self._why()

    @property
    def failure(self) -> str | None:
        """What made the run fail, in one line."""
        return self._failure

    def interrupt(self) -> None:
        """Asks running trials to checkpoint and stop; the second time their processes are killed.

        Called by signal handlers: takes no lock.
        """
        self._shift.interrupt()

    # A slot's loop

    def _work_in(self, index: int, slot: Slot) -> None:
        while (attempt := self._next_attempt(index)) is not None:
            self._carry_out(attempt, index, slot)

    def _carry_out(self, attempt: Attempt, index: int, slot: Slot) -> None:
        work, is_overdue = attempt.work, partial(self._is_overdue, attempt)
        try:
            # Nothing is begun that the database does not know. The others go on meanwhile.
            if not self._roster.sync(self._is_to_stop):
                with self._changed:
                    self._leave(self._running.pop(work.number))
                return
            attempt.begin()
            with self._shift.attempt(index, work.number, is_overdue):
                outcome = slot.run(work, partial(self._answer, attempt, slot))
        except WorkerError as fault:
            self._recover(attempt, fault)
        except BaseException as error:
            with self._changed:
                self._shift.fail(error)  # before another slot could take the trial up
                self._leave(self._running.pop(work.number))
            raise
        else:
            self._conclude(attempt, outcome)

    # Handing out

    def _next_attempt(self, index: int) -> Attempt | None:
        """A slot's next work, waited for while a running trial may bring some; `None` to end."""
        with self._changed:
            answered = -1
            while not self._is_stopping and self._shift.serves(index):
                number = self._take_up_again(index)
                # Asked again only when something has moved: a choice may take a model to make.
                if number is None and answered != self._moves:
                    answered = self._moves
                    number = self._choose()
                if number is None:
                    if not self._running and not self._has_queue:
                        break
                    self._changed.wait(LOOK_EVERY_S)
                elif (attempt := self._start(number, index)) is not None:
                    return attempt
                else:
                    answered = -1  # it cannot end in time; something else may
            return None

    @property
    def _is_room(self) -> bool:
        """Whether the budget has room for one more running trial."""
        return self._roster.finished + len(self._running) < self._total

    @property
    def _has_queue(self) -> bool:
        """Whether a trial in the queue can still be taken up in this run, by whichever slot.

        Those without time keep their place in the budget, and are the next run's first.
        """
        return self._is_room and any(map(self._horizon.can_end, self._queue))

    def _move(self) -> None:
        """Tells waiting slots that there may be something else to do."""
        self._moves += 1
        self._changed.notify_all()

    def _take_up_again(self, index: int) -> int | None:
        """The first trial in the queue that is for this slot."""
        if not self._is_room:
            return None
        fitting = (one for one in self._queue if self._shift.may_take(index, one))
        number = next(filter(self._horizon.can_end, fitting), None)
        if number is not None:
            self._queue.remove(number)
        return number

    def _choose(self) -> int | None:
        """The number of a trial that the scheduler wants to be worked on, RUNNING now."""
        if self._roster.finished + len(self._running) + len(self._queue) >= self._total:
            return None
        standing = self._standing()
        choice = self._scheduler.choose(standing)
        if isinstance(choice, Thaw):
            self._roster.thaw(choice.number)
            return choice.number
        if isinstance(choice, Propose) and standing.can_propose:
            return self._roster.create(choice.drawn)
        return None

    def _standing(self) -> Standing:
        paused = self._roster.paused()
        return Standing(
            trials=self._roster.stored(),
            running=frozenset((*self._running, *self._queue)),
            paused={
                number: step for number, step in paused.items() if self._horizon.can_end(number)
            },
            finished=self._roster.finished,
            total=self._total,
            can_propose=self._roster.can_propose() and self._horizon.has_room_for_more(),
            costs=self._forecast,
            time_left_s=self._horizon.left_s,
        )

    def _start(self, number: int, index: int) -> Attempt | None:
        """A RUNNING trial's next attempt; `None`, and the trial put away, if it cannot end."""
        place = self._shift.slots[index].name
        entry = self._roster.take_up(number, index, place)
        is_untried = not self._roster.reported(entry)
        if is_untried and (reason := self._refuse(entry.realised)) is not None:
            self._roster.tell(entry, ending_of_misfit(reason), None)
            self._observe(TrialEnded(number, "pruned", None, 0, reason, 0.0, False))
            self._move()
            return None
        if not self._horizon.fits(entry):
            self._roster.pause(number, self._roster.step_of(number))
            return None
        work = Work(number, entry.attempt, entry.config, entry.folder)
        attempt = Attempt(entry, work, self._study.trial_time_limit_s)
        self._running[number] = attempt
        self._observe(
            TrialStarted(
                number, index, entry.realised, entry.attempt, self._study.grid.total_steps, place
            )
        )
        return attempt

    # Answering

    def _answer(self, attempt: Attempt, slot: Slot, event: Progress | Evaluation) -> Verdict:
        with self._changed:
            number = attempt.work.number
            if self._running.get(number) is not attempt:
                return Verdict.PAUSE  # an attempt that is no longer the trial's current one
            if self._roster.failure is not None:
                return Verdict.PAUSE  # what it has done is in its folder
            if isinstance(event, Progress) and not event.total_steps:
                attempt.begin()  # it waits for a place, which may be another than its slot had
            else:
                self._roster.move(number, slot.name)
                if attempt.is_to_be_saved():
                    self._roster.spend(number, attempt.spent_s)
            verdict = Verdict.CONTINUE
            self._forecast.watch(attempt.entry, event)
            if isinstance(event, Evaluation):
                verdict = self._judge(attempt, event)
            else:
                self._observe(TrialProgressed(number, event))
                if event.warning:
                    self._observe(Note(f"trial {number}: {event.warning}"))
            self._deadline.clock.save()
            is_to_leave = self._is_stopping or attempt.is_over
            return Verdict.PAUSE if verdict is Verdict.CONTINUE and is_to_leave else verdict

    def _judge(self, attempt: Attempt, evaluation: Evaluation) -> Verdict:
        entry = attempt.entry
        last = max(self._roster.reported(entry), default=0)
        if self._roster.report(entry, evaluation):
            self._observe(TrialEvaluated(entry.number, evaluation))
            self._horizon.see()
            self._move()
        # A step before the last stored one was judged, and the trial went on. Of the last one
        # nobody knows whether its verdict was obeyed before the driver ended.
        if evaluation.step < last or evaluation.step <= entry.settled_step:
            return Verdict.CONTINUE
        if evaluation.step >= self._study.grid.total_steps:
            return Verdict.CONTINUE
        verdict = self._scheduler.judge(entry.trial, evaluation, self._standing())
        attempt.is_to_pause = verdict is Verdict.PAUSE
        return verdict

    # Ending

    def _conclude(self, attempt: Attempt, outcome: Outcome) -> None:
        entry = attempt.entry
        with self._changed:
            self._let_go(attempt)
            self._forecast.learn(entry, outcome)
            try:
                for evaluation in outcome.curve:
                    # Nothing new, unless it is the outcome of an attempt whose driver was killed.
                    self._roster.report(entry, evaluation)
                if outcome.state is not OutcomeState.PAUSED:
                    self._tell(attempt, ending_of(outcome, self._study.spec.metric), outcome)
                elif attempt.is_to_pause:
                    self._roster.pause(entry.number, outcome.step)
                    self._tell_observer(
                        attempt, "paused", outcome.value, outcome.step, outcome.reason
                    )
                elif attempt.is_over:
                    self._tell(attempt, attempt.time_out(outcome.step, outcome.value), outcome)
                else:
                    self._leave(attempt)
            finally:
                self._move()

    def _recover(self, attempt: Attempt, fault: WorkerError) -> None:
        """After a breakdown: back to the queue, or the trial's end."""
        entry = attempt.entry
        with self._changed:
            self._let_go(attempt)
            try:
                if attempt.is_over:
                    step, value = self._last_of(attempt)
                    self._tell(attempt, attempt.time_out(step, value), None)
                elif self._is_stopping:
                    self._leave(attempt)
                else:
                    given_up = self._roster.count_breakdown(entry, fault.kind).verdict(fault)
                    if given_up is not None:
                        self._tell(attempt, ending_of_fault(fault, given_up), None)
                        return
                    self._observe(Note(f"trial {entry.number}: {fault.reason}; trying it again"))
                    self._leave(attempt)
            finally:
                self._move()

    def _let_go(self, attempt: Attempt) -> None:
        del self._running[attempt.work.number]
        self._roster.spend(attempt.work.number, attempt.spent_s)

    def _last_of(self, attempt: Attempt) -> tuple[int, float | None]:
        """Step and value of what a trial has reported last."""
        reported = self._roster.reported(attempt.entry)
        step = max(reported, default=0)
        return step, reported.get(step)

    def _tell(self, attempt: Attempt, ending: Ending, outcome: Outcome | None) -> None:
        self._roster.tell(attempt.entry, ending, outcome)
        self._deadline.clock.save(now=True)
        step = self._last_of(attempt)[0] if outcome is None else outcome.step
        self._tell_observer(attempt, ending.state, ending.value, step, ending.reason)
        failures = self._failures.note(ending, is_any_complete=self._roster.best is not None)
        if failures >= FAILURES_IN_A_ROW and self._failure is None:
            log = attempt.entry.folder / "worker.log"
            see = f"; see {label(log)}" if log.exists() else ""
            self._failure = f"{failures} trials failed one after another: {ending.reason}{see}"

    def _leave(self, attempt: Attempt) -> None:
        """Leaves a trial RUNNING, for a free slot to take up, or for the next run."""
        self._queue.appendleft(attempt.work.number)
        self._roster.leave(attempt.work.number)
        step, value = self._last_of(attempt)
        self._tell_observer(attempt, "interrupted", value, step, "")

    def _tell_observer(
        self, attempt: Attempt, outcome: str, value: float | None, step: int, reason: str
    ) -> None:
        number = attempt.work.number
        best = self._roster.best
        is_best = outcome == "complete" and best is not None and best[0] == number
        self._observe(TrialEnded(number, outcome, value, step, reason, attempt.seconds, is_best))

    # Stopping

    def _is_to_stop(self) -> bool:
        with self._changed:
            return self._is_stopping

    def _is_overdue(self, attempt: Attempt) -> bool:
        """Whether an attempt should have left."""
        return (
            self._deadline.is_search_over
            or attempt.is_over
            or self._failure is not None
            or self._roster.failure is not None
        )

    @property
    def _is_stopping(self) -> bool:
        return bool(
            self._shift.is_stopping
            or self._failure is not None
            or self._roster.failure is not None
            or self._deadline.is_search_over
        )

    def _why(self) -> Stop:
        if self._shift.is_interrupted:
            return Stop.INTERRUPTED
        if self._failure is not None:
            return Stop.FAILED
        if self._roster.finished >= self._total:
            return Stop.FINISHED
        if self._deadline.is_search_over or self._horizon.has_refused:
            return Stop.TIME
        return Stop.IDLE if self._roster.can_propose() else Stop.EXHAUSTED
