"""Stopping a running study from elsewhere.

A driver on this machine gets the signal of a Ctrl-C: that reaches it when the database is away,
and if it does not react it can be killed. One on another machine, or in another container, finds a
word in the database, which it looks for every few seconds.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from core.errors import UserError
from hpo import attributes
from hpo.lock import Owner, is_alive
from hpo.reading import read_study
from hpo.storage import Database, close, locate, telling

LOOK_EVERY_S = 3.0
"""How often a driver looks for a word."""
_AGAIN_S = 1.0
"""Between two signals: of two at once a process may see only one."""
_TELL_S, KILL_S = 10.0, 20.0
"""After so long a driver that has not stopped is spoken of, or, if it was to stop now, killed."""
_WAIT_S = 0.2

How = Literal["not running", "stopped", "killed"]


class StopError(UserError):
    """A study that cannot be stopped from here."""


def stop_study(
    storage_url: str | None,
    name: str,
    runs_dir: Path,
    *,
    now: bool,
    say: Callable[[str], None],
) -> How:
    """Asks the driver of the study called `name` to stop, and waits until it has.

    `now` ends running trials at once. On this machine a driver that does not react to that is
    killed after `KILL_S`.

    Raises: UnknownStudyError; StopError where the owner cannot be told.
    """
    read_study(storage_url, name, runs_dir)
    database = locate(storage_url, runs_dir.expanduser().resolve())
    owner = _owner_of(database, name)
    if owner is None:
        return "not running"
    process = _open_process(owner)
    say(f"{name}: asked {owner} to stop")
    try:
        if process is None:
            _leave_word(database, name, owner, now=now)
        return _wait(database, name, owner, process, now=now, say=say)
    finally:
        if process is not None:
            os.close(process)


@contextmanager
def obeying(database: Database, study: str) -> Iterator[None]:
    """Inside, this process, which owns the study, stops as by Ctrl-C when it is asked to."""
    done, me = threading.Event(), Owner.myself()

    def look() -> None:
        signals = 0
        while not done.wait(LOOK_EVERY_S):
            wanted = _signals_wanted(database, study, me)
            while signals < wanted and not done.is_set():
                signals += 1
                os.kill(os.getpid(), signal.SIGTERM)
                done.wait(_AGAIN_S)

    thread = threading.Thread(target=look, name="stop requests", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _owner_of(database: Database, study: str) -> Owner | None:
    """Who runs the study; `None` for nobody. Raises: StopError if that one gives no name."""
    give_up = time.monotonic() + _TELL_S
    while database.is_owned(study):
        owner = database.owner_of(study)
        if owner is not None:
            return owner
        if time.monotonic() > give_up:
            raise StopError(
                "it is being run by a process that has not given its name",
                where=f"study {study!r}",
                way_out="Try again, or stop that process with Ctrl-C.",
            )
        time.sleep(_WAIT_S)
    return None


def _open_process(owner: Owner) -> int | None:
    """A descriptor of the very process that owns the study; `None` if it is not on this machine.

    The descriptor goes on meaning that process when its number is given to another.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        process = os.pidfd_open(owner.pid)
    except OSError:
        return None
    if is_alive(owner):
        return process
    os.close(process)
    return None


def _wait(
    database: Database,
    study: str,
    owner: Owner,
    process: int | None,
    *,
    now: bool,
    say: Callable[[str], None],
) -> How:
    begun = time.monotonic()
    sent, has_told = 0, False
    how: How = "stopped"
    while database.is_owned(study):
        waited = time.monotonic() - begun
        if process is not None and (not sent or (now and waited > sent * _AGAIN_S)):
            sent += 1
            if now and waited > KILL_S:
                how = "killed"
            _signal(process, signal.SIGKILL if how == "killed" else signal.SIGTERM)
        if waited > _TELL_S and not has_told:
            has_told = True
            say(
                f"{study}: {owner} is still running. It waits for its trials to save their "
                "checkpoints, or it cannot be reached. Ctrl-C here leaves it to that"
                + ("." if now else "; --now ends the trials at once.")
            )
        time.sleep(_WAIT_S)
    return how


def _signal(process: int, number: signal.Signals) -> None:
    try:
        with suppress(ProcessLookupError):  # it has just ended
            signal.pidfd_send_signal(process, number)
    except PermissionError:
        raise StopError(
            "the process that runs the study belongs to another user",
            way_out="Let that user stop it.",
        ) from None


def _leave_word(database: Database, study: str, owner: Owner, *, now: bool) -> None:
    with telling(database), _closing(database.open_for_request()) as storage:
        identifier = storage.get_study_id_from_name(study)
        request = {"owner": _identity(owner), "now": now}
        storage.set_study_user_attr(identifier, attributes.STOP_REQUEST, request)


def _signals_wanted(database: Database, study: str, me: Owner) -> int:
    """How often this driver should have been signalled: 0, 1 or, to end trials at once, 2."""
    try:
        with telling(database), _closing(database.open_for_reading()) as storage:
            identifier = storage.get_study_id_from_name(study)
            request = storage.get_study_user_attrs(identifier).get(attributes.STOP_REQUEST)
    except (UserError, KeyError) as error:
        # The database is away, or the study is not in it yet: the next look may tell more.
        logging.getLogger(__name__).debug("no look at stop requests: %s", error)
        return 0
    if not isinstance(request, dict) or request.get("owner") != _identity(me):
        return 0  # none, or one to an earlier driver
    return 2 if request.get("now") else 1


def _identity(owner: Owner) -> dict[str, Any]:
    """What tells a process from every other; the time of owning differs from lock to lock."""
    return {key: value for key, value in asdict(owner).items() if key != "since"}


@contextmanager
def _closing(storage: Any) -> Iterator[Any]:
    try:
        yield storage
    finally:
        close(storage)
