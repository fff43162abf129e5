"""Which slot worked on what and when: every attempt at a trial and at a repeat of the finals."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from hpo.analysis.formats import count, duration, percent
from hpo.analysis.palette import INK, MUTED, OUTCOMES, SURFACE, bare_figure, plot_text
from hpo.analysis.tables import rows_of, text_table
from hpo.records import StudyRecord

_COLUMNS = (
    "place", "trial", "seed", "attempt", "begun", "start_s", "seconds", "outcome", "from_cache"
)  # fmt: skip
_BREAK_SHARE, _BREAK_LEAST_S = 0.05, 60.0
"""A time in which no slot worked is cut out where it is longer than both."""
_PATTERNS = {
    "complete": "", "pruned": "", "failed": "x", "diverged": "x", "collapsed": "x",
    "paused": "/", "interrupted": "\\", "killed": "+", "retried": "-", "running": "",
}  # fmt: skip
"""Plotly's fill by outcome: what the colours say, too."""
_COLOURS = {
    **{name: look.colour for name, look in OUTCOMES.items()},
    "killed": OUTCOMES["failed"].colour,
    "retried": OUTCOMES["diverged"].colour,
}
_HOLLOW = "pruned"
"""Drawn as an outline, which leaves room for its number."""
_LABELLED_SHARE = 0.02
"""A bar shorter than so much of the axis has no room for its number."""


def timeline_table(record: StudyRecord) -> pd.DataFrame:
    """One row an attempt in the order in which they began: place, trial, seed, attempt, begun,
    start_s, seconds, outcome, from_cache.

    `seed` is None but for repeats; `attempt` counts from 1. `begun` is UTC; `start_s` counts from
    the first attempt, without the times between two runs of the study in which nothing ran. An
    attempt whose end nobody knows is left out, but one that runs goes on until now.
    """
    cached = {one.number for one in record.trials if one.cost.get("cache_hit")}
    spans = [span for trial in record.trials for span in trial.spans]
    counted: Counter[tuple[int, int | None]] = Counter()
    rows: list[dict[str, Any]] = []
    for span in (*spans, *record.repeat_spans):
        counted[span.trial, span.seed] += 1
        ended = span.ended or (datetime.now(UTC) if span.how == "running" else None)
        if ended is not None:
            rows.append(
                {
                    "place": span.place,
                    "trial": span.trial,
                    "seed": span.seed,
                    "attempt": counted[span.trial, span.seed],
                    "begun": span.begun,
                    "seconds": max((ended - span.begun).total_seconds(), 0.0),
                    "outcome": span.how,
                    "from_cache": span.seed is None and span.trial in cached,
                }
            )
    rows.sort(key=lambda row: row["begun"])
    cuts = _cuts(
        [(row["begun"], row["begun"] + timedelta(seconds=row["seconds"])) for row in rows]
    )
    for row in rows:
        cut_s = sum(seconds for at, seconds in cuts if at <= row["begun"])
        row["start_s"] = (row["begun"] - rows[0]["begun"]).total_seconds() - cut_s
    return text_table(rows, _COLUMNS)


def ended_at(record: StudyRecord) -> dict[int, float]:
    """Number -> when the trial's last attempt ended, in seconds on the clock of the table."""
    return {
        row["trial"]: row["start_s"] + row["seconds"]
        for row in rows_of(timeline_table(record))
        if row["seed"] is None
    }


def timeline_sentences(record: StudyRecord, table: pd.DataFrame) -> list[str]:
    """How busy each slot was, and how many attempts were lost and why."""
    if table.empty:
        return []
    rows = rows_of(table)
    end_s = max(row["start_s"] + row["seconds"] for row in rows)
    busy = dict.fromkeys(_places(rows), 0.0)
    for row in rows:
        busy[row["place"]] += row["seconds"]
    shares = ", ".join(
        f"{place} {percent(min(seconds / end_s, 1.0) if end_s else 1.0)}"
        for place, seconds in busy.items()
    )
    said = [f"Busy share of the {duration(end_s)} between first and last attempt: {shares}."]
    kinds = {
        "retried": "broke down and was tried again",
        "killed": "was killed with its driver",
        "interrupted": "was interrupted and left to a later run",
    }
    for kind, words in kinds.items():
        number = sum(row["outcome"] == kind for row in rows)
        if number:
            plural = words if number == 1 else words.replace("was ", "were ")
            said.append(f"{count(number, 'attempt')} {plural}.")
    return said


def timeline_note(table: pd.DataFrame) -> str:
    """How to read the figure."""
    rows = rows_of(table)
    said = "Each bar is one attempt at a trial, by its number."
    if any(row["seed"] is not None for row in rows):
        said = f"{said[:-1]}; s2 is the finals' fresh seed 2."
    if _breaks(rows):
        said += " Times between two runs of the study, at a dotted line, are left out."
    return said


