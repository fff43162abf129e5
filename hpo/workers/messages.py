"""What a slot and its child process say to each other, over a pipe of their own.

Every answer carries the job's ticket, (trial number, attempt), so that what an abandoned job still
sends is told from what the current one does.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from core.settings import RunConfig
from core.task import Evaluation, Outcome, Progress, Scores, Verdict

Ticket = tuple[int, int]


@dataclass(frozen=True)
class Hello:
    """First message down: how the child imports and runs."""

    module: str
    """Module whose `run` and `score_test` do the work."""
    search_path: tuple[str, ...]
    """The parent's `sys.path`."""
    threads: int
    cache: Path


@dataclass(frozen=True)
class Warm:
    """Down, before the first job: load what it will need, and start no device."""


@dataclass(frozen=True)
class Station:
    """Down, before the first job: the device that the child is to see, alone."""

    gpu: str | None
    """For CUDA_VISIBLE_DEVICES; `None` for the CPU, which is also taken where torch cannot use
    the GPU."""


@dataclass(frozen=True)
class Job:
    """Down: run an attempt, score a model on the test set, or measure how many runs to fuse."""

    kind: Literal["run", "score_test", "fuse_size"]
    ticket: Ticket
    config: RunConfig
    folder: Path


@dataclass(frozen=True)
class Company:
    """Down: run attempts that share a structure, trained as one. Each is told of by its ticket;
    a `Failed` speaks for all that are left."""

    jobs: tuple[Job, ...]

    @property
    def ticket(self) -> Ticket:
        """Of the first."""
        return self.jobs[0].ticket


@dataclass(frozen=True)
class Answer:
    """Down: the verdict on the evaluation sent last."""

    verdict: Verdict


@dataclass(frozen=True)
class Interrupt:
    """Down, at any time: answer the job's next sign of life with this."""

    ticket: Ticket
    verdict: Verdict


@dataclass(frozen=True)
class Warmed:
    """Up: what `Warm` asked for is done."""

    ticket: None = None


@dataclass(frozen=True)
class Begun:
    """Up: a job has come, and nothing of it has been done. Who dies before has done it no harm."""

    ticket: Ticket


@dataclass(frozen=True)
class Report:
    """Up: an event of a running job."""

    ticket: Ticket
    event: Progress | Evaluation


@dataclass(frozen=True)
class Done:
    """Up: what a job came to."""

    ticket: Ticket
    result: Outcome | Scores | int


@dataclass(frozen=True)
class Failed:
    """Up: a job broke down; words only, as an exception may not survive the way."""

    ticket: Ticket
    kind: Literal["error", "memory", "device", "lost", "mistake"]
    name: str
    """Name of the exception's class."""
    line: str
    """One line for people."""


def plain(value: Any) -> Any:
    """A result or an event made of Python's own types alone.

    A version of torch is a string of torch's own class: were it sent as it is, the driver would
    import torch to receive it.
    """
    if is_dataclass(value) and not isinstance(value, type):
        inner = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        return type(value)(**inner)
    if value is None or isinstance(value, bool | enum.Enum):
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    return str(value)
