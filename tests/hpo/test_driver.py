"""The driver with slots that run the toy task in this process, and a study in memory."""

from __future__ import annotations

import itertools
import re
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import toy_curves
from optuna.trial import TrialState
from toy_bench import GRID, HALVING, KINDS, MakeBench, ToySlot, enqueue

from core.task import Evaluation, OnEvent, Outcome, Progress, Verdict
from hpo import trials
from hpo.clock import StudyClock
from hpo.driver import Driver, Stop
from hpo.events import (
    Event,
    StudyStarted,
    TrialEnded,
    TrialEvaluated,
    TrialProgressed,
    TrialStarted,
)
from hpo.horizon import Horizon
from hpo.roster import Roster
from hpo.slots import Work, WorkerError
from hpo.storage import StorageError

HPO = Path(__file__).parents[2] / "hpo"


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_the_budget_is_exact(slots: int, bench: MakeBench) -> None:
    one = bench(HALVING)
    assert one.run(11, slots=slots) is Stop.FINISHED
    assert len(one.found.get_trials()) == 11
    assert set(one.states()) == {"C", "P"}
    assert [event.number for event in one.of(TrialStarted)] == list(range(11))
    assert one.run(11, slots=slots) is Stop.FINISHED
    assert len(one.found.get_trials()) == 11
    assert one.run(13, slots=slots) is Stop.FINISHED
    assert len(one.found.get_trials()) == 13


def test_no_slot_draws_ahead(bench: MakeBench) -> None:
    """Trials that were never run must not have been asked for."""
    one = bench()

    def interrupt(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialEnded):
            driver.interrupt()

    one.run(50, slots=2, on_event=interrupt)
    assert len(one.found.get_trials()) <= 3


def test_every_event_comes_once_and_in_order(bench: MakeBench) -> None:
    one = bench()
    one.run(2)
    assert one.events[0] == StudyStarted("toy", 0, 2, 1, False, None)
    kinds = [type(event) for event in one.events if not isinstance(event, TrialProgressed)]
    assert kinds[1:] == [TrialStarted, *[TrialEvaluated] * 4, TrialEnded] * 2
    first, second = one.of(TrialEnded)
    assert (first.outcome, first.step, first.reason, first.is_best) == ("complete", 12, "", True)
    assert second.is_best is (second.value > first.value)
    assert len(one.of(TrialProgressed)) == 24
    best = max(one.of(TrialEnded), key=lambda ended: ended.value)
    one.events.clear()
    one.run(2)
    assert one.events == [StudyStarted("toy", 2, 2, 1, True, (best.number, best.value))]


def test_the_same_seed_runs_the_same_study(bench: MakeBench) -> None:
    first, second, third = bench(HALVING), bench(HALVING), bench({**HALVING, "seed": 5})
    for one in (first, second, third):
        one.run(13)
    assert first.told() == second.told()
    assert first.told() != third.told()
    assert "P" in first.states()


@pytest.mark.parametrize("event_kind", [TrialStarted, TrialProgressed, TrialEvaluated, TrialEnded])
def test_interrupted_again_and_again_it_ends_as_if_it_had_not_been(
    event_kind: type[Event], bench: MakeBench
) -> None:
    whole, cut = bench(HALVING), bench(HALVING)
    whole.run(9)

    def interrupt(driver: Driver, event: Event) -> None:
        seen.append(event)
        if (
            sum(isinstance(one, event_kind) for one in seen) == 3
            and not driver._shift.is_interrupted
        ):
            driver.interrupt()

    stops = []
    while not stops or stops[-1] is not Stop.FINISHED:
        seen: list[Event] = []
        stops.append(cut.run(9, on_event=interrupt))
    assert set(stops[:-1]) == {Stop.INTERRUPTED}
    assert cut.told() == whole.told()


