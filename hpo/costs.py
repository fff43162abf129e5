"""What trials will cost in seconds, foretold from their structure and corrected by what is seen.

Start-up, an update of each stage, an evaluation and a reading of the test set are separate
quantities; a trial's seconds are their sum. What was measured beside other slots is what is
foretold. Nothing here reads a clock: the same observations in the same order give the same
answers.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.settings import Settings
from core.task import (
    Cost,
    Effort,
    Evaluation,
    Grid,
    Load,
    Outcome,
    OutcomeState,
    Progress,
    TaskSpec,
)
from hpo.cost_law import Estimate, Law, Part, Prior
from hpo.declarations import Study
from hpo.records import StudyRecord, TrialRecord

_START, _EVALUATION, _FINAL, _TEST = "start", "evaluation", "final", "test"
_UNKNOWN_FLOPS_PER_S, _UNKNOWN_SD, _MEASURED_SD = 3e10, 1.2, 0.6
_QUANTILE = 1.645
_LEAST_S = 1e-6
_PIECE_SD = 0.2
"""Of the log-seconds of one update or evaluation beside another's."""
_ELSEWHERE_SD = 0.2
"""Of what was seen in another study: its data are others."""
_COLD, _WARM = Estimate(math.log(5.0), 0.6**2), Estimate(math.log(0.5), 1.0)
_START_NOISE, _START_FORGET = 0.4**2, 0.8
_SURPRISES_WEIGHT, _SURPRISES_FORGET = 4.0, 0.95
_REMEMBERED = 256
"""Trials of a study that is resumed: a law keeps 128 observations, and each trial gives some."""


@dataclass(frozen=True)
class Prediction:
    """Seconds that something will take."""

    seconds: float
    """Expected."""
    at_most_s: float
    """Exceeded about one time in twenty."""


@dataclass
class _Start:
    """Seconds before the first step and beside the steps, which hardly depend on the structure."""

    now: Estimate

    def observe(self, seconds: float) -> None:
        """Takes one reading; older ones fade."""
        before = self.now.variance / _START_FORGET
        trust = before / (before + _START_NOISE)
        log_s = self.now.log_s + trust * (math.log(max(seconds, 0.01)) - self.now.log_s)
        self.now = Estimate(log_s, before * (1 - trust))

    def estimate(self) -> Estimate:
        """Of the next one."""
        return Estimate(self.now.log_s, self.now.variance + _START_NOISE)


@dataclass
class _Run:
    """What is known of one trial's way so far."""

    foretold: Mapping[str, Estimate]
    """What its pieces were expected to take before any of it was seen."""
    is_cold: bool
    """It was the first work of a fresh process."""
    is_foretold: bool
    """Something had been learned before it."""
    is_stepping: bool = False
    """A slot has it, and its start-up is behind it."""
    start_s: float = 0.0
    """Before and beside the steps, in the attempts that were learned."""
    first_seen: dict[str, int] = field(default_factory=dict)
    """Stage -> step of its first sign of life in this attempt."""
    update_s: dict[str, float] = field(default_factory=dict)
    last: Evaluation | None = None


