"""The spare child: when it is begun, who gets it, when there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from toy_work import MakeWork

from core.task import Verdict
from hpo.options import RunOptions
from hpo.slots import WorkerError
from hpo.workers import nursery
from hpo.workers.local import LocalSlot, local_slots
from hpo.workers.messages import Job
from hpo.workers.process import ChildProcess

HERE = Path(__file__).parent


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def slots(tmp_path: Path, said: list[str]) -> Iterator[Sequence[Any]]:
    made = local_slots(
        RunOptions(jobs=2), tmp_path / "cache", module="toy_troubles", say=said.append
    )
    yield made
    for slot in made:
        slot.close()


def _go_on(_event: object) -> Verdict:
    return Verdict.CONTINUE


def _spare(slot: LocalSlot) -> int | None:
    spare = slot._nursery._spare
    return None if spare is None else spare.pid


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def test_a_dead_child_is_replaced_by_the_spare_and_the_spare_by_another(
    slots: Sequence[Any], make_work: MakeWork
) -> None:
    slot, other = slots
    assert _spare(slot) is None, "none before the slots' own children are at work"
    own = slot.run(make_work(), _go_on).facts["pid"]
    first = _spare(slot)
    assert first not in (None, own)
    assert other._child is None
    with pytest.raises(WorkerError):
        slot.run(make_work("exit", 1), _go_on)
    assert not _is_alive(own)
    facts = slot.run(make_work("exit", 1), _go_on).facts
    assert facts["pid"] == first
    assert facts["warmed"] == [first]
    second = _spare(slot)
    assert second not in (None, first)
    assert other.run(make_work(number=2), _go_on).facts["pid"] == second
    last = _spare(slot)
    assert last is not None
    slot.close()
    assert _is_alive(last), "the other slot may need it"
    other.close()
    assert not _is_alive(last)


def test_no_spare_is_begun_while_a_slots_own_child_starts(
    slots: Sequence[Any], make_work: MakeWork
) -> None:
    for slot in slots:
        slot.warm()
    os.kill(slots[1]._child.pid, signal.SIGSTOP)
    slots[0].run(make_work(), _go_on)
    assert _spare(slots[0]) is None
    os.kill(slots[1]._child.pid, signal.SIGCONT)
    slots[1].run(make_work(number=1), _go_on)
    assert _spare(slots[0]) is not None


def test_a_warm_child_without_work_prevents_no_spare(
    slots: Sequence[Any], make_work: MakeWork
) -> None:
    for slot in slots:
        slot.warm()
    _wait_until(lambda: slots[1]._child.has_spoken)
    slots[0].run(make_work(), _go_on)
    assert _spare(slots[0]) is not None


def test_a_child_that_is_killed_before_it_has_its_job_costs_no_attempt(
    slots: Sequence[Any], make_work: MakeWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = []
    begin = ChildProcess.begin

    def begin_too_late(child: ChildProcess, job: Job) -> None:
        if not killed:
            killed.append(child.pid)
            child.kill()
        begin(child, job)

    monkeypatch.setattr(ChildProcess, "begin", begin_too_late)
    facts = slots[0].run(make_work(), _go_on).facts
    assert facts["pid"] not in killed
    assert len(killed) == 1


def test_a_spare_that_died_in_waiting_costs_no_trial(
    slots: Sequence[Any], make_work: MakeWork
) -> None:
    slot, other = slots
    slot.run(make_work(), _go_on)
    spare = slot._nursery._spare
    spare.kill()
    spare._process.wait()
    assert other.run(make_work(number=1), _go_on).facts["pid"] != spare.pid


@pytest.mark.parametrize("trouble", ["family", "silent family"])
def test_what_a_worker_has_started_ends_with_it(
    trouble: str, slots: Sequence[Any], make_work: MakeWork, tmp_path: Path
) -> None:
    started = tmp_path / "0000" / "started"

    def kill_when_it_is_silent() -> None:
        _wait_until(lambda: started.exists() and started.read_text())
        slots[0].kill()

    if trouble == "silent family":
        threading.Thread(target=kill_when_it_is_silent).start()
    with pytest.raises(WorkerError, match="was killed"):
        slots[0].run(make_work(trouble), _go_on)
    pid = int(started.read_text())
    _wait_until(lambda: not _is_alive(pid), 5.0)


def test_where_memory_is_short_no_spare_is_kept_and_that_is_said_once(
    slots: Sequence[Any],
    make_work: MakeWork,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nursery, "available_bytes", lambda: 700 * 2**20)
    for number, slot in enumerate(slots):
        slot.run(make_work(number=number), _go_on)
        assert _spare(slot) is None
    assert said == [
        "no spare worker is kept, so that a dead one takes seconds to replace: "
        "0.7 GiB of memory are free"
    ]


DRIVER = """
import os, pathlib, sys
sys.path[:0] = {paths!r}
from toy_work import config
from core.task import Verdict
from hpo.options import RunOptions
from hpo.slots import Work
from hpo.workers.local import local_slots

folder = pathlib.Path(sys.argv[1])
(slot,) = local_slots(RunOptions(jobs=1), folder / "cache", module="toy_troubles")
slot.run(Work(0, 1, config("fine"), folder / "0000"), lambda _: Verdict.CONTINUE)

def answer(event):
    print(slot._child.pid, slot._nursery._spare.pid, flush=True)
    return Verdict.CONTINUE

slot.run(Work(1, 1, config(sys.argv[2]), folder / "0001"), answer)
"""


def _children_of_a_killed_driver(folder: Path, trouble: str, *, stop: bool = False) -> list[int]:
    """A driver's child in trouble and its spare, when the driver has just been killed."""
    paths = [str(HERE), str(HERE.parent), str(HERE.parents[2])]
    script = folder / "driver.py"
    script.write_text(DRIVER.format(paths=paths))
    with subprocess.Popen(
        [sys.executable, str(script), str(folder), trouble], stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdout is not None
        pids = [int(word) for word in driver.stdout.readline().split()]
        assert len(pids) == 2
        if trouble == "frozen":
            _wait_until(lambda: _state(pids[0]) == "T")
        for pid in pids if stop else ():
            _wait_until(lambda pid=pid: _ignores(pid, signal.SIGTERM))  # its `main` has begun
            os.kill(pid, signal.SIGSTOP)
        driver.kill()
    return pids


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _ignores(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text().split("SigIgn:")[1].split()[0]
    return bool(int(status, 16) >> (number - 1) & 1)


def _wait_until(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_all_children_end_with_their_driver_stopped_ones_too(tmp_path: Path) -> None:
    pids = _children_of_a_killed_driver(tmp_path, "silent", stop=True)
    _wait_until(lambda: not any(map(_is_alive, pids)), 5.0)


def test_a_frozen_orphan_is_ended_by_the_next_attempts_child(
    make_work: MakeWork, tmp_path: Path
) -> None:
    orphan, _ = _children_of_a_killed_driver(tmp_path, "frozen")
    assert _state(orphan) == "T"
    (slot,) = local_slots(RunOptions(jobs=1), tmp_path / "cache", module="toy_troubles")
    begun = time.monotonic()
    try:
        assert slot.run(make_work("frozen", 1), _go_on).value == 1.0
    finally:
        slot.close()
        if _is_alive(orphan):
            os.kill(orphan, signal.SIGKILL)
    assert time.monotonic() - begun < 60
    assert not _is_alive(orphan)
