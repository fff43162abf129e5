"""Where the slots' time went, by what came of it."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from hpo.analysis.formats import percent
from hpo.analysis.palette import INK, MUTED, OUTCOMES, bare_figure, plot_text
from hpo.analysis.tables import rows_of, text_table
from hpo.analysis.timeline import time_unit, timeline_table
from hpo.records import StudyRecord

FINALS = "repeated in the finals"
_WORDS = {
    "retried": "broke down, tried again",
    "killed": "killed with its driver",
    "interrupted": "left to a later run",
}


def spent_table(record: StudyRecord) -> pd.DataFrame:
    """One row an outcome of attempts: outcome, attempts, seconds, share (of all seconds); the one
    that took most first. Attempts whose end nobody knows are not in it."""
    spent: dict[str, list[float]] = {}
    for row in rows_of(timeline_table(record)):
        outcome = FINALS if row["seed"] is not None else row["outcome"]
        spent.setdefault(_WORDS.get(outcome, outcome), []).append(row["seconds"])
    whole = sum(map(sum, spent.values()))
    rows = [
        (outcome, len(seconds), sum(seconds), sum(seconds) / whole if whole else 0.0)
        for outcome, seconds in spent.items()
    ]
    rows.sort(key=lambda row: -row[2])
    return text_table(rows, ["outcome", "attempts", "seconds", "share"])


def draw_spent(table: pd.DataFrame) -> go.Figure:
    """A bar an outcome, as long as the slots' time that went to it."""
    rows = rows_of(table)
    unit, scale = time_unit(max(row["seconds"] for row in rows))
    figure = bare_figure(f"slots' time ({unit})", "", height=80 + 40 * len(rows))
    figure.add_bar(
        orientation="h",
        y=[plot_text(row["outcome"]) for row in rows],
        x=[round(row["seconds"] / scale, 3) for row in rows],
        text=[percent(row["share"]) for row in rows],
        textposition="outside",
        textangle=0,
        cliponaxis=False,
        marker={
            "color": [
                OUTCOMES[row["outcome"]].colour if row["outcome"] in OUTCOMES else MUTED
                for row in rows
            ]
        },
        hovertemplate="%{y}: %{x:.3g} " + unit + "<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", ticks="", tickfont={"color": INK})
    figure.update_xaxes(range=[0, 1.08 * rows[0]["seconds"] / scale or 1])
    return figure
