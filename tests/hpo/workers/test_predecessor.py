"""Whom a worker may end to get at a trial's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from toy_work import config

from hpo.processes import ProcessId
from hpo.workers import child, predecessor
from hpo.workers.messages import Job
from hpo.workers.predecessor import OccupiedError


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command, start_new_session=True) as process:
        yield process
        process.kill()


def _dead() -> ProcessId:
    alive = _id(os.getpid())
    return replace(alive, start=alive.start - 1)


def _id(pid: int) -> ProcessId:
    found = ProcessId.of(pid)
    assert found is not None
    return found


def _write(folder: Path, worker: ProcessId, driver: ProcessId) -> None:
    said = f'{{"worker": {_json(worker)}, "driver": {_json(driver)}}}'
    (folder / ".worker.json").write_text(said)


def _json(one: ProcessId) -> str:
    return f'{{"pid": {one.pid}, "start": {one.start}, "boot": "{one.boot}"}}'


def test_a_worker_of_a_dead_driver_is_ended(
    holder: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    _write(tmp_path, _id(holder.pid), _dead())
    predecessor._end_orphan(tmp_path)
    assert holder.wait(10) == -9


@pytest.mark.parametrize("case", ["driver lives", "other process", "other boot", "no record"])
def test_nobody_else_is(case: str, holder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    worker, driver = _id(holder.pid), _dead()
    if case == "driver lives":
        driver = _id(os.getpid())
    elif case == "other process":  # the number was used again
        worker = replace(worker, start=worker.start - 1)
    elif case == "other boot":
        worker, driver = replace(worker, boot="b"), replace(driver, boot="b")
    if case == "no record":
        (tmp_path / ".worker.json").write_text("{")
    else:
        _write(tmp_path, worker, driver)
    predecessor._end_orphan(tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        holder.wait(0.3)


def test_a_folder_that_stays_occupied_is_not_the_trials_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predecessor, "_PATIENCE_S", 0.1)
    job = Job("run", (3, 1), config("fine"), tmp_path)
    with (
        predecessor.occupying(tmp_path, None),
        pytest.raises(OccupiedError) as caught,
        predecessor.occupying(tmp_path, None),
    ):
        pass
    failed = child._failure_of(caught.value, job)
    assert (failed.kind, failed.line) == ("lost", str(caught.value))
    assert str(tmp_path) in failed.line


def test_a_process_that_is_gone_has_no_identity() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        while ProcessId.of(process.pid) is not None:  # a zombie is gone
            pass
    assert ProcessId.of(process.pid) is None
    assert ProcessId.of(os.getpid()) == _id(os.getpid())
