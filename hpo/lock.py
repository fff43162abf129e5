"""One driver a study: who owns it, and the operating system's lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import UserError
from hpo.folders import make_private, write_json
from hpo.processes import ProcessId

PATIENCE_S = 1.0
"""How long an owner-to-be waits. A reader that looks whether a study is owned holds the lock for
an instant (see `is_held`), which must not turn a driver away."""


class StudyOwnedError(UserError):
    """A second driver wanted a study that a living one owns."""

    def __init__(self, study: str, owner: Owner | None) -> None:
        """`owner` is `None` where it has not yet given its name."""
        super().__init__(
            f"study {study!r} is being run by {owner or 'another process'}",
            way_out=f"Wait for it, stop it with `hpo stop {study}`, or run the declaration "
            "with --name NEW.",
        )


class StudyTakenOverError(UserError):
    """A driver that lost its connection, and with it the lock, found another one in its place."""

    def __init__(self, study: str, owner: Owner | None) -> None:
        """`owner` is `None` where it has ended since, or not yet given its name."""
        super().__init__(
            f"while the database was out of reach, study {study!r} was taken over by "
            f"{owner or 'another process'}; this run stores nothing more",
            way_out="Leave the study to it, or run again when it has ended.",
        )


@dataclass(frozen=True)
class Owner:
    """The process that owns a study; written for those who want to name it, or to stop it."""

    host: str
    pid: int
    since: str
    """UTC, ISO 8601, to the second."""
    boot: str = ""
    """With `started`, as a `ProcessId` has it; empty where the kernel says nothing of that."""
    started: int = 0
    takes_signals: bool = True
    """Whether a SIGTERM ends its study alone: Python lets only the main thread listen for one."""

    @classmethod
    def myself(cls) -> Owner:
        """The calling process, owner from now on in this thread."""
        pid, now = os.getpid(), datetime.now(UTC).isoformat("T", "seconds")
        me = ProcessId.of(pid) or ProcessId(pid, 0, "")
        is_main = threading.current_thread() is threading.main_thread()
        return cls(socket.gethostname(), pid, now, me.boot, me.start, is_main)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def is_alive(owner: Owner) -> bool | None:
    """Whether that very process still runs, not one that was given its number since.

    `None` where that cannot be known: it is on another machine, or the kernel does not say.
    """
    here = ProcessId.of(os.getpid())
    if owner.host != socket.gethostname() or not owner.boot or here is None:
        return None
    if owner.boot != here.boot:  # of another boot, or merely of another container
        return None if owner.boot.split()[0] == here.boot.split()[0] else False
    return ProcessId.of(owner.pid) == ProcessId(owner.pid, owner.started, owner.boot)


@contextlib.contextmanager
def own(path: Path, study: str) -> Iterator[None]:
    """Holds the lock at `path` for the study called `study`.

    The operating system lets go of it when the process ends, however it ends; the file stays.
    Raises: StudyOwnedError, naming the owner, if another process or thread holds it.
    """
    make_private(path.parent)
    lock = FileLock(path, thread_local=False, mode=0o600)
    try:
        lock.acquire(timeout=PATIENCE_S, poll_interval=0.02)
    except Timeout:
        raise StudyOwnedError(study, _name_beside(path)) from None
    try:
        write_json(_beside(path), asdict(Owner.myself()))
        yield
    finally:
        _beside(path).unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock at `path`; creates nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that two readers do not take each other for the owner.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def owner_of(path: Path) -> Owner | None:
    """Who holds the lock at `path`; `None` for nobody, or one that has not yet given its name."""
    return _name_beside(path) if is_held(path) else None


def _beside(path: Path) -> Path:
    return path.with_suffix(".owner.json")


def _name_beside(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(_beside(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        # The owner holds the lock but has not written its name yet, or is just leaving.
        return None
