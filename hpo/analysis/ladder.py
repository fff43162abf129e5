"""The learning rate that each depth and width of a sweep wants, and the law that joins them.

The best rate of a depth is the geometric mean over the best third of its trials. The law is fitted
through the best third of all trials, taken by their ranks less what depth and width alone explain
of them: log rate as a linear function of log depth and log width, rate ~ depth^-a width^-b. Trials
that were pruned, diverged or collapsed rank below all complete ones. Bootstrap over trials gives
every interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from hpo.analysis.formats import MISSING, count, is_finite, rate_text
from hpo.analysis.palette import BEST, MUTED, OUTCOMES, bare_figure, plot_text, translucent
from hpo.records import StudyRecord, TrialRecord

Floats = NDArray[np.float64]
Side = Literal["depth", "width"]

FIELDS: dict[Side, tuple[str, ...]] = {
    "depth": ("num_layers",),
    "width": ("d_model", "hidden_size", "width"),
}
"""Names of the fields that tell depth and width, in whatever group."""
RATE = "learning_rate"
RESAMPLES = 400
CONFIDENCE = 0.95
TRIALS_OF_A_RUNG = 3
"""Trials without which a depth or width has no best rate."""
BEST_SHARE = 1 / 3
"""Of trials: few enough to lie about the best rate, enough to average its noise."""
TRIALS_OF_A_TERM = 3
"""Among the best third, for each coefficient of the law, at least."""
_EDGE = 0.2
"""Share of the range, in logarithms, at either end of which a best rate may lie beyond it."""
_LEAST_SPAN = 3.0
"""Largest over smallest rate below which no best rate lies between them."""


@dataclass(frozen=True)
class Interval:
    """A value and the 95 percent interval of its resamples."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rung:
    """One depth or width and the rate it wants."""

    size: float
    trials: int
    rate: Interval | None
    """`None` with too few trials, or none complete."""


@dataclass(frozen=True)
class Law:
    """log rate = level - a log depth - b log width, with one row of coefficients a resample."""

    sides: tuple[Side, ...]
    coefficients: Floats
    """[level, a, b as far as they vary], of all trials."""
    resampled: Floats
    """[resamples, coefficients]."""
    means: dict[Side, float]
    """Mean logarithm of each side: where the others stand while one varies."""

    def exponent(self, side: Side) -> Interval:
        """a or b."""
        place = 1 + self.sides.index(side)
        return _interval(float(self.coefficients[place]), self.resampled[:, place])

    def rate(self, side: Side, size: float) -> Interval:
        """The best rate at a depth or width, the other at its geometric mean."""
        logs = {**self.means, side: math.log(size)}
        row = np.array([1.0, *(-logs[one] for one in self.sides)])
        found = _interval(float(row @ self.coefficients), self.resampled @ row)
        return Interval(*(math.exp(one) for one in (found.value, found.low, found.high)))


