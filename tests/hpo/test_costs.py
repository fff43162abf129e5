"""Seconds foretold: how near, how sure, and corrected by what."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from core.task import Evaluation, OutcomeState, Progress
from hpo.costs import CostModel, effort_of
from hpo.declarations import Study, load_study
from tests.hpo.made_costs import World, draw_groups
from tests.hpo.made_records import record, trial

FLOPS_PER_S = 6e10


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("league", overrides=[], data="pocket", name=None)


def taught(study: Study, world: World, trials: int = 12) -> CostModel:
    model = CostModel(study, flops_per_s=FLOPS_PER_S)
    for number in range(trials):
        groups = draw_groups(study, world.rng)
        model.learn(number, groups, world.run(groups)[0])
    return model


def test_it_is_calibrated_after_five_trials(study: Study) -> None:
    """In worlds of another power, speed and overhead each, with 10 percent noise."""
    errors: dict[int, list[float]] = {0: [], 5: []}
    exceeded: dict[int, list[bool]] = {0: [], 5: []}
    for seed in range(100):
        rng = random.Random(seed)
        world = World.drawn(study, rng)
        for trials in (0, 5):
            model = taught(study, world, trials)
            for _ in range(4):  # more would err alike
                groups, cached = draw_groups(study, rng), rng.random() < 0.4
                seconds = world.run(groups, cached=cached)[1]
                said = model.predict(groups, cached=cached)
                errors[trials].append(abs(said.seconds / seconds - 1))
                exceeded[trials].append(seconds > said.at_most_s)
    assert statistics.median(errors[5]) < 0.15
    assert 0.02 <= statistics.mean(exceeded[5]) <= 0.10
    # Before anything is seen: an order of magnitude, and no promise that is not kept.
    assert statistics.quantiles(errors[0], n=20)[-1] < 10
    assert statistics.mean(exceeded[0]) <= 0.15


def test_a_larger_model_takes_longer_and_parts_add_up(study: Study) -> None:
    world = World(study, random.Random(1))
    model = taught(study, world)
    small, large = (
        {"model": {"d_model": width, "num_layers": depth, "d_ff": 4 * width}, "finetune": {}}
        for width, depth in ((128, 2), (512, 6))
    )
    assert model.predict(large).seconds > 5 * model.predict(small).seconds
    whole = model.predict(small, cold=False).seconds
    start_s = model.predict(small, from_step=2000, cold=False).seconds
    halves = [
        model.predict(small, to_step=500, cold=False).seconds,
        model.predict(small, from_step=500, cold=False).seconds,
    ]
    assert sum(halves) == pytest.approx(whole + start_s)
    after_first = model.predict(small, from_step=1500, cold=False)
    assert model.predict(small, cached=True, cold=False) == after_first
    assert model.predict(small, from_step=1750, cached=True).seconds < after_first.seconds


def test_first_trials_of_the_slots_wait_for_a_fresh_process(study: Study) -> None:
    groups = draw_groups(study, random.Random(2))
    model = CostModel(study, flops_per_s=FLOPS_PER_S, jobs=2)
    at_end = {"from_step": study.grid.total_steps}
    cold = model.predict(groups, **at_end)
    assert cold == model.predict(groups, **at_end, cold=True)
    world = World(study, random.Random(2))
    for number in range(2):
        model.learn(number, groups, world.run(groups)[0])
    assert model.predict(groups, **at_end).seconds < cold.seconds


def test_a_running_trials_own_speed_corrects_what_is_left_at_once(study: Study) -> None:
    world = World(study, random.Random(3), noise=0.05)
    model = taught(study, world)
    groups = draw_groups(study, world.rng)
    other = {**groups, "model": {**groups["model"], "d_model": 128, "d_ff": 256}}
    usual = model.predict(groups, from_step=40, number=99).seconds
    others = model.predict(other).seconds
    load = effort_of(study.spec, study.protocol, study.grid, groups).updates["pretrain"]
    for step in (10, 25, 40):  # at a third of the usual speed
        model.watch(
            99, groups, Progress("pretrain", step, 2000, 5.0, 1 / (3 * world.seconds(load)))
        )
    slow = model.predict(groups, from_step=40, number=99).seconds
    assert slow > 2 * usual
    # One slow run says little about others.
    assert model.predict(other).seconds < 1.3 * others


def test_the_start_up_is_over_once_a_trial_steps_and_comes_again_after_a_pause(
    study: Study,
) -> None:
    world = World(study, random.Random(4), start_s=600.0)
    model = taught(study, world)
    groups = draw_groups(study, world.rng)
    at_end = {"from_step": study.grid.total_steps, "number": 50}
    assert model.predict(groups, **at_end).seconds > 300
    model.watch(50, groups, Progress("pretrain", 3, 2000, 5.0, 4.0))
    assert model.predict(groups, **at_end).seconds == 0
    model.learn(50, groups, world.run(groups, to_step=500)[0])
    assert model.predict(groups, **at_end).seconds > 300


def test_a_paused_run_is_known_when_it_goes_on(study: Study) -> None:
    world = World(study, random.Random(5), noise=0.02)
    model = taught(study, world)
    groups = draw_groups(study, world.rng)
    slow = replace(world, flop_s=3 * world.flop_s, call_s=3 * world.call_s)
    usual = model.predict(groups, from_step=1500, number=40).seconds
    model.learn(40, groups, slow.run(groups, to_step=1500)[0])
    assert model.predict(groups, from_step=1500, number=40).seconds > 1.8 * usual


def test_evaluations_are_learned_while_the_first_trial_runs(study: Study) -> None:
    groups = draw_groups(study, random.Random(6))
    model = CostModel(study, flops_per_s=FLOPS_PER_S)
    model.watch(0, groups, Progress("pretrain", 200, 2000, 5.0, 50.0))
    model.watch(0, groups, Evaluation("pretrain", 250, 1.0, elapsed_s=205.0))
    before = model.predict(groups, from_step=500, number=0).seconds
    model.watch(0, groups, Progress("pretrain", 450, 2000, 5.0, 50.0))
    # 250 updates took 5 s, so that the evaluation took 2,000.
    model.watch(0, groups, Evaluation("pretrain", 500, 2.0, elapsed_s=2210.0))
    after = model.predict(groups, from_step=500, number=0).seconds
    assert after == pytest.approx(6 * 2000, rel=0.5)
    assert after > 2 * before


def test_the_test_set_is_foretold_and_learned(study: Study) -> None:
    groups = draw_groups(study, random.Random(7))
    model = CostModel(study, flops_per_s=FLOPS_PER_S)
    model.learn_test(groups, 333.0)
    model.learn_test(groups, 333.0)
    assert model.predict_test(groups).seconds == pytest.approx(333.0, rel=0.35)
    assert model.predict_test(groups).at_most_s > 333.0


def test_waiting_for_another_runs_stage_is_no_cost_of_its_own(study: Study) -> None:
    world = World(study, random.Random(8))
    groups = draw_groups(study, world.rng)
    outcome, _ = world.run(groups, cached=True)
    waited = replace(outcome, cost=replace(outcome.cost, wait_s=5000.0))
    models = [CostModel(study), CostModel(study)]
    for model, one in zip(models, (outcome, waited), strict=True):
        model.learn(0, groups, one)
    assert models[0].predict(groups) == models[1].predict(groups)


def test_a_diverged_run_teaches_nothing(study: Study) -> None:
    world = World(study, random.Random(9))
    groups = draw_groups(study, world.rng)
    model = CostModel(study)
    before = model.predict(groups)
    model.learn(0, groups, replace(world.run(groups)[0], state=OutcomeState.DIVERGED))
    assert model.predict(groups) == before


def test_stored_trials_rebuild_the_model(study: Study) -> None:
    world, rng = World(study, random.Random(10)), random.Random(10)
    live, stored = CostModel(study, flops_per_s=FLOPS_PER_S), []
    for number in range(9):
        point = study.space.walk(lambda _, parameter, base: parameter.draw(rng, base))
        groups = {
            group: {k.split(".")[1]: v for k, v in point.items() if k.startswith(group)}
            for group in study.spec.groups
        }
        outcome, _ = world.run(groups, cached=number % 3 == 2)
        live.learn(number, groups, outcome)
        curve = {one.step: one.value for one in outcome.curve}
        stored.append(
            trial(number, parameters=point, curve=curve, cost=asdict(outcome.cost), health={})
        )
    rebuilt = CostModel(study, flops_per_s=FLOPS_PER_S)
    assert rebuilt.relearn(reversed(stored)) == 9
    for cached in (False, True):
        assert rebuilt.predict(groups, cached=cached, cold=False) == live.predict(
            groups, cached=cached, cold=False
        )


def test_another_study_teaches_what_its_own_structure_took(study: Study, tmp_path: Path) -> None:
    world, rng = World(study, random.Random(11), flop_s=1 / 2e9), random.Random(11)
    groups = draw_groups(study, rng)
    point = {f"model.{key}": value for key, value in groups["model"].items()}
    outcome, seconds = world.run(groups)
    curve = {one.step: one.value for one in outcome.curve}
    others = [trial(n, parameters=point, curve=curve, cost=asdict(outcome.cost)) for n in range(4)]
    other = record(*others, grid=study.grid, declaration=study.as_json())
    model = CostModel(study, flops_per_s=FLOPS_PER_S)
    assert model.predict(groups).seconds < seconds / 5
    assert model.borrow(other) == 4
    assert model.predict(groups).seconds == pytest.approx(seconds, rel=0.35)
    assert CostModel(study).borrow(replace(other, task="amplifier")) == 0
    assert CostModel(study).borrow(replace(other, declaration={})) == 0


def test_a_study_of_one_stage_learns_from_one_of_two(study: Study) -> None:
    other = load_study("depth_sweep", overrides=[], data=None, name=None)
    world, rng = World(study, random.Random(14)), random.Random(14)
    point = study.space.walk(lambda _, parameter, base: parameter.draw(rng, base))
    groups = draw_groups(study, rng)
    outcome, _ = world.run(groups)
    curve = {one.step: one.value for one in outcome.curve}
    trials = [trial(0, parameters=point, curve=curve, cost=asdict(outcome.cost))]
    model = CostModel(other, flops_per_s=FLOPS_PER_S)
    assert len(other.grid.stages) == 1
    assert model.borrow(record(*trials, grid=study.grid, declaration=study.as_json())) == 1
    assert model.predict(draw_groups(other, rng)).seconds > 0


def test_the_same_observations_give_the_same_answers(study: Study) -> None:
    groups = draw_groups(study, random.Random(0))
    one, two = (taught(study, World(study, random.Random(12))) for _ in range(2))
    assert one.predict(groups) == two.predict(groups)


def test_it_is_fast_at_300_trials(study: Study) -> None:
    world = World(study, random.Random(13))
    model = taught(study, world, 300)
    groups = draw_groups(study, world.rng)
    outcome, _ = world.run(groups)

    def best_s(act: object, times: int) -> float:
        took = []
        for _ in range(times):
            begun = time.process_time()
            act()  # type: ignore[operator]
            took.append(time.process_time() - begun)
        return min(took)

    # The targets are 2 ms and 0.2 ms; four times as much, for machines that are busy.
    assert best_s(lambda: model.learn(301, groups, outcome), 20) < 0.008
    assert best_s(lambda: model.predict(groups), 50) < 0.0008
