"""Wall-clock time that a study has been running, over all its runs, and what is left of it."""

from __future__ import annotations

import time
from collections.abc import Callable

_SAVE_EVERY_S = 10.0
_CLOSING_S, _CLOSING_SHARE = 3.0, 0.05
"""Kept for the end of a run, the workers' leave, the record, the report: at most such a share."""


class StudyClock:
    """Counts on from what earlier runs stored; `kill -9` loses ten seconds at most."""

    def __init__(
        self, earlier_s: float, store: Callable[[float], None], *, begun: float | None = None
    ) -> None:
        """`begun`: `time.monotonic()` when this run began; now by default."""
        self._earlier_s = earlier_s
        self._store = store
        self._saved = time.monotonic()
        self._begun = self._saved if begun is None else begun

    @property
    def elapsed_s(self) -> float:
        """Seconds, earlier runs included."""
        return self._earlier_s + time.monotonic() - self._begun

    def save(self, *, now: bool = False) -> None:
        """Stores the time, if it is due or to be `now`."""
        if now or time.monotonic() - self._saved >= _SAVE_EVERY_S:
            self._saved = time.monotonic()
            self._store(self.elapsed_s)


class Deadline:
    """What is left of a study's wall-clock, shared out: search, finals, the test set, the end.

    What is kept for the finals and the test set are functions, asked anew each time: both follow
    from what the study has seen so far.
    """

    def __init__(
        self,
        clock: StudyClock,
        limit_s: float | None = None,
        *,
        finals_s: Callable[[], float] = lambda: 0.0,
        test_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.clock = clock
        self.limit_s = limit_s
        self._finals_s = finals_s
        self._test_s = test_s
        self._closing_s = min(_CLOSING_S, _CLOSING_SHARE * (limit_s or 0.0))

    @property
    def left_s(self) -> float | None:
        """Seconds to the limit; `None` without one."""
        return None if self.limit_s is None else self.limit_s - self.clock.elapsed_s

    @property
    def closing_in_s(self) -> float | None:
        """Seconds until all work has to be done, but for the report."""
        left = self.left_s
        return None if left is None else left - self._closing_s

    @property
    def finals_left_s(self) -> float | None:
        """Seconds in which finalists may still be run."""
        left = self.closing_in_s
        return None if left is None else left - self._test_s()

    @property
    def search_left_s(self) -> float | None:
        """Seconds in which trials may still be run."""
        left = self.finals_left_s
        return None if left is None else left - self._finals_s()

    @property
    def is_search_over(self) -> bool:
        """Whether no trial may go on."""
        left = self.search_left_s
        return left is not None and left <= 0
