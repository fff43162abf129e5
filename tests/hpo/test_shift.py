"""Slots at work together: how their loops end, and who is killed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from toy_bench import ToySlot

from hpo import shift
from hpo.shift import Shift
from hpo.slots import BreakdownKind, Slot, WorkerError


class Killable(ToySlot):
    """A slot that can wait to be killed."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(Path(), device, device)
        self.killed = threading.Event()

    def kill(self) -> None:
        self.killed.set()

    def wait(self) -> None:
        assert self.killed.wait(20)
        raise WorkerError("killed", "killed")


def test_the_first_error_is_raised_when_all_loops_have_ended() -> None:
    ended: list[int] = []
    crew = Shift([Killable(), Killable()])

    def loop(index: int, slot: Slot) -> None:
        if index == 0:
            raise ZeroDivisionError("first")
        with crew.changed:
            while not crew.is_stopping:
                crew.changed.wait(20)
        ended.append(index)
        raise KeyError("second")

    with pytest.raises(ZeroDivisionError, match="first"):
        crew.run(loop)
    assert ended == [1]
    assert (crew.is_interrupted, crew.has_failed) == (False, True)


def test_the_second_interrupt_kills_and_is_no_devices_fault() -> None:
    slots, told = [Killable("a"), Killable("b")], []
    crew = Shift(slots, lambda device, reason: told.append(device))

    def loop(index: int, slot: Any) -> None:
        with pytest.raises(WorkerError), crew.attempt(index, index):
            crew.interrupt()
            slot.wait()

    crew.run(loop)
    assert crew.is_interrupted
    assert not crew.has_failed
    assert not told
    assert not crew._quarantine._faults


def test_a_kill_that_came_before_the_work_had_begun_is_not_lost() -> None:
    slot = Killable()
    crew = Shift([slot])

    def loop(index: int, _slot: Slot) -> None:
        with pytest.raises(WorkerError), crew.attempt(index, index):
            crew.interrupt()
            crew.interrupt()
            slot.killed.clear()  # there was nothing to be killed yet
            slot.wait()

    crew.run(loop)
    assert crew.is_interrupted


def test_an_error_of_the_watch_ends_the_shift_and_kills_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shift, "GRACE_S", 0.1)
    crew = Shift([Killable(), Killable()])
    together = threading.Barrier(2, timeout=20)

    def is_overdue() -> bool:
        raise ZeroDivisionError

    def loop(index: int, slot: Any) -> None:
        with crew.attempt(index, index, is_overdue):
            together.wait()
            slot.wait()

    with pytest.raises(ZeroDivisionError):
        crew.run(loop)


def test_only_the_slot_whose_work_is_overdue_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "GRACE_S", 0.1)
    slots = [Killable(), Killable()]
    crew = Shift(slots)

    def loop(index: int, slot: Any) -> None:
        with crew.attempt(index, index, lambda: index == 1):
            if index == 0:
                assert slots[1].killed.wait(20)
                return
            with pytest.raises(WorkerError):
                slot.wait()

    crew.run(loop)
    assert [slot.killed.is_set() for slot in slots] == [False, True]


def test_after_an_error_what_does_not_leave_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift, "GRACE_S", 0.1)
    crew = Shift([Killable(), Killable()])
    is_at_work = threading.Event()

    def loop(index: int, slot: Any) -> None:
        if index == 0:
            assert is_at_work.wait(20)
            raise ZeroDivisionError
        with crew.attempt(index, index):
            is_at_work.set()
            slot.wait()

    with pytest.raises(ZeroDivisionError):
        crew.run(loop)


@pytest.mark.parametrize(
    ("kind", "is_out"), [("device", True), ("killed", False), ("lost", False)]
)
def test_a_device_that_breaks_down_gets_no_more_work(kind: BreakdownKind, is_out: bool) -> None:
    told: list[tuple[str, str]] = []
    crew = Shift(
        [Killable("gpu 0"), Killable("gpu 1"), Killable("gpu 1")],
        lambda device, reason: told.append((device, reason)),
    )
    together = threading.Barrier(3, timeout=20)

    def loop(index: int, slot: Slot) -> None:
        together.wait()
        if index == 1:
            for work in (3, 4, 5):
                with pytest.raises(WorkerError), crew.attempt(index, work):
                    raise WorkerError("no CUDA", kind)
        together.wait()
        assert crew.serves(index) is not (is_out and index > 0)
        assert crew.may_take(index, 5) is (index == 0 or kind == "killed")
        together.wait()

    crew.run(loop)
    assert told == ([("gpu 1", "no CUDA")] if is_out else [])


def test_the_device_of_the_last_loop_stays() -> None:
    crew = Shift([Killable("gpu 0"), Killable("gpu 1")])

    def loop(index: int, slot: Slot) -> None:
        if index == 0:
            return
        with crew.changed:
            while 0 in crew._present:
                crew.changed.wait(20)
        for work in range(9):
            assert crew.serves(index)
            assert crew.may_take(index, work - 1)
            with pytest.raises(WorkerError), crew.attempt(index, work):
                raise WorkerError("no CUDA", "device")

    crew.run(loop)
