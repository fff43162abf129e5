"""Gradient-norm histories on a logarithmic axis: a band each depth, and a line each trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from core.health import ALARM_NORM
from hpo.analysis.courses import Course
from hpo.analysis.formats import ScoreFormat, count, is_finite, value_text
from hpo.analysis.histories import read_history
from hpo.analysis.palette import (
    ALARM,
    MUTED,
    RAMP_STEPS,
    SURFACE,
    bare_figure,
    faint,
    plot_text,
    ramp,
    ramp_scale,
)
from hpo.analysis.tables import text_table
from hpo.analysis.thinning import thin_norms
from hpo.analysis.trials import choose_trials
from hpo.records import StudyRecord, TrialRecord

DEPTH = "model.num_layers"
MOST_TRIALS = 1_000
MOST_POINTS = 200
"""Of one trial."""
ALL_POINTS = 20_000
"""Of the figure: about as many as a browser draws without a pause."""
COLUMNS = ["number", "depth", "value", "step", "grad_norm", "nonfinite"]
STRETCHES = 80
"""Of steps, in each of which a band has one median."""
MOST_BANDS = 5
BAND = (0.1, 0.9)
"""The quantiles between which a band lies."""
BAND_COLUMNS = ["depth", "step", "median", "low", "high", "trials"]


def grad_norm_table(record: StudyRecord) -> pd.DataFrame:
    """One row a drawn point: number, depth, value, step, grad_norm, nonfinite.

    A trial's steps are cut into at most 200 runs of equal length. Of each the largest finite norm
    and its step stand in the table, so that no peak is lost; `nonfinite` tells whether the run
    held NaN or infinity. `depth` is None where the study does not vary it, `value` the trial's
    score. Trials without telemetry have no rows, and of more than `MOST_TRIALS` some are left out.
    """
    return _table_of(record, lambda trial: read_history(trial.folder))


def norms_of_courses(record: StudyRecord, courses: Sequence[Course]) -> pd.DataFrame:
    """The same table of trials whose courses have been read."""
    norms = {course.trial.number: course.norms for course in courses}
    return _table_of(record, lambda trial: norms[trial.number])


def _table_of(
    record: StudyRecord, history_of: Callable[[TrialRecord], pd.DataFrame]
) -> pd.DataFrame:
    points = _points_each(record)
    parts = []
    for trial in choose_trials(record, MOST_TRIALS):
        thinned = thin_norms(history_of(trial), points)
        if len(thinned):
            depth = trial.parameters.get(DEPTH)
            value = trial.value if is_finite(trial.value) else float("nan")
            parts.append(thinned.assign(number=trial.number, depth=depth, value=value))
    if not parts:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def band_table(courses: Sequence[Course]) -> pd.DataFrame:
    """One row a band and stretch of steps: depth, step (its middle), median, low, high, trials.

    The median and the quantiles `BAND` of the finite norms of all trials of that depth there;
    `depth` is in words. Empty without telemetry.
    """
    name_of = _depth_groups(courses)
    parts = [
        course.samples.assign(
            depth=name_of[course.trial.parameters.get(DEPTH)], number=course.trial.number
        )
        for course in courses
        if course.steps
    ]
    if not parts:
        return pd.DataFrame(columns=BAND_COLUMNS)
    norms = pd.concat(parts, ignore_index=True)
    norms = norms[np.isfinite(norms["grad_norm"]) & (norms["grad_norm"] > 0)]
    width = max(1.0, float(norms["step"].max()) / STRETCHES)
    stretch = ((norms["step"] - 1) // width).astype(int)
    rows = []
    for (depth, at), some in norms.groupby(["depth", stretch]):
        median, low, high = np.quantile(some["grad_norm"], (0.5, *BAND))
        rows.append((depth, (at + 0.5) * width, median, low, high, some["number"].nunique()))
    order = list(dict.fromkeys(name_of.values()))
    rows.sort(key=lambda row: (order.index(row[0]), row[1]))
    return pd.DataFrame(rows, columns=BAND_COLUMNS)


def _depth_groups(courses: Sequence[Course]) -> dict[Any, str]:
    """Depth -> the name of its band, from shallow to deep: neighbours share one where there are
    more than `MOST_BANDS`."""
    depths = {course.trial.parameters.get(DEPTH) for course in courses}
    known = sorted(depth for depth in depths if depth is not None)
    found: dict[Any, str] = {}
    for group in np.array_split(known, min(MOST_BANDS, len(known))) if known else ():
        ends = dict.fromkeys((value_text(group.min().item()), value_text(group.max().item())))
        found |= dict.fromkeys(group.tolist(), f"depth {' to '.join(ends)}")
    # A parameter that a trial did not draw, or that the study does not vary.
    return found | (
        {None: "depth not varied" if known else "all trials"} if None in depths else {}
    )


def health_table(record: StudyRecord) -> pd.DataFrame:
    """One row a trial with gradients: number, depth, median, p95, max, alarms, spikes, verdict."""
    rows = [
        {
            "number": trial.number,
            "depth": trial.parameters.get(DEPTH),
            "median": trial.health.get("grad_norm_median"),
            "p95": trial.health.get("grad_norm_p95"),
            "max": trial.health.get("grad_norm_max"),
            "alarms": trial.health.get("steps_above_alarm", 0),
            "spikes": trial.health.get("loss_spikes", 0),
            "verdict": trial.health.get("verdict", ""),
        }
        for trial in record.trials
        if trial.health.get("grad_norm_median") is not None
    ]
    columns = ["number", "depth", "median", "p95", "max", "alarms", "spikes", "verdict"]
    return text_table(rows, columns)


def grad_norm_sentences(record: StudyRecord, table: pd.DataFrame) -> list[str]:
    """What is drawn, and what was thinned or left out."""
    said = [
        "The global L2 norm of the gradient before clipping. A line is a trial, cut into at most "
        f"{_points_each(record)} runs of steps; of each run the largest norm is drawn, so that no "
        "peak is lost."
    ]
    beyond = max(0, len(record.trials) - MOST_TRIALS)
    if beyond:
        said.append(f"{MOST_TRIALS} of {len(record.trials)} trials are drawn, evenly spaced.")
    missing = len(record.trials) - beyond - table["number"].nunique()
    if missing:
        said.append(f"{count(missing, 'trial')} left no telemetry.")
    return said


def draw_bands(table: pd.DataFrame, grad_clip: float | None) -> go.Figure:
    """The median norm of each depth over steps in its band, the clip and the alarm as levels."""
    figure = _norm_figure()
    names = list(dict.fromkeys(table["depth"]))
    for name, colour in zip(names, ramp(len(names)), strict=True):
        rows = table[table["depth"] == name]
        steps = rows["step"].tolist()
        figure.add_scatter(
            x=[*steps, *reversed(steps)],
            y=[*_known(rows["high"]), *reversed(_known(rows["low"]))],
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=faint(colour),
            legendgroup=name,
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=steps,
            y=_known(rows["median"]),
            customdata=rows["trials"].tolist(),
            mode="lines",
            line={"color": colour, "width": 2},
            legendgroup=name,
            name=plot_text(name),
            hovertemplate=f"{plot_text(name)}, near step %{{x:.0f}}: %{{y:.3g}} in the median of "
            "%{customdata} trials<extra></extra>",
        )
    _draw_levels(figure, grad_clip)
    return figure


def draw_grad_norms(
    table: pd.DataFrame, scores: ScoreFormat, grad_clip: float | None
) -> go.Figure:
    """A line a trial, the clip and the alarm as levels, a cross where a norm was not finite."""
    figure = _norm_figure()
    if table["depth"].notna().all():
        _draw_by_depth(figure, table)
    else:
        _draw_by_value(figure, table, scores)
    # A cross stands at the last norm that the trial had before it, for NaN has no height.
    known = table.groupby("number")["grad_norm"].ffill()
    bad = table.assign(grad_norm=known)[table["nonfinite"]]
    if len(bad):
        figure.add_scatter(
            x=bad["step"].tolist(),
            y=_known(bad["grad_norm"]),
            customdata=bad["number"].tolist(),
            mode="markers",
            marker={"symbol": "x", "size": 9, "color": ALARM},
            name="NaN or infinite",
            hovertemplate="trial %{customdata}: not finite near step %{x}<extra></extra>",
        )
    _draw_levels(figure, grad_clip)
    return figure


def _norm_figure() -> go.Figure:
    figure = bare_figure("step", "gradient norm before clipping", height=460)
    # Labels such as 0.5 and 20 rather than powers with small digits between them.
    figure.update_yaxes(type="log", dtick="D2", tickformat="~g", exponentformat="none")
    figure.update_xaxes(rangemode="tozero")
    figure.update_layout(legend_font_color=MUTED)
    return figure


def _draw_levels(figure: go.Figure, grad_clip: float | None) -> None:
    _draw_level(figure, ALARM_NORM, f"alarm at {ALARM_NORM:g}", ALARM, "dash")
    if grad_clip is not None:
        _draw_level(figure, grad_clip, f"clipped at {value_text(grad_clip)}", MUTED, "dot")


def _points_each(record: StudyRecord) -> int:
    return min(MOST_POINTS, ALL_POINTS // max(1, min(MOST_TRIALS, len(record.trials))))


def _draw_by_depth(figure: go.Figure, table: pd.DataFrame) -> None:
    depths = sorted(table["depth"].unique())
    for depth, colour in zip(depths, ramp(len(depths)), strict=True):
        rows = table[table["depth"] == depth]
        _draw_lines(figure, rows, colour, name=f"depth {value_text(depth)}")


def _draw_by_value(figure: go.Figure, table: pd.DataFrame, scores: ScoreFormat) -> None:
    """Colours from the worst score to the best; grey where a trial has none."""
    unscored = table[table["value"].isna()]
    if len(unscored):
        _draw_lines(figure, unscored, MUTED, name="no score")
    scored = table.dropna(subset=["value"])
    if scored.empty:
        return
    low, high = float(scored["value"].min()), float(scored["value"].max())
    place = (scored["value"] - low) / (high - low) if high > low else scored["value"] * 0 + 1
    shade = (place * (RAMP_STEPS - 1)).round().astype(int)
    colours = ramp(RAMP_STEPS)
    for step, rows in scored.groupby(shade):
        _draw_lines(figure, rows, colours[int(str(step))], name=None)
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        showlegend=False,
        marker={
            "colorscale": ramp_scale(),
            "cmin": low,
            "cmax": high if high > low else low + 1,
            "color": [low],
            "showscale": True,
            "colorbar": {
                "title": {"text": plot_text(scores.metric.name)},
                "thickness": 12,
                "outlinewidth": 0,
            },
        },
    )


def _draw_lines(figure: go.Figure, rows: pd.DataFrame, colour: str, name: str | None) -> None:
    """Many trials as one trace with a gap after each, which browsers draw much faster."""
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int] = []
    for number, history in rows.groupby("number"):
        x += [*history["step"].tolist(), None]
        y += [*_known(history["grad_norm"]), None]
        numbers += [int(str(number))] * (len(history) + 1)
    figure.add_scatter(
        x=x,
        y=y,
        customdata=numbers,
        mode="lines",
        line={"color": colour, "width": 1.1},
        name=plot_text(name or ""),
        showlegend=name is not None,
        hovertemplate="trial %{customdata}, step %{x}: %{y:.3g}<extra></extra>",
    )


def _draw_level(figure: go.Figure, level: float, text: str, colour: str, dash: str) -> None:
    figure.add_hline(y=level, line={"color": colour, "width": 1.5, "dash": dash})
    figure.add_annotation(
        x=1,
        xref="paper",
        xanchor="right",
        # Annotations on a logarithmic axis are placed by the exponent.
        y=float(np.log10(level)),
        yanchor="bottom",
        text=plot_text(text),
        showarrow=False,
        font={"color": colour, "size": 12},
        bgcolor=SURFACE,
        borderpad=1,
    )


def _known(norms: pd.Series[float]) -> list[float | None]:
    """Norms to four digits; None where there is none, or none that a logarithm has a place for."""
    return [float(f"{norm:.4g}") if norm > 0 else None for norm in norms]
