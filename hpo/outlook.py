"""What a study under a time limit can still afford: trials, repeats, readings of the test set."""

from __future__ import annotations

from typing import Any

from core.settings import RunConfig
from hpo.clock import Deadline, StudyClock
from hpo.declarations import Study
from hpo.declarations.assembly import build_groups
from hpo.declarations.files import label
from hpo.finals.repeats import COMPARING_S
from hpo.forecast import Forecast, prudent_s
from hpo.roster import Roster

FINALS_SHARE = 0.25
"""Of the limit, at most, for repeats of finalists: they tell how sure the best is, not which."""
_TEST_SHARE = 0.25
"""Of the limit, at most, for the test set: before anything was seen a forecast may be far off."""


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
            seconds = self._forecast.of_test(self._start()).seconds
        else:
            seconds = prudent_s(self._forecast.of_test(self._forecast.groups_of(best[0])))
        return min(seconds, _TEST_SHARE * self._limit_s)

    def _finals_s(self) -> float:
        """Seconds for the finals; none so long as no trial is complete, which comes before."""
        assert self._limit_s is not None
        finals = self._study.finals
        total = 0.0
        for rank, number in enumerate(self._roster.ranking()[: finals.top]):
            groups = self._forecast.groups_of(number)
            reading = self._forecast.of_test(groups).seconds
            repeat = self._forecast.of_repeats(number).seconds + reading
            # The best one's own run is what the test set's share is for.
            total += finals.seeds * repeat + (reading if rank else 0.0)
        comparing = COMPARING_S * finals.seeds * (finals.top - 1)
        return min(total / self._slots + comparing, FINALS_SHARE * self._limit_s)

    def _start(self) -> dict[str, dict[str, Any]]:
        """The start configuration's groups."""
        study = self._study
        groups = build_groups(
            study.space, study.spec, study.start or {}, where=label(study.space.path)
        )
        return {name: group.model_dump(mode="json") for name, group in groups.items()}