def test_a_resumed_trial_keeps_its_number_and_tells_no_step_twice(bench: MakeBench) -> None:
    one = bench()

    def interrupt(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialEvaluated) and event.evaluation.step == 6:
            driver.interrupt()

    assert one.run(1, on_event=interrupt) is Stop.INTERRUPTED
    assert one.states() == "R"
    ended = one.of(TrialEnded)[-1]
    assert (ended.outcome, ended.step, ended.reason) == ("interrupted", 6, "")
    assert ended.value == one.found.get_trials()[0].intermediate_values[6]
    assert one.run(1) is Stop.FINISHED
    assert [(event.number, event.attempt) for event in one.of(TrialStarted)] == [(0, 1), (0, 2)]
    assert [event.evaluation.step for event in one.of(TrialEvaluated)] == [3, 6, 9, 12]
    assert one.found.get_trials()[0].user_attrs["attempt"] == 2


def test_a_driver_killed_before_its_verdict_was_obeyed_gives_it_again(bench: MakeBench) -> None:
    whole, cut = bench(HALVING), bench(HALVING)
    whole.run(6)
    stopped = next(one for one in whole.found.get_trials() if one.state == TrialState.PRUNED)
    cut.run(stopped.number)

    class Killed(BaseException):
        pass

    class DyingSlot(ToySlot):
        """Loses the trial with its last verdict still on the way."""

        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            def ask(event: Any) -> Verdict:
                verdict = on_event(event)
                if verdict is Verdict.STOP:
                    raise Killed
                return verdict

            return super().run(work, ask)

    with pytest.raises(Killed):
        cut.run(6, slots=[DyingSlot(cut.folder.cache)])
    assert cut.states()[-1] == "R"
    cut.run(6)
    assert cut.told() == whole.told()


def test_a_run_that_ended_while_no_driver_was_there_is_told(bench: MakeBench) -> None:
    """Killed after the worker wrote its outcome, before the study was told."""
    whole, cut = bench(), bench()
    whole.run(1)

    class Killed(BaseException):
        pass

    class LateSlot(ToySlot):
        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            def ask(event: Any) -> Verdict:
                # Nothing after step 6 reaches the driver.
                is_late = isinstance(event, Evaluation) and event.step > 6
                return Verdict.CONTINUE if is_late else on_event(event)

            super().run(work, ask)
            raise Killed

    with pytest.raises(Killed):
        cut.run(1, slots=[LateSlot(cut.folder.cache)])
    assert sorted(cut.found.get_trials()[0].intermediate_values) == [3, 6]
    assert cut.run(1) is Stop.FINISHED
    assert cut.told() == whole.told()


def test_what_a_stale_attempt_sends_does_not_count(bench: MakeBench) -> None:
    one = bench()

    class HauntedSlot(ToySlot):
        old: OnEvent | None = None

        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            if self.old is None:
                self.old = on_event
                raise WorkerError("left behind", "died")
            assert self.old(Evaluation("second", 3, 99.0)) is Verdict.PAUSE
            return super().run(work, on_event)

    one.run(1, slots=[HauntedSlot(one.folder.cache)])
    assert 99.0 not in one.found.get_trials()[0].intermediate_values.values()
    assert one.states() == "C"


def test_enqueued_points_come_first_and_once(bench: MakeBench) -> None:
    rest = enqueue(89) + enqueue(3, "diverge")
    one = bench(space=KINDS, rest=rest)
    one.run(1)
    assert one.found.get_trials()[0].params == {"model.width": 89, "model.kind": "fine"}
    one.run(3)
    drawn = [trial.params for trial in one.found.get_trials()]
    assert drawn[1] == {"model.width": 3, "model.kind": "diverge"}
    assert [event.parameters for event in one.of(TrialStarted)][:2] == drawn[:2]
    assert one.states()[:2] == "CP"


def test_points_added_later_come_next(bench: MakeBench) -> None:
    one = bench(space=KINDS, rest=enqueue(89))
    one.run(2)
    later = bench(space=KINDS, rest=enqueue(89) + enqueue(83))
    later.found = one.found
    later.run(4)
    drawn = [trial.params["model.width"] for trial in one.found.get_trials()]
    assert drawn.count(89) == 1
    assert drawn[2] == 83


def test_brute_force_ends_when_every_point_was_tried(bench: MakeBench) -> None:
    for slots in (1, 2, 3):
        one = bench({"sampler.name": "brute_force"}, space=GRID)
        assert one.run(50, slots=slots) is Stop.EXHAUSTED
        points = {tuple(sorted(trial.params.items())) for trial in one.found.get_trials()}
        assert len(points) == len(one.found.get_trials()) == 6
        assert one.run(50, slots=slots) is Stop.EXHAUSTED
        assert len(one.found.get_trials()) == 6


