"""A slot on this machine: one warm child process, replaced when it dies, hangs or fails."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from core.settings import RunConfig
from core.task import OnEvent, Outcome, Progress, Scores, Verdict
from hpo.slots import Slot, Work, WorkerError, WorkerMistakeError, threads_per_slot
from hpo.workers.devices import assign, visible_gpus
from hpo.workers.messages import (
    Answer,
    Done,
    Failed,
    Hello,
    Interrupt,
    Job,
    Report,
    Ticket,
    Warm,
)

CREDENTIALS = ("PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE")
"""What opens a database is not for workers, who have nothing to do with it."""
SILENCE_S = 1800.0
"""A child that says nothing for so long hangs; the longest silence is an evaluation."""
_FAREWELL_S = 5.0


def local_slots(number: int, cache: Path, *, module: str = "core.run") -> Sequence[Slot]:
    """`number` slots that share this machine's cores and GPUs; children start when needed."""
    gpus = visible_gpus()
    threads = threads_per_slot(number)
    return [
        LocalSlot(cache, threads=threads, gpu=assign(gpus, index), module=module)
        for index in range(number)
    ]


class LocalSlot:
    """Runs jobs in a child of its own.

    The child is a fresh interpreter, never a fork, and does not import the parent's `__main__`. It
    has its own session, so that a terminal's Ctrl-C reaches the driver alone.
    """

    def __init__(
        self,
        cache: Path,
        *,
        threads: int = 1,
        gpu: str | None = None,
        module: str = "core.run",
        silence_s: float = SILENCE_S,
    ) -> None:
        device: Literal["cpu", "cuda"] = "cpu" if gpu is None else "cuda"
        self._hello = Hello(module, tuple(sys.path), device, threads, cache)
        self._gpu = gpu
        self._silence_s = silence_s
        self._child: _Process | None = None
        self._is_busy = False

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        """See `Slot.run`."""
        job = Job("run", (work.number, work.attempt), work.config, work.folder)
        outcome = self._do(job, on_event)
        assert isinstance(outcome, Outcome)
        return outcome

    def score_test(self, config: RunConfig, folder: Path) -> Scores:
        """See `Slot.score_test`."""
        scores = self._do(Job("score_test", (-1, 0), config, folder), _go_on)
        assert isinstance(scores, Scores)
        return scores

    def warm(self) -> None:
        """See `Slot.warm`."""
        if self._child is None:
            self._child = _Process(self._hello, self._gpu)
            self._child.send(Warm())

    def kill(self) -> None:
        """See `Slot.kill`. An idle child is left for the next job."""
        if self._child is not None and self._is_busy:
            self._child.kill()

    def close(self) -> None:
        """See `Slot.close`."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _do(self, job: Job, on_event: OnEvent) -> Outcome | Scores:
        """A job's result; on any way out but a result the child is not used again."""
        if self._child is not None and self._child.has_died:  # between two jobs, of neither
            self._child.destroy()
            self._child = None
        child = self._child = self._child or _Process(self._hello, self._gpu)
        self._is_busy = True
        try:
            child.send(job)
            result = self._follow(child, job.ticket, on_event)
        except BaseException:
            self._child = None
            child.destroy()
            raise
        finally:
            self._is_busy = False
        return result

    def _follow(self, child: _Process, ticket: Ticket, on_event: OnEvent) -> Outcome | Scores:
        interrupted = False
        while True:
            message = child.receive(self._silence_s)
            if message.ticket != ticket:
                continue
            if isinstance(message, Done):
                return message.result
            if isinstance(message, Failed):
                if message.kind == "mistake":
                    raise WorkerMistakeError(message.line, message.name)
                raise WorkerError(message.line, message.kind)
            assert isinstance(message, Report)
            verdict = on_event(message.event)
            if not isinstance(message.event, Progress):
                child.send(Answer(verdict))
            elif verdict is not Verdict.CONTINUE and not interrupted:
                interrupted = True
                child.send(Interrupt(verdict))


class _Process:
    """A child process and the pipe to it."""

    def __init__(self, hello: Hello, gpu: str | None) -> None:
        self._first_words = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._pipe, theirs = multiprocessing.Pipe()
        descriptor = theirs.fileno()
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-P", "-m", "hpo.workers.child", str(descriptor)],
                pass_fds=(descriptor,),
                env=_environment(hello.threads, gpu),
                stdin=subprocess.DEVNULL,
                # Until its first job names a log.
                stdout=subprocess.DEVNULL,
                stderr=self._first_words,
                start_new_session=True,
            )
        except BaseException:
            self._let_go()
            raise
        finally:
            theirs.close()
        try:
            self.send(hello)
        except BaseException:  # it may be dead already
            self.destroy()
            raise

    def send(self, message: object) -> None:
        """Sends a message. Raises: WorkerError if the child has died."""
        try:
            self._pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self._obituary() from None

    def receive(self, silence_s: float) -> Any:
        """The next message. Raises: WorkerError if the child died or is silent for too long."""
        try:
            if self._pipe.poll(silence_s):
                return self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._obituary() from None
        raise WorkerError(f"the worker said nothing for {silence_s:.0f} s", "hung")

    @property
    def has_died(self) -> bool:
        return self._process.poll() is not None

    def kill(self) -> None:
        """Ends the process at once."""
        self._process.kill()

    def destroy(self) -> None:
        """Ends the process at once and lets go of it."""
        self._process.kill()
        self._process.wait()
        self._let_go()

    def end(self) -> None:
        """Ends an idle process, which leaves when its pipe closes."""
        self._let_go()
        try:
            self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self.destroy()

    def _let_go(self) -> None:
        self._pipe.close()
        self._first_words.close()

    def _obituary(self) -> WorkerError:
        try:
            code = self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            return WorkerError("the worker closed its pipe", "died")
        if code == -signal.SIGKILL:
            # Nobody but the kernel, short of memory, kills a worker so; or a person, by hand.
            return WorkerError("the worker was killed, perhaps for want of memory", "memory")
        if code < 0:
            return WorkerError(f"the worker died of {signal.Signals(-code).name}", "died")
        self._first_words.seek(0)
        lines = self._first_words.read().decode(errors="replace").split("\n")
        # What it said before its first job; what it said in a job is in that job's log.
        last = next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")
        return WorkerError(f"the worker exited with code {code}{last}", "died")


def _environment(threads: int, gpu: str | None) -> dict[str, str]:
    """The parent's environment, with what must be set before torch is imported."""
    count = str(threads)
    package_root = str(Path(__file__).resolve().parents[2])
    earlier = os.environ.get("PYTHONPATH")
    environment = {
        **{key: value for key, value in os.environ.items() if key not in CREDENTIALS},
        "PYTHONPATH": package_root + (os.pathsep + earlier if earlier else ""),
        "PYTHONFAULTHANDLER": "1",  # a crash in C leaves its trace in the worker's log
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        # Threads that wait for each other by spinning make a step up to 40 times slower as soon as
        # another process wants a core; asleep they cost a few microseconds on an idle machine.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TOKENIZERS_PARALLELISM": "false",
    }
    return environment if gpu is None else {**environment, "CUDA_VISIBLE_DEVICES": gpu}


def _go_on(_event: object) -> Verdict:
    return Verdict.CONTINUE