@dataclass(frozen=True)
class Ladder:
    """What a sweep tells of learning rate against depth and width."""

    rate_name: str
    budget: str
    """The step budget for which it holds, in words."""
    names: dict[Side, str]
    """Parameters that vary."""
    sizes: dict[Side, Floats]
    """Of each trial."""
    rates: Floats
    scores: Floats
    """Normal scores of the trials' ranks; the higher the better."""
    complete: NDArray[np.bool_]

    @cached_property
    def rungs(self) -> dict[Side, list[Rung]]:
        """By side, one a size in ascending order."""
        return {side: list(self._rungs(side)) for side in self.names}

    def _rungs(self, side: Side) -> Iterator[Rung]:
        rng = np.random.default_rng(0)
        for size in np.unique(self.sizes[side]):
            rows = np.flatnonzero(self.sizes[side] == size)
            rate = None
            if len(rows) >= TRIALS_OF_A_RUNG and self.complete[rows].any():
                drawn = (rng.choice(rows, len(rows)) for _ in range(RESAMPLES))
                logs = [self._best(one) for one in drawn if self.complete[one].any()]
                found = _interval(self._best(rows), np.array(logs))
                rate = Interval(*(math.exp(one) for one in (found.value, found.low, found.high)))
            yield Rung(float(size), len(rows), rate)

    def _best(self, rows: NDArray[np.int64]) -> float:
        """Mean log rate of the best third of some trials, of which one is complete."""
        return float(np.log(self.rates[self._choose(rows, self.scores)]).mean())

    def _choose(self, rows: NDArray[np.int64], scores: Floats) -> NDArray[np.int64]:
        """The best third of some trials by `scores`, without those that are not complete."""
        kept = math.ceil(BEST_SHARE * len(rows))
        best = rows[np.argsort(-scores[rows], kind="stable")][:kept]
        return best[self.complete[best]]

    @cached_property
    def law(self) -> Law | str:
        """The law, or why there is none."""
        spread = self.rates.max() / self.rates.min()
        if spread < _LEAST_SPAN:
            return f"The rates tried differ by a factor of {spread:.2g}: too little to fit a law."
        number = len(self.rates)
        needed = math.ceil(TRIALS_OF_A_TERM * (1 + len(self.names)) / BEST_SHARE)
        if number < needed:
            have = "is" if number == 1 else "are"
            return f"A law needs {needed} finished trials here, and there {have} {number}."
        whole = self._fit(np.arange(number))
        rng = np.random.default_rng(0)
        drawn = (rng.integers(number, size=number) for _ in range(RESAMPLES))
        resampled = [found for rows in drawn if (found := self._fit(rows)) is not None]
        if whole is None or len(resampled) < CONFIDENCE * RESAMPLES:
            return "The best trials are too much alike in depth or width to fit a law through."
        means = {side: float(np.log(self.sizes[side]).mean()) for side in self.names}
        return Law(tuple(self.names), whole, np.array(resampled), means)

    def _fit(self, rows: NDArray[np.int64]) -> Floats | None:
        """[level, a, b] by least squares; `None` where the best trials cannot tell them."""
        best = self._choose(rows, self._scores_by_size(rows))
        logs = [np.log(self.sizes[side][best]) for side in self.names]
        terms = np.stack([np.ones(len(best)), *(-log for log in logs)], axis=1)
        found, _, rank, _ = np.linalg.lstsq(terms, np.log(self.rates[best]), rcond=None)
        return found if rank == terms.shape[1] else None

    def _scores_by_size(self, rows: NDArray[np.int64]) -> Floats:
        """Every trial's score less a parabola in log depth and log width, fitted to `rows`."""
        columns = [np.ones(len(self.scores))]
        for side in self.names:
            log = np.log(self.sizes[side])
            columns += [log, log**2]
        terms = np.stack(columns, axis=1)
        found, *_ = np.linalg.lstsq(terms[rows], self.scores[rows], rcond=None)
        return self.scores - terms @ found

    @property
    def is_at_edge(self) -> bool:
        """Whether the best rates lie at an end of those tried."""
        low, high = np.log(self.rates.min()), np.log(self.rates.max())
        share = (self._best(np.arange(len(self.rates))) - low) / (high - low)
        return bool(share < _EDGE or share > 1 - _EDGE)

    def is_within(self, rate: float) -> bool:
        """Whether a rate lies between those that were tried."""
        return bool(self.rates.min() <= rate <= self.rates.max())

    def as_json(self) -> dict[str, Any]:
        """Rungs and law as JSON."""
        law = self.law
        return {
            "rate": self.rate_name,
            "budget": self.budget,
            "trials": len(self.rates),
            "rungs": {
                self.names[side]: [
                    {"size": one.size, "trials": one.trials, **_as_json(one.rate)}
                    for one in self.rungs[side]
                ]
                for side in self.names
            },
            "law": None
            if isinstance(law, str)
            else {self.names[side]: vars(law.exponent(side)) for side in law.sides},
            "obstacle": law if isinstance(law, str) else None,
        }


