"""How long the work of a running study is expected to take: trials that are, and trials to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from core.settings import RunConfig, canonical_json
from core.task import Evaluation, Outcome, Progress
from hpo.costs import CostModel, Prediction
from hpo.declarations import Study
from hpo.declarations.assembly import groups_at
from hpo.roster import Entry, Roster
from hpo.sampling import SpacePoints

_PROBES = 16
"""Points drawn to see whether anything fits."""
_CAUTION = 2.0
_Groups = Mapping[str, Mapping[str, Any]]


def prudent_s(prediction: Prediction) -> float:
    """Seconds that work is given before its start: what one in twenty exceeds.

    While little is known that may be a multiple of what is likely, and time would lie idle.
    """
    return min(prediction.at_most_s, _CAUTION * prediction.seconds)


class Forecast:
    """Asks the cost model, knowing the search space, the trials and whose stage A is cached.

    It is the schedulers' `Costs`.
    """

    def __init__(self, study: Study, model: CostModel, roster: Roster) -> None:
        self._study = study
        self._model = model
        self._roster = roster
        self._points = SpacePoints(study.space, study.spec.structure_group)
        self._groups: dict[int, _Groups] = {}
        self._of_new: dict[tuple[Any, ...], float] = {}
        self._of_waiting: dict[tuple[int, int, int | None], Prediction] = {}
        self._watched: set[int] = set()
        """Running trials, whose own speed is heard of all the time."""
        self._trial_of: dict[str, int] = {}
        """Groups as JSON -> a trial that has them."""
        self._repeats = 0
        self._repeated: set[int] = set()
        """Structure seeds of the finals whose stage A is cached."""
        grid = study.grid
        self._shared_until = grid.total_steps - grid.stages[-1][1]
        """The step up to which stages can come from the cache: all but the last."""
        self._cached = {
            self._structure_of(self.groups_of(trial.number))
            for trial in roster.stored()
            if self._has_shared(trial.last_step or 0)
        }

    def of_new(self, drawn: Mapping[str, Any], until: int) -> float:
        """See `Costs.of_new`."""
        key = (tuple(sorted(drawn.items())), until)
        if key not in self._of_new:
            point = self._points.realise(drawn)
            self._of_new[key] = self.of_point(point, until).seconds
        return self._of_new[key]

    def of_point(self, realised: Mapping[str, Any], until: int | None = None) -> Prediction:
        """A new trial at a point, up to step `until` or the end; a cached stage A is free."""
        groups = groups_at(self._study, realised)
        return self._model.predict(
            groups, to_step=until, cached=self._structure_of(groups) in self._cached
        )

    def can_fit(self, seconds: float) -> bool:
        """Whether some new trial can be expected to end within `seconds`, of a few at random."""
        generator = np.random.default_rng(0)
        points = (self._points.realise(self._points.draw(generator)) for _ in range(_PROBES))
        return any(prudent_s(self.of_point(point)) <= seconds for point in points)

    def to_go(self, number: int, until: int) -> float:
        """See `Costs.to_go`."""
        return self.of_trial(number, until).seconds

    def of_trial(self, number: int, until: int | None = None) -> Prediction:
        """A trial that exists, from where it stands up to step `until` or the end."""
        step = self._roster.step_of(number)
        key = (number, step, until)
        if key in self._of_waiting:
            return self._of_waiting[key]
        groups = self.groups_of(number)
        cached = step == 0 and self._structure_of(groups) in self._cached
        found = self._model.predict(
            groups, from_step=step, to_step=until, cached=cached, number=number
        )
        if number not in self._watched:
            self._of_waiting[key] = found
        return found

    def of_repeat(self, config: RunConfig) -> Prediction:
        """A trial's configuration on a fresh seed, at the speed that the trial had."""
        return self._model.predict(
            config.groups,
            cached=config.structure_seed in self._repeated,
            number=self._trial_of.get(canonical_json(config.groups)),
        )

    def of_repeats(self, numbers: Sequence[int]) -> list[Prediction]:
        """One repeat of each on the same fresh seed: the first of a structure pays stage A."""
        found, structures = [], set[str]()
        for number in numbers:
            groups = self.groups_of(number)
            structure = self._structure_of(groups)
            cached = structure in structures and self._shared_until > 0
            found.append(self._model.predict(groups, cached=cached, number=number))
            structures.add(structure)
        return found

    def of_test(self, groups: _Groups) -> Prediction:
        """One reading of the test set."""
        return self._model.predict_test(groups)

    def groups_of(self, number: int) -> _Groups:
        """A trial's settings by group, complete with defaults."""
        if number not in self._groups:
            realised = self._roster.realised(number)
            if not realised:  # created, and the driver was killed before it drew
                return groups_at(self._study, self._study.start or {})
            self._groups[number] = groups_at(self._study, realised)
            self._trial_of[canonical_json(self._groups[number])] = number
        return self._groups[number]

    def watch(self, entry: Entry, event: Progress | Evaluation) -> None:
        """Learns from a running trial."""
        groups = entry.config.groups
        self._watched.add(entry.number)
        self._model.watch(entry.number, groups, event)
        if isinstance(event, Evaluation) and self._has_shared(event.step):
            structure = self._structure_of(groups)
            if structure not in self._cached:
                self._cached.add(structure)
                self._forget()

    def learn(self, entry: Entry, outcome: Outcome) -> None:
        """Learns from what an attempt came to."""
        self._model.learn(entry.number, entry.config.groups, outcome)
        self._watched.discard(entry.number)
        self._forget()

    def learn_repeat(self, config: RunConfig, outcome: Outcome) -> None:
        """Learns from a run on a fresh seed."""
        self._repeats += 1
        self._model.learn(-self._repeats, config.groups, outcome)
        if self._has_shared(outcome.step):
            self._repeated.add(config.structure_seed)
        self._forget()

    def learn_test(self, groups: _Groups, seconds: float) -> None:
        """Learns from a reading of the test set."""
        self._model.learn_test(groups, seconds)
        self._forget()

    def _forget(self) -> None:
        """Whoever waits is foretold anew when something was learned; not at every sign of life."""
        self._of_new.clear()
        self._of_waiting.clear()

    def _has_shared(self, step: int) -> bool:
        return 0 < self._shared_until <= step

    def _structure_of(self, groups: _Groups) -> str:
        return canonical_json(groups[self._study.spec.structure_group])
