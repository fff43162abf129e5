"""A study's curves as the model of `curve_model` takes them: scaled, thinned, in segments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from core.settings import derive_seed
from core.task import Grid
from hpo.schedulers import Points
from hpo.schedulers.curve_model import Floats, Ints, Places, Runs, Shape

FULL = 600
"""Values that a belief is conditioned on at most."""
FIT_LONGEST = 24
FIT_SPREAD = 40
"""Trials that the hyperparameters are fitted to: the longest curves, and some of all."""
_CURVATURE = 24.0
"""Progress is log(1 + c u) / log(1 + c): a twenty-fifth of a curve is a fifth of the way."""


class Encoder:
    """Drawn values as features in [0, 1]."""

    def __init__(self, points: Points, *, structure_is_shared: bool) -> None:
        distributions = sorted(points.distributions.items())
        self._codes = [(name, _code(distribution)) for name, distribution in distributions]
        parameter: list[int] = []
        shared: list[bool] = []
        for i, (name, code) in enumerate(self._codes):
            width = len(code) if isinstance(code, list) else 1
            parameter += [i] * width
            shared += [not structure_is_shared or name in points.structure] * width
        self.parameter: Ints = np.array(parameter, dtype=np.int64)
        self.shared: npt.NDArray[np.bool_] = np.array(shared, dtype=bool)

    def __call__(self, drawn: Mapping[str, Any]) -> list[float]:
        """Features; where a parameter does not apply, the middle, or no category."""
        features: list[float] = []
        for name, code in self._codes:
            value = drawn.get(name)
            if isinstance(code, list):
                # Two choices are a distance of 1 apart.
                features += [
                    math.sqrt(0.5) if name in drawn and value == one else 0.0 for one in code
                ]
            elif value is None:
                features.append(0.5)
            else:
                features.append(code(float(value)))
        return features


def _code(distribution: BaseDistribution) -> list[Any] | Callable[[float], float]:
    """The choices, or what places a number between 0 and 1."""
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if high <= low:
        return lambda _: 0.5
    if distribution.log:
        return lambda value: math.log(value / low) / math.log(high / low)
    return lambda value: (value - low) / (high - low)


@dataclass
class _Row:
    """A trial's curve: (segment, progress, value), the better the higher."""

    trial: FrozenTrial
    group: int
    steps: list[int]
    last: int
    """The last segment."""
    own: list[tuple[int, float, float]] = field(default_factory=list)
    end: float | None = None
    """The value at the end; minus infinity for a trial that came to nothing."""

    @property
    def followed(self) -> float:
        """How much of the way from the first report to the end was seen."""
        if not self.own or self.end == -math.inf:
            return 0.0
        if self.end is not None:
            return 1.0
        (segment, begin, _), (latest, here, _) = self.own[0], self.own[-1]
        if latest > segment:
            return (1 + here) / 2
        return (here - begin) / max(1 - begin, 1e-9) / (1 if segment == self.last else 2)


@dataclass(frozen=True)
class Candidate:
    """A point that might be tried."""

    drawn: dict[str, Any]
    key: tuple[tuple[str, Any], ...]
    """What tells it from others."""
    features: list[float]
    group: Any
    """What it must share with others to share a stage A; `None` where there is none to share."""


