"""How trials end: what is told of trouble, and what a breakdown costs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from toy_bench import HALVING, KINDS, MakeBench, ToySlot, enqueue

from core.errors import DataError
from core.task import Evaluation, OnEvent, Outcome, Verdict
from hpo.driver import Driver, Stop
from hpo.events import (
    Event,
    Note,
    TrialEnded,
    TrialEvaluated,
    TrialProgressed,
    TrialStarted,
)
from hpo.slots import Work, WorkerError


def test_divergence_is_told_as_a_constraint_on_a_pruned_trial(bench: MakeBench) -> None:
    one = bench(space=KINDS, rest=enqueue(89, "diverge"))
    one.run(1)
    (trial,) = one.found.get_trials()
    assert trial.state == TrialState.PRUNED
    assert trial.constraints == {"diverged": 1.0}
    assert trial.user_attrs["outcome"] == "diverged"
    assert trial.user_attrs["reason"] == "diverged: loss inf at step 5"
    assert trial.user_attrs["health"]["verdict"] == "diverged"
    assert trial.user_attrs["health"]["grad_norm_max"] is None  # infinity is no JSON
    assert trial.value == trial.intermediate_values[3]


def test_a_feasible_trial_violates_nothing(bench: MakeBench) -> None:
    one = bench(HALVING)
    one.run(5)
    assert "P" in one.states()
    assert all(trial.constraints == {} for trial in one.found.get_trials())
    pruned = next(one for one in one.found.get_trials() if one.state == TrialState.PRUNED)
    assert pruned.user_attrs["reason"] == f"behind other trials at step {pruned.last_step}"


def test_an_infinite_value_is_never_the_best(bench: MakeBench) -> None:
    one = bench()

    class InfiniteSlot(ToySlot):
        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            outcome = super().run(work, on_event)
            return Outcome(**{**vars(outcome), "value": float("inf")})

    one.run(1, slots=[InfiniteSlot(one.folder.cache)])
    (trial,) = one.found.get_trials()
    assert (trial.state, trial.constraints) == (TrialState.PRUNED, {"diverged": 1.0})
    assert trial.user_attrs["reason"] == "diverged: score is inf"


class FaultySlot(ToySlot):
    """Breaks down at every attempt, or at the first few."""

    def __init__(self, cache: Path, kind: Any, times: int = 10**6) -> None:
        super().__init__(cache)
        self.kind = kind
        self.times = times

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        if self.times:
            self.times -= 1
            raise WorkerError(f"broke ({self.times} left)", self.kind)
        return super().run(work, on_event)


def test_a_breakdown_costs_an_attempt_and_not_the_trial(bench: MakeBench) -> None:
    one = bench()
    one.run(2, slots=[FaultySlot(one.folder.cache, "died", times=1)])
    assert one.states() == "CC"
    assert one.of(Note) == [Note("trial 0: broke (0 left); trying it again")]
    assert [(event.number, event.attempt) for event in one.of(TrialStarted)][:2] == [
        (0, 1),
        (0, 2),
    ]


def test_breaking_down_twice_fails_and_counts(bench: MakeBench) -> None:
    one = bench()
    assert one.run(3, slots=[FaultySlot(one.folder.cache, "hung", times=2)]) is Stop.FINISHED
    assert one.states() == "FCC"
    failed = one.found.get_trials()[0]
    assert failed.user_attrs["reason"] == "broke (0 left)"
    assert failed.user_attrs["outcome"] == "hung"
    assert failed.constraints == {}


def test_breakdowns_are_counted_over_runs(bench: MakeBench) -> None:
    one = bench()

    def interrupt(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialProgressed):
            driver.interrupt()

    slot = FaultySlot(one.folder.cache, "died", times=1)
    assert one.run(1, slots=[slot], on_event=interrupt) is Stop.INTERRUPTED
    assert one.run(1, slots=[FaultySlot(one.folder.cache, "died")]) is Stop.FINISHED
    assert one.states() == "F"
    assert one.found.get_trials()[0].user_attrs["faults"] == 2


def test_a_model_too_large_for_the_memory_is_told_to_the_sampler(bench: MakeBench) -> None:
    one = bench()
    one.run(1, slots=[FaultySlot(one.folder.cache, "memory", times=2)])
    (trial,) = one.found.get_trials()
    assert (trial.state, trial.constraints) == (TrialState.PRUNED, {"memory": 1.0})
    assert trial.user_attrs["reason"] == "out of memory: broke (0 left)"
    assert trial.value is None


def test_five_failures_in_a_row_stop_the_study(bench: MakeBench) -> None:
    one = bench()
    assert one.run(50, slots=[FaultySlot(one.folder.cache, "error")]) is Stop.FAILED
    assert one.states() == "FFFFF"
    assert one.failure is not None
    assert one.failure.startswith("5 trials failed one after another: broke")
    # The next run is given five more.
    assert one.run(50, slots=[FaultySlot(one.folder.cache, "error", times=8)]) is Stop.FINISHED
    assert one.states().startswith("FFFFFFFFFC")


def test_the_cause_and_its_log_are_named_when_the_study_stops(bench: MakeBench) -> None:
    one = bench()

    class LoggingSlot(FaultySlot):
        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            (work.folder / "worker.log").write_text("Traceback")
            return super().run(work, on_event)

    assert one.run(50, slots=[LoggingSlot(one.folder.cache, "died")]) is Stop.FAILED
    assert one.failure is not None
    assert one.failure.endswith("; see " + str(one.folder.trial(4) / "worker.log"))


def test_where_nothing_has_memory_the_study_stops_too(bench: MakeBench) -> None:
    one = bench()
    assert one.run(50, slots=[FaultySlot(one.folder.cache, "memory")]) is Stop.FAILED
    assert one.states() == "PPPPP"
    assert one.failure is not None
    assert one.failure.startswith("5 trials failed one after another: out of memory: broke")


class DyingSlot(ToySlot):
    """Breaks down wherever `fault` says so, asked after each event with the trial and its step."""

    def __init__(self, cache: Path, fault: Callable[[int, Any], Any], device: str = "cpu") -> None:
        super().__init__(cache, device, device)
        self.fault = fault

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        def ask(event: Any) -> Verdict:
            verdict = on_event(event)
            is_fresh = isinstance(event, Evaluation) and not event.replayed
            kind = self.fault(work.number, event) if is_fresh else None
            if kind is not None:
                raise WorkerError(f"broke at {event.step} on {self.device}", kind)
            return verdict

        return super().run(work, ask)


def test_a_trial_that_gets_further_each_time_is_not_given_up(bench: MakeBench) -> None:
    whole, one = bench(), bench()
    whole.run(2)
    slot = DyingSlot(one.folder.cache, lambda number, event: "died" if event.step < 12 else None)
    assert one.run(2, slots=[slot]) is Stop.FINISHED
    assert one.told() == whole.told()
    assert one.found.get_trials()[0].user_attrs["faults"] == 3
    assert one.found.get_trials()[0].user_attrs["attempt"] == 4


def test_two_hundred_kills_lose_nothing(bench: MakeBench) -> None:
    one, chance, kills = bench({"sampler.name": "random"}), random.Random(3), [200]

    def kill(number: int, event: Any) -> str | None:
        if kills[0] and chance.random() < 0.9:
            kills[0] -= 1
            return "killed"
        return None

    class Killed(DyingSlot):
        """Also killed before its first event."""

        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            if kills[0] and chance.random() < 0.4:
                kills[0] -= 1
                raise WorkerError("killed at the start", "killed")
            return super().run(work, on_event)

    slots = [Killed(one.folder.cache, kill, device) for device in ("gpu 0", "gpu 1", "gpu 1")]
    assert one.run(40, slots=slots) is Stop.FINISHED
    assert kills == [0]
    assert one.states() == "C" * 40
    assert not one.quarantined
    attempts = [trial.user_attrs["attempt"] for trial in one.found.get_trials()]
    assert sum(attempts) == 240
    assert all(trial.user_attrs.get("faults", 0) == 0 for trial in one.found.get_trials())
    for trial in one.found.get_trials():
        assert sorted(trial.intermediate_values) == [3, 6, 9, 12]


def test_what_is_always_killed_is_given_up_in_the_end(bench: MakeBench) -> None:
    one = bench()
    assert one.run(2, slots=[FaultySlot(one.folder.cache, "killed", times=20)]) is Stop.FINISHED
    assert one.states() == "FC"
    failed = one.found.get_trials()[0]
    assert failed.user_attrs["reason"] == "20 attempts in a row came to nothing: broke (0 left)"


def test_no_trial_runs_twice_at_once_and_none_is_left(bench: MakeBench) -> None:
    """Three slots on two devices that break down at random, of anything."""
    one, chance = bench({"sampler.name": "random"}), random.Random(7)
    at_work: set[int] = set()
    lock = threading.Lock()

    class Watched(DyingSlot):
        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            with lock:
                assert work.number not in at_work
                at_work.add(work.number)
            try:
                return super().run(work, on_event)
            finally:
                with lock:
                    at_work.remove(work.number)

    def fault(number: int, event: Any) -> str | None:
        kinds = ("error", "died", "killed", "hung", "memory", "device", "lost")
        return chance.choice(kinds) if chance.random() < 0.3 else None

    slots = [Watched(one.folder.cache, fault, device) for device in ("gpu 0", "gpu 1", "gpu 1")]
    assert one.run(30, slots=slots) is Stop.FINISHED
    assert len(one.states()) == 30
    assert set(one.states()) <= {"C", "P", "F"}
    started, ended = one.of(TrialStarted), one.of(TrialEnded)
    assert len(started) == len(ended)
    assert sum(event.outcome != "interrupted" for event in ended) == 30


def test_what_breaks_down_on_one_device_goes_on_on_another(bench: MakeBench) -> None:
    one = bench({"protocol.step_s": 0.002})
    broken = DyingSlot(one.folder.cache, lambda number, event: "device", "gpu 1")
    whole = DyingSlot(one.folder.cache, lambda number, event: None, "gpu 0")
    assert one.run(7, slots=[broken, whole]) is Stop.FINISHED
    assert one.states() == "C" * 7
    assert list(one.quarantined) == ["gpu 1"]
    assert one.quarantined["gpu 1"].startswith("broke at")
    on_broken = [event.number for event in one.of(TrialStarted) if event.place == "gpu 1"]
    assert len(on_broken) == len(set(on_broken)) == 3


def test_the_last_device_is_not_taken_out_of_work(bench: MakeBench) -> None:
    one = bench()
    slots = [FaultySlot(one.folder.cache, "device"), FaultySlot(one.folder.cache, "device")]
    slots[1].device = "gpu 1"
    assert one.run(50, slots=slots) is Stop.FAILED
    assert one.failure is not None
    assert len(one.quarantined) <= 1


def test_a_users_mistake_in_a_worker_stops_the_study(bench: MakeBench) -> None:
    one = bench()

    class MistakenSlot(ToySlot):
        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            if work.number == 2:
                raise DataError("the numbers are gone", where="numbers.txt")
            return super().run(work, on_event)

    with pytest.raises(DataError, match=r"numbers\.txt: the numbers are gone"):
        one.run(7, slots=[MistakenSlot(one.folder.cache)])
    assert one.states() == "CCR"
    assert one.run(7) is Stop.FINISHED  # mended, the trial goes on
    assert one.states() == "C" * 7


@pytest.mark.parametrize("slots", [1, 2])
def test_a_watcher_that_raises_leaves_the_study_whole(slots: int, bench: MakeBench) -> None:
    one = bench()

    def fall(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialEvaluated) and event.number == 3:
            raise ZeroDivisionError("a bug in a view")

    with pytest.raises(ZeroDivisionError):
        one.run(7, slots=slots, on_event=fall)
    assert set(one.states()) <= {"C", "R"}
    assert one.run(7, slots=slots) is Stop.FINISHED
    assert one.states() == "C" * 7
