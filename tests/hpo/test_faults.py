"""What breakdowns cost a trial, a device, a study: laws over made-up sequences."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.endings import Ending
from hpo.faults import (
    FAULTS_OF_A_DEVICE,
    MOST_EXCUSED,
    MOST_FAULTS,
    Breakdowns,
    FailureRow,
    Quarantine,
)
from hpo.slots import BreakdownKind, WorkerError

TELLING: list[BreakdownKind] = ["error", "died", "hung", "memory", "device"]
EXCUSED: list[BreakdownKind] = ["killed", "lost"]
kinds = st.sampled_from(TELLING + EXCUSED)
STEPS = 7
"""Evaluations of a trial in these tests."""


def attempts_until_given_up(history: list[tuple[BreakdownKind, int]]) -> int:
    """How many attempts of such a history are made: each ends in a kind, so many steps on."""
    found, step = Breakdowns(), 0
    for count, (kind, further) in enumerate(history, start=1):
        step = min(step + further, STEPS)
        found = found.after(kind, step)
        if found.verdict(WorkerError("broke", kind)) is not None:
            return count
    return len(history)


@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(0, 1))
def test_no_trial_is_tried_for_ever(seed: int, luck: float, outside: float) -> None:
    chance = random.Random(seed)
    history: list[tuple[BreakdownKind, int]] = [
        (
            chance.choice(EXCUSED if chance.random() < outside else TELLING),
            int(chance.random() < luck),
        )
        for _ in range(200)
    ]
    # Each evaluation is reached once; from each on so many attempts may come to nothing.
    bound = MOST_FAULTS + MOST_EXCUSED * (STEPS + 1)
    assert attempts_until_given_up(history) <= bound


@given(st.lists(st.tuples(st.sampled_from(EXCUSED), st.integers(1, 1)), max_size=STEPS))
def test_what_comes_from_outside_costs_no_trial_that_gets_further(
    history: list[tuple[BreakdownKind, int]],
) -> None:
    found = Breakdowns()
    for step, (kind, _) in enumerate(history, start=1):
        found = found.after(kind, step)
        assert found.verdict(WorkerError("killed", kind)) is None
    assert found.faults == 0


@given(st.lists(st.tuples(kinds, st.integers(0, 9)), max_size=30))
def test_what_is_stored_is_what_was_counted(history: list[tuple[BreakdownKind, int]]) -> None:
    found = Breakdowns()
    for kind, step in history:
        found = Breakdowns.stored(found.attributes).after(kind, step)
    assert Breakdowns.stored(found.attributes) == found
    assert found.faults == sum(kind in TELLING for kind, _ in history)


def test_a_study_of_an_earlier_version_is_read() -> None:
    assert Breakdowns.stored({"faults": 1}) == Breakdowns(faults=1)
    assert Breakdowns.stored({}) == Breakdowns()


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([("died", 0)], None),
        ([("died", 0), ("error", 0)], "broke"),
        ([("died", 3), ("error", 3)], "broke"),
        ([("died", 3), ("error", 6)], None),
        ([("died", 3), ("killed", 3), ("lost", 3)], None),
        ([("died", 3), ("killed", 3), ("died", 3)], "broke"),
        ([("died", 3), ("killed", 6), ("died", 6)], None),
        ([("killed", 0)] * 19, None),
        ([("killed", 0)] * 20, "20 attempts in a row came to nothing: broke"),
        ([("killed", 0)] * 19 + [("killed", 3)], None),
        ([("died", 3 * n) for n in range(9)], None),
        (
            [("died", 3 * n) for n in range(10)],
            "it broke down 10 times, at last so: broke",
        ),
    ],
)
def test_a_trial_is_given_up_when(
    history: list[tuple[BreakdownKind, int]], reason: str | None
) -> None:
    found = Breakdowns()
    for kind, step in history:
        found = found.after(kind, step)
    assert found.verdict(WorkerError("broke", history[-1][0])) == reason


# Devices


def test_three_in_a_row_of_two_trials_are_the_devices_fault() -> None:
    ward = Quarantine()
    assert [ward.note_fault("gpu 1", work, "died", {"gpu 0"}) for work in (4, 4, 4, 5)] == [
        False,
        False,
        False,
        True,
    ]
    assert ward.devices == {"gpu 1"}


def test_an_attempt_that_ends_well_ends_the_row() -> None:
    ward = Quarantine()
    for work in (4, 5):
        ward.note_fault("gpu 1", work, "device", {"gpu 0"})
    ward.note_success("gpu 1", 6)
    assert not any(ward.note_fault("gpu 1", work, "device", {"gpu 0"}) for work in (7, 8))


def test_a_trial_that_breaks_down_on_two_devices_is_evidence_against_neither() -> None:
    ward = Quarantine()
    for work in range(10):
        assert not ward.note_fault("gpu 0", work, "memory", {"gpu 1"})
        assert not ward.note_fault("gpu 1", work, "memory", {"gpu 0"})


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.none() | kinds), max_size=120))
def test_the_last_device_stays_and_what_comes_from_outside_counts_for_nothing(
    events: list[tuple[int, int, BreakdownKind | None]],
) -> None:
    names = [f"gpu {index}" for index in range(4)]
    ward, faults = Quarantine(), 0
    for index, work, kind in events:
        device = names[index]
        if device in ward.devices:
            continue
        if kind is None:
            ward.note_success(device, work)
            continue
        faults += kind in TELLING
        ward.note_fault(device, work, kind, set(names) - {device})
        # Somebody can always take the work up.
        assert any(
            ward.may_take(one, work, set(names) - {one})
            for one in names
            if one not in ward.devices
        )
    assert len(ward.devices) < len(names)
    assert len(ward.devices) * FAULTS_OF_A_DEVICE <= faults


def test_what_broke_down_goes_elsewhere_if_there_is_an_elsewhere() -> None:
    ward = Quarantine()
    ward.note_fault("gpu 1", 7, "lost", {"gpu 0"})
    assert not ward.may_take("gpu 1", 7, {"gpu 0"})
    assert ward.may_take("gpu 0", 7, {"gpu 1"})
    assert ward.may_take("gpu 1", 8, {"gpu 0"})
    assert ward.may_take("gpu 1", 7, ())
    ward.note_success("gpu 0", 7)
    assert ward.may_take("gpu 1", 7, {"gpu 0"})
    ward.note_fault("gpu 1", 7, "killed", {"gpu 0"})
    assert ward.may_take("gpu 1", 7, {"gpu 0"})


# Studies


def test_failures_are_counted_over_kinds_and_memory_by_itself_is_a_finding() -> None:
    died = Ending("failed", None, "died", "")
    hung = Ending("failed", None, "hung", "")
    memory = Ending("pruned", None, "memory", "", "memory")
    diverged = Ending("pruned", 1.0, "diverged", "", "diverged")
    row = FailureRow()
    counts = [
        row.note(ending, is_any_complete=True)
        for ending in (died, hung, memory, died, diverged, memory, hung)
    ]
    assert counts == [1, 2, 2, 3, 0, 0, 1]
    row = FailureRow()
    assert [row.note(memory, is_any_complete=False) for _ in range(3)] == [1, 2, 3]
