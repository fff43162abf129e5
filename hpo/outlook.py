"""What a study under a time limit can still afford: trials, repeats, readings of the test set."""

from __future__ import annotations

import math
from statistics import fmean
from typing import NamedTuple

from core.settings import RunConfig
from hpo.clock import Deadline, StudyClock
from hpo.declarations import Study
from hpo.declarations.assembly import groups_at
from hpo.finals.repeats import COMPARING_S
from hpo.forecast import Forecast, prudent_s
from hpo.roster import Roster

FINALS_SHARE = 0.25
"""Of the limit, at most, for repeats of finalists: they tell how sure the best is, not which."""
_TEST_SHARE = 0.25
"""Of the limit, at most, for the test set: before anything was seen a forecast may be far off."""


class FinalsReserve(NamedTuple):
    """What is kept for the finals."""

    seconds: float
    """Of wall-clock."""
    repeats: int
    """That end within it."""


def finals_seconds(
    repeat_s: float,
    reading_s: float,
    *,
    entrants: int,
    seeds: int,
    slots: int,
    limit_s: float | None,
    left_s: float = math.inf,
    others_s: float = 0.0,
) -> FinalsReserve:
    """What the finals take: rounds of as many repeats as there are slots, each with its reading.

    Under a limit of `limit_s` seconds, of which `left_s` are left for the finals, only whole
    rounds are kept within their share, as nothing fits into a part of one; then `others_s`, for
    what is done beside the repeats, as far as the share has room.
    """
    share_s = math.inf if limit_s is None else min(FINALS_SHARE * limit_s, max(left_s, 0.0))
    asked, round_s = entrants * seeds, repeat_s + reading_s
    rounds = -(-asked // slots)
    if rounds * round_s > share_s:
        rounds = int(share_s // round_s)
    seconds = rounds * round_s
    return FinalsReserve(
        seconds + min(others_s, max(share_s - seconds, 0.0)), min(asked, rounds * slots)
    )


class Outlook:
    """Follows from the best trials so far and from what the study has seen of its costs."""

    def __init__(
        self,
        study: Study,
        roster: Roster,
        forecast: Forecast,
        clock: StudyClock,
        *,
        limit_s: float | None,
        slots: int,
    ) -> None:
        """`limit_s`: of the study's wall-clock; everything can be afforded without one."""
        self._study = study
        self._roster = roster
        self._forecast = forecast
        self._limit_s = limit_s
        self._slots = slots
        self.deadline = Deadline(clock, limit_s, finals_s=self._finals_s, test_s=self._test_s)

    def may_repeat(self, config: RunConfig, *, readings: int) -> bool:
        """Whether a repeat of a finalist, and its reading of the test set, would end in time.

        `readings` of other runs are to follow, beside the first.
        """
        left = self.deadline.finals_left_s
        if left is None:
            return True
        run = prudent_s(self._forecast.of_repeat(config))
        return run + self._readings_s(config, readings + 1) <= left

    def is_finals_over(self, config: RunConfig, *, readings: int) -> bool:
        """Whether no repeat may go on; `config` stands for all finalists."""
        left = self.deadline.finals_left_s
        return left is not None and left <= self._readings_s(config, readings)

    def _readings_s(self, config: RunConfig, readings: int) -> float:
        return self._forecast.of_test(config.groups).seconds * readings / self._slots

    def may_read(self, config: RunConfig) -> bool:
        """Whether one more reading of the test set would end in time; nobody asks of the first."""
        return self.has_time(prudent_s(self._forecast.of_test(config.groups)))

    def has_time(self, seconds: float) -> bool:
        """Whether so much may still be done before the end."""
        left = self.deadline.closing_in_s
        return left is None or seconds <= left

    def _test_s(self) -> float:
        """Seconds for one reading of the test set; with a margin once there is what to read."""
        assert self._limit_s is not None
        best = self._roster.best
        if best is None:
            start = groups_at(self._study, self._study.start or {})
            seconds = self._forecast.of_test(start).seconds
        else:
            seconds = prudent_s(self._forecast.of_test(self._forecast.groups_of(best[0])))
        return min(seconds, _TEST_SHARE * self._limit_s)

    def _finals_s(self) -> float:
        """Seconds for the finals; none so long as no trial is complete, which comes before."""
        finals, start = self._study.finals, self._study.start
        finalists = self._roster.ranking()[: finals.top]
        if not finalists:
            return 0.0
        groups = [self._forecast.groups_of(number) for number in finalists]
        reading_s = fmean(self._forecast.of_test(one).seconds for one in groups)
        points = [self._roster.realised(number) for number in finalists]
        is_apart = start is not None and not any(start.items() <= one.items() for one in points)
        entrants = len(finalists) + is_apart
        # The best one's own run is what the test set's share is for.
        own_s = -(-(len(finalists) - 1) // self._slots) * reading_s
        return finals_seconds(
            fmean(one.seconds for one in self._forecast.of_repeats(finalists)),
            reading_s,
            entrants=entrants,
            seeds=finals.seeds,
            slots=self._slots,
            limit_s=self._limit_s,
            others_s=own_s + COMPARING_S * finals.seeds * (entrants - 1),
        ).seconds
