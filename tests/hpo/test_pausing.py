"""PAUSE through driver, storage and slot, by a scheduler that uses it."""

from __future__ import annotations

import optuna
import pytest
from toy_bench import GRID, MakeBench

from core.task import Evaluation, Verdict
from hpo import trials
from hpo.driver import Driver, Stop
from hpo.events import (
    Event,
    TrialEnded,
    TrialEvaluated,
    TrialProgressed,
)
from hpo.schedulers import Choice, Propose, Standing, Thaw


class Relay:
    """Brings three trials to step 6, then each in turn to the end; like a promotion by rungs."""

    def __init__(self, at_once: int = 3) -> None:
        self._at_once = at_once
        self.standings: list[Standing] = []

    def choose(self, standing: Standing) -> Choice | None:
        self.standings.append(standing)
        begun = standing.finished + len(standing.paused) + len(standing.running)
        if begun < self._at_once:
            return Propose()
        return Thaw(max(standing.paused)) if standing.paused else None

    def judge(self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing) -> Verdict:
        return Verdict.PAUSE if evaluation.step == 6 else Verdict.CONTINUE


@pytest.mark.parametrize("slots", [1, 2])
def test_paused_and_thawed_equals_uninterrupted(slots: int, bench: MakeBench) -> None:
    whole, relay = bench({"sampler.name": "random"}), bench({"sampler.name": "random"})
    whole.run(3)
    assert relay.run(3, slots=slots, scheduler=Relay()) is Stop.FINISHED
    assert relay.told() == whole.told()
    ended = [(event.number, event.outcome) for event in relay.of(TrialEnded)]
    assert sorted(ended) == sorted(
        [(number, end) for number in range(3) for end in ("paused", "complete")]
    )
    if slots == 1:
        assert ended == [
            *((number, "paused") for number in range(3)),
            *((number, "complete") for number in (2, 1, 0)),
        ]
    assert [event.evaluation.step for event in relay.of(TrialEvaluated) if event.number == 1] == [
        3,
        6,
        9,
        12,
    ]


def test_a_paused_trial_is_a_row_that_no_sampler_sees(bench: MakeBench) -> None:
    one = bench()
    relay = Relay()

    def look(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialEnded) and event.outcome == "paused":
            seen.append(trials.paused(one.found.get_trials()))

    seen: list[dict[int, int]] = []
    one.run(3, scheduler=relay, on_event=look)
    assert seen == [{0: 6}, {0: 6, 1: 6}, {0: 6, 1: 6, 2: 6}]
    assert relay.standings[3].paused == {0: 6, 1: 6, 2: 6}
    assert one.found.get_trials()[0].user_attrs["attempt"] == 2


def test_a_study_may_end_with_paused_trials_and_a_later_run_thaws_them(bench: MakeBench) -> None:
    one = bench()

    class PauseAll(Relay):
        def choose(self, standing: Standing) -> Choice | None:
            return Propose() if len(standing.paused) < 2 else None

    assert one.run(5, scheduler=PauseAll()) is Stop.IDLE
    assert one.states() == "WW"
    assert one.run(5) is Stop.FINISHED
    assert one.states() == "C" * 5


def test_interrupted_while_trials_are_paused(bench: MakeBench) -> None:
    whole, cut = bench({"sampler.name": "random"}), bench({"sampler.name": "random"})
    whole.run(3)

    def interrupt(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialProgressed) and (event.number, event.progress.step) == (1, 8):
            driver.interrupt()

    assert cut.run(3, scheduler=Relay(), on_event=interrupt) is Stop.INTERRUPTED
    assert cut.states() == "WRC"
    assert cut.run(3, scheduler=Relay()) is Stop.FINISHED
    assert cut.told() == whole.told()


def test_a_scheduler_that_wants_what_is_not_there_gets_nothing(bench: MakeBench) -> None:
    one = bench({"sampler.name": "brute_force"}, space=GRID)

    class Greedy(Relay):
        def choose(self, standing: Standing) -> Choice | None:
            return Propose()

        def judge(
            self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing
        ) -> Verdict:
            return Verdict.CONTINUE

    assert one.run(50, scheduler=Greedy()) is Stop.EXHAUSTED
    assert len(one.found.get_trials()) == 6
