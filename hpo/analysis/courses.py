"""The course of each trial's training, boiled down from its telemetry to what a page can hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.analysis.checklist import Check, checklist
from hpo.analysis.formats import ScoreFormat
from hpo.analysis.histories import Spike, read_history, spikes_of
from hpo.analysis.thinning import runs_of, thin_norms
from hpo.records import StudyRecord, TrialRecord

Floats = npt.NDArray[np.float64]

ALL_POINTS = 60_000
"""Of each figure over all trials of the page: 60 a trial for 1,000, about 300 kB."""
MOST_POINTS, LEAST_POINTS = 200, 12
"""Of one trial."""
SAMPLES = 1_000
"""Norms of a trial, evenly spaced, that the bands by depth are made of."""


@dataclass(frozen=True)
class Course:
    """What is kept of one trial."""

    trial: TrialRecord
    steps: int
    """Rows of its telemetry; 0 without any."""
    norms: pd.DataFrame
    """Columns step, grad_norm, nonfinite, as `thin_norms` has them: a row a run of steps."""
    series: pd.DataFrame
    """Of the same runs: step (its last), loss (mean), learning_rate (at its last step), amp_scale
    (its least; NaN: none)."""
    samples: pd.DataFrame
    """Columns step and grad_norm: up to `SAMPLES` steps as they were."""
    spikes: list[Spike]
    checks: list[Check]


def read_courses(record: StudyRecord, scores: ScoreFormat) -> list[Course]:
    """The course of every trial; each file is read once, and little of it is kept."""
    points = points_each(len(record.trials))
    return [_course(record, trial, scores, points) for trial in record.trials]


def points_each(trials: int) -> int:
    """Points of one trial's line where so many trials share the page."""
    return min(MOST_POINTS, max(LEAST_POINTS, ALL_POINTS // max(1, trials)))


def _course(record: StudyRecord, trial: TrialRecord, scores: ScoreFormat, points: int) -> Course:
    history = read_history(trial.folder)
    spaced = np.linspace(0, len(history) - 1, min(len(history), SAMPLES)).round().astype(int)
    return Course(
        trial=trial,
        steps=len(history),
        norms=thin_norms(history, points),
        series=_series(history, points),
        samples=history[["step", "grad_norm"]].iloc[spaced],
        spikes=spikes_of(history),
        checks=checklist(trial, history, record.grid, scores),
    )


def _series(history: pd.DataFrame, points: int) -> pd.DataFrame:
    starts = runs_of(len(history), points)
    if not len(starts):
        return pd.DataFrame({"step": [], "loss": [], "learning_rate": [], "amp_scale": []})
    ends = np.append(starts[1:], len(history)) - 1
    losses = history["loss"].to_numpy(dtype=np.float64)
    return pd.DataFrame(
        {
            "step": history["step"].to_numpy()[ends],
            "loss": _means(losses, starts),
            "learning_rate": history["learning_rate"].to_numpy()[ends],
            "amp_scale": np.minimum.reduceat(history["amp_scale"].to_numpy(np.float64), starts),
        }
    )


def _means(values: Floats, starts: npt.NDArray[np.intp]) -> Floats:
    """Of each run; NaN where it holds something that is not finite."""
    sizes = np.diff(np.append(starts, len(values)))
    with np.errstate(invalid="ignore"):
        means: Floats = np.add.reduceat(values, starts) / sizes
    return np.where(np.isfinite(means), means, np.nan)
