"""The child process of a slot: takes jobs from its pipe and runs them until the pipe closes.

Started as `python -m hpo.workers.child FD PARENT`, a descriptor and a process number. Heavy
modules are imported when it is told to warm up, or with the first job.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from core.atomic import is_full, make_folder
from core.errors import DiskFullError, UserError
from core.task import Evaluation, Outcome, Placement, Progress, Verdict
from hpo.processes import ProcessId, end_with_parent
from hpo.workers.breakdowns import kind_of, line_of
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
    Station,
    Ticket,
    Warm,
    Warmed,
    plain,
)
from hpo.workers.predecessor import OccupiedError, occupying


def main() -> None:
    """Serves the pipe whose descriptor is the first argument, for the parent of the second."""
    parent = int(sys.argv[2])
    end_with_parent(parent)
    os.umask(0o077)  # what a trial writes is its user's alone
    # The driver decides what an interrupt means; a terminal sends it to all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with_pipe, args=(connection.fileno(),), daemon=True).start()
    hello = connection.recv()
    assert isinstance(hello, Hello)
    sys.path[:] = hello.search_path
    child = _Child(connection, hello, ProcessId.of(parent))
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        if isinstance(job, Job):
            child.do(job)
        elif isinstance(job, Company):
            child.do_together(job.jobs)
        elif isinstance(job, Station):
            child.take_station(job)
        elif isinstance(job, Warm):
            child.warm()
        # Anything else is an answer to a job that ended before it came.


def _end_with_pipe(descriptor: int) -> None:
    """Ends the process when the other end of its pipe is closed, whatever it is busy with."""
    watch = select.poll()
    watch.register(descriptor, 0)  # hang-ups and errors are told unasked
    watch.poll()
    os.killpg(0, signal.SIGKILL)  # it leads a group of its own, with what it has started


class _Child:
    """The loop's state."""

    def __init__(self, connection: Connection, hello: Hello, driver: ProcessId | None) -> None:
        self._connection = connection
        self._hello = hello
        self._driver = driver
        self._wanted = "cpu"
        self._placement: Placement | None = None
        self._interrupted: dict[Ticket, Verdict] = {}

    def warm(self) -> None:
        """Loads what jobs need. What fails here fails again in a job, which has a log."""
        with contextlib.suppress(Exception), _leaving_cuda_alone():
            module = importlib.import_module(self._hello.module)
            getattr(module, "warm", _nothing)()
        self._connection.send(Warmed())

    def take_station(self, station: Station) -> None:
        """Limits the process to its device; CUDA reads this when it starts, and not again."""
        os.environ["CUDA_VISIBLE_DEVICES"] = station.gpu or ""
        self._wanted = "cpu" if station.gpu is None else "cuda"

    def do(self, job: Job) -> None:
        """Runs a job and sends what it came to."""
        self._interrupted.clear()
        self._connection.send(Begun(job.ticket))
        answer: Done | Failed
        try:
            make_folder(job.folder)
            _write_output_to(job.folder / "worker.log")
            with occupying(job.folder, self._driver):
                answer = Done(job.ticket, plain(self._do(job)))
        except BaseException as error:  # a trial that calls sys.exit ends no worker
            _log(error)
            answer = _failure_of(error, job)
        _write_output_to(Path(os.devnull))
        self._connection.send(answer)

    def do_together(self, jobs: Sequence[Job]) -> None:
        """Runs jobs as one and sends what each came to, as soon as it has left.

        All write into the first one's log; the others' say so.
        """
        self._interrupted.clear()
        self._connection.send(Begun(jobs[0].ticket))
        here = {job.ticket: contextlib.ExitStack() for job in jobs}

        def leave(index: int, outcome: Outcome) -> None:
            ticket = jobs[index].ticket
            here.pop(ticket).close()
            self._connection.send(Done(ticket, plain(outcome)))

        fault: Failed | None = None
        try:
            with contextlib.ExitStack() as stays:
                log = jobs[0].folder / "worker.log"
                for job in jobs:
                    make_folder(job.folder)
                    _write_output_to(job.folder / "worker.log")
                    print(f"trained together with others; what is said is in {log}")
                    stays.enter_context(here[job.ticket])
                    here[job.ticket].enter_context(occupying(job.folder, self._driver))
                _write_output_to(log)
                module, placement = self._prepare()
                module.run_fused(
                    [job.config for job in jobs],
                    placement,
                    [job.folder for job in jobs],
                    self._hello.cache,
                    [partial(self._on_event, job.ticket) for job in jobs],
                    leave,
                )
        except BaseException as error:
            _log(error)
            left = next((job for job in jobs if job.ticket in here), jobs[0])
            fault = _failure_of(error, left)
        _write_output_to(Path(os.devnull))
        if fault is not None:
            self._connection.send(fault)

    def _do(self, job: Job) -> Any:
        module, placement = self._prepare()
        if job.kind == "score_test":
            return module.score_test(job.config, placement, job.folder, self._hello.cache)
        if job.kind == "fuse_size":
            return module.fuse_size(job.config, placement, self._hello.cache)
        on_event = partial(self._on_event, job.ticket)
        return module.run(job.config, placement, job.folder, self._hello.cache, on_event)

    def _prepare(self) -> tuple[Any, Placement]:
        """The module that does the work, and where."""
        module = importlib.import_module(self._hello.module)
        if self._placement is None:
            self._placement = Placement(_working_device(self._wanted), self._hello.threads)
        return module, self._placement

    def _on_event(self, ticket: Ticket, event: Progress | Evaluation) -> Verdict:
        self._connection.send(Report(ticket, plain(event)))
        if isinstance(event, Progress):
            while self._connection.poll():
                self._hear(self._connection.recv())
            return self._interrupted.get(ticket, Verdict.CONTINUE)
        while True:
            message = self._connection.recv()
            if isinstance(message, Answer):
                return message.verdict
            self._hear(message)

    def _hear(self, message: object) -> None:
        if isinstance(message, Interrupt):
            self._interrupted[message.ticket] = message.verdict


@contextlib.contextmanager
def _leaving_cuda_alone() -> Iterator[None]:
    """Has torch answer whether there is a GPU without starting CUDA, which fixes the device.

    Nothing that is known to be imported asks; a later version may.
    """
    name = "PYTORCH_NVML_BASED_CUDA_CHECK"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _nothing() -> None:
    """What a module has to load that says nothing of it."""


def _log(error: BaseException) -> None:
    """Writes the traceback of what is not the user's mistake."""
    if not isinstance(error, UserError):
        with contextlib.suppress(OSError):  # no room for the log either
            traceback.print_exc()


def _failure_of(error: BaseException, job: Job) -> Failed:
    name = type(error).__name__
    if isinstance(error, UserError):
        return Failed(job.ticket, "mistake", name, str(error))
    if isinstance(error, OSError) and is_full(error):
        full = DiskFullError(error.filename or f"a file in {job.folder}")
        return Failed(job.ticket, "mistake", type(full).__name__, str(full))
    if isinstance(error, OccupiedError):
        return Failed(job.ticket, "lost", name, str(error))
    return Failed(job.ticket, kind_of(error), name, line_of(error))


def _working_device(wanted: str) -> str:
    if wanted == "cuda":
        import torch

        if torch.cuda.is_available():
            return "cuda"
        print("a GPU is listed, but torch cannot use it: running on the CPU", file=sys.stderr)
    return "cpu"


def _write_output_to(path: Path) -> None:
    """Sends what is written to standard output and error, by C code too, to the end of a file."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # there may be no room for it
            stream.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


if __name__ == "__main__":
    main()
