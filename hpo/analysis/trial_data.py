"""What opens of each trial below the table: plain JSON that the page's script draws on demand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import pandas as pd

from core.health import ALARM_NORM
from hpo.analysis.courses import Course
from hpo.analysis.formats import MISSING, ScoreFormat, duration, is_finite, value_text
from hpo.analysis.palette import ALARM, BEST, INK, MUTED, OUTCOMES, START, bare_figure, plot_text
from hpo.analysis.reasons import Rivals, reasons
from hpo.analysis.stability import verdict_of
from hpo.analysis.tables import rows_of
from hpo.analysis.translations import outputs_of
from hpo.analysis.trials import parameter_names, seconds_of
from hpo.records import StudyRecord, TrialRecord

SAMPLES = 3
"""Sentences of which each trial shows its output, where there are few trials."""
ALL_SAMPLES = 2_000
"""Outputs on the page."""


def trial_data(
    record: StudyRecord,
    courses: Sequence[Course],
    translations: pd.DataFrame,
    p_values: Mapping[int, float],
) -> str:
    """JSON: what all trials share under `shared`, what is of each one under `trials`, by number.

    `translations` has the sentences of which outputs are shown, the most telling first; `p_values`
    those of trials that were compared with the best one over sentences.
    """
    rivals = Rivals.of(record)
    shown = SAMPLES if SAMPLES * len(courses) <= ALL_SAMPLES else 1
    samples = rows_of(translations)[: shown if shown * len(courses) <= 2 * ALL_SAMPLES else 0]
    lines, names = [row["line"] for row in samples], parameter_names(record)
    data = {
        "shared": _shared(record, rivals.scores, samples)
        | {
            "names": names,
            "checks": [check.name for check in courses[0].checks] if courses else [],
        },
        "trials": {
            course.trial.number: _of(
                course, rivals, names, lines, p_values.get(course.trial.number)
            )
            for course in courses
        },
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _shared(
    record: StudyRecord, scores: ScoreFormat, samples: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    best = record.best
    complete = [trial for trial in record.trials if trial.state == "complete"]
    steps = sorted({step for trial in complete for step in trial.curve})
    medians = [
        _short(median(known))
        for step in steps
        if (known := [t.curve[step] for t in complete if is_finite(t.curve.get(step))])
    ]
    clip = (record.declaration.get("protocol") or {}).get("grad_clip")
    return {
        "metric": plot_text(scores.axis),
        "layout": json.loads(bare_figure("step", "", height=230).to_json())["layout"],
        "colours": {
            "own": OUTCOMES["complete"].colour,
            "best": BEST,
            "median": MUTED,
            "alarm": ALARM,
            "ink": INK,
            "scale": START,
        },
        "steps": record.grid.total_steps,
        "stages": [record.grid.stage_end(name) for name, _ in record.grid.stages[:-1]],
        "median": [steps, medians] if len(medians) == len(steps) else None,
        "best": None if best is None else [best.number, *_curve(best)],
        "alarm": ALARM_NORM,
        "clip": clip,
        "samples": [
            {name: row[name] for name in ("line", "source", "reference")} for row in samples
        ],
    }


def _of(
    course: Course, rivals: Rivals, names: list[str], lines: list[int], p_value: float | None
) -> dict[str, Any]:
    trial, series = course.trial, course.series
    found: dict[str, Any] = {
        "why": reasons(trial, rivals, p_value),
        "verdict": verdict_of(trial),
        "checks": [[check.passed, check.said] for check in course.checks],
        "drawn": [_drawn(trial, name) for name in names],
        "facts": [duration(seconds_of(trial)), trial.attempts, trial.device or MISSING],
        "curve": _curve(trial),
    }
    if course.steps:
        found |= {
            "every": int(series["step"].iloc[0]),
            "steps": course.steps,
            "norm": _shorts(course.norms["grad_norm"]),
            "loss": _shorts(series["loss"]),
            "rate": _shorts(series["learning_rate"]),
        }
        if series["amp_scale"].notna().any():
            found["scale"] = _shorts(series["amp_scale"])
    outputs = outputs_of(trial, lines)
    if outputs is not None:
        found["texts"] = outputs
    return found


def _drawn(trial: TrialRecord, name: str) -> str | None:
    """A parameter's value; None where the trial did not draw it."""
    return value_text(trial.parameters[name]) if name in trial.parameters else None


def _curve(trial: TrialRecord) -> list[list[Any]]:
    known = [(step, value) for step, value in sorted(trial.curve.items()) if is_finite(value)]
    return [[step for step, _ in known], [_short(value) for _, value in known]]


def _shorts(values: pd.Series[float]) -> list[float | None]:
    return [float(f"{value:.3g}") if is_finite(value) else None for value in values]


def _short(value: float) -> float:
    """More digits than a small picture shows."""
    return float(f"{value:.4g}")
