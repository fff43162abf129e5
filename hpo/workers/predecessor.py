"""A trial's folder belongs to one worker at a time, and an orphan in it is ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from hpo.processes import ProcessId

_PATIENCE_S = 120.0
"""How long a worker waits for one whose driver may be alive."""


class OccupiedError(Exception):
    """Another worker is in a trial's folder, which says nothing about the trial."""


@contextlib.contextmanager
def occupying(folder: Path, driver: ProcessId | None) -> Iterator[None]:
    """Holds a trial's folder for this process, which works for `driver`.

    A worker of a dead driver is ended, even if it is stopped: what it would still write counts
    for nothing. Raises: OccupiedError if another holds the folder for two minutes.
    """
    lock = FileLock(folder / ".worker.lock", mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _end_orphan(folder)
        try:
            lock.acquire(timeout=_PATIENCE_S)
        except Timeout:
            raise OccupiedError(
                f"another worker has been in {folder} for {_PATIENCE_S:.0f} s"
            ) from None
    try:
        _write(folder, driver)
        yield
    finally:
        lock.release()


def _write(folder: Path, driver: ProcessId | None) -> None:
    worker = ProcessId.of(os.getpid())
    names = {} if worker is None or driver is None else {"worker": worker, "driver": driver}
    text = json.dumps({name: asdict(process) for name, process in names.items()})
    (folder / ".worker.json").write_text(text, encoding="utf-8")


def _end_orphan(folder: Path) -> None:
    try:
        written = json.loads((folder / ".worker.json").read_text(encoding="utf-8"))
        worker, driver = ProcessId(**written["worker"]), ProcessId(**written["driver"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    myself = ProcessId.of(os.getpid())
    # Of another machine, or another container, nothing can be said.
    if myself is None or {worker.boot, driver.boot} != {myself.boot}:
        return
    if ProcessId.of(worker.pid) == worker and ProcessId.of(driver.pid) != driver:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)  # with what it has started
