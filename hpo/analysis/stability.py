"""What training was like: loss spikes, loss scales, rates as applied, and where it broke."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from core.task import Grid
from hpo.analysis.courses import Course
from hpo.analysis.formats import count, is_finite, value_text
from hpo.analysis.palette import (
    BEST,
    HEALTH,
    MUTED,
    OUTCOMES,
    bare_figure,
    marker,
    plot_text,
    translucent,
)
from hpo.analysis.tables import rows_of, text_table
from hpo.analysis.trials import outcome_of, parameter_called
from hpo.records import StudyRecord, TrialRecord

MOST_LINES, MOST_POINTS = 60, 100
"""Trials whose lines a figure holds, and points of each: rates and scales repeat themselves."""
MOST_SPIKES = 2_000
"""The highest ones."""


def verdict_of(trial: TrialRecord) -> str:
    """The trial's health as it is drawn; `unknown` where it has none."""
    verdict = str(trial.health.get("verdict") or "unknown")
    return verdict if verdict in HEALTH else "unknown"


def collapse_table(record: StudyRecord) -> pd.DataFrame:
    """One row a trial with a verdict: number, depth, rate, verdict, detail.

    Empty where `collapse_obstacle` gives a reason.
    """
    columns = ["number", "depth", "rate", "verdict", "detail"]
    depth, rate = _depth_and_rate(record)
    if depth is None or rate is None:
        return text_table((), columns)
    rows = [
        (
            trial.number,
            trial.parameters[depth],
            trial.parameters[rate],
            verdict_of(trial),
            trial.health.get("detail", ""),
        )
        for trial in record.trials
        if {depth, rate} <= trial.parameters.keys() and verdict_of(trial) != "unknown"
    ]
    return text_table(rows, columns)


def collapse_obstacle(record: StudyRecord) -> str | None:
    """Why there is no map of depth against learning rate; None where there is."""
    wanted = ("num_layers", "learning_rate")
    missing = [
        field for field, name in zip(wanted, _depth_and_rate(record), strict=True) if name is None
    ]
    if missing:
        return f"The study varies no {' and no '.join(missing)}, so there is no map of that."
    if collapse_table(record).empty:
        return "No trial has a health verdict yet."
    return None


def collapse_sentences(table: pd.DataFrame) -> list[str]:
    """How many trials are of each verdict, and what those that are not well have in common."""
    rows = rows_of(table)
    counted = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in HEALTH}
    each = ", ".join(f"{number} {verdict}" for verdict, number in counted.items() if number)
    said = [f"Of {count(len(rows), 'trial')}: {each}."]
    well = [row for row in rows if row["verdict"] == "healthy"]
    broken = [row for row in rows if row["verdict"] in ("diverged", "collapsed")]
    if broken and well:
        highest = max(row["rate"] for row in well)
        least = min(row["rate"] for row in broken)
        said.append(
            f"The highest learning rate of a healthy trial is {value_text(highest)}, the lowest "
            f"of one that diverged or collapsed {value_text(least)}."
        )
    return said


def draw_collapse(record: StudyRecord, table: pd.DataFrame) -> go.Figure:
    """Depth against learning rate, each trial marked by its verdict."""
    depth, rate = _depth_and_rate(record)
    figure = bare_figure(rate or "", depth or "", height=380)
    for verdict, look in HEALTH.items():
        rows = table[table["verdict"] == verdict]
        if len(rows):
            figure.add_scatter(
                x=rows["rate"].tolist(),
                y=rows["depth"].tolist(),
                customdata=rows["number"].tolist(),
                mode="markers",
                marker=marker(look, size=11 if len(table) < 300 else 7),
                name=verdict,
                hovertemplate=f"trial %{{customdata}}, {verdict}<br>"
                "%{y} layers at %{x:.3g}<extra></extra>",
            )
    figure.update_xaxes(type="log", exponentformat="power", dtick=1)
    figure.update_yaxes(tickformat="d")
    figure.update_layout(legend_font_color=MUTED)
    return figure


def spike_table(courses: Sequence[Course]) -> pd.DataFrame:
    """One row a loss spike: number, outcome, step, loss, usual, times (loss over usual); the
    highest first."""
    rows = [
        {
            "number": course.trial.number,
            "outcome": outcome_of(course.trial),
            **vars(spike),
            "times": spike.loss / spike.usual,
        }
        for course in courses
        for spike in course.spikes
        if spike.usual > 0 and is_finite(spike.loss)
    ]
    rows.sort(key=lambda row: -row["times"])
    return text_table(rows, ["number", "outcome", "step", "loss", "usual", "times"])


def spike_sentence(table: pd.DataFrame, courses: Sequence[Course]) -> str:
    """How many spikes there were, and the worst."""
    known = sum(course.steps > 0 for course in courses)
    if table.empty:
        return f"No loss spike in {count(known, 'trial')} with telemetry."
    worst = rows_of(table)[0]
    shown = f" The {MOST_SPIKES:,} highest are drawn." if len(table) > MOST_SPIKES else ""
    return (
        f"{count(len(table), 'loss spike')} in {table['number'].nunique()} of "
        f"{count(known, 'trial')}; the highest, {worst['times']:.1f} times what was usual, was "
        f"{worst['loss']:.3g} at step {worst['step']} of trial {worst['number']}.{shown}"
    )


