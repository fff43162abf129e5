"""What the harness asks of a program that keeps scalars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class Scalar(NamedTuple):
    """One finite figure of a trial."""

    name: str
    """Such as `train/loss`, `validation/BLEU`."""
    step: int
    """Optimizer updates on the whole curve."""
    value: float


class Sink(Protocol):
    """One program's client, called from one thread. Whatever it raises ends it, and no trial."""

    def begin(self, trial: int, parameters: Mapping[str, Any], attempt: int) -> int:
        """Opens a trial's log; returns the last step that is in it from an earlier run."""

    def write(self, trial: int, scalars: Sequence[Scalar]) -> None:
        """Adds scalars to a trial that has begun."""

    def end(self, trial: int, outcome: str, score: float | None, step: int) -> None:
        """Closes a trial's log; `outcome` and `score` as `hpo.events.TrialEnded` has them."""

    def close(self) -> None:
        """Closes what is open, of trials that go on in a later run."""
