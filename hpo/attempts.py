"""An attempt at a trial that is under way, and the trial's time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from hpo.endings import Ending, ending_of_time_out
from hpo.roster import Entry
from hpo.slots import Work

_SAVE_EVERY_S = 10.0
_ALIVE_SHARE = 0.1
"""Of the limit: a trial that gave a sign of life in the last such part of it was getting on. Signs
come twice a second, but none during an evaluation, which takes a small part of a trial."""


@dataclass
class Attempt:
    """What a slot is at. Its time is monotonic: the wall clock may jump."""

    entry: Entry
    work: Work
    limit_s: float | None
    """Seconds for the trial, over all its attempts."""
    is_to_pause: bool = False
    """The scheduler answered PAUSE, rather than somebody's Ctrl-C."""
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Counts from now: what it has waited for so far is not the trial's time."""
        self.begun = self._last_sign = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    @property
    def spent_s(self) -> float:
        """Seconds that the trial has taken, earlier attempts included."""
        return self.entry.spent_s + self.seconds

    @property
    def is_over(self) -> bool:
        """Whether the trial has used up its time."""
        return self.limit_s is not None and self.spent_s >= self.limit_s

    def is_to_be_saved(self) -> bool:
        """Notes a sign of life; true if what has been spent is worth storing again."""
        self._last_sign = time.monotonic()
        is_due = self._last_sign - self._saved >= _SAVE_EVERY_S
        if is_due:
            self._saved = self._last_sign
        return is_due

    def time_out(self, step: int, value: float | None) -> Ending:
        """The ending of the trial, which is over its time at `step`."""
        assert self.limit_s is not None
        over = self.begun + self.limit_s - self.entry.spent_s
        silent_s = over - self._last_sign
        is_alive = silent_s <= _ALIVE_SHARE * self.limit_s
        return ending_of_time_out(self.limit_s, step, value, None if is_alive else silent_s)
