"""Seats: slots of one place that share a child, in which their trials are trained as one.

A place with K seats is K slots to the driver. Their conductor takes those who wait for the child
and have a structure in common, and has it train them together (`core.fused`). A seat returns its
outcome when its trial has left; whoever comes meanwhile waits for the next company.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.registry import digest_of_shared, find_task
from core.settings import RunConfig
from core.task import Evaluation, OnEvent, Outcome, Progress, Scores, Verdict
from hpo.slots import Work, WorkerError
from hpo.workers.devices import Place
from hpo.workers.local import LocalSlot

_GATHER_S = 1.0
"""So long after the last one came others are waited for. The driver makes up to one trial after
another, each with what the sampler proposes."""
_SIGN_EVERY_S = 0.5


@dataclass(eq=False)
class _Order:
    """What a seat wants done."""

    do: Callable[[], Any]
    """Does it alone."""
    on_event: OnEvent
    work: Work | None = None
    shared: str | None = None
    """What those have in common that it may be trained with; `None`: nobody."""
    result: Future[Any] = field(default_factory=Future)
    is_begun: bool = False
    speaks: bool = False
    """Its trial's signs of life are its own."""
    is_killed: bool = False

    def hear(self, event: Progress | Evaluation) -> Verdict:
        """Passes an event on."""
        self.speaks = True
        return self.on_event(event)

    @property
    def is_under_way(self) -> bool:
        return self.is_begun and not self.result.done()


def seats(workers: Sequence[LocalSlot], places: Sequence[Place], count: int) -> list[Seat]:
    """`count` seats at each of the places, whose workers are given; first one of every place."""
    conductors = [_Conductor(worker, count) for worker in workers]
    return [
        Seat(conductor, place, index)
        for index in range(1, count + 1)
        for conductor, place in zip(conductors, places, strict=True)
    ]


class _Conductor:
    """Decides whom a place's child trains next, from a thread that lives while somebody waits."""

    def __init__(self, worker: LocalSlot, count: int) -> None:
        """For `count` seats."""
        self.worker = worker
        self._count = self._most = self._open = count
        self._changed = threading.Condition()
        self._waiting: list[_Order] = []
        self._thread: threading.Thread | None = None

    def submit(self, order: _Order) -> None:
        """Has an order done, its result given to `order.result`."""
        with self._changed:
            self._waiting.append(order)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._conduct, daemon=True)
                self._thread.start()

    def withdraw(self, order: _Order) -> bool:
        """Takes an order back; false if it is begun."""
        with self._changed:
            if order in self._waiting:
                self._waiting.remove(order)
            return not order.is_begun

    def warm(self) -> None:
        """Begins to make the child ready."""
        with self._changed:
            if self._thread is None:
                self.worker.warm()

    def leave(self) -> None:
        """A seat has no more orders; with the last one the child ends."""
        with self._changed:
            self._open -= 1
            thread = None if self._open else self._thread
        if thread is not None:
            thread.join()
        if not self._open:
            self.worker.close()

    def _conduct(self) -> None:
        while company := self._gather():
            try:
                if len(company) == 1:
                    company[0].result.set_result(company[0].do())
                else:
                    self._train(company)
            except BaseException as error:  # raised by the seats
                self._tell(company, error)

    def _train(self, company: Sequence[_Order]) -> None:
        self.worker.run_together(
            [order.work for order in company if order.work is not None],
            [order.hear for order in company],
            lambda index, outcome: company[index].result.set_result(outcome),
        )

    def _gather(self) -> list[_Order]:
        """Those whom the child is to take next; none, and the thread to end, if nobody waits."""
        with self._changed:
            while self._may_others_come():
                if not self._changed.wait(_GATHER_S):
                    break
            company = self._first_alike()
            for order in company:
                order.is_begun = True
                self._waiting.remove(order)
            if company:
                company[0].speaks = True  # the others are silent while it does what comes first
            else:
                self._thread = None
            return company

    def _first_alike(self) -> list[_Order]:
        """Who waits longest, and as many as there may be with it."""
        if not self._waiting:
            return []
        first, *others = self._waiting
        alike = [one for one in others if first.shared is not None and one.shared == first.shared]
        return [first, *alike][: self._most]

    def _may_others_come(self) -> bool:
        if not self._waiting or self._waiting[0].shared is None:
            return False
        return len(self._waiting) < self._count and len(self._first_alike()) < self._most

    def _tell(self, company: Sequence[_Order], error: BaseException) -> None:
        """A breakdown in company says nothing about any one of it, but maybe about its size."""
        left, told = [order for order in company if not order.result.done()], f"{error}"
        is_in_company = len(company) > 1 and isinstance(error, WorkerError)
        if is_in_company:
            told += f", with {len(company)} trials in it"
            if not any(order.is_killed for order in company):
                self._most = len(company) // 2
                told += f" (from now on {self._most})"
        for order in left:
            is_lost = is_in_company and not order.is_killed
            order.result.set_exception(WorkerError(told, "lost") if is_lost else error)


class Seat:
    """One of the slots that share a place's child."""

    def __init__(self, conductor: _Conductor, place: Place, index: int) -> None:
        """The seat of a place that is counted as `index`, from 1."""
        self.name = place.name if index == 1 else f"{place.name} +{index}"
        self.device = place.device
        self._conductor = conductor
        self._order: _Order | None = None

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        """See `Slot.run`."""
        worker, shared = self._conductor.worker, None
        if not work.is_alone and find_task(work.config.task).is_fusable:
            shared = digest_of_shared(work.config)
        order = _Order(lambda: worker.run(work, order.hear), on_event, work, shared)
        outcome = self._do(order)
        assert isinstance(outcome, Outcome)
        return outcome

    def score_test(self, config: RunConfig, folder: Path) -> Scores:
        """See `Slot.score_test`."""
        worker = self._conductor.worker
        scores = self._do(_Order(lambda: worker.score_test(config, folder), _go_on))
        assert isinstance(scores, Scores)
        return scores

    def warm(self) -> None:
        """See `Slot.warm`."""
        self._conductor.warm()

    def kill(self) -> None:
        """See `Slot.kill`. It takes the company along, which goes on from its checkpoints."""
        order = self._order  # which the seat's own thread may let go meanwhile
        if order is not None:
            order.is_killed = True
            if order.is_under_way:
                self._conductor.worker.kill()

    def close(self) -> None:
        """See `Slot.close`."""
        self._conductor.leave()

    def _do(self, order: _Order) -> Outcome | Scores:
        self._order = order
        self._conductor.submit(order)
        try:
            self._wait(order)
        except BaseException:
            if not self._conductor.withdraw(order):
                while not wait([order.result], _SIGN_EVERY_S).done:
                    self.kill()  # its job has not ended
            raise
        finally:
            self._order = None
        result = order.result.result()
        assert isinstance(result, Outcome | Scores)
        return result

    def _wait(self, order: _Order) -> None:
        """Waits for the result, and gives signs of life until the trial gives its own."""
        while not wait([order.result], _SIGN_EVERY_S).done:
            if order.speaks:
                continue
            if order.is_killed:
                raise WorkerError("the slot was killed as it waited for others", "killed")
            sign = Progress("", 0, 0, None, 0.0, note="waiting to be trained with others")
            if order.on_event(sign) is Verdict.CONTINUE:
                continue
            if self._conductor.withdraw(order):
                raise WorkerError("it was still waiting for others", "lost")


def _go_on(_event: object) -> Verdict:
    return Verdict.CONTINUE
