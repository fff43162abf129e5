"""Optimization history: the score of every finished trial and the best so far."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from hpo.analysis.formats import ScoreFormat, is_finite
from hpo.analysis.palette import BEST, MUTED, OUTCOMES, bare_figure, marker_of, plot_text
from hpo.analysis.tables import rows_of, text_table
from hpo.analysis.trials import outcome_of, parameters_text
from hpo.records import StudyRecord


def history_table(record: StudyRecord) -> pd.DataFrame:
    """One row a finished trial: number, outcome, value, running_best, reason, parameters.

    `value` is NaN where a trial has no score; `running_best` looks at complete trials only and is
    NaN before the first.
    """
    best: float | None = None
    rows = []
    for trial in record.trials:
        if not trial.is_finished:
            continue
        value = trial.value if trial.value is not None and is_finite(trial.value) else None
        if trial.state == "complete" and value is not None:
            best = value if best is None or record.metric.is_better(value, best) else best
        rows.append(
            {
                "number": trial.number,
                "outcome": outcome_of(trial),
                "value": float("nan") if value is None else value,
                "running_best": float("nan") if best is None else best,
                "reason": trial.reason,
                "parameters": "\n".join(parameters_text(trial.parameters)),
            }
        )
    columns = ["number", "outcome", "value", "running_best", "reason", "parameters"]
    table = text_table(rows, columns)
    return table.astype({"number": int, "value": float, "running_best": float})


def draw_history(table: pd.DataFrame, scores: ScoreFormat) -> go.Figure:
    """A marker a trial, by outcome, and the best so far as a staircase."""
    figure = bare_figure("trial", scores.axis)
    best = table.dropna(subset=["running_best"])
    if len(best):
        figure.add_scatter(
            x=best["number"].tolist(),
            y=best["running_best"].tolist(),
            mode="lines",
            line={"color": BEST, "width": 2, "shape": "hv"},
            name="best complete so far",
            hoverinfo="skip",
        )
    # Trials without a score stand along the worse edge, on an axis that nobody sees.
    edge = 0.03 if scores.metric.direction == "maximize" else 0.97
    for outcome in OUTCOMES:
        rows = table[table["outcome"] == outcome]
        scored, unscored = rows.dropna(subset=["value"]), rows[rows["value"].isna()]
        marker = marker_of(outcome, size=10)
        if len(scored):
            figure.add_scatter(
                x=scored["number"].tolist(),
                y=scored["value"].tolist(),
                mode="markers",
                marker=marker,
                name=outcome,
                hovertext=[_hover(row, scores) for row in rows_of(scored)],
                hoverinfo="text",
            )
        if len(unscored):
            figure.add_scatter(
                x=unscored["number"].tolist(),
                y=[edge] * len(unscored),
                yaxis="y2",
                mode="markers",
                marker=marker,
                name=f"{outcome}, no score",
                hovertext=[_hover(row, scores) for row in rows_of(unscored)],
                hoverinfo="text",
            )
    figure.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False})
    last = int(table["number"].max()) if len(table) else 0
    whole = {"dtick": 1} if last <= 12 else {}
    figure.update_xaxes(tickformat="d", range=[-0.6, last + 0.6], **whole)
    figure.update_layout(legend_font_color=MUTED)
    return figure


def _hover(row: dict[str, Any], scores: ScoreFormat) -> str:
    lines = [f"trial {row['number']}, {row['outcome']}"]
    if is_finite(row["value"]):
        lines.append(scores.named(row["value"]))
    if row["reason"]:
        lines.append(str(row["reason"])[:120])
    lines += str(row["parameters"]).split("\n")
    return "<br>".join(plot_text(line) for line in lines if line)
