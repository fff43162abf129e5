"""The slots at work together: a loop each, how they are stopped, and what is known of the devices.

Search, finals and the test set each give it their loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from hpo.faults import Quarantine
from hpo.interrupts import listening
from hpo.slots import Slot, WorkerError, serve

GRACE_S = 3.0
"""In which work that was asked to leave may do so, before its process is killed."""
LOOK_EVERY_S = 0.2
_Loop = Callable[[int, Slot], None]


@dataclass
class _Attempt:
    """What a slot is at."""

    is_overdue: Callable[[], bool]
    since: float | None = None
    """When it was first seen to be overdue."""
    is_killed: bool = False


class Shift:
    """All slots of one run of a study. Loops call it from the slots' threads."""

    def __init__(
        self,
        slots: Sequence[Slot],
        on_quarantine: Callable[[str, str], None] = lambda device, reason: None,
    ) -> None:
        """`on_quarantine` is told a device that is given no more work, and why."""
        self.slots = slots
        self.changed = threading.Condition(threading.RLock())
        """The one lock by which the loops' calls take turns; notified of what may free work."""
        self._on_quarantine = on_quarantine
        self._quarantine = Quarantine()
        self._attempts: dict[int, _Attempt] = {}
        self._present: set[int] = set()
        """Slots whose loop has not ended."""
        self._interrupts = 0
        self._error: BaseException | None = None

    def run(self, loop: _Loop) -> None:
        """Runs `loop(index, slot)` for all slots at once until all have returned.

        A loop is to return soon once the shift `is_stopping`. Raises: what the first loop to fail
        raised, when the others have ended.
        """
        self._present = set(range(len(self.slots)))
        with listening(self.interrupt), self._watching():
            serve(self.slots, partial(self._guard, loop))
        if self._error is not None:
            raise self._error

    def interrupt(self) -> None:
        """Asks for an end; the second time what runs is killed.

        Called by signal handlers: takes no lock.
        """
        self._interrupts += 1
        if self._interrupts > 1:
            for slot in self.slots:
                slot.kill()

    def fail(self, error: BaseException) -> None:
        """Ends the shift; the first error is what `run` raises."""
        with self.changed:
            self._error = self._error or error
            self.changed.notify_all()

    @property
    def is_interrupted(self) -> bool:
        return self._interrupts > 0

    @property
    def has_failed(self) -> bool:
        return self._error is not None

    @property
    def is_stopping(self) -> bool:
        return self.is_interrupted or self.has_failed

    def narrow(self, count: int) -> None:
        """Leaves work to the first `count` slots."""
        self.slots = self.slots[:count]

    def serves(self, index: int) -> bool:
        """Whether a slot is given work: not one whose device is in quarantine."""
        return self.slots[index].device not in self._quarantine.devices

    def may_take(self, index: int, work: Hashable) -> bool:
        """Whether work is for a slot: what broke down on its device is for another, if any."""
        return self._quarantine.may_take(self.slots[index].device, work, self._others(index))

    @contextmanager
    def attempt(
        self, index: int, work: Hashable, is_overdue: Callable[[], bool] = lambda: False
    ) -> Iterator[None]:
        """Surrounds a slot's work, which is killed once it has been overdue for `GRACE_S`.

        How it ends tells of the slot's device. `is_overdue` is asked with the lock held.
        """
        attempt = _Attempt(is_overdue)
        with self.changed:
            self._attempts[index] = attempt
        try:
            yield
        except WorkerError as fault:
            with self.changed:
                if not self.is_stopping and not attempt.is_killed:
                    self._note_fault(index, work, fault)
            raise
        else:
            with self.changed:
                self._quarantine.note_success(self.slots[index].device, work)
        finally:
            with self.changed:
                del self._attempts[index]

    def _note_fault(self, index: int, work: Hashable, fault: WorkerError) -> None:
        device, others = self.slots[index].device, self._others(index)
        if self._quarantine.note_fault(device, work, fault.kind, others):
            self._on_quarantine(device, fault.reason)

    def _others(self, index: int) -> set[str]:
        """The devices of the other slots that are still there."""
        return {self.slots[one].device for one in self._present} - {self.slots[index].device}

    def _guard(self, loop: _Loop, index: int, slot: Slot) -> None:
        try:
            loop(index, slot)
        except BaseException as error:  # raised by `run`, once the other slots have stopped too
            self.fail(error)
        finally:
            with self.changed:
                self._present.discard(index)
                self.changed.notify_all()

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Enforces the end of what is overdue, from a thread."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(LOOK_EVERY_S):
                with self.changed:
                    for index, attempt in self._attempts.items():
                        try:
                            self._enforce(index, attempt)
                        except Exception as error:  # the others are to be watched all the same
                            self.fail(error)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _enforce(self, index: int, attempt: _Attempt) -> None:
        if self._interrupts > 1:  # said when this work was not yet at its worker, it may be
            self.slots[index].kill()
            return
        if not (self.has_failed or attempt.is_overdue()):
            attempt.since = None
            return
        now = time.monotonic()
        attempt.since = now if attempt.since is None else attempt.since
        if now - attempt.since > GRACE_S:
            attempt.is_killed = True
            self.slots[index].kill()
