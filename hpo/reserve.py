"""What a study under a time limit keeps back from its search for the test set."""

from __future__ import annotations

from hpo.declarations import Study
from hpo.declarations.assembly import build_groups
from hpo.declarations.files import label
from hpo.forecast import Forecast
from hpo.roster import Roster

_TEST_SHARE = 0.25
"""Of the limit, at most, for the test set: before anything was seen a forecast may be far off."""


class Reserve:
    """Follows from the best trial so far and from what the study has seen of its costs."""

    def __init__(
        self, study: Study, forecast: Forecast, roster: Roster, *, limit_s: float
    ) -> None:
        self._study = study
        self._forecast = forecast
        self._roster = roster
        self._limit_s = limit_s

    def test_s(self) -> float:
        """Seconds for one reading of the test set; with a margin once there is what to read."""
        best = self._roster.best
        if best is None:
            seconds = self._forecast.of_test(self._of_start()).seconds
        else:
            seconds = self._forecast.of_test(self._forecast.groups_of(best[0])).at_most_s
        return min(seconds, _TEST_SHARE * self._limit_s)

    def _of_start(self) -> dict[str, dict[str, object]]:
        study = self._study
        groups = build_groups(
            study.space, study.spec, study.start or {}, where=label(study.space.path)
        )
        return {name: group.model_dump(mode="json") for name, group in groups.items()}