class CostModel:
    """Foretells the seconds of a study's trials. Not thread-safe."""

    def __init__(self, study: Study, *, flops_per_s: float | None = None, jobs: int = 1) -> None:
        """`flops_per_s` is the machine's speed in matrix products, where it was measured; `jobs`
        the number of slots, whose first trials each wait for a fresh process."""
        self._spec, self._protocol, self._grid = study.spec, study.protocol, study.grid
        self._settings = study.space.settings
        self._jobs = jobs
        pivot = self._effort_of(self._groups_at(study.start or {}))
        flop_s = 1 / (flops_per_s or _UNKNOWN_FLOPS_PER_S)
        sd = _UNKNOWN_SD if flops_per_s is None else _MEASURED_SD
        own = dict(self._grid.stages)
        # Another study of the task may have stages that this one leaves out.
        stages = [*own, *(name for name in pivot.updates if name not in own)]
        self._updates = Law(
            stages, Prior(1.2 * flop_s, sd, 2e-5, 0.7), pivot.updates[next(iter(own))].flops
        )
        self._decoding = Law(
            (_EVALUATION, _FINAL, _TEST), Prior(4 * flop_s, sd, 3e-5, 0.9), pivot.evaluation.flops
        )
        self._cold, self._warm = _Start(_COLD), _Start(_WARM)
        self._runs: dict[Hashable, _Run] = {}
        self._begun = 0
        self._surprises, self._surprises_count = _SURPRISES_WEIGHT, _SURPRISES_WEIGHT
        self._tests = 0

    @property
    def trials_seen(self) -> int:
        """Trials that anything was learned from, those of other studies included."""
        return len(self._runs)

    # Foretelling

    def predict(
        self,
        groups: Mapping[str, Mapping[str, Any]],
        *,
        from_step: int = 0,
        to_step: int | None = None,
        cached: bool = False,
        number: int | None = None,
        cold: bool | None = None,
    ) -> Prediction:
        """Seconds from a slot being given the work to its outcome.

        Updates and evaluations are those in (`from_step`, `to_step`], to the curve's end by
        default. `cached`: the stages before the last come from the cache. `number` is a run that
        may have been seen: its own speed counts, and no start-up while it is stepping. `cold`: its
        slot's process is a fresh one; by default so long as slots are without a first trial.
        """
        to_step = self._grid.total_steps if to_step is None else to_step
        run = None if number is None else self._runs.get(number)
        if cold is None:
            cold = run is None and self._begun < self._jobs
        counts = _count(self._grid, from_step, to_step, is_cached=cached)
        if run is None or not run.is_stepping:
            counts[_START] = 1.0
        return self._sum_up(counts, self._estimates(groups, number, counts, is_cold=cold))

    def predict_test(self, groups: Mapping[str, Mapping[str, Any]]) -> Prediction:
        """Seconds of one reading of the test set, in a process that has run trials."""
        load = self._effort_of(groups).test
        estimates = {_START: self._warm.estimate(), _TEST: self._decoding.estimate(_TEST, load)}
        return self._sum_up({_START: 1.0, _TEST: 1.0}, estimates)

    def _estimates(
        self,
        groups: Mapping[str, Mapping[str, Any]],
        run: Hashable | None,
        kinds: Iterable[str],
        *,
        is_cold: bool,
    ) -> dict[str, Estimate]:
        """By kind, seconds of the start-up, of one update and of one evaluation."""
        loads = _loads_of(self._effort_of(groups))
        found = {}
        for kind in kinds:
            if kind == _START:
                found[kind] = (self._cold if is_cold else self._warm).estimate()
            else:
                law = self._decoding if _law_of(kind) == "decoding" else self._updates
                found[kind] = law.estimate(kind, loads[kind], run)
        return found

    def _sum_up(
        self, counts: Mapping[str, float], estimates: Mapping[str, Estimate]
    ) -> Prediction:
        """Errors within a law go together, those of different laws do not."""
        n = self._surprises_count
        scale = math.sqrt(self._surprises / n)
        z = scale * (_QUANTILE + (_QUANTILE**3 + _QUANTILE) / (4 * n))  # Student's t, nearly
        seconds, excess = 0.0, {"updates": 0.0, "decoding": 0.0, "start": 0.0}
        for kind, count in counts.items():
            one = estimates[kind]
            expected = count * math.exp(one.log_s + one.variance / 2)
            seconds += expected
            high = count * math.exp(one.log_s + z * math.sqrt(one.variance))
            excess[_law_of(kind)] += max(high - expected, 0.0)
        return Prediction(seconds, seconds + math.hypot(*excess.values()))

    # Learning

    def learn(
        self, number: int, groups: Mapping[str, Mapping[str, Any]], outcome: Outcome
    ) -> None:
        """Takes what a run cost up to its end or pause."""
        if outcome.state is OutcomeState.DIVERGED:  # some steps after the one that it names
            return
        evaluated = [one.step for one in outcome.curve if not one.replayed]
        run = self._begin(number, groups)
        self._absorb(number, groups, outcome.cost, step=outcome.step, evaluated=evaluated)
        run.is_stepping, run.last = False, None
        run.first_seen.clear()
        if outcome.state is not OutcomeState.PAUSED:  # nothing more will be compared with it
            run.foretold, run.is_foretold = {}, False

    def learn_test(self, groups: Mapping[str, Mapping[str, Any]], seconds: float) -> None:
        """Takes what a reading of the test set cost, its start-up included."""
        start_s = min(math.exp(self._warm.now.log_s), 0.5 * seconds)
        part = Part(_TEST, 1.0, self._effort_of(groups).test)
        self._tests += 1
        self._decoding.observe(("test", self._tests), [part], max(seconds - start_s, _LEAST_S))
        self._decoding.fit()

    def relearn(self, trials: Iterable[TrialRecord]) -> int:
        """Takes the costs that earlier runs of the study stored; returns how many told some.

        Of a long study the last ones: what came before them has been forgotten.
        """
        ordered = sorted(trials, key=lambda one: one.number)[-_REMEMBERED:]
        return sum(
            self._remember(trial.number, trial, self._groups_at(trial.parameters))
            for trial in ordered
        )

    def borrow(self, record: StudyRecord) -> int:
        """Takes the costs of another study, with less trust; returns how many trials told some.

        To be called before anything is learned of the study itself. A study of another task, or
        whose settings this version does not know, tells none.
        """
        if record.task != self._spec.name:
            return 0
        own = self._protocol, self._grid, self._settings
        try:
            self._protocol = self._spec.protocol.model_validate(record.declaration["protocol"])
            self._settings = record.declaration["search_space"]["settings"]
            self._grid = record.grid
            told = [(trial, self._groups_at(trial.parameters)) for trial in record.trials]
            for _, groups in told:
                self._effort_of(groups)
        except (KeyError, ValueError):  # declared by another version
            told = []
        try:
            return sum(
                self._remember((record.name, trial.number), trial, groups, _ELSEWHERE_SD)
                for trial, groups in told
            )
        finally:
            self._protocol, self._grid, self._settings = own

    def _remember(
        self,
        run: Hashable,
        trial: TrialRecord,
        groups: Mapping[str, Mapping[str, Any]],
        sd: float = 0.0,
    ) -> bool:
        stored = {name: value for name, value in trial.cost.items() if value is not None}
        if not stored or trial.health.get("verdict") == "diverged":
            return False
        cost = Cost(**stored)
        first = _cached_end(self._grid) if cost.cache_hit else 0
        evaluated = [step for step in trial.curve if step > first]
        step = max(trial.curve, default=0)
        self._meet(run, groups, is_cold=trial.number < self._jobs)
        attempts = max(trial.attempts, 1)
        self._absorb(run, groups, cost, step=step, evaluated=evaluated, attempts=attempts, sd=sd)
        return True

    def _absorb(
        self,
        run: Hashable,
        groups: Mapping[str, Mapping[str, Any]],
        cost: Cost,
        *,
        step: int,
        evaluated: list[int],
        attempts: int = 1,
        sd: float = 0.0,
    ) -> None:
        known, effort = self._runs[run], self._effort_of(groups)
        counts = _count(self._grid, 0, step, is_cached=cost.cache_hit)
        final = float(self._grid.total_steps in evaluated)
        counts |= {_EVALUATION: len(evaluated) - final, _FINAL: final}
        self._be_surprised(known, counts, cost)
        loads = _loads_of(effort)
        last = self._grid.stages[-1][0]
        for law, kinds, seconds in (
            (self._updates, [name for name in effort.updates if name != last], cost.pretrain_s),
            (self._updates, [last], cost.finetune_s),
            (self._decoding, [_EVALUATION, _FINAL], cost.evaluate_s),
        ):
            parts = [Part(kind, counts[kind], loads[kind]) for kind in kinds if counts.get(kind)]
            if parts and seconds > 0:
                pieces = sum(part.count for part in parts)
                law.observe(run, parts, seconds, sd=math.hypot(sd, _PIECE_SD / math.sqrt(pieces)))
        self._updates.fit()
        self._decoding.fit()
        start_s = cost.prepare_s + cost.checkpoint_s + cost.report_s
        (self._cold if known.is_cold else self._warm).observe((start_s - known.start_s) / attempts)
        known.start_s = start_s

    def _be_surprised(self, known: _Run, counts: Mapping[str, float], cost: Cost) -> None:
        """Compares what a run took with what was expected of it at first sight."""
        actual_s = cost.finetune_s + cost.evaluate_s
        if counts.get(self._grid.stages[0][0]) or len(self._grid.stages) == 1:
            actual_s += cost.pretrain_s
        if not known.is_foretold or actual_s <= 0:
            return
        median_s, excess = 0.0, {"updates": 0.0, "decoding": 0.0}
        for kind, count in counts.items():
            one = known.foretold[kind]
            median_s += count * math.exp(one.log_s)
            excess[_law_of(kind)] += count * math.exp(one.log_s) * math.sqrt(one.variance)
        if median_s > 0:
            surprise = math.log(actual_s / median_s) * median_s / math.hypot(*excess.values())
            self._surprises = _SURPRISES_FORGET * self._surprises + min(surprise**2, 16.0)
            self._surprises_count = _SURPRISES_FORGET * self._surprises_count + 1

    # Watching

    def watch(
        self,
        number: int,
        groups: Mapping[str, Mapping[str, Any]],
        event: Progress | Evaluation,
    ) -> None:
        """Takes a running trial's own speed from what it tells."""
        run = self._begin(number, groups)
        if isinstance(event, Evaluation):
            self._watch_evaluation(number, run, groups, event)
            return
        run.is_stepping = event.steps_per_s > 0
        if not run.is_stepping:
            run.first_seen.clear()
            return
        begun = self._grid.stage_end(event.stage) - dict(self._grid.stages)[event.stage]
        first = run.first_seen.setdefault(event.stage, event.step - 1 if run.start_s else begun)
        run.update_s[event.stage] = 1 / event.steps_per_s
        part = Part(event.stage, 1.0, self._effort_of(groups).updates[event.stage])
        self._updates.observe(
            number, [part], 1 / event.steps_per_s, sd=0.3 / math.sqrt(max(event.step - first, 1))
        )
        self._updates.fit()

    def _watch_evaluation(
        self,
        number: int,
        run: _Run,
        groups: Mapping[str, Mapping[str, Any]],
        event: Evaluation,
    ) -> None:
        """Seconds since the one before, less those of the updates between."""
        before, run.last = run.last, None if event.replayed else event
        if before is None or event.replayed or event.step == self._grid.total_steps:
            return
        update_s = run.update_s.get(event.stage)
        if update_s is None or before.stage != event.stage:
            return
        stepping_s = update_s * (event.step - before.step)
        seconds = event.elapsed_s - before.elapsed_s - stepping_s
        if seconds > 0.1 * stepping_s:  # else it is lost among the updates, and matters little
            part = Part(_EVALUATION, 1.0, self._effort_of(groups).evaluation)
            sd = math.hypot(0.1, 0.1 * stepping_s / seconds)
            self._decoding.observe(number, [part], seconds, sd=sd)
            self._decoding.fit()

    def _begin(self, number: int, groups: Mapping[str, Mapping[str, Any]]) -> _Run:
        """What is known of a trial of this run of the study."""
        if number not in self._runs:
            self._meet(number, groups, is_cold=self._begun < self._jobs)
            self._begun += 1
        return self._runs[number]

    def _meet(
        self, run: Hashable, groups: Mapping[str, Mapping[str, Any]], *, is_cold: bool
    ) -> _Run:
        """What is known of a run; at first sight, what is expected of it."""
        if run not in self._runs:
            kinds = (*dict(self._grid.stages), _EVALUATION, _FINAL)
            foretold = self._estimates(groups, None, kinds, is_cold=is_cold)
            self._runs[run] = _Run(foretold, is_cold, bool(self._updates.count))
        return self._runs[run]

    # Structure

    def _groups_at(self, point: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Groups at a point in realised values, without the defaults."""
        groups: dict[str, dict[str, Any]] = {name: {} for name in self._spec.groups}
        for name, value in {**self._settings, **point}.items():
            group, key = name.split(".", 1)
            groups[group][key] = value
        return groups

    def _effort_of(self, groups: Mapping[str, Mapping[str, Any]]) -> Effort:
        return effort_of(self._spec, self._protocol, self._grid, groups)


def effort_of(
    spec: TaskSpec, protocol: Settings, grid: Grid, groups: Mapping[str, Mapping[str, Any]]
) -> Effort:
    """What a run takes; the same for all where the task cannot tell."""
    if spec.effort is None:
        alike = Load(1e9, 100.0)
        return Effort({name: alike for name, _ in grid.stages}, alike, alike, alike)
    settings = {
        name: model.model_validate(groups.get(name, {})) for name, model in spec.groups.items()
    }
    return spec.effort(settings, protocol)


def _count(grid: Grid, from_step: int, to_step: int, *, is_cached: bool) -> dict[str, float]:
    """How many updates of each stage and evaluations lie in (`from_step`, `to_step`]."""
    counts: dict[str, float] = {}
    if is_cached:
        from_step = max(from_step, _cached_end(grid))
    end = 0
    for stage, steps in grid.stages:
        begin, end = end, end + steps
        within = min(to_step, end) - max(from_step, begin)
        if within > 0:
            counts[stage] = float(within)
    evaluations = max(to_step // grid.eval_every - from_step // grid.eval_every, 0)
    final = float(from_step < grid.total_steps <= to_step)
    if evaluations - final > 0:
        counts[_EVALUATION] = evaluations - final
    if final:
        counts[_FINAL] = final
    return counts


def _cached_end(grid: Grid) -> int:
    """The step up to which stages can come from the cache: all but the last."""
    return grid.total_steps - grid.stages[-1][1]


def _loads_of(effort: Effort) -> dict[str, Load]:
    return {**effort.updates, _EVALUATION: effort.evaluation, _FINAL: effort.final}


def _law_of(kind: str) -> str:
    if kind == _START:
        return "start"
    return "decoding" if kind in (_EVALUATION, _FINAL, _TEST) else "updates"
