"""Where the slots of one machine get their children, and one more is kept ready."""

from __future__ import annotations

import threading
from collections.abc import Callable

from hpo.slots import WorkerError
from hpo.workers.memory import available_bytes
from hpo.workers.messages import Hello, Station, Warm
from hpo.workers.process import ChildProcess

_ROOM = 1 << 30
"""Bytes that are to be free before a spare is started. It takes about a quarter, and the trials
should be able to grow."""


class Nursery:
    """Gives the slots of a group their children.

    A spare child has imported what takes seconds and knows no device yet, so that a slot whose
    child broke down goes on at once. It is begun when all children that were given out have done
    their imports, from which it would take the cores, and one is at work.
    """

    def __init__(self, hello: Hello, say: Callable[[str], None] | None = None) -> None:
        """`say` is told, once, why no spare is kept."""
        self._hello = hello
        self._say = say
        self._lock = threading.Lock()
        self._members: set[object] = set()
        self._starting: set[ChildProcess] = set()
        """Given out, and not yet at work; a slot may have no work for its own."""
        self._is_wanted = False
        """Whether a child has begun to work since a spare was last thought of."""
        self._spare: ChildProcess | None = None

    def join(self, slot: object) -> None:
        """A slot will ask for children."""
        with self._lock:
            self._members.add(slot)

    def leave(self, slot: object) -> None:
        """A slot asks for no more; with the last one the spare ends."""
        with self._lock:
            self._members.discard(slot)
            spare = None
            if not self._members:
                spare, self._spare = self._spare, None
        if spare is not None:
            spare.destroy()

    def take(self, gpu: str | None) -> ChildProcess:
        """A child for a slot, which is to see this GPU alone.

        Raises: WorkerError if none can be started.
        """
        with self._lock:
            child, self._spare = self._spare, None
        if child is not None:
            try:
                child.send(Station(gpu))
                has_died = child.has_died
            except WorkerError:
                has_died = True
            if has_died:  # in waiting
                child.destroy()
                child = None
        if child is None:
            child = ChildProcess(self._hello)
            try:
                child.send(Station(gpu))
                child.send(Warm())
            except WorkerError:
                child.destroy()
                raise
        with self._lock:
            self._starting.add(child)
        return child

    def has_begun(self, child: ChildProcess) -> None:
        """A child is at work, or still is; the spare begins when all others have warmed up."""
        with self._lock:
            if child in self._starting:
                self._starting.remove(child)
                self._is_wanted = True
            if not self._is_wanted or self._spare is not None or not self._members:
                return
            if all(one.has_spoken for one in self._starting):
                self._is_wanted = False
                self._spare = self._begin()

    def bury(self, child: ChildProcess) -> None:
        """Ends a child of which nothing more is wanted."""
        child.destroy()
        with self._lock:
            self._starting.discard(child)

    def _begin(self) -> ChildProcess | None:
        free = available_bytes()
        if free is not None and free < _ROOM:
            self._refuse(f"{free / 2**30:.1f} GiB of memory are free")
            return None
        try:
            spare = ChildProcess(self._hello)
        except WorkerError as fault:
            self._refuse(fault.reason)
            return None
        try:
            spare.send(Warm())
        except WorkerError as fault:
            self._refuse(fault.reason)
            spare.destroy()
            return None
        return spare

    def _refuse(self, why: str) -> None:
        say, self._say = self._say, None
        if say is not None:
            say(f"no spare worker is kept, so that a dead one takes seconds to replace: {why}")
