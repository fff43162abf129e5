"""A slot on this machine: one warm child process, replaced when it dies, hangs or fails."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from core.settings import RunConfig
from core.task import OnEvent, Outcome, Progress, Scores, Verdict
from hpo.options import RunOptions
from hpo.slots import Slot, Work, WorkerError, WorkerMistakeError, threads_per_slot
from hpo.workers.devices import Place, local_places
from hpo.workers.messages import (
    Answer,
    Begun,
    Company,
    Done,
    Failed,
    Hello,
    Interrupt,
    Job,
    Report,
    Ticket,
)
from hpo.workers.nursery import Nursery
from hpo.workers.process import ChildProcess

_Leave = Callable[[Ticket, Outcome | Scores | int], None]
SILENCE_S = 1800.0
"""A child that says nothing for so long hangs; the longest silence is an evaluation."""


def local_slots(
    options: RunOptions,
    cache: Path,
    *,
    module: str = "core.run",
    say: Callable[[str], None] | None = None,
) -> Sequence[Slot]:
    """The slots on this machine that the options ask for; children start when needed.

    `say` is told what a user should know of them. Raises: SettingsError for what `local_places`
    refuses.
    """
    places = local_places(options, say=say)
    hello = Hello(module, tuple(sys.path), threads_per_slot(len(places)), cache)
    nursery = Nursery(hello, say)
    slots = [LocalSlot(nursery, place) for place in places]
    if options.seats == 1:
        return slots
    from hpo.workers.fused import seats

    if say is not None and places[0].gpu is None:
        say("--fuse pays on a GPU: on the CPU trials in one take as long as one after another")
    return seats(slots, places, options.seats)


class LocalSlot:
    """Runs jobs in a child of its own, which sees the slot's device only."""

    def __init__(self, nursery: Nursery, place: Place, *, silence_s: float = SILENCE_S) -> None:
        self.name = place.name
        self.device = place.device
        self._gpu = place.gpu
        self._nursery = nursery
        self._silence_s = silence_s
        self._child: ChildProcess | None = None
        self._is_busy = False
        self._was_killed = False
        """In its present job, by `kill`."""
        nursery.join(self)

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        """See `Slot.run`."""
        job = Job("run", (work.number, work.attempt), work.config, work.folder)
        outcome = self._do_one(job, on_event)
        assert isinstance(outcome, Outcome)
        return outcome

    def run_together(
        self,
        works: Sequence[Work],
        on_events: Sequence[OnEvent],
        on_outcome: Callable[[int, Outcome], None],
    ) -> None:
        """Runs attempts at trials of one structure as one.

        `on_outcome` is called with an index as soon as that attempt has left. Raises: what `run`
        raises, for all that are left.
        """
        jobs = tuple(
            Job("run", (work.number, work.attempt), work.config, work.folder) for work in works
        )
        tickets = [job.ticket for job in jobs]

        def leave(ticket: Ticket, outcome: Outcome | Scores | int) -> None:
            assert isinstance(outcome, Outcome)
            on_outcome(tickets.index(ticket), outcome)

        self._do(Company(jobs), dict(zip(tickets, on_events, strict=True)), leave)

    def score_test(self, config: RunConfig, folder: Path) -> Scores:
        """See `Slot.score_test`."""
        scores = self._do_one(Job("score_test", (-1, 0), config, folder), _go_on)
        assert isinstance(scores, Scores)
        return scores

    def fuse_size(self, config: RunConfig, folder: Path) -> int:
        """How many runs like one pay when they are trained as one here, by measurement."""
        size = self._do_one(Job("fuse_size", (-1, 0), config, folder), _go_on)
        assert isinstance(size, int)
        return size

    def warm(self) -> None:
        """See `Slot.warm`."""
        if self._child is None:
            self._child = self._nursery.take(self._gpu)

    def kill(self) -> None:
        """See `Slot.kill`. An idle child is left for the next job."""
        child = self._child  # which the slot's own thread may let go meanwhile
        if child is not None and self._is_busy:
            self._was_killed = True
            child.kill()

    def close(self) -> None:
        """See `Slot.close`."""
        child, self._child = self._child, None
        if child is not None:
            child.end()
        self._nursery.leave(self)

    def _do_one(self, job: Job, on_event: OnEvent) -> Outcome | Scores | int:
        """A job's result."""
        results: list[Outcome | Scores | int] = []
        self._do(job, {job.ticket: on_event}, lambda _, result: results.append(result))
        return results[0]

    def _do(self, job: Job | Company, listeners: dict[Ticket, OnEvent], leave: _Leave) -> None:
        """Sees a job through; on any way out but its results the child is not used again."""
        self._was_killed = False
        if self._child is not None and self._child.has_died:  # between two jobs, of neither
            self._bury()
        self._is_busy = True
        try:
            try:
                child = self._begin(job)
            except WorkerError as fault:
                if fault.kind != "killed" or self._was_killed:
                    raise
                # From outside, before it had the job, which another child may have.
                self._bury()
                child = self._begin(job)
            self._follow(child, listeners, leave)
        except BaseException:
            self._bury()
            raise
        finally:
            self._is_busy = False

    def _begin(self, job: Job | Company) -> ChildProcess:
        """Gives the job to the slot's child, and waits until that has it."""
        child = self._child = self._child or self._nursery.take(self._gpu)
        child.begin(job)
        while child.receive(self._silence_s) != Begun(job.ticket):
            pass  # that it has warmed up, or what an abandoned job still sent
        return child

    def _bury(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            self._nursery.bury(child)

    def _follow(
        self, child: ChildProcess, listeners: dict[Ticket, OnEvent], leave: _Leave
    ) -> None:
        """Hears the child until all listeners' jobs have left."""
        interrupted: set[Ticket] = set()
        while listeners:
            message = child.receive(self._silence_s)
            ticket = message.ticket
            if ticket not in listeners:
                continue
            if isinstance(message, Done):
                del listeners[ticket]
                leave(ticket, message.result)
                continue
            if isinstance(message, Failed):
                if message.kind == "mistake":
                    raise WorkerMistakeError(message.line, message.name)
                raise WorkerError(message.line, message.kind)
            assert isinstance(message, Report)
            self._nursery.has_begun(child)
            verdict = listeners[ticket](message.event)
            if not isinstance(message.event, Progress):
                child.send(Answer(verdict))
            elif verdict is not Verdict.CONTINUE and ticket not in interrupted:
                interrupted.add(ticket)
                child.send(Interrupt(ticket, verdict))


def _go_on(_event: object) -> Verdict:
    return Verdict.CONTINUE