def climb(record: StudyRecord) -> Ladder | str:
    """The ladder of a study, or why it has none."""
    names = dict.fromkeys(name for trial in record.trials for name in trial.parameters)
    rates = [name for name in names if name.rpartition(".")[2] == RATE]
    if not rates:
        return "The study varies no learning rate, so none can be best."
    sides: dict[Side, str] = {}
    for side, fields in FIELDS.items():
        # Where two are varied, as by backbone, the field named first is the one.
        found = [name for one in fields for name in names if name.rpartition(".")[2] == one]
        if found:
            sides[side] = found[0]
    used = [trial for trial in record.trials if _counts(trial, [rates[0], *sides.values()])]
    sides = {
        side: name
        for side, name in sides.items()
        if len({trial.parameters[name] for trial in used}) > 1
    }
    if not sides:
        return "No two finished trials differ in depth or width: there are no rungs to compare."
    is_complete = np.array([trial.state == "complete" for trial in used])
    if not is_complete.any():
        return "No trial is complete."
    return Ladder(
        rate_name=rates[0],
        budget=_budget(record, rates[0]),
        names=sides,
        sizes={
            side: np.array([float(trial.parameters[name]) for trial in used])
            for side, name in sides.items()
        },
        rates=np.array([float(trial.parameters[rates[0]]) for trial in used]),
        scores=_normal_scores(record, used),
        complete=is_complete,
    )


def _counts(trial: TrialRecord, names: Sequence[str]) -> bool:
    """Whether a trial says something: it was not a fault, and it drew what is compared."""
    has_value = trial.state == "pruned" or (trial.state == "complete" and is_finite(trial.value))
    return has_value and all(name in trial.parameters for name in names)


def _normal_scores(record: StudyRecord, trials: Sequence[TrialRecord]) -> Floats:
    """By rank, equal values sharing theirs; what is not complete shares the lowest."""
    sign = 1.0 if record.metric.direction == "maximize" else -1.0
    values = [
        sign * trial.value if trial.state == "complete" and trial.value is not None else -math.inf
        for trial in trials
    ]
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    quantile = NormalDist().inv_cdf
    levels = [quantile((rank - 0.375) / (len(values) + 0.25)) for rank in ranks]  # Blom's
    return np.array(levels)[places]


def _budget(record: StudyRecord, rate_name: str) -> str:
    """`500 updates of finetune, after 1,500 of pretrain`."""
    stages = [f"{count(steps, 'update')} of {name}" for name, steps in record.grid.stages]
    own = rate_name.partition(".")[0]
    names = [name for name, _ in record.grid.stages]
    place = names.index(own) if own in names else len(names) - 1
    before = stages[:place]
    return f"{stages[place]}, after {' and '.join(before)}" if before else stages[place]


