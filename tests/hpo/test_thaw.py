"""The freeze-thaw scheduler on trials that are made up, and on the toy task."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from toy_bench import MakeBench

from core.task import Evaluation, Grid, Verdict
from hpo.driver import Driver, Stop
from hpo.events import Event, TrialProgressed
from hpo.schedulers import Propose, Standing, Thaw
from hpo.schedulers.thaw import INITIAL, ThawScheduler

GRID = Grid((("train", 30),), eval_every=3)


@dataclass
class Plane:
    """Points of numbers between 0 and 1 and a kind."""

    names: Sequence[str] = ("x", "y")
    structure: frozenset[str] = frozenset()
    distributions: Mapping[str, BaseDistribution] = field(init=False)

    def __post_init__(self) -> None:
        numbers = {name: FloatDistribution(0.0, 1.0) for name in self.names}
        self.distributions = {**numbers, "kind": CategoricalDistribution(("a", "b"))}

    def draw(
        self, generator: np.random.Generator, fixed: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        drawn: dict[str, Any] = {name: float(generator.random()) for name in self.names}
        drawn["kind"] = str(generator.choice(["a", "b"]))
        return drawn | dict(fixed or {})


@dataclass
class Unit:
    """A second a step, but for the stage A of structures that are cached."""

    standings: Mapping[int, int]
    cached: Sequence[Mapping[str, Any]] = ()
    stage_a: int = 0

    def of_new(self, drawn: Mapping[str, Any], until: int) -> float:
        known = any(all(drawn[n] == v for n, v in one.items()) for one in self.cached)
        return float(max(0, until - self.stage_a) if known else until)

    def to_go(self, number: int, until: int) -> float:
        return float(until - self.standings[number])


def made(
    number: int, x: float, curve: Mapping[int, float], state: TrialState, **rest: Any
) -> FrozenTrial:
    points = Plane()
    trial = create_trial(
        state=state,
        params={"x": x, "y": 0.5, "kind": "a"},
        distributions=dict(points.distributions),
        value=list(curve.values())[-1] if state == TrialState.COMPLETE else None,
        intermediate_values=dict(curve),
        **rest,
    )
    trial.number = number
    return trial


def curve_of(x: float, steps: int, *, fast: float = 0.2) -> dict[int, float]:
    """Best at 0.7."""
    end = 30 - 40 * (x - 0.7) ** 2
    return {
        step: end * (1 - 0.7 * float(np.exp(-step / 30 / fast)))
        for step in range(3, 3 * steps + 1, 3)
    }


def standing_of(
    trials: Sequence[FrozenTrial], running: Sequence[int] = (), **rest: Any
) -> Standing:
    paused = {
        one.number: one.last_step or 0
        for one in trials
        if not one.state.is_finished() and one.number not in running
    }
    return Standing(
        trials=trials,
        running=frozenset(running),
        paused=paused,
        finished=sum(one.state.is_finished() for one in trials),
        total=1000,
        can_propose=True,
        costs=rest.pop("costs", Unit({one.number: one.last_step or 0 for one in trials})),
        **rest,
    )


def thaw(direction: Any = "maximize", **rest: Any) -> ThawScheduler:
    return ThawScheduler(Plane(), GRID, direction, seed=rest.pop("seed", 1), **rest)


def some_trials(
    *, sign: float = 1.0, scale: float = 1.0, offset: float = 0.0
) -> list[FrozenTrial]:
    """Two that ended and eight that wait."""
    trials = []
    for number, x in enumerate(np.linspace(0.03, 0.97, 10)):
        state = TrialState.COMPLETE if number in (0, 5) else TrialState.WAITING
        curve = curve_of(float(x), 10 if state == TrialState.COMPLETE else 1 + number % 3)
        told = {step: sign * (scale * value + offset) for step, value in curve.items()}
        trials.append(made(number, float(x), told, state))
    return trials


def judged(scheduler: ThawScheduler, number: int, standing: Standing) -> Verdict:
    study = optuna.create_study()

    class Named(optuna.trial.Trial):
        @property
        def number(self) -> int:
            return number

    trial = Named(study, study.ask()._trial_id)
    last = standing.trials[number]
    step = last.last_step or 0
    return scheduler.judge(
        trial, Evaluation("train", step, last.intermediate_values[step]), standing
    )


def test_the_sampler_proposes_first_and_the_model_after_it() -> None:
    scheduler = thaw()
    assert scheduler.choose(standing_of([])) == Propose()
    begun = [
        made(n, 0.2 * n, curve_of(0.2 * n, 1), TrialState.RUNNING) for n in range(INITIAL - 1)
    ]
    assert scheduler.choose(standing_of(begun, running=range(INITIAL - 1))) == Propose()
    choice = scheduler.choose(standing_of(some_trials()))
    assert isinstance(choice, Thaw) or (choice is not None and choice.drawn)


@pytest.mark.parametrize("only_finished", [True, False])
@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.25, 0.0), (64.0, -4096.0)])
def test_neither_unit_nor_direction_of_the_metric_matters(
    only_finished: bool, direction: str, sign: float, scale: float, offset: float
) -> None:
    expected = thaw(only_finished=only_finished).choose(standing_of(some_trials()))
    trials = some_trials(sign=sign, scale=scale, offset=offset)
    assert thaw(direction, only_finished=only_finished).choose(standing_of(trials)) == expected


def test_what_is_chosen_follows_from_what_is_stored() -> None:
    old = thaw()
    for count in range(INITIAL, 10):
        old.choose(standing_of(some_trials()[:count]))
    standing = standing_of(some_trials())
    assert old.choose(standing) == thaw().choose(standing)


def test_the_leader_goes_to_the_end_before_anything_has_ended() -> None:
    xs = (0.1, 0.3, 0.5, 0.68, 0.9)
    trials = [made(n, x, curve_of(x, 3), TrialState.WAITING) for n, x in enumerate(xs)]
    trials[0].state = TrialState.PRUNED  # the first probe, out of the way
    assert thaw().choose(standing_of(trials)) == Thaw(3)
    trials[3].state = TrialState.RUNNING
    assert judged(thaw(), 3, standing_of(trials, running=[3])) is Verdict.CONTINUE


def test_a_run_that_cannot_win_gives_way() -> None:
    trials = some_trials()
    trials[1].state = TrialState.RUNNING
    trials.append(made(10, 0.7, curve_of(0.7, 8), TrialState.WAITING))
    assert judged(thaw(), 1, standing_of(trials, running=[1])) is not Verdict.CONTINUE


def test_pending_work_is_believed() -> None:
    """Slots that are filled one after another do different things."""
    trials = some_trials()
    scheduler = thaw()
    chosen = []
    for _ in range(4):
        running = [one.number for one in trials if one.state == TrialState.RUNNING]
        choice = scheduler.choose(standing_of(trials, running))
        chosen.append(choice)
        if isinstance(choice, Thaw):
            trials[choice.number].state = TrialState.RUNNING
        else:
            assert choice is not None
            begun = made(len(trials), choice.drawn["x"], {}, TrialState.RUNNING)
            begun.params = dict(choice.drawn)
            trials.append(begun)
    assert len({str(one) for one in chosen}) == 4


def test_a_point_that_became_another_is_not_asked_for_again() -> None:
    trials = some_trials()
    busy = [one.number for one in trials if not one.state.is_finished()]
    asked = thaw().choose(standing_of(trials, running=busy))
    assert isinstance(asked, Propose) and asked.drawn
    attributes = {"fixed_params": dict(asked.drawn)}
    trials.append(made(10, 0.01, {}, TrialState.RUNNING, system_attrs=attributes))
    again = thaw().choose(standing_of(trials, running=[*busy, 10]))
    assert isinstance(again, Propose) and again.drawn != asked.drawn


def test_what_cannot_end_in_time_is_not_begun() -> None:
    trials = some_trials()
    trials.append(made(10, 0.7, curve_of(0.7, 8), TrialState.WAITING))
    choice = thaw().choose(standing_of(trials, time_left_s=7.0))
    assert choice == Thaw(10)
    assert thaw().choose(standing_of(trials, time_left_s=5.0)) is None


def test_diverged_trials_are_bad_and_failed_ones_unknown() -> None:
    trials = some_trials()
    for number in range(10, 16):
        x = 0.6 + number / 100
        one = made(number, x, curve_of(x, 1), TrialState.PRUNED, constraints={"diverged": 1.0})
        trials.append(one)
    choice = thaw().choose(standing_of(trials))
    failed = [made(n, 0.7, {}, TrialState.FAIL) for n in range(16, 20)]
    assert thaw().choose(standing_of([*trials, *failed])) is not None
    unharmed = thaw().choose(standing_of([*trials[:10]]))
    assert choice != unharmed


def test_another_fine_tuning_of_a_cached_structure_is_cheaper() -> None:
    """Everything else equal, gain per second decides for it, up to the cap."""
    grid = Grid((("pretrain", 30), ("finetune", 15)), eval_every=3)
    points = Plane(structure=frozenset({"x"}))
    trials = []
    for number, (x, y) in enumerate([(0.7, 0.1), (0.7, 0.9), (0.2, 0.4), (0.5, 0.6)]):
        curve = {
            **curve_of(x, 10),
            **{step: 30 + 4 * y - abs(x - 0.7) for step in range(33, 46, 3)},
        }
        one = made(number, x, curve, TrialState.COMPLETE)
        one.params = {"x": x, "y": y, "kind": "a"}
        trials.append(one)
    costs = Unit({}, cached=[{"x": 0.7}, {"x": 0.2}, {"x": 0.5}], stage_a=30)
    standing = standing_of(trials, costs=costs)
    free = ThawScheduler(points, grid, "maximize", seed=3).choose(standing)
    assert isinstance(free, Propose)
    assert free.drawn["x"] in (0.7, 0.2, 0.5)
    capped = ThawScheduler(points, grid, "maximize", seed=3, trials_per_structure=1)
    choice = capped.choose(standing)
    assert isinstance(choice, Propose)
    assert choice.drawn["x"] not in (0.7, 0.2, 0.5)


def test_a_decision_is_fast_at_300_trials() -> None:
    """50 ms are the goal; four times that is allowed for a slow or busy machine."""
    generator = np.random.default_rng(0)
    trials = []
    for number in range(300):
        state = TrialState.COMPLETE if number % 20 == 0 else TrialState.WAITING
        steps = 10 if state == TrialState.COMPLETE else min(9, int(generator.geometric(0.5)))
        x = float(generator.random())
        trials.append(made(number, x, curve_of(x, steps), state))
    scheduler, spent = thaw(), []
    for number in (11, 57, 93, 151, 203, 289):
        trials[number] = made(
            number, trials[number].params["x"], curve_of(0.5, 7), TrialState.RUNNING
        )
        standing = standing_of(trials, running=[number])
        start = time.process_time()
        judged(scheduler, number, standing)
        scheduler.choose(standing)
        spent.append((time.process_time() - start) / 2)
        trials[number].state = TrialState.WAITING
    assert float(np.mean(spent)) < 0.2


# On the driver


@dataclass
class ToyPoints:
    """The points of the toy study's search space."""

    distributions: Mapping[str, BaseDistribution]
    structure: frozenset[str] = frozenset({"model.width"})

    def draw(
        self, generator: np.random.Generator, fixed: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        width = int(generator.integers(2, 98))
        rate = float(10 ** generator.uniform(-5, -1))
        return {"model.width": width, "finetune.rate": rate} | dict(fixed or {})


def toy_thaw(one: Any) -> ThawScheduler:
    distributions = {
        "model.width": optuna.distributions.IntDistribution(2, 97),
        "finetune.rate": FloatDistribution(1e-5, 1e-1, log=True),
    }
    direction = one.study.spec.metric.direction
    return ThawScheduler(ToyPoints(distributions), one.study.grid, direction, seed=one.study.seed)


def test_same_seed_same_study_and_something_always_finishes(bench: MakeBench) -> None:
    first, second = bench({"sampler.name": "random"}), bench({"sampler.name": "random"})
    assert first.run(9, scheduler=toy_thaw(first)) is Stop.FINISHED
    assert second.run(9, scheduler=toy_thaw(second)) is Stop.FINISHED
    assert first.told() == second.told()
    assert "C" in first.states()


def test_killed_and_resumed_goes_on_as_it_would_have(bench: MakeBench) -> None:
    whole, cut = bench({"sampler.name": "random"}), bench({"sampler.name": "random"})
    whole.run(7, scheduler=toy_thaw(whole))

    def interrupt(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialProgressed) and (event.number, event.progress.step) == (5, 8):
            driver.interrupt()

    cut.run(7, scheduler=toy_thaw(cut), on_event=interrupt)
    cut.run(7, scheduler=toy_thaw(cut))
    assert cut.told() == whole.told()


def test_slots_at_once(bench: MakeBench) -> None:
    one = bench({"sampler.name": "random"})
    assert one.run(6, slots=3, scheduler=toy_thaw(one)) is Stop.FINISHED
