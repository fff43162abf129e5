"""What every task must do, whatever it trains: learn, and obey as the loop promises.

A run here is core's own, in this process. What the harness makes of stops and pauses is the same
for all tasks, and is tested on one of them and on the toys.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from task_cases import CASES, Case, names_without_a_case, write_page

from core import registry, reporting
from core.bundle import read_bundle
from core.run import run, score_test
from core.settings import RunConfig
from core.task import Evaluation, Outcome, OutcomeState, Placement, Progress, Task, Verdict
from core.telemetry import read_telemetry

Event = Progress | Evaluation
HERE = Placement()


@pytest.fixture(scope="module", autouse=True)
def _own_task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The file of docs/own-task.md, where Python finds it."""
    folder = tmp_path_factory.mktemp("own")
    write_page(folder)
    sys.path.append(str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop("spirals", None)


class Whole:
    """A run from its start to its end, done once for all tests of a task."""

    def __init__(self, case: Case, root: Path) -> None:
        self.case, self.root, self.cache = case, root, root / "cache"
        self.config = case.config(self.cache)
        self.folder = root / "whole"
        self.outcome = run(self.config, HERE, self.folder, self.cache, _go_on)
        self.evaluations = [one.step for one in self.outcome.curve]
        self.total = self.evaluations[-1]

    def go(self, name: str, on_event: Callable[[Event], Verdict], **changes: Any) -> Outcome:
        """A run of the same in another folder; nothing comes from the stage cache."""
        config = self.config.model_copy(update=changes)
        return run(config, HERE, self.root / name, self.root / f"cache of {name}", on_event)


def _go_on(_event: Event) -> Verdict:
    return Verdict.CONTINUE


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.task)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(request.param, tmp_path_factory.mktemp("task"))


@pytest.fixture
def sabotage(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Task], None]], None]:
    """Has a hand in the tasks that are built from now on."""

    def meddle(change: Callable[[Task], None]) -> None:
        find_task = registry.find_task

        def find(name: str) -> Any:
            spec = find_task(name)

            def build(config: RunConfig, placement: Placement, cache: Path) -> Task:
                task = spec.build(config, placement, cache)
                change(task)
                return task

            return replace(spec, build=build)

        monkeypatch.setattr("core.run.find_task", find)

    return meddle


def test_every_task_that_ships_is_in_the_table() -> None:
    assert names_without_a_case() == set()


def test_it_learns_its_built_in_data(whole: Whole) -> None:
    outcome, metric = whole.outcome, whole.case.spec.metric
    if whole.case.longer:
        config = whole.case.config(whole.cache, longer=True)
        outcome = run(config, HERE, whole.root / "longer", whole.cache, _go_on)
    assert outcome.state is OutcomeState.COMPLETED
    assert outcome.health.verdict in ("healthy", "unstable")
    assert outcome.value is not None
    assert metric.is_better(outcome.value, whole.case.score), outcome.value
    # What is asked for says something: it is clearly better than nothing.
    gain = whole.case.score - metric.floor
    assert (gain if metric.direction == "maximize" else -gain) >= metric.clear_gain


def test_its_curve_lies_on_the_grid_that_it_declares(whole: Whole) -> None:
    protocol, _ = whole.case.settings()
    grid = whole.case.spec.grid(protocol)
    task = whole.case.spec.build(whole.config, HERE, whole.cache)
    assert tuple((one.name, one.steps) for one in task.stages) == grid.stages
    assert {one.eval_every for one in task.stages} == {grid.eval_every}
    assert whole.evaluations == list(range(grid.eval_every, grid.total_steps + 1, grid.eval_every))
    assert [one.first_step for one in task.stages] == [
        grid.stage_end(one.name) - one.steps for one in task.stages
    ]


def test_its_batches_are_functions_of_stage_and_step(whole: Whole) -> None:
    spec = whole.case.spec
    one, other = (spec.build(whole.config, HERE, whole.cache) for _ in range(2))
    for stage in one.stages:
        other.batch(stage, 0)
        assert _same(one.batch(stage, 2), other.batch(stage, 2))
        assert not _same(one.batch(stage, 2), one.batch(stage, 1))


def test_it_is_pruned_at_an_evaluation(whole: Whole) -> None:
    def stop(event: Event) -> Verdict:
        return Verdict.STOP if isinstance(event, Evaluation) else Verdict.CONTINUE

    first = whole.evaluations[0]
    outcome = whole.go("pruned", stop)
    assert (outcome.state, outcome.step) == (OutcomeState.STOPPED, first)
    assert outcome.value == whole.outcome.curve[0].value
    folder = whole.root / "pruned"
    assert not (folder / "weights").exists() and not (folder / "checkpoint").exists()
    assert whole.go("pruned", _no_event) == outcome


