"""A study's curves as the model of `curve_model` takes them: scaled, thinned, in segments."""

from __future__ import annotations

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
        self._distributions = dict(sorted(points.distributions.items()))
        parameter, shared = [], []
        for i, (name, distribution) in enumerate(self._distributions.items()):
            width = (
                len(distribution.choices)
                if isinstance(distribution, CategoricalDistribution)
                else 1
            )
            parameter += [i] * width
            shared += [not structure_is_shared or name in points.structure] * width
        self.parameter: Ints = np.array(parameter, dtype=np.int64)
        self.shared: npt.NDArray[np.bool_] = np.array(shared, dtype=bool)

    def __call__(self, drawn: Mapping[str, Any]) -> list[float]:
        """Features; where a parameter does not apply, the middle."""
        features: list[float] = []
        for name, distribution in self._distributions.items():
            value = drawn.get(name)
            if isinstance(distribution, CategoricalDistribution):
                # Two choices are a distance of 1 apart.
                features += [
                    float(value is not None and value == choice) / np.sqrt(2)
                    for choice in distribution.choices
                ]
            else:
                features.append(0.5 if value is None else _placed(distribution, float(value)))
        return features


def _placed(distribution: BaseDistribution, value: float) -> float:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        low, high, value = np.log(low), np.log(high), np.log(value)
    return (value - low) / (high - low) if high > low else 0.5


@dataclass
class _Row:
    """A trial's curve: (segment, progress, value), the better the higher."""

    trial: FrozenTrial
    group: int
    steps: list[int]
    own: list[tuple[int, float, float]] = field(default_factory=list)
    end: float | None = None
    """The value at the end; minus infinity for a trial that came to nothing."""


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
            )
            self._fill(row, length)
            rows.append(row)
        if not any(row.own or row.end is not None for row in rows):
            return None
        return Curves(self, rows, groups, length)

    def group_key(self, drawn: Mapping[str, Any]) -> Any:
        """What trials must share to share a stage A."""
        return tuple(sorted((k, v) for k, v in drawn.items() if k in self._points.structure))

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
                return segment, float(np.log1p(_CURVATURE * done) / np.log1p(_CURVATURE))
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
            (*self.place(step, length), value) for step, value in curve if np.isfinite(value)
        ]
        if trial.state == TrialState.COMPLETE:
            score = trial.value if self._score_of is None else self._score_of(trial)
            row.end = None if score is None else self._sign * score
            if self._score_of is None and row.own:
                row.own.pop()  # the end itself
        elif any(one > 0 for one in trial.constraints.values()):
            row.end = -np.inf
            row.own = [one for one in row.own if one[0] < last]


