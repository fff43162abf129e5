"""How the runs of one opening are scored: what fails, what has no time, what is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_bench import ToySlot

from core.settings import RunConfig
from core.task import Scores
from hpo import shift
from hpo.events import Note
from hpo.finals.test_set import TestSetReader, folder_of
from hpo.folders import StudyFolder
from hpo.ledger import Opening, Run
from hpo.shift import Shift
from hpo.slots import WorkerError

RUNS: list[Run] = [(3, None), (3, 1), (3, 2), (5, None)]
CONFIG: Any = SimpleNamespace(groups={"model": {"width": 3}})
"""Fake slots look at the folder alone."""


class Scoring(ToySlot):
    """A slot whose readings are in a test's hands."""

    def __init__(self, score: Callable[[str], float]) -> None:
        super().__init__(Path())
        self.score = score
        self.killed = threading.Event()

    def score_test(self, config: RunConfig, folder: Path) -> Scores:
        return Scores(self.score(f"{folder.parent.name}/{folder.name}"), {}, "sig")

    def kill(self) -> None:
        self.killed.set()


class Bench:
    """An opening for `RUNS`, whose weights are there."""

    def __init__(self, path: Path) -> None:
        self.folder = StudyFolder(path, "toy")
        for run in RUNS:
            (folder_of(run, self.folder) / "weights").mkdir(parents=True)
        self.opening = Opening.begin(
            self.folder.path, 3, "dd", [(trial, seed, 1.0) for trial, seed in RUNS]
        )
        self.notes: list[str] = []

    def reader(self, **given: Any) -> TestSetReader:
        def observe(event: object) -> None:
            assert isinstance(event, Note)
            self.notes.append(event.text)

        return TestSetReader(self.opening, self.folder, lambda run: CONFIG, observe, **given)


def fail(_: str) -> float:
    raise WorkerError("too dark", "error")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_without_time_one_run_is_read_even_if_the_first_cannot_be_scored(bench: Bench) -> None:
    def score(place: str) -> float:
        return fail(place) if place == "trials/0003" else 7.0

    reader = bench.reader(may_read=lambda config: False)
    reading = reader.read(Shift([Scoring(score)]))
    assert reading is not None
    assert [(run.trial, run.seed, run.value) for run in reading.runs] == [(3, 1, 7.0)]
    assert bench.notes[1:] == [
        "test set: trial 3 is left out: too dark",
        "test set: trial 3 on fresh seed 2 is left out: no time is left",
        "test set: trial 5 is left out: no time is left",
    ]


def test_another_slot_leaves_nothing_out_while_the_one_reading_may_still_fail(
    bench: Bench,
) -> None:
    asked = threading.Event()

    def may_read(config: RunConfig) -> bool:
        asked.set()
        return False

    def score(place: str) -> float:
        assert asked.wait(10)
        return fail(place) if place == "trials/0003" else 7.0

    reading = bench.reader(may_read=may_read).read(Shift([Scoring(score), Scoring(score)]))
    assert reading is not None
    assert [(run.trial, run.seed) for run in reading.runs] == [(3, 1)]


@pytest.mark.parametrize("number", [1, 2])
def test_where_no_run_can_be_scored_that_is_the_failure(number: int, bench: Bench) -> None:
    reader = bench.reader(may_read=lambda config: False)
    assert reader.read(Shift([Scoring(fail) for _ in range(number)])) is None
    assert reader.failure == "the test set could not be read: too dark"


def test_what_one_device_cannot_read_another_does(bench: Bench) -> None:
    slots = [Scoring(fail), Scoring(lambda place: 7.0)]
    for index, slot in enumerate(slots):
        slot.device = f"gpu {index}"
    reading = bench.reader().read(Shift(slots))
    assert reading is not None
    assert {(run.trial, run.seed) for run in reading.runs} == set(RUNS)
    assert len(bench.notes) <= 3
    assert set(bench.notes) <= {"test set: too dark; trying it again"}


def test_what_is_read_when_time_is_over_is_killed_and_left_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shift, "GRACE_S", 0.2)
    over = threading.Event()

    def score(place: str) -> float:
        if place == "trials/0003":
            return 7.0
        over.set()
        assert slot.killed.wait(20)
        raise WorkerError("its process ended", "died")

    slot = Scoring(score)
    reader = bench.reader(is_over=over.is_set, may_read=lambda config: not over.is_set())
    reading = reader.read(Shift([slot]))
    assert reading is not None
    assert [(run.trial, run.seed) for run in reading.runs] == [(3, None)]
    assert bench.notes[0] == "test set: trial 3 on fresh seed 1 is left out: no time is left"
    assert len(bench.notes) == 3


def test_the_only_reading_is_not_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "GRACE_S", 0.2)
    slot = Scoring(lambda place: time.sleep(1.0) or 7.0)
    reader = bench.reader(is_over=lambda: True, may_read=lambda config: False)
    assert reader.read(Shift([slot])) is not None
    assert not slot.killed.is_set()


def test_seconds_and_the_first_score_are_told(bench: Bench) -> None:
    told: list[tuple[Any, float]] = []
    opened: list[int] = []
    reader = bench.reader(
        learn_reading=lambda groups, seconds: told.append((groups, seconds)),
        on_opened=lambda: opened.append(len(told)),
    )
    reader.read(Shift([Scoring(lambda place: 7.0)]))
    assert [groups for groups, _ in told] == [CONFIG.groups] * 4
    assert all(seconds >= 0 for _, seconds in told)
    assert opened == [1]
