"""What a running study tells whoever watches it: the live view, plain lines, a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.task import Evaluation, Progress


@dataclass(frozen=True)
class StudyStarted:
    """The driver owns the study and is about to ask for work."""

    study: str
    finished: int
    """Trials finished before this run."""
    total: int
    """Trials the study is to have finished at the end."""
    slots: int
    resumed: bool
    best: tuple[int, float] | None = None
    """Number and score of the best complete trial so far."""


@dataclass(frozen=True)
class TrialStarted:
    number: int
    slot: int
    parameters: Mapping[str, Any]
    """Realised values under core's names."""
    attempt: int
    """1 for a new trial; more after a resume, a thaw or a retry."""
    total_steps: int
    place: str = ""
    """The slot's name."""


@dataclass(frozen=True)
class TrialProgressed:
    number: int
    progress: Progress


@dataclass(frozen=True)
class TrialEvaluated:
    number: int
    evaluation: Evaluation


@dataclass(frozen=True)
class TrialEnded:
    number: int
    outcome: str
    """`complete`, `pruned`, `failed`, `paused` or `interrupted`."""
    value: float | None
    step: int
    reason: str
    seconds: float
    is_best: bool
    """Whether it is the study's best complete trial now."""


@dataclass(frozen=True)
class RepeatStarted:
    """A configuration of the finals begins, or goes on, on a fresh seed."""

    number: int
    """The trial that drew it."""
    seed: int
    """From 1."""
    slot: int
    attempt: int
    total_steps: int
    place: str = ""
    """The slot's name."""


@dataclass(frozen=True)
class RepeatProgressed:
    number: int
    seed: int
    progress: Progress


@dataclass(frozen=True)
class RepeatEnded:
    number: int
    seed: int
    outcome: str
    """`complete`, `diverged`, `collapsed`, `failed` or `interrupted`."""
    value: float | None
    """What it counts with; `None` where it does not count."""
    reason: str
    seconds: float


@dataclass(frozen=True)
class Note:
    """One line for people: data counts, a retry, a changed sampler."""

    text: str


Event = (
    StudyStarted
    | TrialStarted
    | TrialProgressed
    | TrialEvaluated
    | TrialEnded
    | RepeatStarted
    | RepeatProgressed
    | RepeatEnded
    | Note
)
Observe = Callable[[Event], None]
