"""The checklist of a trial: what a healthy training run shows, each with its number and step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.health import ALARM_NORM, find_bad_step
from core.task import Grid
from hpo.analysis.formats import ScoreFormat, count, is_finite, value_text
from hpo.analysis.histories import scale_drops, spikes_of
from hpo.analysis.trials import stage_of
from hpo.records import TrialRecord


@dataclass(frozen=True)
class Check:
    """One line of the checklist."""

    name: str
    passed: bool | None
    """`None` where nothing is known, or the check does not apply."""
    said: str
    """What was found, with the number and the step."""

    @property
    def verdict(self) -> str:
        """`pass`, `fail`, or a dash."""
        return "–" if self.passed is None else "pass" if self.passed else "fail"


def checklist(
    trial: TrialRecord, history: pd.DataFrame, grid: Grid, scores: ScoreFormat
) -> list[Check]:
    """Norm under 10, loss scale steady, no loss spikes, score rising: four checks, in that order.

    `history` is the trial's, as `hpo.analysis.histories.read_history` gives it.
    """
    return [
        _norm(trial, history),
        _scale(history),
        _spikes(trial, history),
        _score(trial, grid, scores),
    ]


def _norm(trial: TrialRecord, history: pd.DataFrame) -> Check:
    name = f"gradient norm under {ALARM_NORM:g}"
    norms = history["grad_norm"].to_numpy(dtype=np.float64)
    if not np.isfinite(norms).any():
        largest = trial.health.get("grad_norm_max")
        if largest is None:
            return Check(name, None, "no telemetry")
        return Check(name, largest < ALARM_NORM, f"largest {value_text(largest)}")
    figures = history[["loss", "learning_rate", "grad_norm", "amp_scale"]]
    bad = find_bad_step(figures.to_numpy(dtype=np.float32))
    at = int(np.where(np.isfinite(norms), norms, -np.inf).argmax())
    said = f"largest {norms[at]:.3g} at step {history['step'].iloc[at]}"
    above = int((norms[np.isfinite(norms)] >= ALARM_NORM).sum())
    if above:
        said += f", {count(above, 'step')} of {len(norms):,} at {ALARM_NORM:g} or above"
    if bad is not None:
        said += f", not finite at step {int(history['step'].iloc[bad.step - 1])}"
    return Check(name, not above and bad is None, said)


def _scale(history: pd.DataFrame) -> Check:
    name = "loss scale steady"
    if not len(history):
        return Check(name, None, "no telemetry")
    if history["amp_scale"].isna().all():
        return Check(name, None, "none used: only fp16 needs one")
    drops = scale_drops(history)
    if not drops:
        return Check(name, True, f"{history['amp_scale'].dropna().iloc[-1]:g} to the end")
    last = drops[-1]
    said = (
        f"lowered {count(len(drops), 'time')}, last from {last.before:g} to {last.after:g} "
        f"at step {last.step}"
    )
    return Check(name, False, said)


def _spikes(trial: TrialRecord, history: pd.DataFrame) -> Check:
    name = "no loss spikes"
    if not len(history):
        known = trial.health.get("loss_spikes")
        if known is None or trial.health.get("grad_norm_max") is None:
            return Check(name, None, "no telemetry")
        return Check(name, not known, "none" if not known else count(known, "spike"))
    spikes = spikes_of(history)
    if not spikes:
        return Check(name, True, f"none in {count(len(history), 'step')}")
    worst = max(spikes, key=lambda spike: spike.loss - spike.usual)
    said = (
        f"{count(len(spikes), 'spike')}, the largest to {worst.loss:.3g} from {worst.usual:.3g} "
        f"at step {worst.step}"
    )
    return Check(name, False, said)


def _score(trial: TrialRecord, grid: Grid, scores: ScoreFormat) -> Check:
    """Whether the score rose within the stage in which the trial ended; for a metric of which
    less is better, whether it fell."""
    metric = scores.metric
    name = "score rising" if metric.direction == "maximize" else "score falling"
    known = {step: value for step, value in sorted(trial.curve.items()) if is_finite(value)}
    if len(known) < 2:
        return Check(name, None, "fewer than two evaluations")
    last = max(known)
    stage, begin = stage_of(grid, last)
    # The stage begins with what the one before had come to; the first one with its first score.
    first = min((step for step in known if step >= max(begin, 1)), default=last)
    if first == last:
        return Check(name, None, f"one evaluation of stage {stage}")
    moved = known[last] - known[first]
    said = (
        f"{scores.text(known[first])} at step {first}, {scores.named(known[last])} at step "
        f"{last}: {moved:+.{scores.decimals}f} in stage {stage}"
    )
    return Check(name, metric.is_better(known[last], known[first]), said)