def _interval(value: float, resampled: Floats) -> Interval:
    low, high = np.quantile(resampled, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Interval(value, float(low), float(high))


def _as_json(rate: Interval | None) -> dict[str, float | None]:
    return {"rate": None, "low": None, "high": None} if rate is None else {
        "rate": rate.value, "low": rate.low, "high": rate.high
    }  # fmt: skip


def ladder_rows(ladder: Ladder, side: Side) -> list[tuple[str, ...]]:
    """A row a rung as people read it: its size, then what `HEADS` names."""
    law = ladder.law
    rows: list[tuple[str, ...]] = []
    for rung in ladder.rungs[side]:
        fitted = None if isinstance(law, str) else law.rate(side, rung.size)
        rows.append((f"{rung.size:g}", str(rung.trials), *_cells(rung.rate), *_cells(fitted)))
    return rows


HEADS = ("trials", "best rate", "95 %", "by the law", "95 %")


def _cells(rate: Interval | None) -> tuple[str, str]:
    if rate is None:
        return MISSING, MISSING
    return rate_text(rate.value), f"{rate_text(rate.low)} to {rate_text(rate.high)}"


def ladder_sentences(ladder: Ladder) -> list[str]:
    """The law in words, what it holds for, and where not to believe it."""
    law = ladder.law
    said = [f"All of it holds for {ladder.budget}, and for this data and protocol alone."]
    if isinstance(law, str):
        return [*said, law]
    parts, doubts = [], []
    for side in law.sides:
        found = law.exponent(side)
        parts.append(f"{side}^{-found.value:.2f} ({-found.high:.2f} to {-found.low:.2f})")
        if found.low <= 0 <= found.high:
            doubts.append(side)
    said.insert(0, f"Best {ladder.rate_name} ~ {' x '.join(parts)}, 95 percent by bootstrap.")
    if doubts:
        said.append(f"That it depends on {' or '.join(doubts)} at all, these trials do not show.")
    if not all(
        ladder.is_within(law.rate(side, rung.size).value)
        for side in law.sides
        for rung in ladder.rungs[side]
    ):
        said.append("Some of the law's rates lie beyond those that were tried: extrapolation.")
    if ladder.is_at_edge:
        said.append("The best rates lie at an end of those tried: better ones may lie beyond it.")
    return said


def ladder_page(name: str, ladder: Ladder | str) -> list[Table | Text]:
    """What the command prints."""
    if isinstance(ladder, str):
        return [Text(f"{name}: {ladder}")]
    parts: list[Table | Text] = [
        Text(
            f"{name}: the best {ladder.rate_name} of {count(len(ladder.rates), 'finished trial')}"
        )
    ]
    for side, parameter in ladder.names.items():
        found = Table(box=None, pad_edge=False)
        for head in (parameter, *HEADS):
            found.add_column(head, justify="right")
        for row in ladder_rows(ladder, side):
            found.add_row(*row)
        parts.append(found)
    return [*parts, *(Text(line) for line in ladder_sentences(ladder))]


def draw_ladder(ladder: Ladder, side: Side) -> go.Figure:
    """Best rate over depth or width, both logarithmic: trials, rungs with intervals, the law."""
    figure = bare_figure(plot_text(ladder.names[side]), plot_text(ladder.rate_name), height=420)
    sizes, law = ladder.sizes[side], ladder.law
    for is_complete, name, look in (
        (False, "not complete", OUTCOMES["pruned"]),
        (True, "complete", OUTCOMES["complete"]),
    ):
        rows = ladder.complete == is_complete
        if rows.any():
            figure.add_scatter(
                x=sizes[rows].tolist(),
                y=ladder.rates[rows].tolist(),
                mode="markers",
                marker={"color": translucent(look.colour), "symbol": look.symbol, "size": 6},
                name=name,
                hovertemplate="%{x}: %{y:.3g}<extra></extra>",
            )
    if not isinstance(law, str):
        _draw_law(figure, law, side, sizes)
    known = [(rung.size, rung.rate) for rung in ladder.rungs[side] if rung.rate is not None]
    if known:
        figure.add_scatter(
            x=[size for size, _ in known],
            y=[rate.value for _, rate in known],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [max(rate.high - rate.value, 0.0) for _, rate in known],
                "arrayminus": [max(rate.value - rate.low, 0.0) for _, rate in known],
                "color": BEST,
            },
            mode="markers",
            marker={"color": BEST, "size": 10, "symbol": "diamond"},
            name="best third",
            hovertemplate="%{x}: %{y:.3g}<extra></extra>",
        )
    figure.update_xaxes(type="log", tickvals=[one.size for one in ladder.rungs[side]])
    figure.update_yaxes(type="log", exponentformat="power")
    figure.update_layout(legend_font_color=MUTED)
    return figure


def _draw_law(figure: go.Figure, law: Law, side: Side, sizes: Floats) -> None:
    places = np.geomspace(sizes.min(), sizes.max(), 40).tolist()
    rates = [law.rate(side, place) for place in places]
    colour = OUTCOMES["complete"].colour
    figure.add_scatter(
        x=[*places, *reversed(places)],
        y=[*(rate.high for rate in rates), *(rate.low for rate in reversed(rates))],
        fill="toself",
        fillcolor=translucent(MUTED),
        opacity=0.3,
        line={"width": 0},
        name="95 % of the law",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=places,
        y=[rate.value for rate in rates],
        mode="lines",
        line={"color": colour, "width": 2},
        name=f"law, {side}^{-law.exponent(side).value:.2f}",
        hovertemplate="%{x:.3g}: %{y:.3g}<extra></extra>",
    )
