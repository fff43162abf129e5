"""A child process as its parent sees it: a fresh interpreter at the other end of a pipe."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hpo.processes import importing_us
from hpo.slots import WorkerError
from hpo.workers.breakdowns import kind_of, obituary
from hpo.workers.memory import oom_kills
from hpo.workers.messages import Company, Hello, Job

CREDENTIALS = ("PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE")
"""What opens a database is not for workers, who have nothing to do with it."""
_FAREWELL_S = 5.0
_spawner = ThreadPoolExecutor(1, thread_name_prefix="spawner")
"""Starts all children. The kernel ends them with the *thread* that started them, so that has to
live as long as this process."""


class ChildProcess:
    """A child process and the pipe to it.

    It is spawned, never forked, and does not import the parent's `__main__`. It has its own
    session, so that a terminal's Ctrl-C reaches the driver alone.
    """

    def __init__(self, hello: Hello) -> None:
        """Starts it. Raises: WorkerError if it cannot be started, or is dead already."""
        self._oom_kills = oom_kills()
        self._first_words = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._pipe, theirs = multiprocessing.Pipe()
        try:
            self._process = _spawner.submit(
                _start, theirs.fileno(), hello.threads, self._first_words.fileno()
            ).result()
        except OSError as error:
            self._let_go()
            told = kind_of(error)
            reason = f"no worker could be started: {error}"
            raise WorkerError(reason, "memory" if told == "memory" else "died") from None
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

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_died(self) -> bool:
        return self._process.poll() is not None

    @property
    def has_spoken(self) -> bool:
        """Whether a message waits to be received, or the child has died."""
        try:
            return self._pipe.poll()
        except OSError:
            return True

    def begin(self, job: Job | Company) -> None:
        """Sends a job, or several. Raises: WorkerError if the child has died."""
        self._oom_kills = oom_kills()
        self.send(job)

    def send(self, message: object) -> None:
        """Sends a message. Raises: WorkerError if the child has died."""
        try:
            self._pipe.send(message)
        except OSError:
            raise self._obituary() from None

    def receive(self, silence_s: float) -> Any:
        """The next message. Raises: WorkerError if the child died or is silent for too long."""
        try:
            if self._pipe.poll(silence_s):
                return self._pipe.recv()
        except (EOFError, OSError):  # the latter in the middle of a message
            raise self._obituary() from None
        raise WorkerError(f"the worker said nothing for {silence_s:.0f} s", "hung")

    def kill(self) -> None:
        """Ends the process at once, with what it has started."""
        if self._process.returncode is None:
            self._kill_group()

    def destroy(self) -> None:
        """Ends the process at once, with what it has started, and lets go of it."""
        self._kill_group()
        self._process.wait()
        self._let_go()

    def end(self) -> None:
        """Ends an idle process, which leaves when its pipe closes."""
        self._let_go()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_FAREWELL_S)
        self._kill_group()
        self._process.wait()

    def _kill_group(self) -> None:
        """Ends what is left of the child's session: what a dead child has started lives on."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing is left
            os.killpg(self.pid, signal.SIGKILL)

    def _let_go(self) -> None:
        self._pipe.close()
        self._first_words.close()

    def _obituary(self) -> WorkerError:
        try:
            code = self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            return WorkerError("the worker closed its pipe", "died")
        # What it said before its first job; what it said in a job is in that job's log.
        self._first_words.seek(0)
        lines = self._first_words.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return WorkerError(*obituary(code, last, was_short=oom_kills() > self._oom_kills))


def _start(pipe: int, threads: int, first_words: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # our own module
        [sys.executable, "-P", "-m", "hpo.workers.child", str(pipe), str(os.getpid())],
        pass_fds=(pipe,),
        env=_environment(threads),
        stdin=subprocess.DEVNULL,
        # Until its first job names a log.
        stdout=subprocess.DEVNULL,
        stderr=first_words,
        start_new_session=True,
    )


def _environment(threads: int) -> dict[str, str]:
    """The parent's environment, with what must be set before torch is imported."""
    count = str(threads)
    return {
        **{key: value for key, value in importing_us().items() if key not in CREDENTIALS},
        "PYTHONFAULTHANDLER": "1",  # a crash in C leaves its trace in the worker's log
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        # Threads that wait for each other by spinning make a step up to 40 times slower as soon as
        # another process wants a core; asleep they cost a few microseconds on an idle machine.
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",  # until it is told which device is its own
    }
