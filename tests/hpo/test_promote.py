from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from toy_bench import MakeBench

from core.task import Evaluation, Grid, Verdict
from hpo import trials
from hpo.driver import Driver, Stop
from hpo.events import Event, TrialEnded, TrialEvaluated, TrialStarted
from hpo.schedulers import Propose, Standing, Thaw
from hpo.schedulers.promote import PromoteScheduler

GRID = Grid((("only", 24),), 3)
UP, DOWN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


class _StepCosts:
    """A second a step, whatever the configuration."""

    def __init__(self, steps: Sequence[int]) -> None:
        self._steps = steps

    def of_new(self, drawn: Mapping[str, Any], until: int) -> float:
        return float(until)

    def to_go(self, number: int, until: int) -> float:
        return float(max(0, until - self._steps[number]))


def _scheduler(direction: StudyDirection = UP, grid: Grid = GRID) -> PromoteScheduler:
    """Rungs 3, 6, 12 on `GRID`."""
    return PromoteScheduler(grid, direction, reduction_factor=2)


def _standing(
    *curves: Mapping[int, float],
    states: str,
    total: int = 50,
    can_propose: bool = True,
    time_left_s: float | None = None,
) -> Standing:
    """Trials with these curves, in states Running, Waiting or Complete; a second a step."""
    kinds = {"R": TrialState.RUNNING, "W": TrialState.WAITING, "C": TrialState.COMPLETE}
    stored: list[FrozenTrial] = []
    for number, (curve, letter) in enumerate(zip(curves, states, strict=True)):
        value = list(curve.values())[-1] if letter == "C" else None
        one = create_trial(state=kinds[letter], value=value, intermediate_values=dict(curve))
        one.number = number
        stored.append(one)
    steps = [max(curve, default=0) for curve in curves]
    return Standing(
        trials=stored,
        running=frozenset(n for n, letter in enumerate(states) if letter == "R"),
        paused={n: steps[n] for n, letter in enumerate(states) if letter == "W"},
        finished=states.count("C"),
        total=total,
        can_propose=can_propose,
        costs=_StepCosts(steps),
        time_left_s=time_left_s,
    )


def _judge(scheduler: PromoteScheduler, standing: Standing, number: int) -> Verdict:
    """What becomes of a running trial at its last step."""
    study = optuna.create_study(direction="maximize")
    for one in standing.trials:
        study.add_trial(one)
    step, value = list(standing.trials[number].intermediate_values.items())[-1]
    return scheduler.judge(
        trials.take_up(study, number), Evaluation("only", step, value), standing
    )


@pytest.mark.parametrize(
    ("others", "own", "direction", "verdict"),
    [
        ([], 5.0, UP, Verdict.PAUSE),  # one of one: half of it is none
        ([4.0], 5.0, UP, Verdict.CONTINUE),
        ([4.0], 5.0, DOWN, Verdict.PAUSE),
        ([5.0], 5.0, UP, Verdict.PAUSE),  # the earlier among equals
        ([6.0, 4.0], 5.0, UP, Verdict.PAUSE),
        ([6.0, 4.0, 3.0], 5.0, UP, Verdict.CONTINUE),
    ],
)
def test_at_a_rung_only_the_best_part_goes_on(
    others: list[float], own: float, direction: StudyDirection, verdict: Verdict
) -> None:
    standing = _standing(*({3: one} for one in [*others, own]), states="W" * len(others) + "R")
    assert _judge(_scheduler(direction), standing, len(others)) is verdict


def test_between_rungs_nothing_is_judged() -> None:
    standing = _standing({3: 9.0, 6: 9.0, 9: 9.0}, {3: 1.0, 6: 1.0, 9: 1.0}, states="WR")
    assert _judge(_scheduler(), standing, 1) is Verdict.CONTINUE


def test_the_highest_rung_comes_first_and_its_best() -> None:
    low, high = {3: 9.0}, {3: 5.0, 6: 5.0}
    better = {3: 4.0, 6: 6.0}
    scheduler = _scheduler()
    assert scheduler.choose(_standing(low, high, better, low, states="WWWW")) == Thaw(2)
    # On the second rung the better one has gone on, and half of two is one.
    assert scheduler.choose(_standing(low, high, better, low, states="WWRW")) == Thaw(0)
    assert scheduler.choose(_standing({3: 9.0}, {3: 8.0}, states="RW")) == Propose()


