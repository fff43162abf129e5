from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

import pytest
from made_tables import Script, config, make_table, searcher
from optuna.trial import TrialState

from benchmarks.replay.tables import Table
from benchmarks.replay.world import FINAL_BLEU, Signal, World
from core.task import Verdict


def _world(
    table: Table, script: Script, workers: int = 1, seed: int = 0, signal: Signal = "bleu"
) -> World:
    return World(table, searcher(script), workers, seed, signal)


def _points(*places: int, kind: str = "a") -> list[dict[str, Any]]:
    return [{"x": place, "kind": kind} for place in places]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Costs of 6, 10 and 7 for whole curves."""
    return make_table(
        tmp_path,
        config(10, [1.0, 4.0, 3.0], cost=2.0),
        config(20, [2.0, 7.0], cost=5.0),
        config(30, [3.0], cost=7.0),
    )


def test_each_report_costs_its_own_configuration(table: Table) -> None:
    script = Script(_points(0, 1, 2))
    marks = _world(table, script).spend([1, 2, 3, 4, 6, 11, 15.9, 16, 22, 23, 99])
    assert [mark.incumbent for mark in marks] == [
        None, 1.0, 1.0, 4.0, 4.0, 4.0, 4.0, 7.0, 7.0, 7.0, 7.0,
    ]  # fmt: skip
    assert [mark.trials_started for mark in marks] == [1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3]


def test_workers_share_the_clock_and_the_bill(table: Table) -> None:
    script = Script(_points(0, 1, 2))
    # Reports at clock 2 (1.0), 4 (4.0), 5 (2.0), 6 (4.0), 10 (7.0), 13 (3.0): the third starts
    # at 6, when the first ends. Total cost is twice the clock.
    marks = _world(table, script, workers=2).spend([3.9, 4, 8, 12, 19.9, 20, 26])
    assert [mark.incumbent for mark in marks] == [None, 1.0, 4.0, 4.0, 4.0, 7.0, 7.0]
    assert [mark.trials_started for mark in marks] == [2, 2, 2, 3, 3, 3, 3]


def test_what_is_reported_is_the_best_so_far(table: Table) -> None:
    script = Script(_points(0))
    world = _world(table, script)
    world.spend([100])
    (trial,) = world.study.get_trials()
    assert trial.intermediate_values == {1: 1.0, 2: 4.0, 3: 4.0}
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 4.0)
    # The end of a curve leaves nothing to judge.
    assert script.judged == [(0, 1, 1.0), (0, 2, 4.0)]


def test_report_points_lie_on_the_interval_and_at_the_end(tmp_path: Path) -> None:
    table = make_table(
        tmp_path,
        config(10, [float(n) for n in range(63)]),
        config(20, [1.0] * 60),
        config(30, [1.0] * 5),
    )
    assert table.interval == 2  # 60 / 25, rounded
    assert (table.grid.total_steps, table.grid.eval_every) == (63, 2)
    world = _world(table, Script(_points(0, 2)))
    world.spend([1e9])
    first, second = world.study.get_trials()
    assert list(first.intermediate_values) == [*range(2, 63, 2), 63]
    assert list(second.intermediate_values) == [2, 4, 5]
    assert (second.state, second.value) == (TrialState.COMPLETE, 1.0)


def test_the_searcher_is_told_which_configuration_it_got(table: Table) -> None:
    script = Script(_points(4, 4, 4))  # off the table, then already started, twice
    world = _world(table, script)
    world.spend([100])
    trials = world.study.get_trials()
    assert [trial.params["x"] for trial in trials] == [2, 1, 0]
    assert script.standings[1].trials[0].params == {"x": 2, "kind": "a"}
    assert not script.standings[-1].can_propose


def test_ties_fall_at_random_by_the_seed(tmp_path: Path) -> None:
    table = make_table(tmp_path, *(config(x, [float(x)]) for x in (10, 30, 50)))
    found = set()
    for seed in range(12):
        world = _world(table, Script(_points(1)), seed=seed)
        world.spend([1])
        found.add(world.study.get_trials()[0].params["x"])
        again = _world(table, Script(_points(1)), seed=seed)
        again.spend([1])
        assert again.study.get_trials()[0].params == world.study.get_trials()[0].params
    assert found == {0, 2}


def test_a_pause_frees_the_worker_and_a_thawed_trial_pays_the_rest_only(table: Table) -> None:
    def judge(number: int, step: int) -> Verdict:
        return Verdict.PAUSE if (number, step) == (0, 1) else Verdict.CONTINUE

    script = Script(_points(0, 2), judge, thaws=True)
    world = _world(table, script)
    # 2 for the first's first step, 7 for the other, 2 for each of the first's other two.
    marks = world.spend([2, 9, 10.9, 11, 13])
    assert [mark.incumbent for mark in marks] == [1.0, 3.0, 3.0, 4.0, 4.0]
    assert [standing.paused for standing in script.standings] == [{}, {0: 1}, {0: 1}, {}]
    assert [trial.state for trial in world.study.get_trials()] == [TrialState.COMPLETE] * 2
    paused = script.standings[1].trials[0]
    assert (paused.state, paused.intermediate_values) == (TrialState.WAITING, {1: 1.0})


def test_a_stop_ends_a_trial_as_pruned(table: Table) -> None:
    world = _world(table, Script(_points(0, 1), lambda number, step: Verdict.STOP))
    marks = world.spend([2, 7, 100])
    assert [mark.incumbent for mark in marks] == [1.0, 2.0, 2.0]
    assert [trial.state for trial in world.study.get_trials()] == [TrialState.PRUNED] * 2
    assert [mark.trials_started for mark in marks] == [2, 2, 2]


def test_with_perplexity_only_ended_trials_count(table: Table) -> None:
    def judge(number: int, step: int) -> Verdict:
        return Verdict.STOP if number == 1 else Verdict.CONTINUE

    script = Script(_points(0, 1), judge)
    world = _world(table, script, signal="ppl")
    marks = world.spend([5, 6, 11, 100])
    assert [mark.incumbent for mark in marks] == [None, 4.0, 4.0, 4.0]
    ended, stopped = world.study.get_trials()
    # Perplexities 50, 20 and 25, of which the lowest so far counts.
    assert ended.intermediate_values == pytest.approx({1: -log(50), 2: -log(20), 3: -log(20)})
    assert ended.value == ended.intermediate_values[3]
    assert ended.user_attrs == {FINAL_BLEU: 4.0}
    assert FINAL_BLEU not in stopped.user_attrs


def test_simultaneous_reports_come_in_the_order_of_trials(tmp_path: Path) -> None:
    table = make_table(tmp_path, *(config(x, [1.0, float(x)]) for x in (10, 20, 30)))
    script = Script(_points(2, 0, 1))
    _world(table, script, workers=3).spend([100])
    assert [number for number, _, _ in script.judged] == [0, 1, 2]


def test_costs_are_known_once_seen(table: Table) -> None:
    script = Script(_points(0, 1))
    world = _world(table, script)
    costs = world._costs
    assert costs.of_new({"x": 0}, 3) == costs.of_new({"x": 4, "kind": "b"}, 3) == 3.0
    world.spend([2])  # the first report, after which nothing else was seen
    assert costs.to_go(0, 3) == 4.0
    assert costs.of_new({"x": 3, "kind": "a"}, 1) == pytest.approx(2.0, rel=0.01)
    world.spend([100])
    assert costs.to_go(1, 2) == 0.0
    assert costs.to_go(1, 4) == 10.0


def test_unseen_costs_follow_the_parameters(tmp_path: Path) -> None:
    curve = [1.0, 2.0]
    table = make_table(
        tmp_path,
        *(config(10 * n, curve, cost=2.0**n) for n in (1, 2, 3, 5)),
        config(40, [1.0, 3.0], cost=16.0),
        config(40, curve, cost=16.0, kind="b"),
    )
    world = _world(table, Script(_points(0, 1, 2, 4)))
    world.spend([1e9])
    # 1 percent: the ridge pulls a little.
    assert world._costs.of_new({"x": 3, "kind": "a"}, 1) == pytest.approx(16.0, rel=0.01)
