"""A run's side of the conversation: what it says, how often, and what an answer means for it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from core.task import Evaluation, OnEvent, OutcomeState, Progress, Verdict

PROGRESS_EVERY_S = 0.5


@dataclass(frozen=True)
class End:
    """Why a run is left before its last step."""

    state: OutcomeState
    step: int
    """On the whole curve."""
    reason: str


def obey(verdict: Verdict, step: int) -> End | None:
    """The end that `verdict` asks for at `step`; `None` to go on."""
    if verdict is Verdict.STOP:
        return End(OutcomeState.STOPPED, step, f"stopped at step {step}")
    if verdict is Verdict.PAUSE:
        return End(OutcomeState.PAUSED, step, f"paused at step {step}")
    return None


class Reporter:
    """Sends events, signs of life no more than two a second, and reads the answers."""

    def __init__(self, on_event: OnEvent, total_steps: int) -> None:
        self._on_event = on_event
        self._total_steps = total_steps
        self._last_progress = -math.inf

    def is_progress_due(self, now: float) -> bool:
        """Whether the last sign of life is half a second old at `now`, in `time.monotonic()`."""
        return now - self._last_progress >= PROGRESS_EVERY_S

    def say(
        self, stage: str, step: int, *, loss: float | None, steps_per_s: float, note: str
    ) -> End | None:
        """Sends a sign of life, if one is due."""
        now = time.monotonic()
        if not self.is_progress_due(now):
            return None
        self._last_progress = now
        progress = Progress(stage, step, self._total_steps, loss, steps_per_s, note)
        return obey(self._on_event(progress), step)

    def warn(self, stage: str, step: int, warning: str) -> End | None:
        """Sends what people should be told, at once."""
        progress = Progress(stage, step, self._total_steps, None, 0.0, warning=warning)
        return obey(self._on_event(progress), step)

    def tell(self, evaluation: Evaluation) -> End | None:
        """Sends an evaluation. After the very last one there is nothing left to stop or pause."""
        verdict = self._on_event(evaluation)
        return None if evaluation.step == self._total_steps else obey(verdict, evaluation.step)