def draw_timeline(table: pd.DataFrame) -> go.Figure:
    """A row a slot, a bar an attempt, by outcome; repeats of the finals are named by seed."""
    rows = rows_of(table)
    places = _places(rows)
    end_s = max(row["start_s"] + row["seconds"] for row in rows)
    unit, seconds = time_unit(end_s)
    figure = bare_figure(f"time ({unit})", "", height=130 + 34 * len(places))

    def is_labelled(row: dict[str, Any]) -> bool:
        return bool(row["seconds"] >= _LABELLED_SHARE * end_s)

    for outcome in [*OUTCOMES, "retried", "killed"]:
        bars = [row for row in rows if row["outcome"] == outcome]
        if not bars:
            continue
        colour, pattern = _COLOURS[outcome], _PATTERNS[outcome]
        figure.add_bar(
            orientation="h",
            base=[row["start_s"] / seconds for row in bars],
            x=[row["seconds"] / seconds for row in bars],
            y=[plot_text(row["place"]) for row in bars],
            name=outcome,
            marker={
                "color": SURFACE if outcome == _HOLLOW else colour,
                "line": {
                    "color": colour if pattern or outcome == _HOLLOW else SURFACE,
                    "width": 1,
                },
                "pattern": {
                    "shape": pattern,
                    "fillmode": "replace",
                    "size": 6,
                    "fgcolor": colour,
                    "bgcolor": SURFACE,
                },
            },
            text=[_label(row) if is_labelled(row) else "" for row in bars],
            textposition="none" if pattern else "inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": INK if outcome == _HOLLOW else SURFACE, "size": 12},
            constraintext="inside",
            hovertext=[_hover(row) for row in bars],
            hoverinfo="text",
        )
        for row in filter(is_labelled, bars if pattern else ()):
            figure.add_annotation(  # text on a pattern is read on a ground of its own
                x=(row["start_s"] + row["seconds"] / 2) / seconds,
                y=plot_text(row["place"]),
                text=plot_text(_label(row)),
                showarrow=False,
                font={"color": INK, "size": 12},
                bgcolor=SURFACE,
                borderpad=1,
            )
    figure.update_layout(barmode="overlay", bargap=0.25, legend_font_color=MUTED)
    # On a narrow screen a number that does not fit into its bar is left out.
    figure.update_layout(uniformtext={"mode": "hide", "minsize": 10})
    order = [plot_text(place) for place in reversed(places)]
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=order, tickfont={"color": INK}
    )
    figure.update_xaxes(range=[0, 1.01 * end_s / seconds or 1])
    for at_s in _breaks(rows):
        figure.add_vline(at_s / seconds, line={"color": MUTED, "width": 1, "dash": "dot"})
    return figure


def _cuts(spans: list[tuple[datetime, datetime]]) -> list[tuple[datetime, float]]:
    """(when a time without work ends, seconds of it to cut out); `spans` by their begin."""
    if not spans:
        return []
    gaps, busy_s, until = [], 0.0, spans[0][0]
    for begun, ended in spans:
        if begun > until:
            gaps.append((begun, (begun - until).total_seconds()))
        busy_s += max((ended - max(begun, until)).total_seconds(), 0.0)
        until = max(until, ended)
    least_s = max(_BREAK_SHARE * busy_s, _BREAK_LEAST_S)
    return [(at, seconds) for at, seconds in gaps if seconds > least_s]


def _breaks(rows: list[dict[str, Any]]) -> list[float]:
    """Where on the axis a time was cut out, in seconds."""
    found = []
    for before, row in pairwise(rows):
        apart_s = (row["begun"] - before["begun"]).total_seconds()
        if apart_s - (row["start_s"] - before["start_s"]) > 1:
            found.append(row["start_s"])
    return found


def _places(rows: list[dict[str, Any]]) -> list[str]:
    """The slots' names, numbers in them by size."""

    def key(place: str) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in _parts(place)]

    return sorted({row["place"] for row in rows}, key=key)


def _parts(place: str) -> list[str]:
    return [part for part in re.split(r"([0-9]{1,18})", place) if part]


def time_unit(seconds: float) -> tuple[str, float]:
    """The unit for an axis of so long a time, and its seconds."""
    if seconds > 2 * 3600:
        return "hours", 3600.0
    return ("minutes", 60.0) if seconds > 120 else ("seconds", 1.0)


def _label(row: dict[str, Any]) -> str:
    return str(row["trial"]) if row["seed"] is None else f"{row['trial']} s{row['seed']}"


def _hover(row: dict[str, Any]) -> str:
    what = f"trial {row['trial']}"
    if row["seed"] is not None:
        what = f"finals: {what} on fresh seed {row['seed']}"
    lines = [
        f"{what}, attempt {row['attempt']}: {row['outcome']}",
        f"{row['place']}, {duration(row['seconds'])} from {row['begun']:%Y-%m-%d %H:%M:%S} UTC",
    ]
    if row["from_cache"]:
        lines.append("the first stage from the cache")
    return "<br>".join(plot_text(line) for line in lines)
