"""Stopping a running study from elsewhere.

A driver on this machine gets the signal of a Ctrl-C: that reaches it when the database is away,
and if it does not react it can be killed. One on another machine, in another container, or in a
thread of a program that a signal would end, finds a word in the database, which it looks for every
few seconds.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from optuna.storages import RDBStorage

from core.errors import UserError
from hpo import attributes, lock
from hpo.folders import StudyFolder
from hpo.lock import Owner, is_alive
from hpo.names import check_name
from hpo.reading import read_study
from hpo.storage import Database, close, locate, telling
from hpo.storage.sqlite import SQLite

LOOK_EVERY_S = 3.0
"""How often a driver looks for a word."""
_AGAIN_S = 1.0
"""Between two signals: of two at once a process may see only one."""
_TELL_S, KILL_S = 10.0, 20.0
"""After so long a driver that has not stopped is spoken of, or, if it was to stop now, killed."""
_AWAY_S = 3.0
"""A driver that has lost its connection to a server, and its lock, has both again by then."""
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

    `now` kills running trials. On this machine a driver that does not react to that is killed
    after `KILL_S`, and the database is not needed, unless the driver does not take signals.

    Raises: UnknownStudyError; StopError where the owner cannot be told.
    """
    check_name(name, where="the study's name")
    runs = runs_dir.expanduser().resolve()
    folder, database = StudyFolder(runs, name), locate(storage_url, runs)
    owner = lock.owner_of(folder.lock)
    process = None if owner is None else _open_process(owner)
    if owner is not None and process is not None:
        say(f"{name}: asked {owner} to stop")
        with closing(process):
            return _Wait(name, owner, lambda: not lock.is_held(folder.lock), now, say).end(process)
    read_study(storage_url, name, runs)
    owner = _owner_of(database, name)
    if owner is None:
        return "not running"
    process = _open_process(owner)
    say(f"{name}: asked {owner} to stop")
    wait = _Wait(name, owner, lambda: not _is_owned(database, name), now, say)
    if process is not None:
        with closing(process):
            return wait.end(process)
    _leave_word(database, name, owner, now=now)
    return wait.end(None)


