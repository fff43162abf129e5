"""Intermediate curves: each trial's scores on the way, and what the last stage did to them."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from core.task import Grid
from hpo.analysis.formats import ScoreFormat, count, is_finite
from hpo.analysis.palette import (
    BEST,
    INK,
    MUTED,
    OUTCOMES,
    bare_figure,
    marker_of,
    plot_text,
    translucent,
)
from hpo.analysis.trials import (
    choose_trials,
    outcome_of,
    score_before_last_stage,
    stage_of,
)
from hpo.records import StudyRecord

MOST_TRIALS = 200
"""More curves than this make no picture."""


def curves_table(record: StudyRecord) -> pd.DataFrame:
    """One row a score: number, stage, step, value, outcome, is_best, is_last.

    Of more than `MOST_TRIALS` trials some are left out.
    """
    best = record.best
    rows = [
        {
            "number": trial.number,
            "stage": stage_of(record.grid, step)[0],
            "step": step,
            "value": value,
            "outcome": outcome_of(trial),
            "is_best": best is not None and trial.number == best.number,
            "is_last": step == max(trial.curve),
        }
        for trial in choose_trials(record, MOST_TRIALS)
        for step, value in sorted(trial.curve.items())
        if is_finite(value)
    ]
    columns = ["number", "stage", "step", "value", "outcome", "is_best", "is_last"]
    return pd.DataFrame(rows, columns=columns)


def stage_table(record: StudyRecord) -> pd.DataFrame:
    """One row a complete trial: number, before (score as the last stage began), final, helped.

    Empty where the grid has one stage. Trials whose curve lacks the boundary are left out.
    """
    rows = []
    for trial in record.trials:
        before = score_before_last_stage(record, trial)
        if trial.state == "complete" and trial.value is not None and before is not None:
            helped = record.metric.is_better(trial.value, before)
            rows.append((trial.number, before, trial.value, helped))
    return pd.DataFrame(rows, columns=["number", "before", "final", "helped"])


def stage_sentences(record: StudyRecord, scores: ScoreFormat) -> list[str]:
    """Whether the last stage helped, said plainly; nothing where there is one stage."""
    table = stage_table(record)
    best = record.best
    if table.empty or best is None or best.value is None:
        return []
    first, last = (stage for stage, _ in record.grid.stages[-2:])
    said = []
    before = score_before_last_stage(record, best)
    if before is not None:
        ends = f"the best trial ends at {scores.named(best.value)}"
        stood = f"after {first} it stood at {scores.text(before)}"
        helped = record.metric.is_better(best.value, before)
        said.append(f"Stage {last} {'helped' if helped else 'did not help'}: {ends}, {stood}.")
    raised = int(table["helped"].sum())
    said.append(f"It improved {raised} of {count(len(table), 'complete trial')}.")
    pick = max if record.metric.direction == "maximize" else min
    top, number = pick(zip(table["before"], table["number"], strict=True))
    if record.metric.is_better(top, best.value):
        said.append(
            f"No complete trial beats what trial {number} had after {first} alone: "
            f"{scores.named(top)}."
        )
    return said


def curves_note(record: StudyRecord) -> str:
    """How to read the figure, and what it leaves out."""
    said = "A line is a trial; its mark tells how it ended. Click a name to hide its lines."
    drawn = [trial for trial in record.trials if trial.curve]
    if len(drawn) > MOST_TRIALS:
        said += f" {MOST_TRIALS} of {count(len(record.trials), 'trial')} are drawn, evenly spaced."
    return said


def draw_curves(table: pd.DataFrame, grid: Grid, scores: ScoreFormat) -> go.Figure:
    """A line a trial, its end marked by outcome, the best one bold, and the score to beat."""
    figure = bare_figure("step", scores.axis, height=460)
    for outcome, look in OUTCOMES.items():
        rows = table[(table["outcome"] == outcome) & ~table["is_best"]]
        if rows.empty:
            continue
        ends = rows[rows["is_last"]]
        figure.add_scatter(
            **_broken_line(rows),
            mode="lines",
            line={"color": translucent(look.colour), "width": 1.3 if len(ends) < 60 else 0.7},
            legendgroup=outcome,
            showlegend=False,
            hovertemplate=_hover(outcome),
        )
        figure.add_scatter(
            x=ends["step"].tolist(),
            y=ends["value"].tolist(),
            customdata=ends["number"].tolist(),
            mode="markers",
            marker=marker_of(outcome, size=8),
            legendgroup=outcome,
            name=outcome,
            hovertemplate=_hover(outcome),
        )
    best = table[table["is_best"]]
    if not best.empty:
        figure.add_scatter(
            x=best["step"].tolist(),
            y=best["value"].tolist(),
            customdata=best["number"].tolist(),
            mode="lines+markers",
            line={"color": BEST, "width": 3},
            marker={"color": BEST, "size": 6},
            name=f"best: trial {best['number'].iloc[0]}",
            hovertemplate=_hover("complete"),
        )
    _draw_stages(figure, best, grid, scores)
    figure.update_xaxes(range=[0, grid.total_steps * 1.02])
    figure.update_layout(legend_font_color=MUTED)
    return figure


def _draw_stages(figure: go.Figure, best: pd.DataFrame, grid: Grid, scores: ScoreFormat) -> None:
    """The boundary before the last stage, and from there the score that the best trial had."""
    if len(grid.stages) < 2:
        return
    first, last = (stage for stage, _ in grid.stages[-2:])
    boundary = grid.stage_end(first)
    figure.add_vline(x=boundary, line={"color": MUTED, "width": 1, "dash": "dot"})
    for text, anchor in ((f"{first} ◂ ", "right"), (f" ▸ {last}", "left")):
        figure.add_annotation(
            x=boundary,
            y=0,
            yref="paper",
            yanchor="bottom",
            xanchor=anchor,
            text=plot_text(text),
            showarrow=False,
            font={"color": MUTED, "size": 12},
        )
    before = best.loc[best["step"] == boundary, "value"]
    if len(before):
        beat = float(before.iloc[0])
        figure.add_scatter(
            x=[boundary, grid.total_steps],
            y=[beat, beat],
            mode="lines",
            line={"color": INK, "width": 1.5, "dash": "dash"},
            name=f"to beat: {scores.text(beat)} after {plot_text(first)}",
            hoverinfo="skip",
        )


def _broken_line(rows: pd.DataFrame) -> dict[str, list[object]]:
    """The rows of many trials as one trace: a line with a gap after each trial."""
    line: dict[str, list[object]] = {"x": [], "y": [], "customdata": []}
    for number, curve in rows.groupby("number", sort=True):
        line["x"] += [*curve["step"].tolist(), None]
        line["y"] += [*curve["value"].tolist(), None]
        line["customdata"] += [number] * (len(curve) + 1)
    return line


def _hover(outcome: str) -> str:
    return f"trial %{{customdata}}, {outcome}<br>step %{{x}}: %{{y:.4g}}<extra></extra>"