def test_more_slots_than_points_repeat_none(bench: MakeBench) -> None:
    space = 'task = "toy"\n[parameters]\n"model.width" = { type = "int", low = 5, high = 6 }\n'
    one = bench({"sampler.name": "brute_force", "protocol.step_s": 0.01}, space=space)
    assert one.run(50, slots=4) is Stop.EXHAUSTED
    assert sorted(trial.params["model.width"] for trial in one.found.get_trials()) == [5, 6]


def test_within_a_time_limit_only_what_can_end_is_begun(bench: MakeBench) -> None:
    one = bench({"protocol.step_s": 0.02})
    assert one.run(50, limit_s=8.0) is Stop.TIME
    begun = {event.number for event in one.of(TrialStarted)}
    assert {number for number, state in enumerate(one.states()) if state == "C"} == begun
    assert set(one.states()) <= {"C", "W"}, "one drawn that cannot end waits, and is not begun"
    assert one.elapsed_s <= 8.0
    assert 2 <= len(begun) < 40
    assert one.run(50, limit_s=8.0) is Stop.TIME  # the limit counts earlier runs
    assert {event.number for event in one.of(TrialStarted)} == begun
    assert one.run(len(begun) + 1) is Stop.FINISHED


def test_at_the_time_limit_a_trial_stops_and_can_go_on(bench: MakeBench) -> None:
    one = bench({"protocol.step_s": 0.1})
    assert one.run(50, limit_s=0.5) is Stop.TIME
    assert one.states() == "R"
    assert 0.4 <= one.elapsed_s < 1.0
    assert one.run(1) is Stop.FINISHED
    assert one.states() == "C"


def test_a_trial_without_time_waits_for_more(bench: MakeBench) -> None:
    one = bench({"protocol.step_s": 0.1})

    def leave(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialEvaluated) and event.number == 1:
            driver.interrupt()

    assert one.run(2, on_event=leave) is Stop.INTERRUPTED
    assert one.states() == "CR"
    assert one.run(2, limit_s=one.elapsed_s + 0.2) is Stop.TIME
    assert one.states() == "CR"
    assert one.of(TrialStarted)[-1].attempt == 1, "it was not begun again"
    assert one.run(2) is Stop.FINISHED
    assert one.states() == "CC"


