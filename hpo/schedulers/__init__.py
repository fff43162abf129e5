"""What a free slot does next, and what becomes of a trial at each evaluation.

Optuna proposes parameters and records results; which work is done is the scheduler's to say. It is
called with the driver's lock held and touches neither slots nor storage. What it decides follows
from what is stored, so that a study which is killed and resumed goes on as it would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from core.task import Evaluation, Verdict


class Costs(Protocol):
    """What work is expected to take, in seconds of a slot."""

    def of_new(self, drawn: Mapping[str, Any], until: int) -> float:
        """A new trial with these drawn values, up to step `until`; a cached stage A is free."""
        ...

    def to_go(self, number: int, until: int) -> float:
        """A trial that exists, from where it stands up to step `until`."""
        ...


class Points(Protocol):
    """The points of a search space in drawn values, by the names that Optuna uses."""

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """All parameters, conditional ones included."""
        ...

    @property
    def structure(self) -> frozenset[str]:
        """The parameters whose values trials must share to share a stage A."""
        ...

    def draw(
        self, generator: np.random.Generator, fixed: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """A point at random that has the values in `fixed`; what does not apply is left out."""
        ...


@dataclass(frozen=True)
class Standing:
    """Where the study stands when a slot is free or a trial has reported."""

    trials: Sequence[FrozenTrial]
    """All of them by number, as they are stored: drawn values, curves, states."""
    running: frozenset[int]
    paused: Mapping[int, int]
    """Number -> step at which the trial waits."""
    finished: int
    total: int
    """Finished trials the study is to have."""
    can_propose: bool
    """Whether there are points left to try; a search space can be exhausted."""
    costs: Costs
    time_left_s: float | None = None
    """Seconds in which search may still be done; `None` without a limit."""


@dataclass(frozen=True)
class Propose:
    """Start a new trial."""

    drawn: Mapping[str, Any] = field(default_factory=dict)
    """Drawn values that it is to have; the sampler proposes the others. Points that the study
    declares to be tried first go before it."""


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

    def judge(self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing) -> Verdict:
        """What becomes of a trial whose last reported value, stored by now, is `evaluation`'s.

        Not asked at the end of the curve, where nothing is left to decide.
        """
        ...