def draw_spikes(table: pd.DataFrame, grid: Grid) -> go.Figure:
    """Each spike by its step and by how many times the usual loss it was."""
    figure = bare_figure("step", "loss, times the usual", height=300)
    table = table.head(MOST_SPIKES)
    for outcome in OUTCOMES:
        rows = table[table["outcome"] == outcome]
        if len(rows):
            figure.add_scatter(
                x=rows["step"].tolist(),
                y=[float(f"{times:.4g}") for times in rows["times"]],
                customdata=rows["number"].tolist(),
                mode="markers",
                marker=marker(OUTCOMES[outcome], size=8),
                name=outcome,
                hovertemplate=f"trial %{{customdata}}, {outcome}<br>"
                "step %{x}: %{y:.3g} times<extra></extra>",
            )
    figure.update_xaxes(range=[0, grid.total_steps * 1.02])
    ticks = [digit * 10**power for power in range(4) for digit in (1, 1.5, 2, 3, 5)]
    figure.update_yaxes(
        type="log", tickmode="array", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks]
    )
    figure.update_layout(legend_font_color=MUTED)
    return figure


def line_table(record: StudyRecord, courses: Sequence[Course], column: str) -> pd.DataFrame:
    """One row a point: number, outcome, is_best, step, and `learning_rate` or `amp_scale` as it
    was applied; without trials that had none, and of more than `MOST_LINES` evenly spaced ones."""
    best = record.best
    known = [course for course in courses if course.series[column].notna().any()]
    spread = (
        range(len(known))
        if len(known) <= MOST_LINES
        else {round(i * (len(known) - 1) / (MOST_LINES - 1)) for i in range(MOST_LINES)}
    )
    parts = [
        _spaced(course.series[["step", column]]).assign(
            number=course.trial.number,
            outcome=outcome_of(course.trial),
            is_best=best is not None and best.number == course.trial.number,
        )
        for at, course in enumerate(known)
        if at in spread or course.trial is best
    ]
    columns = ["number", "outcome", "is_best", "step", column]
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat(parts, ignore_index=True)[columns]


def _spaced(series: pd.DataFrame) -> pd.DataFrame:
    """At most `MOST_POINTS` of its rows, the last one among them."""
    every = -(-len(series) // MOST_POINTS)
    return series.iloc[::-1].iloc[::every].iloc[::-1]


def draw_lines(table: pd.DataFrame, column: str, title: str, grid: Grid) -> go.Figure:
    """A line a trial by outcome on a logarithmic axis, the best one bold."""
    figure = bare_figure("step", title, height=320)
    for outcome, look in OUTCOMES.items():
        rows = table[(table["outcome"] == outcome) & ~table["is_best"]]
        if len(rows):
            line = {"color": translucent(look.colour), "width": 1.2}
            _add_lines(figure, rows, column, line, outcome)
    best = table[table["is_best"]]
    if len(best):
        number = best["number"].iloc[0]
        _add_lines(figure, best, column, {"color": BEST, "width": 3}, f"best: trial {number}")
    for stage, _ in grid.stages[:-1]:
        figure.add_vline(x=grid.stage_end(stage), line={"color": MUTED, "width": 1, "dash": "dot"})
    figure.update_xaxes(range=[0, grid.total_steps * 1.02])
    known = table[column][table[column] > 0]
    is_wide = len(known) > 0 and known.max() >= 10 * known.min()
    figure.update_yaxes(type="log", exponentformat="power", dtick=1 if is_wide else "D2")
    figure.update_layout(legend_font_color=MUTED)
    return figure


def scale_sentences(courses: Sequence[Course]) -> list[str]:
    """Whether loss scales were used, and held."""
    used = [course for course in courses if course.series["amp_scale"].notna().any()]
    if not used:
        return ["No trial used a loss scale: only fp16 needs one."]
    lowered = [
        course
        for course in used
        if any(check.passed is False for check in course.checks if "scale" in check.name)
    ]
    return [
        f"{count(len(used), 'trial')} used a loss scale; it had to be lowered in {len(lowered)}."
    ]


def _add_lines(
    figure: go.Figure, rows: pd.DataFrame, column: str, line: dict[str, object], name: str
) -> None:
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int] = []
    for number, course in rows.groupby("number"):
        x += [*course["step"].tolist(), None]
        y += [float(f"{value:.4g}") if value > 0 else None for value in course[column]] + [None]
        numbers += [int(str(number))] * (len(course) + 1)
    figure.add_scatter(
        x=x,
        y=y,
        customdata=numbers,
        mode="lines",
        line=line,
        name=plot_text(name),
        hovertemplate="trial %{customdata}, step %{x}: %{y:.3g}<extra></extra>",
    )


def _depth_and_rate(record: StudyRecord) -> tuple[str | None, str | None]:
    return parameter_called(record, "num_layers"), parameter_called(record, "learning_rate")
