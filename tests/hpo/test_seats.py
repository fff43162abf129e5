"""Seats: slots that share a child, in which their trials are trained as one."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import toy_curves
from filelock import FileLock
from toy_bench import Bench, MakeBench, MakeStudy
from toy_runs import Watcher, run_study, told_of

from core import registry
from core.errors import SettingsError
from core.settings import RunConfig
from core.task import Evaluation, Outcome, OutcomeState, Progress, Verdict
from hpo.driver import Driver, Stop
from hpo.events import Event, Note, TrialEnded, TrialEvaluated, TrialProgressed
from hpo.options import RunOptions
from hpo.slots import Slot, Work, WorkerError
from hpo.workers import devices
from hpo.workers.auto_fuse import measure_fusion
from hpo.workers.local import local_slots

FIXED = """
task = "toy"
[parameters]
"finetune.rate" = { type = "float", low = 1e-5, high = 1e-1, log = true }
"""
"""All trials are of one structure."""
RANDOM = {"sampler.name": "random"}


@pytest.fixture(autouse=True)
def _toy_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._MODULES, "toy", "toy_curves")


class Place:
    """The seats of a place, at work from threads of their own."""

    def __init__(self, folder: Path, seats: int) -> None:
        self.folder, self.cache = folder, folder / "cache"
        self.slots = seated(RunOptions(fuse=seats, jobs=1), self.cache)
        self._pool = ThreadPoolExecutor(seats)

    def work(self, number: int, *, width: int = 11, kind: str = "fine", **more: Any) -> Work:
        is_alone = more.pop("is_alone", False)
        config = RunConfig(
            task="toy",
            groups={"model": {"width": width, "kind": kind}, "finetune": {"rate": 1e-3}},
            protocol=toy_curves.Protocol(**more).model_dump(),
            data={"source": "arithmetic"},
            data_digest="d" * 64,
            structure_seed=5,
            seed=number,
        )
        return Work(number, 1, config, self.folder / f"{number:04d}", is_alone)

    def begin(
        self, works: Sequence[Work], *answers: Callable[[Any], Verdict]
    ) -> list[Future[Outcome]]:
        """Has each work done by a seat of its own, events answered as given."""
        listeners = [*answers, *[_go_on] * (len(works) - len(answers))]
        seats = zip(self.slots, works, listeners, strict=False)
        return [self._pool.submit(slot.run, work, listener) for slot, work, listener in seats]

    @property
    def companies(self) -> list[str]:
        """Who has been trained together so far."""
        path = self.cache / "companies.txt"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def attempts(self) -> list[tuple[str, int]]:
        """Trial and process of each attempt so far."""
        path = self.cache / "attempts.txt"
        words = path.read_text().split() if path.exists() else []
        return [(name, int(pid)) for name, pid in zip(words[::2], words[1::2], strict=True)]

    def kill_child(self) -> None:
        os.kill(self.attempts[-1][1], signal.SIGKILL)


def seated(
    options: RunOptions, cache: Path, say: Callable[[str], None] | None = None
) -> Sequence[Slot]:
    """Slots as `launch` asks for them, whose children run the toy task."""
    return local_slots(options, cache, module="toy_curves", say=say)


@pytest.fixture
def make_place(tmp_path: Path) -> Iterator[Callable[[int], Place]]:
    made: list[Place] = []

    def make(seats: int) -> Place:
        made.append(Place(tmp_path, seats))
        return made[-1]

    yield make
    for place in made:
        for slot in place.slots:
            slot.close()


MakePlace = Callable[[int], Place]


def _go_on(_event: object) -> Verdict:
    return Verdict.CONTINUE


def _fault(run: Future[Outcome]) -> WorkerError:
    error = run.exception(60)
    assert isinstance(error, WorkerError)
    return error


def _wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


# A place


def test_seats_have_names_of_their_own_and_one_device(tmp_path: Path) -> None:
    slots = seated(RunOptions(fuse=3, jobs=2), tmp_path)
    names = [slot.name for slot in slots]
    assert names == ["cpu 0", "cpu 1", "cpu 0 +2", "cpu 1 +2", "cpu 0 +3", "cpu 1 +3"]
    assert {slot.device for slot in slots} == {"cpu"}


def test_trials_of_one_structure_are_trained_together(make_place: MakePlace) -> None:
    place = make_place(3)
    works = [place.work(number) for number in (3, 5, 7)]
    heard: dict[int, list[Any]] = {3: [], 5: [], 7: []}

    def listen(number: int) -> Callable[[Any], Verdict]:
        def hear(event: Any) -> Verdict:
            heard[number].append(event)
            return Verdict.CONTINUE

        return hear

    runs = place.begin(works, *map(listen, heard))
    for work, run in zip(works, runs, strict=True):
        outcome = run.result(60)
        assert outcome.state is OutcomeState.COMPLETED
        assert outcome.value == toy_curves.value_at(work.config, 12)
        values = [one.value for one in heard[work.number] if isinstance(one, Evaluation)]
        assert values == [toy_curves.value_at(work.config, step) for step in (3, 6, 9, 12)]
    assert place.companies == ["0003 0005 0007"]
    assert len({pid for _, pid in place.attempts}) == 1
    said = [(work.folder / "worker.log").read_text() for work in works]
    assert sum("trained together with others" in text for text in said) == 3
    # The child stays, and tests alone.
    assert place.slots[2].score_test(works[0].config, works[0].folder).signature == "toy|v1"


def test_other_structures_and_those_that_are_to_be_alone_are_never_stacked(
    make_place: MakePlace,
) -> None:
    place = make_place(4)
    works = [place.work(1), place.work(2, width=13), place.work(3), place.work(4, is_alone=True)]
    for run in place.begin(works):
        assert run.result(60).state is OutcomeState.COMPLETED
    assert place.companies == ["0001 0003"]
    assert sorted(name for name, _ in place.attempts) == ["0001", "0002", "0003", "0004"]


def test_who_is_stopped_leaves_at_once_and_the_others_go_on(
    make_place: MakePlace, tmp_path: Path
) -> None:
    place, may_end = make_place(3), threading.Event()

    def stop(event: Any) -> Verdict:
        return Verdict.STOP if isinstance(event, Evaluation) else Verdict.CONTINUE

    def hold(event: Any) -> Verdict:
        if isinstance(event, Evaluation) and event.step == 9:
            assert may_end.wait(60)
        return Verdict.CONTINUE

    runs = place.begin([place.work(number) for number in range(3)], stop, hold)
    first = runs[0].result(60)
    assert (first.state, first.step) == (OutcomeState.STOPPED, 3)
    assert not runs[1].done()
    with FileLock(tmp_path / "0000" / ".worker.lock", timeout=0):
        pass  # its folder is free for whoever takes it up
    may_end.set()
    assert [run.result(60).state for run in runs[1:]] == [OutcomeState.COMPLETED] * 2
    assert place.companies == ["0000 0001 0002"]


def test_who_waits_gives_signs_that_are_no_trials_time_and_can_be_called_back(
    make_place: MakePlace,
) -> None:
    place, signs, may_end = make_place(2), list[Progress](), threading.Event()

    def hold(event: Any) -> Verdict:
        if isinstance(event, Evaluation):
            assert may_end.wait(60)
        return Verdict.CONTINUE

    def wait_once(event: Any) -> Verdict:
        signs.append(event)
        return Verdict.PAUSE if len(signs) > 1 else Verdict.CONTINUE

    busy = place.begin([place.work(0)], hold)[0]
    _wait_for(lambda: len(place.attempts) > 0)
    with pytest.raises(WorkerError, match="still waiting") as raised:
        place.slots[1].run(place.work(1), wait_once)
    assert raised.value.kind == "lost"
    assert [(sign.total_steps, sign.note) for sign in signs] == [
        (0, "waiting to be trained with others")
    ] * 2
    may_end.set()
    assert busy.result(60).state is OutcomeState.COMPLETED
    assert not place.work(1).folder.exists()


def test_a_death_in_company_costs_nobody_and_halves_the_next(make_place: MakePlace) -> None:
    place = make_place(4)
    slow = [place.work(number, step_s=0.2) for number in range(4)]
    runs = place.begin(slow)
    _wait_for(lambda: len(place.attempts) == 4)
    place.kill_child()
    for run in runs:
        assert (_fault(run).kind, str(_fault(run))) == (
            "lost",
            "the worker was killed, with 4 trials in it (from now on 2)",
        )
    again = place.begin([place.work(number) for number in range(4)])
    assert [run.result(60).state for run in again] == [OutcomeState.COMPLETED] * 4
    assert [line.count(" ") + 1 for line in place.companies] == [4, 2, 2]
    values = [run.result().value for run in again]
    assert values == [toy_curves.value_at(work.config, 12) for work in slow]


def test_want_of_memory_is_a_trials_own_only_when_it_is_alone(make_place: MakePlace) -> None:
    place = make_place(2)
    works = [place.work(number, kind="memory") for number in range(2)]
    assert [_fault(run).kind for run in place.begin(works)] == ["lost", "lost"]
    assert [_fault(run).kind for run in place.begin(works)] == ["memory", "memory"]
    assert place.companies == ["0000 0001"]


def test_killing_one_is_no_word_on_its_company(make_place: MakePlace) -> None:
    place = make_place(2)
    runs = place.begin([place.work(number, step_s=0.2) for number in range(2)])
    _wait_for(lambda: len(place.attempts) == 2)
    place.slots[0].kill()
    assert [_fault(run).kind for run in runs] == ["killed", "lost"]
    again = place.begin([place.work(number) for number in range(2)])
    assert [run.result(60).state for run in again] == [OutcomeState.COMPLETED] * 2
    assert place.companies == ["0000 0001"] * 2


def test_one_mistake_of_the_user_is_told_to_all(make_place: MakePlace) -> None:
    place = make_place(2)
    works = [place.work(number, kind="mistake") for number in range(2)]
    for run in place.begin(works):
        with pytest.raises(Exception, match="the numbers are gone"):
            run.result(60)


def test_a_listener_that_fails_ends_its_company(make_place: MakePlace) -> None:
    place = make_place(2)

    def fail(event: Any) -> Verdict:
        if isinstance(event, Evaluation):
            raise ZeroDivisionError
        return Verdict.CONTINUE

    runs = place.begin([place.work(number, step_s=0.05) for number in range(2)], fail)
    for run in runs:
        with pytest.raises(ZeroDivisionError):
            run.result(60)


# Whole studies


@pytest.fixture
def fused() -> Iterator[Callable[[Bench], Sequence[Slot]]]:
    """Makes a place of three seats for a bench."""
    made: list[Slot] = []

    def make(bench: Bench) -> Sequence[Slot]:
        slots = seated(RunOptions(fuse=3, jobs=1), bench.folder.cache)
        made.extend(slots)
        return slots

    yield make
    for slot in made:
        slot.close()


MakeSeats = Callable[[Bench], Sequence[Slot]]


@pytest.fixture
def undisturbed(bench: MakeBench) -> Bench:
    """The study as it is without seats."""
    one = bench(RANDOM, space=FIXED)
    assert one.run() is Stop.FINISHED
    return one


def test_a_study_is_the_same_as_without(make_study: MakeStudy, tmp_path: Path) -> None:
    study = make_study(overrides=RANDOM, space=FIXED, rest="[finals]\ntop = 2\nseeds = 2\n")
    watch = Watcher()
    fused = run_study(study, tmp_path / "a", watch, make_slots=seated, trials=7, jobs=1, fuse=3)
    plain = run_study(study, tmp_path / "b", trials=7)
    assert told_of(tmp_path / "a") == told_of(tmp_path / "b")
    assert fused.record.options["fuse"] == 3
    assert "fuse" not in plain.record.options
    assert fused.reading is not None
    assert plain.reading is not None
    assert [run.value for run in fused.reading.runs] == [run.value for run in plain.reading.runs]
    companies = (tmp_path / "a" / ".cache" / "companies.txt").read_text().splitlines()
    assert companies[0] == "0000 0001 0002"
    # Repeats are each alone.
    assert not any("seed" in line for line in companies)


@pytest.mark.parametrize("goes_on_with", ["seats", "one slot"])
def test_interrupted_all_pause_and_go_on(
    goes_on_with: str, bench: MakeBench, fused: MakeSeats, undisturbed: Bench
) -> None:
    one = bench({**RANDOM, "protocol.step_s": 0.02}, space=FIXED)

    def interrupt(driver: Driver, event: Event) -> None:
        if isinstance(event, TrialEvaluated) and event.evaluation.step == 6:
            driver.interrupt()

    assert one.run(slots=fused(one), on_event=interrupt) is Stop.INTERRUPTED
    assert one.states() == "RRR"
    for number in range(3):
        assert (one.folder.trial(number) / "checkpoint" / "state.json").exists()
    assert one.run(slots=fused(one) if goes_on_with == "seats" else 1) is Stop.FINISHED
    assert one.told() == undisturbed.told()


def test_a_killed_child_loses_nothing_and_nothing_is_done_twice(
    bench: MakeBench, fused: MakeSeats, undisturbed: Bench
) -> None:
    one, killed = bench({**RANDOM, "protocol.step_s": 0.02}, space=FIXED), list[int]()

    def kill(driver: Driver, event: Event) -> None:
        if not killed and isinstance(event, TrialEvaluated) and event.evaluation.step == 6:
            log = one.folder.cache / "attempts.txt"
            killed.append(int(log.read_text().split()[-1]))
            os.kill(killed[0], signal.SIGKILL)

    assert one.run(slots=fused(one), on_event=kill) is Stop.FINISHED
    assert killed
    assert one.told() == undisturbed.told()
    assert [trial.user_attrs.get("faults", 0) for trial in one.found.get_trials()] == [0] * 7
    told = [(event.number, event.evaluation.step) for event in one.of(TrialEvaluated)]
    assert len(told) == len(set(told)) == 7 * 4
    ended = [event.number for event in one.of(TrialEnded) if event.outcome == "complete"]
    assert sorted(ended) == list(range(7))


def test_a_trial_that_waits_uses_none_of_its_time(bench: MakeBench, fused: MakeSeats) -> None:
    one = bench({**RANDOM, "protocol.step_s": 0.1, "trial_time_limit": '"3s"'}, rest="")
    # Of three structures, and each takes 1.2 s: the last one has waited for twice that.
    assert one.run(3, slots=fused(one)) is Stop.FINISHED
    assert one.states() == "CCC"
    notes = [event.progress.note for event in one.of(TrialProgressed)]
    assert "waiting to be trained with others" in notes


# What is asked for


def test_on_a_cluster_it_is_refused(tmp_path: Path) -> None:
    from hpo.workers.devices import refuse_contradictions

    with pytest.raises(SettingsError, match=r"--fuse: .* got '--fuse 2 with --cluster'.*Leave"):
        refuse_contradictions(RunOptions(cluster="auto", fuse=2))
    with pytest.raises(SettingsError, match="--fuse: must be at least 1, got 0"):
        refuse_contradictions(RunOptions(fuse=0))


def test_it_says_that_it_does_not_pay_on_the_cpu(tmp_path: Path) -> None:
    said: list[str] = []
    seated(RunOptions(fuse=2), tmp_path, said.append)
    assert said == [
        "--fuse pays on a GPU: on the CPU trials in one take as long as one after another"
    ]


def test_how_many_is_measured_in_a_child_on_the_first_gpu(
    make_study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = devices.Place("gpu 0", "gpu 0", "0")
    monkeypatch.setattr("hpo.workers.auto_fuse.local_places", lambda _: (gpu, gpu))
    options, watch = RunOptions(fuse="auto"), Watcher()
    found = measure_fusion(
        make_study(), options, tmp_path / "cache", watch, module=toy_curves.__name__
    )
    assert found == 4
    (note,) = watch.of(Note)
    assert note.text == "--fuse auto: up to 4 trials are trained as one, as measured on gpu 0"


def test_on_the_cpu_trials_are_trained_one_by_one(make_study: MakeStudy, tmp_path: Path) -> None:
    watch = Watcher()
    result = run_study(make_study(), tmp_path, watch, trials=1, fuse="auto")
    assert result.failure is None
    assert any(
        "--fuse auto: trials are trained one by one" in note.text for note in watch.of(Note)
    )
