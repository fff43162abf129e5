"""Wall-clock time that a study has been running, over all its runs."""

from __future__ import annotations

import time
from collections.abc import Callable

_SAVE_EVERY_S = 10.0


class StudyClock:
    """Counts on from what earlier runs stored; `kill -9` loses ten seconds at most."""

    def __init__(
        self, earlier_s: float, limit_s: float | None, store: Callable[[float], None]
    ) -> None:
        self._earlier_s = earlier_s
        self._limit_s = limit_s
        self._store = store
        self._started = self._saved = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds, earlier runs included."""
        return self._earlier_s + time.monotonic() - self._started

    @property
    def is_over(self) -> bool:
        """Whether the limit is reached."""
        return self._limit_s is not None and self.elapsed_s >= self._limit_s

    def save(self, *, now: bool = False) -> None:
        """Stores the time, if it is due or to be `now`."""
        if now or time.monotonic() - self._saved >= _SAVE_EVERY_S:
            self._saved = time.monotonic()
            self._store(self.elapsed_s)
