"""Optimization history: the score of every finished trial and the best so far, over trials and
over time."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go

from core.task import Metric
from hpo.analysis.formats import ScoreFormat, count, duration, is_finite
from hpo.analysis.palette import BEST, MUTED, OUTCOMES, bare_figure, marker_of, plot_text
from hpo.analysis.tables import rows_of, text_table
from hpo.analysis.timeline import ended_at, time_unit
from hpo.analysis.trials import outcome_of, parameters_text
from hpo.records import StudyRecord

MOST_WITH_PARAMETERS = 300
"""Trials beyond which a mark does not tell its parameters: the page would be all about them."""


def history_table(record: StudyRecord) -> pd.DataFrame:
    """One row a finished trial: number, seconds, outcome, value, running_best, best_by_then,
    reason, parameters.

    `value` is NaN where a trial has no score. `running_best` is the best over complete trials up
    to this number, `best_by_then` up to this trial's end; NaN before the first. `seconds` is when
    the trial ended on the clock of `timeline_table`, NaN where nobody knows.
    """
    ends = ended_at(record)
    rows: list[dict[str, Any]] = []
    for trial in record.trials:
        if not trial.is_finished:
            continue
        value = trial.value if trial.value is not None and is_finite(trial.value) else None
        rows.append(
            {
                "number": trial.number,
                "seconds": ends.get(trial.number, float("nan")),
                "outcome": outcome_of(trial),
                "value": float("nan") if value is None else value,
                "is_complete": trial.state == "complete" and value is not None,
                "reason": trial.reason,
                "parameters": "\n".join(parameters_text(trial.parameters)),
            }
        )
    _add_best(rows, "running_best", record.metric)
    known = [row for row in rows if is_finite(row["seconds"])]
    _add_best(sorted(known, key=lambda row: row["seconds"]), "best_by_then", record.metric)
    columns = [
        "number", "seconds", "outcome", "value", "running_best", "best_by_then", "reason",
        "parameters",
    ]  # fmt: skip
    table = text_table(({name: row.get(name) for name in columns} for row in rows), columns)
    numbers = ("seconds", "value", "running_best", "best_by_then")
    return table.astype({"number": int, **dict.fromkeys(numbers, float)})


def _add_best(rows: list[dict[str, Any]], name: str, metric: Metric) -> None:
    best: float | None = None
    for row in rows:
        value = row["value"]
        if row["is_complete"] and (best is None or metric.is_better(value, best)):
            best = value
        row[name] = float("nan") if best is None else best


def history_sentences(record: StudyRecord, scores: ScoreFormat) -> list[str]:
    """When the best was found, by trials and by time; nothing without a complete trial."""
    best = record.best
    if best is None:
        return []
    table = history_table(record)
    after = int((table["number"] <= best.number).sum())
    said = f"The best score, {scores.named(best.value)}, was that of trial {best.number}"
    when = table.loc[table["number"] == best.number, "seconds"].iloc[0]
    by_time = f", {duration(when)} into the search" if is_finite(when) else ""
    return [f"{said}, number {after} of {count(len(table), 'finished trial')}{by_time}."]


def draw_history(
    table: pd.DataFrame, scores: ScoreFormat, by: Literal["number", "seconds"] = "number"
) -> go.Figure:
    """A marker a trial, by outcome, and the best so far as a staircase, over trials or time."""
    title, scale = "trial", 1.0
    if by == "seconds":
        table = table.dropna(subset=["seconds"]).sort_values("seconds")
        unit, scale = time_unit(float(table["seconds"].max()) if len(table) else 0.0)
        title = f"time ({unit})"
    figure = bare_figure(title, scores.axis)
    place = (table[by] / scale).round(4) if by == "seconds" else table[by]
    table = table.assign(place=place)
    best = table.dropna(subset=[_BEST_BY[by]])
    if len(best):
        figure.add_scatter(
            x=best["place"].tolist(),
            y=best[_BEST_BY[by]].tolist(),
            mode="lines",
            line={"color": BEST, "width": 2, "shape": "hv"},
            name="best complete so far",
            hoverinfo="skip",
        )
    # Trials without a score stand along the worse edge, on an axis that nobody sees.
    edge = 0.03 if scores.metric.direction == "maximize" else 0.97
    size = 10 if len(table) < MOST_WITH_PARAMETERS else 6
    for outcome in OUTCOMES:
        rows = table[table["outcome"] == outcome]
        scored, unscored = rows.dropna(subset=["value"]), rows[rows["value"].isna()]
        for some, name, height in (
            (scored, outcome, {"y": scored["value"].tolist()}),
            (unscored, f"{outcome}, no score", {"y": [edge] * len(unscored), "yaxis": "y2"}),
        ):
            if len(some):
                is_short = len(table) >= MOST_WITH_PARAMETERS
                figure.add_scatter(
                    x=some["place"].tolist(),
                    **height,
                    mode="markers",
                    marker=marker_of(outcome, size=size),
                    name=name,
                    hovertext=[_hover(row, scores, is_short=is_short) for row in rows_of(some)],
                    hoverinfo="text",
                )
    figure.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False})
    figure.update_layout(legend_font_color=MUTED)
    if by == "number":
        last = int(table["number"].max()) if len(table) else 0
        whole = {"dtick": 1} if last <= 12 else {}
        beside = max(0.6, 0.02 * last)
        figure.update_xaxes(tickformat="d", range=[-beside, last + beside], **whole)
    else:
        figure.update_xaxes(rangemode="tozero")
    return figure


_BEST_BY = {"number": "running_best", "seconds": "best_by_then"}


def _hover(row: dict[str, Any], scores: ScoreFormat, *, is_short: bool) -> str:
    lines = [f"trial {row['number']}, {row['outcome']}"]
    if is_finite(row["value"]):
        lines.append(scores.named(row["value"]))
    if is_short:
        return plot_text(": ".join(lines))
    if row["reason"]:
        lines.append(str(row["reason"])[:120])
    lines += str(row["parameters"]).split("\n")
    return "<br>".join(plot_text(line) for line in lines if line)
