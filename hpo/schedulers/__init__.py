"""What a free slot does next, and what becomes of a trial at each evaluation.

Optuna proposes parameters and records results; which work is done is the scheduler's to say. It is
called with the driver's lock held and touches neither slots nor storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import optuna

from core.task import Evaluation, Verdict


@dataclass(frozen=True)
class Standing:
    """Where the study stands when a slot is free."""

    finished: int
    running: frozenset[int]
    paused: Mapping[int, int]
    """Number -> step at which the trial waits."""
    total: int
    """Finished trials the study is to have; there is room for one more, or nobody would ask."""
    can_propose: bool
    """Whether there are points left to try; a search space can be exhausted."""


@dataclass(frozen=True)
class Propose:
    """Start a new trial."""


@dataclass(frozen=True)
class Thaw:
    """Go on with a paused trial."""

    number: int


Choice = Propose | Thaw


class Scheduler(Protocol):
    """Decides what is run, and how far."""

    def choose(self, standing: Standing) -> Choice | None:
        """The next work for a free slot; `None` if there is none before another trial moves on.

        When nothing is running and the answer is `None`, the run is over.
        """
        ...

    def judge(self, trial: optuna.Trial, evaluation: Evaluation) -> Verdict:
        """What becomes of a trial whose last reported value is `evaluation`'s.

        Not asked at the end of the curve, where nothing is left to decide.
        """
        ...
