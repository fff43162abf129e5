"""How well ranks on the way have predicted the final ones: where pruning may rely on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from core.task import Grid
from hpo.analysis.formats import count, is_finite
from hpo.analysis.palette import ALARM, BEST, MUTED, bare_figure, plot_text
from hpo.analysis.tables import rows_of, text_table
from hpo.analysis.trials import stage_of
from hpo.declarations.study import RANK_PRUNERS
from hpo.records import StudyRecord, TrialRecord
from hpo.reliability import ENOUGH, LEAST, first_good, measure_at


def reliability_table(record: StudyRecord) -> pd.DataFrame:
    """One row a step before the last: stage, step, n, tau, low, high, is_good, first_good.

    `n` are the complete trials with a score at the step; `low` and `high` bound tau with a
    confidence of 90 percent each, None where nothing is known; `first_good` is how many complete
    trials there were when the step was first good. Empty with fewer than two complete trials.
    """
    complete = [
        (trial.curve, trial.value)
        for trial in sorted(record.trials, key=_end_of)
        if trial.state == "complete" and trial.value is not None and is_finite(trial.value)
    ]
    steps = sorted({step for curve, _ in complete for step in curve})
    rows = []
    for step in steps:
        found = measure_at(step, complete)
        if found.n < 2 or step >= record.grid.total_steps:
            continue
        rows.append(
            {
                "stage": stage_of(record.grid, step)[0],
                "step": step,
                "n": found.n,
                "tau": found.tau,
                "low": found.low,
                "high": found.high,
                "is_good": found.is_good,
                "first_good": first_good(step, complete),
            }
        )
    columns = ["stage", "step", "n", "tau", "low", "high", "is_good", "first_good"]
    return text_table(rows, columns)


def reliability_sentences(record: StudyRecord, table: pd.DataFrame) -> list[str]:
    """From where on ranks could be relied on, and what the study's pruner makes of that."""
    good = [row for row in rows_of(table) if row["is_good"]]
    if good:
        steps = ", ".join(str(row["step"]) for row in good)
        said = f"Ranks are known to predict the final ones at {_steps(len(good))} {steps}."
    else:
        said = "At no step are ranks known to predict the final ones."
    return [said, _use_of(record, table)]


def reliability_note(table: pd.DataFrame) -> str:
    """How to read the figure, and on whom it is measured."""
    most = max((row["n"] for row in rows_of(table)), default=0)
    return (
        f"Kendall's tau between the scores at a step and the final ones of "
        f"{count(most, 'complete trial')}, the ones that survived: where pruning was at work, the "
        "true value over all trials is rather higher. The bars hold it with a confidence of 90 % "
        f"on either side; below {LEAST} trials nothing is known. Ranks are relied on where the "
        f"lower end reaches {ENOUGH}."
    )


def draw_reliability(table: pd.DataFrame, grid: Grid) -> go.Figure:
    """Tau by step with its bounds, and the line that the lower bound must reach."""
    figure = bare_figure("step", "Kendall's tau with the final ranks", height=300)
    for name, colour, wanted in (("relied on", BEST, True), ("not relied on", MUTED, False)):
        rows = [row for row in rows_of(table) if row["is_good"] is wanted]
        if not rows:
            continue
        figure.add_scatter(
            x=[row["step"] for row in rows],
            y=[row["tau"] for row in rows],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [_length(row["tau"], row["high"]) for row in rows],
                "arrayminus": [_length(row["low"], row["tau"]) for row in rows],
                "color": colour,
            },
            customdata=[row["n"] for row in rows],
            mode="markers",
            marker={"color": colour, "size": 9, "symbol": "circle" if wanted else "circle-open"},
            name=name,
            hovertemplate="step %{x}: tau %{y:.2f}, %{customdata} trials<extra></extra>",
        )
    figure.add_hline(y=ENOUGH, line={"color": ALARM, "width": 1.5, "dash": "dash"})
    for stage, _ in grid.stages[:-1]:
        figure.add_vline(x=grid.stage_end(stage), line={"color": MUTED, "width": 1, "dash": "dot"})
        figure.add_annotation(
            x=grid.stage_end(stage),
            y=0,
            yref="paper",
            yanchor="bottom",
            xanchor="right",
            text=plot_text(f"{stage} ◂ "),
            showarrow=False,
            font={"color": MUTED, "size": 12},
        )
    figure.update_xaxes(range=[0, grid.total_steps * 1.02])
    figure.update_yaxes(range=[-1.05, 1.05])
    figure.update_layout(legend_font_color=MUTED)
    return figure


def _use_of(record: StudyRecord, table: pd.DataFrame) -> str:
    scheduler: Mapping[str, Any] = record.declaration.get("scheduler") or {}
    if scheduler.get("name", "optuna") != "optuna":
        return f"Scheduler {scheduler['name']} asks no pruner, so nothing hung on that."
    pruner: Mapping[str, Any] = record.declaration.get("pruner") or {}
    name = pruner.get("name", "none")
    rule: Mapping[str, Any] = pruner.get("around") or pruner
    if rule.get("name") not in RANK_PRUNERS:
        return f"Pruner {name} compares no trials, so nothing hung on that."
    if rule.get("trust", "measured") == "always":
        return f"Pruner {name} stopped trials whatever these figures were: its trust is always."
    since = [row for row in rows_of(table) if row["first_good"] is not None]
    if not since:
        return f"Pruner {name} therefore stopped nobody."
    begun = "; ".join(
        f"step {row['step']} from {count(row['first_good'], 'complete trial')} on" for row in since
    )
    return f"Pruner {name} could stop trials only where that was known: {begun}."


def _end_of(trial: TrialRecord) -> tuple[float, int]:
    """The order in which trials came to their end; by number where the times are unknown."""
    return (trial.ended.timestamp() if trial.ended else 0.0, trial.number)


def _length(low: float | None, high: float | None) -> float:
    return 0.0 if low is None or high is None else high - low


def _steps(number: int) -> str:
    return "step" if number == 1 else "steps"