@contextmanager
def obeying(database: Database, study: str, interrupt: Callable[[], None]) -> Iterator[None]:
    """Inside, calls `interrupt` from a thread when the driver, this one, is asked to stop.

    Once to stop, twice to end trials at once.
    """
    done = threading.Event()
    thread = threading.Thread(
        target=_Requests(database, study, interrupt).obey,
        args=(done,),
        name="stop requests",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(_TELL_S)  # it may hang in a call; it is a daemon


class _Requests:
    """The words left for this driver, whose thread this is in."""

    def __init__(self, database: Database, study: str, interrupt: Callable[[], None]) -> None:
        self._database = database
        self._study = study
        self._interrupt = interrupt
        self._me: Owner | None = None
        self._storage: RDBStorage | None = None

    def obey(self, done: threading.Event) -> None:
        """Looks every few seconds until `done`."""
        calls = 0
        while not done.wait(LOOK_EVERY_S):
            try:
                wanted = self._wanted()
            except Exception as error:  # the next look may tell more
                logging.getLogger(__name__).debug("no look at stop requests: %s", error)
                self._close()
                continue
            for _ in range(wanted - calls):
                self._interrupt()
            calls = max(calls, wanted)
        self._close()
        if calls:
            self._forget()

    def _wanted(self) -> int:
        """How often this driver should have been interrupted: 0, 1 or, for all at once, 2."""
        # As others read it, with the moment from which this run has owned the study.
        self._me = self._me or self._database.owner_of(self._study)
        with telling(self._database):
            self._storage = self._storage or self._database.open_for_reading()
            identifier = self._storage.get_study_id_from_name(self._study)
            request = self._storage.get_study_user_attrs(identifier).get(attributes.STOP_REQUEST)
        if self._me is None or not isinstance(request, dict):
            return 0
        if request.get("owner") != asdict(self._me):
            return 0  # one to an earlier driver
        return 2 if request.get("now") else 1

    def _forget(self) -> None:
        """Takes away the word that was obeyed."""
        with suppress(Exception):  # none to a later run, as that owns the study from later on
            _write_word(self._database, self._study, None)

    def _close(self) -> None:
        if self._storage is not None:
            with suppress(Exception):
                close(self._storage)
            self._storage = None


def _owner_of(database: Database, study: str) -> Owner | None:
    """Who runs the study; `None` for nobody. Raises: StopError if that one gives no name."""
    give_up = time.monotonic() + _TELL_S
    while _is_owned(database, study):
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


def _is_owned(database: Database, study: str) -> bool:
    """Whether a driver owns the study, one that is just connecting again to a server too."""
    give_up = time.monotonic() + (0.0 if isinstance(database, SQLite) else _AWAY_S)
    while not database.is_owned(study):
        if time.monotonic() >= give_up:
            return False
        time.sleep(_WAIT_S)
    return True


class _Process:
    """The very process that owns a study, also when its number is given to another."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` is the kernel's of the process."""
        self._descriptor = descriptor

    def close(self) -> None:
        os.close(self._descriptor)

    @property
    def has_ended(self) -> bool:
        return bool(select.select([self._descriptor], [], [], 0)[0])

    def signal(self, number: signal.Signals) -> None:
        """Raises: StopError if it is another user's."""
        try:
            with suppress(ProcessLookupError):  # it has just ended
                signal.pidfd_send_signal(self._descriptor, number)
        except PermissionError:
            raise StopError(
                "the process that runs the study belongs to another user",
                way_out="Let that user stop it.",
            ) from None


def _open_process(owner: Owner) -> _Process | None:
    """The process that owns the study, to be closed; `None` if no signal is to go there.

    It is not on this machine, or more than its study would end.
    """
    if not hasattr(os, "pidfd_open") or not owner.takes_signals:
        return None
    try:
        process = _Process(os.pidfd_open(owner.pid))
    except OSError:
        return None
    if is_alive(owner):
        return process
    process.close()
    return None


@dataclass
class _Wait:
    """For a driver that was asked to stop."""

    study: str
    owner: Owner
    has_let_go: Callable[[], bool]
    now: bool
    say: Callable[[str], None]

    def end(self, process: _Process | None) -> How:
        """Signals `process`, where there is one on this machine, and waits."""
        begun = time.monotonic()
        signals, has_told = 0, False
        how: How = "stopped"
        while not (process is not None and process.has_ended) and not self.has_let_go():
            waited = time.monotonic() - begun
            if process is not None and signals < (2 if self.now else 1):
                if waited >= signals * _AGAIN_S:
                    signals += 1
                    process.signal(signal.SIGTERM)
            elif process is not None and self.now and waited > KILL_S:
                how = "killed"
                process.signal(signal.SIGKILL)
            if waited > _TELL_S and not has_told:
                has_told = True
                why, way_out = "its trials have checkpoints to save", "; --now kills the trials"
                if self.now:
                    why, way_out = "it hangs", ""
                self.say(
                    f"{self.study}: {self.owner} is still running: {why}, or it cannot be "
                    f"reached. Ctrl-C here leaves it to that{way_out}."
                )
            time.sleep(_WAIT_S)
        return how


def _leave_word(database: Database, study: str, owner: Owner, *, now: bool) -> None:
    _write_word(database, study, {"owner": asdict(owner), "now": now})


def _write_word(database: Database, study: str, word: dict[str, Any] | None) -> None:
    with telling(database):
        storage = database.open_for_request()
        try:
            identifier = storage.get_study_id_from_name(study)
            storage.set_study_user_attr(identifier, attributes.STOP_REQUEST, word)
        finally:
            close(storage)
