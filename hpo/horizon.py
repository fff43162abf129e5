"""What can still end before the search does, of trials that are and of trials to be."""

from __future__ import annotations

from hpo.clock import Deadline
from hpo.forecast import Forecast, prudent_s
from hpo.roster import Entry, Roster

MISFITS = 3
"""So many proposals one after another that cannot end in time, and no more are asked for."""


class Horizon:
    """Compares what is left of the search's time with what is foretold.

    Before anything has been seen everything can end, as something must be tried.
    """

    def __init__(self, deadline: Deadline, forecast: Forecast, roster: Roster) -> None:
        self._deadline = deadline
        self._forecast = forecast
        self._roster = roster
        self._misfits = 0
        self._has_seen_costs = any(trial.intermediate_values for trial in roster.stored())
        self.has_refused = False
        """Whether something could not be started because it would not have ended."""

    @property
    def left_s(self) -> float | None:
        """Seconds in which search may still be done; `None` without a limit."""
        return self._deadline.search_left_s

    def see(self) -> None:
        """Notes that an evaluation has shown what trials cost."""
        self._has_seen_costs = True

    def can_end(self, number: int) -> bool:
        """Whether a trial is expected to come to its end.

        Until a trial is complete the expectation counts, then the time that one trial in twenty
        exceeds.
        """
        left = self.left_s
        if left is None or not self._has_seen_costs:
            return True
        to_go = self._forecast.of_trial(number)
        can = (to_go.seconds if self._roster.best is None else prudent_s(to_go)) <= left
        self.has_refused = self.has_refused or not can
        return can

    def has_room_for_more(self) -> bool:
        """Whether a new trial may be found that comes to its end."""
        left = self.left_s
        if left is None or not self._has_seen_costs:
            return True
        has_room = self._misfits < MISFITS and self._forecast.can_fit(left)
        self.has_refused = self.has_refused or not has_room
        return has_room

    def fits(self, entry: Entry) -> bool:
        """Whether a trial that is drawn by now can end; too many misfits, and no more is asked."""
        can = self.can_end(entry.number)
        if can:
            self._misfits = 0
        else:
            # A declared point says nothing of what the sampler will propose next.
            self._misfits += not entry.is_declared
        return can
