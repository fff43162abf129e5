"""How the score lies over the two parameters that matter most: a slice of each, and a contour."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from hpo.analysis.formats import ScoreFormat, is_finite, value_text
from hpo.analysis.palette import (
    BEST,
    INK,
    MUTED,
    OUTCOMES,
    bare_figure,
    marker_of,
    plot_text,
    ramp_scale,
)
from hpo.analysis.tables import text_table
from hpo.analysis.trials import outcome_of
from hpo.records import StudyRecord

_CELLS = 40
"""Of the contour, along each axis."""
_WIDTH = 0.12
"""Of the kernel that smooths the scores, as a share of each axis."""
_LEAST_WEIGHT = 0.1
"""Where the trials weigh less together than one at about twice that width, nothing is known."""
_LOG_RATIO = 20.0
"""A positive parameter whose largest value is so many times its smallest has a log axis."""

Floats = npt.NDArray[np.float64]


class Axis:
    """One parameter's values as places between 0 and 1, and back."""

    def __init__(self, name: str, values: list[Any]) -> None:
        self.name = name
        self.is_number = all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in values
        )
        self.names = [] if self.is_number else sorted({value_text(value) for value in values})
        drawn = np.array(values if self.is_number else [0, max(len(self.names) - 1, 1)], float)
        self.is_log = self.is_number and drawn.min() > 0 < _LOG_RATIO <= drawn.max() / drawn.min()
        self._low, self._high = (
            float(bound) for bound in self._scaled([drawn.min(), drawn.max()])
        )

    def plotted(self, values: list[Any]) -> list[Any]:
        """The values as plotly is given them: numbers; categories by their place."""
        return values if self.is_number else [self.names.index(value_text(v)) for v in values]

    def places(self, values: list[Any]) -> Floats:
        """The values between 0, the least, and 1."""
        span = self._high - self._low
        return (self._scaled(self.plotted(values)) - self._low) / (span or 1.0)

    def grid(self) -> tuple[list[float], Floats]:
        """Values for the contour's cells as plotly is given them, and their places."""
        count = _CELLS if self.is_number else len(self.names)
        places = np.linspace(0, 1, count)
        scaled = self._low + places * (self._high - self._low)
        return (10**scaled if self.is_log else scaled).tolist(), places

    def layout(self) -> dict[str, Any]:
        """Plotly's settings for the axis."""
        title = {"title_text": plot_text(self.name)}
        if not self.is_number:
            ticks = [plot_text(name) for name in self.names]
            places = list(range(len(ticks)))
            return {**title, "tickmode": "array", "tickvals": places, "ticktext": ticks}
        if self.is_log:
            return {**title, "type": "log", "exponentformat": "power", "dtick": 1}
        return title

    def _scaled(self, values: list[Any]) -> Floats:
        numbers = np.asarray(values, dtype=np.float64)
        return np.log10(numbers) if self.is_log else numbers


def landscape_table(record: StudyRecord, names: list[str]) -> pd.DataFrame:
    """One row a complete trial that drew all of `names`: number, value, outcome, is_best, and a
    column for each of them."""
    best = record.best
    rows = [
        {
            "number": trial.number,
            "value": trial.value,
            "outcome": outcome_of(trial),
            "is_best": best is not None and trial.number == best.number,
            **{name: trial.parameters[name] for name in names},
        }
        for trial in record.trials
        if trial.state == "complete"
        and is_finite(trial.value)
        and all(trial.parameters.get(name) is not None for name in names)
    ]
    return text_table(rows, ["number", "value", "outcome", "is_best", *names])


def draw_slice(table: pd.DataFrame, name: str, scores: ScoreFormat) -> go.Figure:
    """The score of each complete trial over one parameter, the best one marked."""
    axis = Axis(name, list(table[name]))
    figure = bare_figure(name, scores.axis, height=320)
    for is_best, marker, label in (
        (False, marker_of("complete", size=8), "complete"),
        (True, {"color": BEST, "size": 13, "symbol": "star"}, "best"),
    ):
        rows = table[table["is_best"] == is_best]
        if len(rows):
            figure.add_scatter(
                x=axis.plotted(list(rows[name])),
                y=rows["value"].tolist(),
                customdata=rows["number"].tolist(),
                mode="markers",
                marker=marker,
                name=label,
                hovertemplate="trial %{customdata}: %{y:.4g}<extra></extra>",
            )
    figure.update_xaxes(**axis.layout())
    figure.update_layout(legend_font_color=MUTED)
    return figure


def draw_contour(table: pd.DataFrame, names: list[str], scores: ScoreFormat) -> go.Figure:
    """The scores over two parameters, smoothed; blank where no trial is near."""
    x, y = (Axis(name, list(table[name])) for name in names)
    (grid_x, places_x), (grid_y, places_y) = x.grid(), y.grid()
    known = np.column_stack([axis.places(list(table[axis.name])) for axis in (x, y)])
    values = table["value"].to_numpy(dtype=np.float64)
    cells = [
        [_smoothed(np.array([at_x, at_y]), known, values) for at_x in places_x]
        for at_y in places_y
    ]
    figure = bare_figure(names[0], names[1], height=420)
    figure.add_contour(
        x=grid_x,
        y=grid_y,
        z=cells,
        colorscale=ramp_scale(),
        connectgaps=False,
        ncontours=12,
        line={"width": 0.5, "color": INK},
        colorbar={
            "title": {"text": plot_text(scores.metric.name)},
            "thickness": 12,
            "outlinewidth": 0,
        },
        hovertemplate="%{x:.3g}, %{y:.3g}: about %{z:.4g}<extra></extra>",
    )
    for is_best in (False, True):
        rows = table[table["is_best"] == is_best]
        figure.add_scatter(
            x=x.plotted(list(rows[names[0]])),
            y=y.plotted(list(rows[names[1]])),
            customdata=rows[["number", "value"]].to_numpy().tolist(),
            mode="markers",
            marker={
                "color": BEST if is_best else "rgba(0,0,0,0)",
                "symbol": "star" if is_best else "circle",
                "size": 14 if is_best else 7,
                "line": {"color": INK, "width": 1},
            },
            name="best" if is_best else OUTCOMES["complete"].sign,
            showlegend=False,
            hovertemplate="trial %{customdata[0]}: %{customdata[1]:.4g}<extra></extra>",
        )
    figure.update_xaxes(**x.layout())
    figure.update_yaxes(**y.layout())
    return figure


def landscape_note(names: list[str]) -> str:
    """How to read the contour."""
    return (
        f"The scores of complete trials over {' and '.join(names)}, smoothed with a kernel of "
        f"{_WIDTH:.0%} of each axis, whatever the other parameters were; blank where no trial is "
        "near. ★ is the best trial."
    )


def _smoothed(at: Floats, known: Floats, values: Floats) -> float | None:
    """The kernel-weighted mean of the values around a place; `None` where none is near.

    Source: Nadaraya 1964, "On estimating regression".
    """
    weights = np.exp(-0.5 * (((known - at) / _WIDTH) ** 2).sum(axis=1))
    if weights.sum() < _LEAST_WEIGHT:
        return None
    return float(f"{(weights * values).sum() / weights.sum():.4g}")