def test_paused_and_resumed_equals_uninterrupted(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: paused at an evaluation of each stage and between two, then resumed."""
    monkeypatch.setattr(reporting, "PROGRESS_EVERY_S", 0.0)  # a sign of life at every step
    every = whole.evaluations[0]
    places: list[tuple[type[Event], int]] = [
        (Progress, every // 2),
        *((Evaluation, step) for step in whole.evaluations[:-1]),
        (Progress, whole.total - every // 2),
    ]
    for kind, step in places:

        def pause(event: Event, kind: type[Event] = kind, step: int = step) -> Verdict:
            is_here = isinstance(event, kind) and event.step >= step
            return Verdict.PAUSE if is_here else Verdict.CONTINUE

        outcome = whole.go("paused", pause)
        assert (outcome.state, outcome.step) == (OutcomeState.PAUSED, step)
        assert (whole.root / "paused" / "checkpoint").exists()
    outcome = whole.go("paused", _go_on)
    assert outcome.state is OutcomeState.COMPLETED
    assert _figures(outcome) == _figures(whole.outcome)
    resumed = whole.root / "paused"
    assert not (resumed / "checkpoint").exists()
    _assert_same_weights(resumed, whole.folder)
    one, other = (read_telemetry(place / "telemetry.parquet") for place in (resumed, whole.folder))
    pd.testing.assert_frame_equal(one, other)


def test_a_finished_run_answers_at_once(whole: Whole) -> None:
    assert run(whole.config, HERE, whole.folder, whole.cache, _no_event) == whole.outcome


def test_it_diverges_at_the_step_whose_loss_is_infinite(
    whole: Whole, sabotage: Callable[[Callable[[Task], None]], None]
) -> None:
    bad = 3

    def spoil(task: Task) -> None:
        loss, calls = task.loss, iter(range(1, whole.total + 1))

        def spoiled(model: torch.nn.Module, batch: Any, stage: Any) -> torch.Tensor:
            value = loss(model, batch, stage)
            return value * torch.inf if next(calls) == bad else value

        task.loss = spoiled  # type: ignore[method-assign]

    sabotage(spoil)
    outcome = whole.go("diverged", _go_on)
    assert (outcome.state, outcome.step) == (OutcomeState.DIVERGED, bad)
    assert outcome.health.verdict == "diverged"
    assert outcome.value is None and outcome.curve == ()
    assert f"at step {bad}" in outcome.reason


@pytest.mark.parametrize("falls_to", ["floor", "nan"])
def test_it_collapses_at_the_evaluation_that_is_back_at_the_floor(
    falls_to: str, whole: Whole, sabotage: Callable[[Callable[[Task], None]], None]
) -> None:
    """It had learned at the first evaluation and nothing is left of it at the second."""
    metric = whole.case.spec.metric
    ahead = 2 * metric.clear_gain * (1 if metric.direction == "maximize" else -1)
    scores = iter([metric.floor + ahead, metric.floor if falls_to == "floor" else math.nan])

    def spoil(task: Task) -> None:
        evaluate = task.evaluate

        def spoiled(model: torch.nn.Module, *, final: bool) -> Any:
            return replace(evaluate(model, final=final), value=next(scores))

        task.evaluate = spoiled  # type: ignore[method-assign]

    sabotage(spoil)
    outcome = whole.go(f"fallen to {falls_to}", _go_on)
    state = OutcomeState.COLLAPSED if falls_to == "floor" else OutcomeState.DIVERGED
    assert (outcome.state, outcome.step) == (state, whole.evaluations[1])
    assert outcome.health.verdict == state.value
    assert metric.name in outcome.reason


def test_its_test_score_is_finite_and_the_same_twice(whole: Whole) -> None:
    once, again = (score_test(whole.config, HERE, whole.folder, whole.cache) for _ in range(2))
    assert math.isfinite(once.value)
    assert (once.value, once.texts) == (again.value, again.texts)


def test_its_facts_and_texts_are_plain(whole: Whole) -> None:
    import json

    json.dumps(dict(whole.outcome.facts), allow_nan=False)
    for path in (whole.folder / "artifacts").iterdir():
        path.read_text(encoding="utf-8")


def _no_event(event: Event) -> Verdict:
    raise AssertionError(f"nothing was left to do, and yet: {event}")


def _figures(outcome: Outcome) -> list[tuple[int, float, dict[str, float]]]:
    return [(one.step, one.value, dict(one.metrics)) for one in outcome.curve]


def _same(one: Any, other: Any) -> bool:
    """Whether two batches are equal: tensors, and tuples or dataclasses of them."""
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    if hasattr(one, "__dict__"):
        return _same(list(vars(one).values()), list(vars(other).values()))
    if hasattr(one, "__slots__"):
        return all(_same(getattr(one, name), getattr(other, name)) for name in one.__slots__)
    return bool(one == other)


def _assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = (read_bundle(place / "weights", way_out="")[0] for place in (one, other))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name