def test_a_trial_without_time_keeps_its_place_in_the_budget(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench({"protocol.step_s": 0.01})

    def leave(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialEvaluated) and event.number == 1:
            driver.interrupt()

    assert one.run(3, on_event=leave) is Stop.INTERRUPTED
    with monkeypatch.context() as patched:
        patched.setattr(Horizon, "can_end", lambda self, number: number != 1)
        one.run(3, limit_s=30.0)
    assert one.states() == "CRC", "two others are all there is room for"
    assert one.run(3) is Stop.FINISHED
    assert one.states() == "CCC"


def test_waiting_for_a_place_is_not_a_trials_time(bench: MakeBench) -> None:
    one = bench({"trial_time_limit": "1s"})

    class WaitingSlot(ToySlot):
        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            for _ in range(12):
                time.sleep(0.1)
                assert on_event(Progress("", 0, 0, None, 0.0)) is Verdict.CONTINUE
            return super().run(work, on_event)

    assert one.run(1, slots=[WaitingSlot(one.folder.cache)]) is Stop.FINISHED
    assert one.states() == "C"


def test_declared_points_without_time_do_not_end_the_search(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "".join(enqueue(width) for width in (90, 91, 92, 93, 94))
    one = bench(
        {"protocol.step_s": 0.01},
        space=KINDS.replace(', "crash", "memory", "diverge"', ""),
        rest=points,
    )

    def can_end(self: Horizon, number: int) -> bool:
        return number < 1 or one.found.get_trials()[number].params.get("model.width") not in {
            91,
            92,
            93,
            94,
        }

    monkeypatch.setattr(Horizon, "can_end", can_end)
    assert one.run(3, limit_s=30.0) is Stop.FINISHED
    assert one.states() == "CWWWWCC"


def test_what_does_not_leave_at_the_time_limit_is_killed(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.shift.GRACE_S", 0.3)
    one = bench()

    class DeafSlot(ToySlot):
        killed = threading.Event()

        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            assert self.killed.wait(20)
            raise WorkerError("killed", "memory")

        def kill(self) -> None:
            self.killed.set()

    assert one.run(3, slots=[DeafSlot(one.folder.cache)], limit_s=0.5) is Stop.TIME
    assert one.states() == "R"
    assert one.elapsed_s < 3


def test_a_second_interrupt_kills(bench: MakeBench) -> None:
    one = bench()

    class StubbornSlot(ToySlot):
        """Hears nothing until it is killed."""

        killed = threading.Event()

        def run(self, work: Work, on_event: OnEvent) -> Outcome:
            assert self.killed.wait(20)
            raise WorkerError("killed", "memory")

        def kill(self) -> None:
            self.killed.set()

    def interrupt(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialStarted):
            driver.interrupt()
            threading.Timer(0.1, driver.interrupt).start()

    assert (
        one.run(3, slots=[StubbornSlot(one.folder.cache)], on_event=interrupt) is Stop.INTERRUPTED
    )
    assert one.states() == "R"  # no fault of the trial's
    assert "faults" not in one.found.get_trials()[0].user_attrs


LIMITED = {"trial_time_limit": "1s"}


class SlowSlot(ToySlot):
    """Takes longer at trial 1 than a second, with a sign of life now and then, or without."""

    def __init__(self, cache: Path, *, is_silent: bool = False) -> None:
        super().__init__(cache)
        self.is_silent = is_silent
        self.killed = threading.Event()

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        if work.number != 1:
            return super().run(work, on_event)
        if self.is_silent:
            assert self.killed.wait(20)
            raise WorkerError("killed", "killed")

        def dawdle(event: Any) -> Verdict:
            time.sleep(0.3)
            return on_event(event)

        return super().run(work, dawdle)

    def kill(self) -> None:
        self.killed.set()


def test_a_trial_over_its_time_limit_is_told_as_a_constraint(bench: MakeBench) -> None:
    one = bench(LIMITED)
    assert one.run(3, slots=[SlowSlot(one.folder.cache)]) is Stop.FINISHED
    assert one.states() == "CPC"
    trial = one.found.get_trials()[1]
    assert trial.constraints == {"time": 1.0}
    assert trial.user_attrs["outcome"] == "time"
    assert trial.user_attrs["reason"].startswith("over the trial time limit of 1.0 s at step ")
    assert trial.user_attrs["attempt"] == 1
    assert trial.user_attrs["spent_s"] >= 1.0
    assert trial.intermediate_values
    assert one.of(TrialEnded)[1].value == trial.value


def test_a_trial_that_hangs_is_killed_at_its_time_limit_and_no_other(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.shift.GRACE_S", 0.2)
    one = bench(LIMITED)
    slots = [SlowSlot(one.folder.cache, is_silent=True) for _ in range(2)]
    assert one.run(4, slots=slots) is Stop.FINISHED
    assert one.states() == "CFCC"
    assert sum(slot.killed.is_set() for slot in slots) == 1
    trial = one.found.get_trials()[1]
    assert (trial.user_attrs["outcome"], trial.constraints) == ("hung", {})
    assert trial.user_attrs["reason"] == (
        "no sign of life for 1.0 s at the trial time limit of 1.0 s"
    )
    assert trial.user_attrs["attempt"] == 1


def test_a_trials_time_counts_over_drivers(bench: MakeBench) -> None:
    one = bench({"trial_time_limit": "2s", "protocol.step_s": 0.15})

    def interrupt(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialEvaluated):
            driver.interrupt()

    for _ in range(3):
        assert one.run(1, on_event=interrupt) is Stop.INTERRUPTED
    spent = one.found.get_trials()[0].user_attrs["spent_s"]
    assert spent >= 9 * 0.15
    trials.set_attributes(one.found, 0, {"spent_s": 1.9})
    assert one.run(1) is Stop.FINISHED
    assert one.states() == "P"
    assert one.found.get_trials()[0].user_attrs["outcome"] == "time"


def test_the_wall_clock_may_jump(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour each way, again and again; every limit holds by the monotonic clock."""
    real, calls = time.time, itertools.count()
    monkeypatch.setattr(time, "time", lambda: real() + 3600 * (-1) ** next(calls))
    one = bench({"trial_time_limit": "1m"})

    def look(driver: Driver, event: Event) -> None:
        time.time()

    assert one.run(4, slots=2, limit_s=60.0, on_event=look) is Stop.FINISHED
    assert one.states() == "CCCC"
    assert 0 <= one.elapsed_s < 60
    assert all(0 <= event.seconds < 60 for event in one.of(TrialEnded))
    assert next(calls) > 4


def test_no_limit_is_kept_by_the_wall_clock() -> None:
    """`time.time` and `datetime.now` tell people when; nothing else may ask them."""
    asking = {
        path.relative_to(HPO).as_posix()
        for path in HPO.rglob("*.py")
        if re.search(r"\btime\.time\(|datetime\.(now|today|utcnow)\(", path.read_text())
    }
    telling = {"lock.py", "ledger.py", "opening.py", "spans.py", "status.py"}
    drawing = {"analysis/page.py", "analysis/timeline.py"}
    naming = {"storage/sqlite.py"}
    comparing_files = {"cache.py"}
    streaming = {"sinks/mlflow.py", "sinks/tensorboard.py"}  # whose formats have moments
    assert asking <= telling | drawing | naming | comparing_files | streaming


@pytest.mark.parametrize("slots", [1, 3])
def test_a_storage_that_fails_stops_all_slots_and_the_study_goes_on_later(
    slots: int, bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench({"protocol.step_s": 0.01})
    report, calls = Roster.report, itertools.count()

    def fail_later(self: Roster, entry: Any, evaluation: Evaluation) -> bool:
        if next(calls) < 10:
            return report(self, entry, evaluation)
        for owner, name in ((Roster, "report"), (Roster, "spend"), (StudyClock, "save")):
            broken.setattr(owner, name, fail)
        return fail()

    def fail(*_: object, **__: object) -> bool:
        raise StorageError("the database is gone")

    with monkeypatch.context() as broken:
        broken.setattr(Roster, "report", fail_later)
        with pytest.raises(StorageError, match=r"^the database is gone\.$"):
            one.run(7, slots=slots)
    assert set(one.states()) <= {"C", "R"}
    assert "R" in one.states()
    assert one.run(7, slots=slots) is Stop.FINISHED
    assert one.states() == "C" * 7


def test_a_trials_folder_is_enough_to_rebuild_it(bench: MakeBench) -> None:
    one = bench(HALVING)
    one.run(4)
    for trial in one.found.get_trials():
        written = toy_curves._read(one.folder.trial(trial.number) / "trial.json")
        assert written is not None
        assert written["schema_version"] == 1
        assert written["state"] in ("complete", "pruned")
        assert written["drawn"] == trial.params
        assert written["parameters"] == {
            "model.width": trial.params["model.width"],
            "finetune.rate": trial.params["finetune.rate"],
        }
        assert written["curve"] == {str(k): v for k, v in trial.intermediate_values.items()}
        rebuilt = {
            name: optuna.distributions.json_to_distribution(toy_curves.json.dumps(text))
            for name, text in written["distributions"].items()
        }
        assert rebuilt == trial.distributions
        assert (written["value"], written["attempt"]) == (trial.value, 1)
        assert (one.folder.trial(trial.number).stat().st_mode & 0o777) == 0o700


def test_weights_of_the_best_and_no_checkpoints_are_kept(bench: MakeBench) -> None:
    one = bench({"storage.keep": 2})
    one.run(7)
    ranked = sorted(one.found.get_trials(), key=lambda trial: -trial.value)
    kept = {path.parent.name for path in one.folder.trials.glob("*/weights")}
    assert kept == {f"{trial.number:04d}" for trial in ranked[:2]}
    assert not list(one.folder.trials.glob("*/checkpoint"))
