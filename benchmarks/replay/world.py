"""A study on virtual time: workers that read their trials' curves from a table.

Decisions are the harness' own: a scheduler chooses and judges, a sampler and a pruner act in an
Optuna study through `hpo.trials`, verdicts are obeyed as the driver obeys them.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import Trial

from benchmarks.replay.costs import SeenCosts
from benchmarks.replay.tables import Run, Table
from core.settings import derive_seed
from core.task import Evaluation, Verdict
from hpo import trials
from hpo.schedulers import Choice, Propose, Scheduler, Standing, Thaw

Signal = Literal["bleu", "ppl"]

FINAL_BLEU = "bleu"
"""Attribute of a trial that ended, where the signal is perplexity: the BLEU that it came to."""
_ROUNDING = 1 + 1e-9
"""What sums of costs may exceed a budget by and still lie within it."""


@dataclass(frozen=True)
class Searcher:
    """What decides in a replayed study."""

    scheduler: Scheduler
    sampler: Callable[[int], BaseSampler]
    """The sampler for a trial, by number."""
    pruner: BasePruner


@dataclass(frozen=True)
class Mark:
    """Where a run stands when it has spent a budget."""

    incumbent: float | None
    """BLEU; `None` before the first that counts."""
    trials_started: int
    decision_cpu_s: float
    decisions: int


@dataclass
class _Active:
    trial: Trial
    run: Run
    step: int = 0


@dataclass
class Stopwatch:
    """CPU time spent in decisions."""

    seconds: float = 0.0
    decisions: int = 0
    """How often something was chosen or judged."""

    @contextmanager
    def timed(self, decisions: int) -> Iterator[None]:
        start = time.process_time()
        try:
            yield
        finally:
            self.seconds += time.process_time() - start
            self.decisions += decisions


@dataclass
class World:
    """One run of a searcher on a table."""

    table: Table
    searcher: Searcher
    workers: int
    seed: int
    signal: Signal = "bleu"
    name: str = "replay"
    """Of the Optuna study; hyperband's brackets follow from it."""
    _watch: Stopwatch = field(default_factory=Stopwatch, init=False)

    def __post_init__(self) -> None:
        self.study = optuna.create_study(
            study_name=self.name,
            direction="maximize",
            sampler=RandomSampler(seed=0),  # never asked: each trial is drawn by its own
            pruner=self.searcher.pruner,
        )
        self._generator = np.random.default_rng(derive_seed(self.seed, "ties"))
        self._costs = SeenCosts(self.table.encode)
        self._free = list(range(len(self.table.runs)))
        self._active: dict[int, _Active] = {}
        """All trials that were started and have not ended, paused ones included."""
        self._paused: dict[int, int] = {}
        self._events: list[tuple[float, int, int]] = []
        """(clock, trial, step) of the next report of each running trial."""
        self._started = 0
        self._finished = 0
        self._incumbent: float | None = None

    def spend(self, budgets: Sequence[float]) -> list[Mark]:
        """Runs until the last of the rising budgets, in total cost; returns the marks at each.

        A report that lies on a budget counts within it.
        """
        marks: list[Mark] = []
        self._hand_out(0.0)
        while self._events and len(marks) < len(budgets):
            clock, number, step = self._events[0]
            while len(marks) < len(budgets) and clock * self.workers > (
                budgets[len(marks)] * _ROUNDING
            ):
                marks.append(self._mark())
            if len(marks) < len(budgets):
                heapq.heappop(self._events)
                self._report(clock, number, step)
                self._hand_out(clock)
        return marks + [self._mark()] * (len(budgets) - len(marks))

    def _mark(self) -> Mark:
        return Mark(self._incumbent, self._started, self._watch.seconds, self._watch.decisions)

    # Work for free workers

    def _hand_out(self, clock: float) -> None:
        while len(self._events) < self.workers:
            standing = self._standing()
            with self._watch.timed(1):
                choice = self.searcher.scheduler.choose(standing)
            number = self._begin(choice, standing)
            if number is None:
                return
            self._schedule(number, clock)

    def _begin(self, choice: Choice | None, standing: Standing) -> int | None:
        if isinstance(choice, Thaw):
            del self._paused[choice.number]
            trials.thaw(self.study, choice.number)
            return choice.number
        if isinstance(choice, Propose) and standing.can_propose:
            return self._propose(choice.drawn)
        return None

    def _propose(self, fixed: Mapping[str, Any]) -> int:
        """Starts a trial at the nearest free configuration to what is suggested."""
        number = trials.create(self.study, fixed, {})
        with self._watch.timed(0):
            sampler = self.searcher.sampler(number)
            asked = trials.with_methods(self.study, sampler, self.searcher.pruner)
            drawn = self._suggest(trials.take_up(asked, number))
        place = self.table.nearest(drawn, self._free, self._generator)
        self._free.remove(place)
        run = self.table.runs[place]
        distributions = self.table.distributions
        changed = {
            name: (value, distributions[name])
            for name, value in run.drawn.items()
            if value != drawn[name]
        }
        trials.overwrite(self.study, number, changed)
        self._active[number] = _Active(trials.take_up(self.study, number), run)
        self._costs.begin(number, run.drawn)
        self._started += 1
        return number

    def _suggest(self, trial: Trial) -> dict[str, Any]:
        drawn: dict[str, Any] = {}
        for name, distribution in self.table.distributions.items():
            if isinstance(distribution, CategoricalDistribution):
                drawn[name] = trial.suggest_categorical(name, distribution.choices)
            else:
                assert isinstance(distribution, IntDistribution)
                drawn[name] = trial.suggest_int(name, distribution.low, distribution.high)
        return drawn

    def _schedule(self, number: int, clock: float) -> None:
        active = self._active[number]
        step = self.table.next_report(active.run, active.step)
        arrival = clock + (step - active.step) * active.run.cost
        heapq.heappush(self._events, (arrival, number, step))

    # What they report

    def _report(self, clock: float, number: int, step: int) -> None:
        active = self._active[number]
        active.step = step
        bleu = float(active.run.bleu[step - 1])
        value = bleu if self.signal == "bleu" else -float(np.log(active.run.ppl[step - 1]))
        active.trial.report(value, step)
        self._costs.see(number, step, active.run.cost)
        is_end = step == active.run.length
        if is_end or self.signal == "bleu":
            self._incumbent = bleu if self._incumbent is None else max(bleu, self._incumbent)
        if is_end:
            if self.signal == "ppl":
                trials.set_attributes(self.study, number, {FINAL_BLEU: bleu})
            self._end(number, value)
            return
        standing = self._standing({number})
        with self._watch.timed(1):
            evaluation = Evaluation("train", step, value)
            verdict = self.searcher.scheduler.judge(active.trial, evaluation, standing)
        if verdict is Verdict.CONTINUE:
            self._schedule(number, clock)
        elif verdict is Verdict.STOP:
            self._end(number, None)
        else:
            trials.pause(self.study, number, step)
            self._paused[number] = step

    def _end(self, number: int, value: float | None) -> None:
        """COMPLETE with a value, PRUNED without."""
        if value is None:
            self.study.tell(number, state=optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(number, value)
        del self._active[number]
        self._finished += 1

    def _standing(self, judged: frozenset[int] | set[int] = frozenset()) -> Standing:
        return Standing(
            trials=self.study.get_trials(deepcopy=False),
            running=frozenset(number for _, number, _ in self._events) | judged,
            paused=dict(self._paused),
            finished=self._finished,
            total=len(self.table.runs),
            can_propose=bool(self._free),
            costs=self._costs,
        )