def test_used_up_trials_leave_the_others_paused_once_something_is_complete() -> None:
    done = dict.fromkeys((3, 6, 12, 24), 7.0)
    scheduler = _scheduler()
    assert scheduler.choose(_standing(done, {3: 1.0}, states="CW", total=2)) is None
    assert scheduler.choose(_standing({3: 1.0}, states="W", total=1)) == Thaw(0)
    assert scheduler.choose(_standing({3: 1.0}, states="W", can_propose=False)) == Thaw(0)
    assert _judge(scheduler, _standing({3: 1.0, 6: 1.0}, states="R", total=1), 0) is (
        Verdict.CONTINUE
    )


def test_spare_time_goes_to_paused_trials_that_can_end_within_it() -> None:
    done = dict.fromkeys((3, 6, 12, 24), 7.0)
    curves = (done, {3: 2.0}, {3: 1.0, 6: 1.0})
    scheduler = _scheduler()
    assert scheduler.choose(_standing(*curves, states="CWW", total=3, time_left_s=18)) == Thaw(2)
    assert scheduler.choose(_standing(*curves, states="CWW", total=3, time_left_s=17)) is None


def test_when_time_runs_short_the_leader_is_finished() -> None:
    curves = ({3: 1.0}, {3: 2.0, 6: 1.0}, {})  # the leader, on the second rung, has 18 s to go
    scheduler = _scheduler()
    assert scheduler.choose(_standing(*curves, states="WWR", time_left_s=37)) == Propose()
    assert scheduler.choose(_standing(*curves, states="WWR", time_left_s=35)) == Thaw(1)
    short = _standing({3: 2.0}, {3: 1.0, 6: 1.0}, states="WR", time_left_s=20)
    assert _judge(scheduler, short, 1) is Verdict.CONTINUE


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(2, 5))
def test_no_more_go_on_from_a_rung_than_their_part(values: list[int], factor: int) -> None:
    """Whatever order values come in, those promoted at the end are the best 1/factor."""
    scheduler = PromoteScheduler(GRID, UP, reduction_factor=factor)
    standing = _standing(*({3: float(one)} for one in values), states="W" * len(values))
    promotable = scheduler._promotable(3, standing.trials)
    assert len(promotable) == len(values) // factor
    rest = set(range(len(values))) - set(promotable)
    assert all(values[good] >= values[bad] for good in promotable for bad in rest)


@pytest.mark.parametrize("slots", [1, 2])
def test_a_study_ends_with_something_complete_and_the_promotable_promoted(
    slots: int, bench: MakeBench
) -> None:
    one = bench({"sampler.name": "random"})
    scheduler = _scheduler(grid=one.study.grid)  # rungs 3 and 6 of 12 steps
    assert one.run(16, slots=slots, scheduler=scheduler) is Stop.IDLE
    found = one.found.get_trials()
    assert len(found) == 16
    assert {trial.state for trial in found} == {TrialState.COMPLETE, TrialState.WAITING}
    reached = {rung: [t for t in found if rung in t.intermediate_values] for rung in (3, 6)}
    for rung, beyond in ((3, 6), (6, 9)):
        best = sorted(reached[rung], key=lambda t: -t.intermediate_values[rung])
        part = best[: len(best) // 2]
        assert all(beyond in trial.intermediate_values for trial in part)
    # With more trials allowed it goes on.
    assert one.run(20, slots=slots, scheduler=scheduler) is Stop.IDLE
    assert len(one.found.get_trials()) == 20


@pytest.mark.parametrize("total", [1, 2, 3])
def test_a_small_study_completes_its_best(total: int, bench: MakeBench) -> None:
    one = bench({"sampler.name": "random"})
    one.run(total, scheduler=PromoteScheduler(one.study.grid, UP, reduction_factor=4))
    found = one.found.get_trials()
    first = {trial.number: trial.intermediate_values[3] for trial in found}
    complete = [trial.number for trial in found if trial.state == TrialState.COMPLETE]
    assert complete == [max(first, key=first.__getitem__)]


@pytest.mark.parametrize("event_kind", [TrialStarted, TrialEvaluated, TrialEnded])
def test_interrupted_again_and_again_it_ends_as_if_it_had_not_been(
    event_kind: type[Event], bench: MakeBench
) -> None:
    changes: dict[str, Any] = {"sampler.name": "random"}
    whole, cut = bench(changes), bench(changes)
    whole.run(9, scheduler=_scheduler(grid=whole.study.grid))

    def interrupt(driver: Driver, event: Event) -> None:
        seen.append(event)
        if (
            sum(isinstance(one, event_kind) for one in seen) == 3
            and not driver._shift.is_interrupted
        ):
            driver.interrupt()

    stops = []
    while not stops or stops[-1] is Stop.INTERRUPTED:
        seen: list[Event] = []
        stops.append(cut.run(9, scheduler=_scheduler(grid=cut.study.grid), on_event=interrupt))
    assert len(stops) > 2
    assert cut.told() == whole.told()
