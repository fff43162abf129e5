"""Runs the finalists again on fresh seeds, on the study's slots, as long as there is time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from core.settings import RunConfig
from core.task import Evaluation, Facts, Outcome, OutcomeState, Progress, Verdict
from hpo.attributes import PROTOCOL
from hpo.declarations import Study
from hpo.disk import CHECKPOINT, Finished, best_first, remove
from hpo.endings import Ending, ending_of, ending_of_fault, ending_of_time_out
from hpo.events import Note, Observe, RepeatEnded, RepeatProgressed, RepeatStarted
from hpo.faults import Breakdowns
from hpo.finals.standings import (
    Comparison,
    Repeat,
    Standings,
    read_standings,
    write_standings,
)
from hpo.finals.statistics import combine, is_behind
from hpo.folders import StudyFolder, make_private
from hpo.protocol import refuse_other_run, stored_lock
from hpo.sampling import build_repeat
from hpo.shift import LOOK_EVERY_S, Shift
from hpo.slots import Slot, Work, WorkerError
from hpo.spans import RepeatLog

COMPARING_S = 1.5
"""About what comparing a pair of runs takes, with a thousand sentences."""
MayStart = Callable[[RunConfig], bool]
"""Whether a repeat of this configuration would end in time."""
LearnRepeat = Callable[[RunConfig, Outcome], None]
"""(a repeat's configuration, what it came to)."""


@dataclass(frozen=True)
class _Job:
    """A repeat still to be run."""

    trial: int
    seed: int

    def __str__(self) -> str:
        return f"trial {self.trial}, seed {self.seed}"


class Finals:
    """The repeats of one study. Like the driver's, its calls from slots take turns by a lock.

    Repeats are no trials of the Optuna study, so no sampler learns from them. Each has a folder of
    its own and goes on from its checkpoint; `finals.json` remembers those that ended.
    """

    def __init__(
        self,
        study: Study,
        optuna_study: optuna.Study,
        folder: StudyFolder,
        *,
        observe: Observe,
        may_start: MayStart = lambda config: True,
        is_over: Callable[[], bool] = lambda: False,
        learn_repeat: LearnRepeat = lambda config, outcome: None,
    ) -> None:
        """`may_start` is asked before each repeat; one that it refuses waits for another run.

        Once time `is_over` nothing is begun; what runs is asked to pause, then killed.
        `learn_repeat` is told each outcome, of a repeat that paused as well.
        """
        self._study = study
        self._folder = folder
        self._observe = observe
        self._may_start = may_start
        self._is_over = is_over
        self._learn_repeat = learn_repeat
        self._metric = study.spec.metric
        self._lock = stored_lock(optuna_study.user_attrs.get(PROTOCOL))
        self._trials = {one.number: one for one in optuna_study.get_trials(deepcopy=False)}
        self._earlier = read_standings(folder.finals)
        self._log = RepeatLog(folder.finals)
        self._standings = self._begin(self._earlier)
        self._jobs = self._queue()
        self._closed_from: int | None = None
        """The first seed on which no finalist is begun any more, since one had no time for it."""
        self._postponed = 0
        """Repeats for which there was no time, refused or paused."""
        self._running = 0
        self._begun: dict[_Job, float] = {}
        """When each repeat's last attempt began, monotonic."""
        self._attempts: dict[_Job, int] = {}
        self._steps: dict[_Job, int] = {}
        """Where each repeat has been evaluated last."""
        self._breakdowns: dict[_Job, Breakdowns] = {}

    # What there is

    @property
    def standings(self) -> Standings:
        """Who takes part and how the repeats have ended so far."""
        return self._standings

    @property
    def is_done(self) -> bool:
        """Whether nobody is left to be repeated, and that is on disk."""
        if self._earlier is None and not self._jobs:
            return True
        has_work = any(self._is_wanted(job) for job in self._jobs)
        return not has_work and self._standings == self._earlier

    def config(self, trial: int, seed: int, facts: Facts) -> RunConfig:
        """The configuration of a repeat."""
        return build_repeat(self._study, self._realised(trial), facts, seed)

    def _begin(self, earlier: Standings | None) -> Standings:
        """The finalists of the search as it stands now, with the repeats of earlier runs."""
        declared = self._study.finals
        ranked = best_first(
            (
                Finished(one.number, one.value)
                for one in self._trials.values()
                if one.state == TrialState.COMPLETE
            ),
            self._metric,
        )
        finalists = tuple(ranked[: declared.top])
        start = self._start()
        return Standings(
            top=declared.top,
            seeds=declared.seeds,
            finalists=finalists,
            start=None if start in finalists or not finalists else start,
            repeats=earlier.repeats if earlier else (),
            comparisons=earlier.comparisons if earlier else (),
        )

    def _start(self) -> int | None:
        """The trial of the start configuration, pruned or not; `None` where it cannot be run."""
        point = self._study.start
        if point is None:
            return None
        for one in self._trials.values():
            if all(one.user_attrs.get(name) == value for name, value in point.items()):
                broke_down = one.state == TrialState.FAIL or one.user_attrs.get("outcome") in (
                    "memory",
                    "time",
                )
                return None if broke_down else one.number
        return None

    def _realised(self, trial: int) -> Mapping[str, Any]:
        return realised_of(self._trials[trial])

    def _queue(self) -> list[_Job]:
        """What is still to be run, the worth most first.

        All finalists on one seed before any on the next, since only equal seeds compare; in the
        ranking of the search, since the leader is who most probably wins. The start configuration
        comes last: that it beats what the search found is possible, not likely.
        """
        standings, seeds = self._standings, range(1, self._standings.seeds + 1)
        order = [_Job(trial, seed) for seed in seeds for trial in standings.finalists]
        if standings.start is not None:
            order += [_Job(standings.start, seed) for seed in seeds]
        return [job for job in order if standings.find(job.trial, job.seed) is None]

    def _is_wanted(self, job: _Job) -> bool:
        """Whether another repeat can still matter: not of a finalist that is clearly behind."""
        if job.trial == self._standings.start:
            return True
        selected = self._standings.selected(self._metric)
        values = self._standings.values(self._metric)
        return selected in (None, job.trial) or not is_behind(
            values[job.trial], values[selected], self._metric
        )

    # Running

    def run(self, shift: Shift, facts: Facts) -> bool:
        """Runs what is left; returns false if it was interrupted, and the next call goes on.

        Raises: whatever a slot or the observer raised, a user's mistake included.
        """
        self._shift, self._changed, self._facts = shift, shift.changed, facts
        make_private(self._folder.finals)
        self._save()
        if any(self._is_wanted(job) for job in self._jobs):
            self._observe(Note(self._announcement()))
        shift.run(self._work_in)
        if shift.is_interrupted:
            return False
        postponed = self._postponed + sum(self._is_wanted(job) for job in self._jobs)
        if postponed:
            self._observe(Note(f"finals: no time is left for {postponed} of the repeats"))
        return True

    def _announcement(self) -> str:
        standings = self._standings
        names = ", ".join(map(str, standings.finalists))
        and_start = "" if standings.start is None else f"; start: trial {standings.start}"
        return f"finals: trials {names} again on {standings.seeds} fresh seeds{and_start}"

    @property
    def _is_stopping(self) -> bool:
        return self._shift.is_stopping or self._is_over()

    def _work_in(self, index: int, slot: Slot) -> None:
        while (job := self._next_job(index)) is not None:
            try:
                self._carry_out(job, index, slot)
            finally:
                with self._changed:
                    self._running -= 1
                    self._changed.notify_all()

    def _next_job(self, index: int) -> _Job | None:
        """A slot's next repeat, waited for while one that runs may come back; `None` to end."""
        with self._changed:
            while not self._is_stopping and self._shift.serves(index):
                fitting = (one for one in self._jobs if self._shift.may_take(index, one))
                job = next(fitting, None)
                if job is not None:
                    self._jobs.remove(job)
                    if self._may_begin(job):
                        self._running += 1
                        return job
                elif self._jobs or self._running:
                    self._changed.wait(LOOK_EVERY_S)
                else:
                    break
            return None

    def _may_begin(self, job: _Job) -> bool:
        if not self._is_wanted(job):
            return False
        if self._is_comparable(job):
            if self._may_start(self.config(job.trial, job.seed, self._facts)):
                return True
            if job.trial != self._standings.start:
                self._closed_from = job.seed
        self._postponed += 1
        return False

    def _is_comparable(self, job: _Job) -> bool:
        """Whether a repeat would stand beside others on its seed.

        Where there is no time for one finalist the smaller ones get none either: they would be
        told more precisely for being small. The start goes on where a finalist has been.
        """
        if self._closed_from is None or job.seed < self._closed_from:
            return True
        if job.trial != self._standings.start:
            return False
        values = self._standings.values(self._metric)
        return any(job.seed in values[trial] for trial in self._standings.finalists)

    def _carry_out(self, job: _Job, index: int, slot: Slot) -> None:
        """Runs a repeat; what breaks down goes back to the queue's front."""
        place = make_private(self._folder.repeat(job.trial, job.seed))
        config = self.config(job.trial, job.seed, self._facts)
        refuse_other_run(self._study.name, self._lock, str(job), config, place)
        with self._changed:
            self._begun[job] = time.monotonic()
            attempt = self._attempts[job] = self._attempts.get(job, 0) + 1
            total = self._study.grid.total_steps
            self._observe(RepeatStarted(job.trial, job.seed, index, attempt, total, slot.name))
            self._log.begin(job.trial, job.seed, slot.name, place, is_again=attempt > 1)
        work = Work(job.trial, attempt, config, place, is_alone=True)
        try:
            with self._shift.attempt(index, job, partial(self._is_overdue, job)):
                outcome = slot.run(work, partial(self._answer, job, slot))
        except WorkerError as fault:
            self._recover(job, fault)
            return
        with self._changed:
            self._learn_repeat(config, outcome)
        if outcome.state is not OutcomeState.PAUSED:
            self._end(job, ending_of(outcome, self._metric), outcome)
        elif (late := self._time_out(job)) is not None:
            self._end(job, late, None)
        else:
            self._leave(job, outcome.value)

    def _is_overdue(self, job: _Job) -> bool:
        """Whether a repeat should have left."""
        return self._is_over() or self._time_out(job) is not None

    def _time_out(self, job: _Job) -> Ending | None:
        """The ending of a repeat that has had as long as a trial may; `None` while it has not."""
        limit_s = self._study.trial_time_limit_s
        if limit_s is None or time.monotonic() - self._begun[job] < limit_s:
            return None
        return ending_of_time_out(limit_s, self._steps.get(job, 0), None, None)

    def _recover(self, job: _Job, fault: WorkerError) -> None:
        """After a breakdown: back to the queue, or the repeat's end."""
        with self._changed:
            if (late := self._time_out(job)) is not None:
                self._end(job, late, None)
                return
            if self._is_stopping:
                self._leave(job, None)
                return
            before = self._breakdowns.get(job, Breakdowns())
            now = self._breakdowns[job] = before.after(fault.kind, self._steps.get(job, 0))
            given_up = now.verdict(fault)
            if given_up is None:
                self._observe(Note(f"finals: {job}: {fault.reason}; trying it again"))
                self._jobs.insert(0, job)
            else:
                self._end(job, ending_of_fault(fault, given_up), None)

    def _answer(self, job: _Job, slot: Slot, event: Progress | Evaluation) -> Verdict:
        with self._changed:
            if isinstance(event, Progress) and not event.total_steps:
                self._begun[job] = time.monotonic()  # it waits for a place
            else:
                self._log.move(job.trial, job.seed, slot.name)
            if isinstance(event, Progress):
                self._observe(RepeatProgressed(job.trial, job.seed, event))
                if event.warning:
                    self._observe(Note(f"{job}: {event.warning}"))
            else:
                self._steps[job] = max(event.step, self._steps.get(job, 0))
            is_to_leave = self._is_stopping or self._time_out(job) is not None
            return Verdict.PAUSE if is_to_leave else Verdict.CONTINUE

    def _end(self, job: _Job, ending: Ending, outcome: Outcome | None) -> None:
        if outcome is None:
            repeat = Repeat(job.trial, job.seed, "failed", None, None, ending.reason)
        elif ending.state == "complete":
            before = self._before(outcome)
            repeat = Repeat(job.trial, job.seed, "complete", ending.value, before)
        else:
            before = self._before(outcome)
            broken: Literal["diverged", "collapsed"] = "diverged"
            if ending.outcome == "collapsed":
                broken = "collapsed"
            repeat = Repeat(job.trial, job.seed, broken, None, before, ending.reason)
        with self._changed:
            self._standings = self._standings.having(repeat)
            self._save()
            place = self._folder.repeat(job.trial, job.seed)
            if outcome is None:
                remove(place / CHECKPOINT)
        self._tell(job, repeat.state, repeat.counted(self._metric), repeat.reason)

    def _before(self, outcome: Outcome) -> float | None:
        """The score as the last stage began; `None` with one stage or without it."""
        grid = self._study.grid
        if len(grid.stages) < 2:
            return None
        end = grid.stage_end(grid.stages[-2][0])
        return next((one.value for one in outcome.curve if one.step == end), None)

    def _leave(self, job: _Job, value: float | None) -> None:
        """Leaves a repeat to the next run, with its checkpoint."""
        with self._changed:
            self._postponed += 1
        self._tell(job, "interrupted", value, "")

    def _tell(self, job: _Job, state: str, value: float | None, reason: str) -> None:
        with self._changed:
            seconds = time.monotonic() - self._begun[job]
            self._log.end(job.trial, job.seed, state)
            self._observe(RepeatEnded(job.trial, job.seed, state, value, reason, seconds))

    def _save(self) -> None:
        write_standings(self._folder.finals, self._standings)
        self._earlier = self._standings

    # Comparing

    def compare(self, has_time: Callable[[float], bool] = lambda seconds: True) -> None:
        """Compares each entrant's texts with the selected one's, seed by seed, where there are.

        What is known already is not done again. Nothing is chosen by it, so it can wait until the
        test set has been read; an entrant for whom there are not so many seconds as `has_time` is
        asked for waits for another run.
        """
        selected = self._standings.selected(self._metric)
        for trial, seeds in self._uncompared().items():
            assert selected is not None
            if not has_time(len(seeds) * COMPARING_S):
                continue
            p_values = (self._compare_on(selected, trial, seed) for seed in seeds)
            p_value = combine([one for one in p_values if one is not None])
            found = Comparison(selected, trial, len(seeds), p_value)
            others = (
                one
                for one in self._standings.comparisons
                if (one.selected, one.trial) != (selected, trial)
            )
            self._standings = replace(self._standings, comparisons=(*others, found))
            self._save()

    def _uncompared(self) -> dict[int, list[int]]:
        """Entrant -> the seeds on which it can be compared with the selected one, and was not."""
        selected = self._standings.selected(self._metric)
        if self._study.spec.compare is None or selected is None:
            return {}
        known = {
            (one.trial, one.repeats)
            for one in self._standings.comparisons
            if one.selected == selected
        }
        others = (trial for trial in self._standings.entrants if trial != selected)
        both = {
            trial: sorted(self._complete(trial) & self._complete(selected)) for trial in others
        }
        return {
            trial: seeds
            for trial, seeds in both.items()
            if seeds and (trial, len(seeds)) not in known
        }

    def _compare_on(self, one: int, other: int, seed: int) -> float | None:
        assert self._study.spec.compare is not None
        return self._study.spec.compare(
            self._folder.repeat(one, seed), self._folder.repeat(other, seed)
        )

    def _complete(self, trial: int) -> set[int]:
        """The seeds of a trial's repeats that came to an end."""
        return {
            one.seed
            for one in self._standings.repeats
            if one.trial == trial and one.state == "complete" and one.seed <= self._standings.seeds
        }


def realised_of(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's realised values under core's names, which are the attributes with a dot."""
    return {name: value for name, value in trial.user_attrs.items() if "." in name}
