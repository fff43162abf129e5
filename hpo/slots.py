"""Where a trial runs: what a slot does, and one long-lived loop a slot that asks for work."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from joblib import Parallel, delayed

from core.errors import UserError
from core.settings import RunConfig
from core.task import OnEvent, Outcome, Scores


@dataclass(frozen=True)
class Work:
    """One attempt at one trial."""

    number: int
    attempt: int
    """What an attempt reports counts only while it is the trial's current one."""
    config: RunConfig
    folder: Path
    """The trial's; a checkpoint in it is gone on from."""
    is_alone: bool = False
    """It is not to be trained together with others, so that nothing depends on its company."""


BreakdownKind = Literal["error", "died", "killed", "hung", "memory", "device", "lost"]
"""How a worker broke down.

`error`: an exception in the trial. `died`: a signal, or an exit. `killed`: SIGKILL
from outside, while the kernel was not short of memory. `hung`: silent for too long. `memory`: none
was left, of the machine or of the device. `device`: a CUDA error after which the process is
useless, and maybe the device. `lost`: the whole place went away, as a cluster's node may, or the
worker broke down with several trials in it, of which it may be any.
"""


class WorkerError(Exception):
    """A worker broke down, which says nothing about the configuration unless it is memory."""

    def __init__(self, reason: str, kind: BreakdownKind) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


class WorkerMistakeError(UserError):
    """A user's mistake that came to light in a worker, told in the words it was raised with."""

    def __init__(self, line: str, kind: str) -> None:
        self._told = line
        super().__init__(line)
        self.kind = kind
        """Name of the class it had there."""

    def _line(self) -> str:
        return self._told


class Slot(Protocol):
    """A place where one trial runs at a time. All but `kill` is called from one thread."""

    @property
    def name(self) -> str:
        """For people: `cpu`, `cpu 1`, `gpu 1`, `gpu 1 #2` for a second trial on one GPU.

        `gpu 1 +2` is a second one in the same process.
        """
        ...

    @property
    def device(self) -> str:
        """What several slots may share, and what may be at fault: `cpu`, `gpu 1`.

        On a cluster the node goes before it. See `is_on_gpu`.
        """
        ...

    def run(self, work: Work, on_event: OnEvent) -> Outcome:
        """Runs an attempt to its outcome, its events answered by `on_event`.

        Raises: WorkerError if it broke down, after which the slot is fit for the next attempt;
            WorkerMistakeError for what the user can mend.
        """
        ...

    def score_test(self, config: RunConfig, folder: Path) -> Scores:
        """The metric on the test set of the model in `folder`. Raises as `run` does."""
        ...

    def warm(self) -> None:
        """Begins to make the worker ready, so that its first work need not wait for that."""
        ...

    def kill(self) -> None:
        """Ends at once what is running, whose `run` then raises. Safe in a signal handler."""
        ...

    def close(self) -> None:
        """Ends the slot's worker."""
        ...


def is_on_gpu(device: str) -> bool:
    """Whether the `device` of a slot is a GPU."""
    return not device.endswith("cpu")


def serve(slots: Sequence[Slot], loop: Callable[[int, Slot], None]) -> None:
    """Runs `loop(index, slot)` for all slots at once, each in its thread, until all have returned.

    A loop asks for its next work when its slot is free: joblib given a generator of trials would
    draw a trial for each slot ahead of time.
    """
    threads = Parallel(n_jobs=len(slots), backend="threading", batch_size=1, pre_dispatch="all")
    threads(delayed(loop)(index, slot) for index, slot in enumerate(slots))


def threads_per_slot(slots: int) -> int:
    """CPU threads for each of `slots` slots: this process's cores, shared evenly.

    `OMP_NUM_THREADS`, where it is set, is the most that any may have.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    share = max(1, cores // slots)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(limit)) if limit.isdecimal() and int(limit) else share