class Curves:
    """The trials' curves at one moment."""

    def __init__(
        self, data: CurveData, rows: Sequence[_Row], groups: Mapping[Any, int], length: int
    ) -> None:
        self._data, self._rows, self._groups, self._length = data, rows, groups, length
        self.shape = data.shape
        self._index = {row.trial.number: i for i, row in enumerate(rows)}
        self.runs = Runs(
            np.array([data.encode(row.trial.params) for row in rows]).reshape(
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
        fit_rows = self._fit_rows()
        self._scales = self._scaling(fit_rows)
        self.fit_at, self.fit_values = self._thinned(fit_rows, most=10**9)
        self.at, self.values = self._thinned(range(len(rows)), most=FULL)

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

    def count_in_group(self, drawn: Mapping[str, Any], structure: frozenset[str]) -> int:
        """How many trials share a point's structure."""
        key = {name: value for name, value in drawn.items() if name in structure}
        return sum(
            {n: v for n, v in row.trial.params.items() if n in structure} == key
            for row in self._rows
        )

    def queries(self, numbers: Sequence[int], candidates: Sequence[Mapping[str, Any]]) -> Runs:
        """Trials, and points that are not tried yet, to be asked about."""
        old = [self._index[number] for number in numbers]
        features = [self._data.encode(point) for point in candidates]
        staged = self._data.is_staged()
        groups = [
            self._groups.get(self._data.group_key(point), -1) if staged else -1
            for point in candidates
        ]
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

    def next_reports(self, numbers: Sequence[int | None], runs: Runs) -> tuple[Ints, Places]:
        """Steps of the next reports of trials, or of points without a number; and their places."""
        steps, places = [], []
        known = {int(row.group) for row in self._rows if row.own}
        for number, group in zip(numbers, runs.group, strict=True):
            last = None
            if number is not None:
                last = self._rows[self._index[number]].trial.last_step
            steps.append(self._data.next_step(last, self._data.is_staged() and int(group) in known))
            places.append(self._data.place(steps[-1], self._length))
        segment, progress = np.array(places).T
        count = len(steps)
        at = Places(np.arange(count), segment.astype(np.int64), progress)
        return np.array(steps), at

    # Which values, and how they are scaled

    def _fit_rows(self) -> list[int]:
        """Rows that change seldom, so that hyperparameters need not be fitted at each report."""
        told = [i for i, row in enumerate(self._rows) if row.own or row.end is not None]
        longest = sorted(
            told,
            key=lambda i: (-len(self._rows[i].own) - (self._rows[i].end is not None), i),
        )[:FIT_LONGEST]
        spread = sorted(told, key=lambda i: derive_seed("fit", self._rows[i].trial.number))
        return sorted({*longest, *spread[:FIT_SPREAD]})

    def _scaling(self, rows: Sequence[int]) -> list[tuple[float, float]]:
        """Centre and width of each segment: the middle and the upper half of trials' last values.

        The lower half may hold any number of failures, of any size.
        """
        scales: list[tuple[float, float]] = []
        for segment in range(self.shape.segments):
            values = []
            for i in rows:
                row = self._rows[i]
                mine = [value for at, _, value in row.own if at == segment]
                if segment == self.shape.segments - 1 and row.end is not None:
                    mine = [row.end]
                values += [value for value in mine[-1:] if np.isfinite(value)]
            centre = float(np.median(values)) if values else 0.0
            width = 0.0
            if len(values) > 1:
                upper = float(np.quantile(values, 0.9)) - centre
                width = max(upper / 1.28, (max(values) - centre) / 4)
            if width <= 0:
                width = scales[-1][1] if scales else max(values, default=1.0) - min(values, default=0.0)
            scales.append((centre, width if width > 0 else 1.0))
        return scales

    def _standard(self, segment: int, values: Floats) -> Floats:
        """Standardised; what lies far below is drawn up logarithmically."""
        centre, width = self._scales[segment]
        scaled = (values - centre) / width
        return np.where(scaled < -1, -1 - np.log1p(np.maximum(-1 - scaled, 0)), scaled)

    def _thinned(
        self, rows: Sequence[int] | range, most: int
    ) -> tuple[Places, Floats]:
        """First, middle and last of each curve's segment; stage A once for each group."""
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
                chosen = sorted({len(mine) - 1, 0, _middle([p for p, _ in mine])}, reverse=True)
                for rank, place in enumerate(chosen if mine else []):
                    picked.append((rank, i, segment, *mine[place]))
            if row.end is not None:
                picked.append((0, i, last, 1.0, row.end))
        if len(picked) > most:
            picked = sorted(picked, key=lambda one: (one[0], -one[1]))[:most]
        columns = list(zip(*picked, strict=True))
        of, segment = (np.array(columns[place], dtype=np.int64) for place in (1, 2))
        raw = np.array(columns[4], dtype=np.float64)
        value = np.empty_like(raw)
        for one in range(self.shape.segments):
            value[segment == one] = self._standard(one, raw[segment == one])
        finite = np.isfinite(value)
        # A trial that came to nothing is as bad as the worst, and worse than the middle.
        value[~finite] = min(-2.0, float(value[finite].min(initial=0.0)))
        return Places(of, segment, np.array(columns[3], dtype=np.float64)), value


def _middle(progress: Sequence[float]) -> int:
    """The place that is nearest to half the way between first and last."""
    if not progress:
        return 0
    half = (progress[0] + progress[-1]) / 2
    return int(np.argmin([abs(one - half) for one in progress]))
