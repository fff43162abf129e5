"""The file that remembers how each repeat ended, and what it makes of the finalists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from core.errors import DamagedFileError, UserError
from core.sealed import read_sealed
from core.task import Metric
from hpo.finals.statistics import Values, interval, is_behind, select, ties
from hpo.folders import write_record
from hpo.records import SCHEMA_VERSION, Entrant, FinalsRecord

_FILE = "finals.json"


class FinalsError(UserError):
    """The record of the finals cannot be read."""


@dataclass(frozen=True)
class Repeat:
    """How one configuration did on one fresh seed."""

    trial: int
    seed: int
    """From 1."""
    state: Literal["complete", "diverged", "collapsed", "failed"]
    """`failed`: its worker broke down twice, which says nothing about the configuration."""
    value: float | None
    """Validation score, of a complete repeat."""
    before: float | None = None
    """The score as the last stage began."""
    reason: str = ""

    def counted(self, metric: Metric) -> float | None:
        """The score it counts with: a model that broke has learned nothing."""
        if self.state == "failed":
            return None
        return self.value if self.state == "complete" else metric.floor


@dataclass(frozen=True)
class Comparison:
    """A finalist against the selected one, over sentences."""

    selected: int
    trial: int
    repeats: int
    """On how many seeds both were compared."""
    p_value: float | None
    """`None` where the task had nothing to compare."""


@dataclass(frozen=True)
class Standings:
    """Who takes part, and how each repeat ended so far."""

    top: int
    seeds: int
    finalists: tuple[int, ...] = ()
    """Trials in the ranking of the search."""
    start: int | None = None
    """The start configuration's trial, where it takes part without being a finalist."""
    repeats: tuple[Repeat, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    def values(self, metric: Metric) -> dict[int, dict[int, float]]:
        """Trial -> seed -> score, of all that take part; those without a repeat have none."""
        found: dict[int, dict[int, float]] = {trial: {} for trial in self.entrants}
        for one in sorted(self.repeats, key=lambda repeat: repeat.seed):
            value = one.counted(metric)
            if value is not None and one.trial in found and one.seed <= self.seeds:
                found[one.trial][one.seed] = value
        return found

    @property
    def entrants(self) -> tuple[int, ...]:
        """The finalists, and the start configuration behind them."""
        return (*self.finalists, *(() if self.start is None else (self.start,)))

    def selected(self, metric: Metric) -> int | None:
        """Whom the repeats select, the start configuration among them; `None` without any."""
        return select(self.values(metric), metric)

    def find(self, trial: int, seed: int) -> Repeat | None:
        """How a repeat ended; `None` if it has not."""
        for one in self.repeats:
            if (one.trial, one.seed) == (trial, seed):
                return one
        return None

    def having(self, repeat: Repeat) -> Standings:
        """The same with one more repeat."""
        return replace(self, repeats=(*self.repeats, repeat))

    def summary(self, metric: Metric, start: int | None) -> FinalsRecord | None:
        """What the repeats amount to; `start` is the start configuration's trial, if it is known.

        `None` before the first repeat of a finalist has ended.
        """
        values, selected = self.values(metric), self.selected(metric)
        if selected is None:
            return None
        entrants = tuple(
            self._entrant(trial, selected, values, metric)
            for trial in self.entrants
            if values[trial]
        )
        took_part = any(one.trial == start for one in entrants)
        return FinalsRecord(entrants, selected, self.top, self.seeds, start if took_part else None)

    def _entrant(
        self, trial: int, selected: int, values: Mapping[int, Values], metric: Metric
    ) -> Entrant:
        own, p_value = values[trial], self._p_value(trial, selected)
        found, repeats = interval(list(own.values())), {one.seed: one for one in self._of(trial)}
        tied = trial == selected or ties(own, values[selected], metric, p_value)
        return Entrant(
            trial=trial,
            values=tuple(own.values()),
            mean=found.mean,
            half_width=found.half_width,
            ties_with_best=tied,
            seeds=tuple(own),
            before=tuple(repeats[seed].before for seed in own),
            p_value=p_value,
            is_dropped=not tied
            and trial in self.finalists
            and len(own) < self.seeds
            and is_behind(own, values[selected], metric),
            is_finalist=trial in self.finalists,
        )

    def _of(self, trial: int) -> list[Repeat]:
        return [one for one in self.repeats if one.trial == trial]

    def _p_value(self, trial: int, selected: int) -> float | None:
        for one in self.comparisons:
            if (one.trial, one.selected) == (trial, selected):
                return one.p_value
        return None


def write_standings(folder: Path, standings: Standings) -> None:
    """Writes the file into the study's finals folder, whole or not at all."""
    write_record(folder / _FILE, {"schema_version": SCHEMA_VERSION, **asdict(standings)})


def read_standings(folder: Path) -> Standings | None:
    """What `write_standings` wrote; `None` where no finals have begun.

    Raises: FinalsError if the file makes no sense.
    """
    path = folder / _FILE
    try:
        stored = read_sealed(path)
        return Standings(
            top=stored["top"],
            seeds=stored["seeds"],
            finalists=tuple(stored["finalists"]),
            start=stored["start"],
            repeats=tuple(Repeat(**one) for one in stored["repeats"]),
            comparisons=tuple(Comparison(**one) for one in stored["comparisons"]),
        )
    except FileNotFoundError:
        return None
    except (DamagedFileError, KeyError, TypeError) as error:
        why = error.what if isinstance(error, DamagedFileError) else error
        raise FinalsError(
            f"the record of the finals is damaged ({why})",
            where=str(path),
            way_out="Delete it: the repeats that have ended are read again from their folders.",
        ) from None