class CurveData:
    """Reads the trials of a study."""

    def __init__(
        self,
        points: Points,
        grid: Grid,
        direction: Literal["maximize", "minimize"],
        score_of: Callable[[FrozenTrial], float | None] | None,
    ) -> None:
        self._points, self._grid, self._score_of = points, grid, score_of
        self._features: dict[int, tuple[Mapping[str, Any], list[float]]] = {}
        self._sign = 1.0 if direction == "maximize" else -1.0
        self._stages = [steps for _, steps in grid.stages if steps]
        self._is_staged = len(self._stages) > 1 and bool(points.structure)
        self.encode = Encoder(points, structure_is_shared=self._is_staged)
        segments = len(self._stages) + (score_of is not None)
        self.shape = Shape(self.encode.parameter, self.encode.shared, segments)

    def read(self, trials: Sequence[FrozenTrial]) -> Curves | None:
        """What the trials say; `None` if none has reported."""
        ends = [
            one.last_step
            for one in trials
            if one.state == TrialState.COMPLETE and one.last_step is not None
        ]
        # Where curves may end early, they are as long as those that ended were.
        length = int(np.median(ends)) if ends else self._grid.total_steps
        groups: dict[Any, int] = {}
        rows = []
        for trial in trials:
            if trial.state == TrialState.FAIL or not trial.params:
                continue
            key = self.group_key(trial.params) if self._is_staged else trial.number
            row = _Row(
                trial,
                groups.setdefault(key, len(groups)),
                sorted(trial.intermediate_values),
                self.shape.segments - 1,
            )
            self._fill(row, length)
            rows.append(row)
        if not any(row.own or row.end is not None for row in rows):
            return None
        return Curves(self, rows, groups, length)

    def candidate(self, drawn: dict[str, Any]) -> Candidate:
        """A point with what is derived from it."""
        group = self.group_key(drawn) if self._is_staged else None
        return Candidate(drawn, key_of(drawn), self.encode(drawn), group)

    def group_key(self, drawn: Mapping[str, Any]) -> Any:
        """What trials must share to share a stage A."""
        structure = self._points.structure
        return key_of({name: value for name, value in drawn.items() if name in structure})

    def features(self, trial: FrozenTrial) -> list[float]:
        """A trial's features."""
        known = self._features.get(trial.number)
        if known is None or known[0] != trial.params:
            known = self._features[trial.number] = (trial.params, self.encode(trial.params))
        return known[1]

    def is_staged(self) -> bool:
        """Whether trials of one structure share all segments but the last."""
        return self._is_staged

    def place(self, step: int, length: int) -> tuple[int, float]:
        """Segment and progress in it of a step."""
        begin = 0
        last = len(self._stages) - 1
        for segment, steps in enumerate(self._stages):
            if step <= begin + steps or segment == last:
                whole = max(1, (length if segment == last else begin + steps) - begin)
                done = min(1.0, max(0.0, (step - begin) / whole))
                return segment, math.log1p(_CURVATURE * done) / math.log1p(_CURVATURE)
            begin += steps
        raise AssertionError

    def next_step(self, step: int | None, is_known: bool) -> int:
        """The step of the next report, past a stage A that is known already."""
        begin = step or 0
        if is_known and step is None:
            begin = sum(self._stages[:-1])
        every = self._grid.eval_every
        return min(self._grid.total_steps, (begin // every + 1) * every)

    @property
    def total_steps(self) -> int:
        return self._grid.total_steps

    def _fill(self, row: _Row, length: int) -> None:
        trial, last = row.trial, self.shape.segments - 1
        curve = [(step, self._sign * trial.intermediate_values[step]) for step in row.steps]
        row.own = [
            (*self.place(step, length), value) for step, value in curve if math.isfinite(value)
        ]
        if trial.state == TrialState.COMPLETE:
            score = trial.value if self._score_of is None else self._score_of(trial)
            row.end = None if score is None else self._sign * score
            if self._score_of is None and row.own:
                row.own.pop()  # the end itself
        elif any(one > 0 for one in trial.constraints.values()):
            row.end = -np.inf
            row.own = [one for one in row.own if one[0] < last]


def key_of(drawn: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Drawn values, to be compared."""
    return tuple(sorted(drawn.items()))


class Curves:
    """The trials' curves at one moment."""

    def __init__(
        self, data: CurveData, rows: Sequence[_Row], groups: Mapping[Any, int], length: int
    ) -> None:
        self._data, self._rows, self._groups, self._length = data, rows, groups, length
        self.shape = data.shape
        self._index = {row.trial.number: i for i, row in enumerate(rows)}
        self.runs = Runs(
            np.array([data.features(row.trial) for row in rows]).reshape(
                len(rows), len(data.encode.parameter)
            ),
            np.array([row.trial.number for row in rows]),
            np.array([row.group for row in rows]),
        )
        self.live = [row.trial.number for row in rows if not row.trial.state.is_finished()]
        self.ended = [
            row.trial.number for row in rows if row.end is not None and np.isfinite(row.end)
        ]
        self.reported = sum(bool(row.own) or row.end is not None for row in rows)
        self.followed = sum(row.followed for row in rows)
        """How many whole curves what was seen of the trials amounts to."""
        fit_rows = self._fit_rows()
        self._scales = self._scaling(fit_rows)
        self.fit_at, self.fit_values = self._thinned(fit_rows, _doubling)
        self.at, self.values = self._thinned(range(len(rows)), _ends_and_middle)

    @property
    def fit_key(self) -> bytes:
        """What the hyperparameters follow from, besides the shape."""
        at = self.fit_at
        return b"".join(
            np.ascontiguousarray(one).tobytes()
            for one in (
                self.runs.run[at.of],
                at.segment,
                at.progress,
                self.fit_values,
            )
        )

    @property
    def best_reported(self) -> float:
        """The best value of the last segment that any trial reported, standardised."""
        last = self.shape.segments - 1
        values = [value for row in self._rows for segment, _, value in row.own if segment == last]
        values += [row.end for row in self._rows if row.end is not None]
        finite = [value for value in values if np.isfinite(value)]
        return float(self._standard(last, np.array([max(finite)]))[0]) if finite else -np.inf

    def best(self, count: int) -> list[dict[str, Any]]:
        """Drawn values of the trials that look best, by their last values."""
        ranked = []
        for row in self._rows:
            if row.end is not None and np.isfinite(row.end):
                level = self._standard(self.shape.segments - 1, np.array([row.end]))[0]
            elif row.own and row.end is None:
                segment, _, value = row.own[-1]
                level = self._standard(segment, np.array([value]))[0]
            else:
                continue
            ranked.append((-float(level), row.trial.number, row.trial.params))
        return [dict(params) for _, _, params in sorted(ranked, key=lambda one: one[:2])[:count]]

    def count_in_group(self, candidate: Candidate) -> int:
        """How many trials share a point's stage A."""
        group = self._groups.get(candidate.group, -1)
        return sum(row.group == group for row in self._rows)

    def queries(self, numbers: Sequence[int], candidates: Sequence[Candidate]) -> Runs:
        """Trials, and points that are not tried yet, to be asked about."""
        old = [self._index[number] for number in numbers]
        features = [one.features for one in candidates]
        groups = [self._groups.get(one.group, -1) for one in candidates]
        width = self.runs.features.shape[1]
        return Runs(
            np.concatenate([self.runs.features[old], np.array(features).reshape(-1, width)]),
            np.concatenate([self.runs.run[old], np.full(len(candidates), -1)]).astype(np.int64),
            np.concatenate([self.runs.group[old], np.array(groups)]).astype(np.int64),
        )

    def ends(self, count: int) -> Places:
        """The ends of queries, one each."""
        last = self.shape.segments - 1
        return Places(np.arange(count), np.full(count, last), np.ones(count))

    def end_after(self, step: int) -> int:
        """Where a curve that comes to `step` is expected to end."""
        return min(self._data.total_steps, max(step, self._length))

    def next_reports(self, numbers: Sequence[int | None], groups: Ints) -> tuple[Ints, Places]:
        """Steps of the next reports of trials, or of points without a number; and their places."""
        steps, places = [], []
        known = {row.group for row in self._rows if row.own}
        for number, group in zip(numbers, groups, strict=True):
            last = None
            if number is not None:
                last = self._rows[self._index[number]].trial.last_step
            steps.append(
                self._data.next_step(last, self._data.is_staged() and int(group) in known)
            )
            places.append(self._data.place(steps[-1], self._length))
        segment, progress = np.array(places).T
        return np.array(steps), Places(np.arange(len(steps)), segment.astype(np.int64), progress)

    # Which values, and how they are scaled

    def _fit_rows(self) -> list[int]:
        """Rows that change seldom, so that hyperparameters need not be fitted at each report."""
        told = [i for i, row in enumerate(self._rows) if row.own or row.end is not None]
        longest = sorted(
            told,
            key=lambda i: (self._rows[i].end is None, -len(self._rows[i].own).bit_length(), i),
        )[:FIT_LONGEST]
        spread = sorted(told, key=lambda i: derive_seed("fit", self._rows[i].trial.number))
        return sorted({*longest, *spread[:FIT_SPREAD]})

    def _scaling(self, rows: Sequence[int]) -> list[tuple[float, float]]:
        """Centre and width of each segment: the middle and the upper half of trials' last values.

        The lower half may hold any number of failures, of any size.
        """
        scales: list[tuple[float, float]] = []
        for segment in range(self.shape.segments):
            lasts, everything = [], []
            for i in rows:
                row = self._rows[i]
                mine = [value for at, _, value in row.own if at == segment]
                mine = [mine[place] for place in _doubling(mine)]
                if segment == self.shape.segments - 1 and row.end is not None:
                    mine.append(row.end)
                mine = [value for value in mine if math.isfinite(value)]
                lasts += mine[-1:]
                everything += mine
            centre = float(np.median(lasts)) if lasts else 0.0
            width = 0.0
            if everything:
                upper = float(np.quantile(lasts, 0.9)) - centre
                width = max(upper / 1.28, (max(everything) - centre) / 3)
            if width <= 0 and scales:
                width = scales[-1][1]
            if width <= 0 and everything:
                width = max(everything) - min(everything)
            scales.append((centre, width if width > 0 else 1.0))
        return scales

    def _standard(self, segment: int, values: Floats) -> Floats:
        """Standardised; what lies far below is drawn up logarithmically."""
        centre, width = self._scales[segment]
        scaled = (values - centre) / width
        return np.where(scaled < -1, -1 - np.log1p(np.maximum(-1 - scaled, 0)), scaled)

    def _thinned(
        self, rows: Sequence[int] | range, keep: Callable[[Sequence[float]], list[int]]
    ) -> tuple[Places, Floats]:
        """What `keep` picks of each curve's segment, most important first; at most `FULL`.

        A stage A that trials share is told once.
        """
        last = self.shape.segments - 1
        told: set[tuple[int, int]] = set()
        picked: list[tuple[int, int, int, float, float]] = []
        for i in rows:
            row = self._rows[i]
            for segment in range(self.shape.segments):
                mine = [(progress, value) for at, progress, value in row.own if at == segment]
                if segment < last and self._data.is_staged() and mine:
                    if (row.group, segment) in told:
                        continue
                    told.add((row.group, segment))
                chosen = keep([progress for progress, _ in mine]) if mine else []
                for rank, place in enumerate(chosen):
                    picked.append((rank, i, segment, *mine[place]))
            if row.end is not None:
                picked.append((0, i, last, 1.0, row.end))
        if len(picked) > FULL:
            picked = sorted(picked, key=lambda one: (one[0], -one[1]))[:FULL]
        columns = list(zip(*picked, strict=True))
        of, segments = (np.array(columns[place], dtype=np.int64) for place in (1, 2))
        raw = np.array(columns[4], dtype=np.float64)
        value = np.empty_like(raw)
        for one in range(self.shape.segments):
            value[segments == one] = self._standard(one, raw[segments == one])
        finite = np.isfinite(value)
        # A trial that came to nothing is as bad as the worst, and worse than the middle.
        value[~finite] = min(-2.0, float(value[finite].min(initial=0.0)))
        return Places(of, segments, np.array(columns[3], dtype=np.float64)), value


def _ends_and_middle(progress: Sequence[float]) -> list[int]:
    """The last, the first and what is nearest to half the way between, in this order."""
    half = (progress[0] + progress[-1]) / 2
    middle = int(np.argmin([abs(one - half) for one in progress]))
    return list(dict.fromkeys((len(progress) - 1, 0, middle)))


def _doubling(progress: Sequence[float]) -> list[int]:
    """The first, second, fourth, ...: they stay the same while most reports come in."""
    return [2**power - 1 for power in range(len(progress).bit_length())]
