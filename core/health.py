"""Whether a run is well: a verdict from its telemetry and curve, with its number and step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.task import Evaluation, Health, Metric, Stage
from core.telemetry import AMP_SCALE, GRAD_NORM, LEARNING_RATE, LOSS, Rows, Telemetry

ALARM_NORM = 10.0
"""A gradient this long before clipping is ten times the usual clip: little of it is left."""

COLLAPSED_SHARE = 0.2
"""Of the best gain over the floor: who keeps less has collapsed. Fine-tuning at far too high a
rate costs about a third (11.7 of 34 BLEU in a reference run), which is bad but no collapse."""

SPIKE_WINDOW = 25
"""Steps of the same stage before a step that say what its loss should be like."""
_SPIKE_DEVIATIONS = 6.0
_SPIKE_RISE = 0.5

# What makes a run unstable. In the first steps a long gradient is common and harmless, and one
# batch in some hundreds is simply odd; a percent of the steps, or a loss that jumps again and
# again, is not.
_UNSTABLE_ALARM_SHARE = 0.01
_UNSTABLE_LEAST_ALARMS = 3
_UNSTABLE_SPIKES = 3

# fp16 begins with a scale of 65536 and halves it until the gradients fit. At 1 there is nothing
# left to halve: they are infinite by themselves.
_LAST_AMP_SCALE = 1.0


@dataclass(frozen=True)
class BadStep:
    """A step at which training broke."""

    step: int
    """From 1, on the whole curve."""
    words: str


def find_bad_step(rows: Rows, *, first: int = 0) -> BadStep | None:
    """The first row from `first` on that no training comes back from; `None` if all are well.

    That is a loss that is not finite, or a gradient norm that is not, unless AMP skipped the step
    to try a smaller loss scale.
    """
    loss, norm, scale = (rows[first:, column] for column in (LOSS, GRAD_NORM, AMP_SCALE))
    is_retried = scale > _LAST_AMP_SCALE  # false where there is no scale
    is_bad = ~np.isfinite(loss) | (~np.isfinite(norm) & ~is_retried)
    if not is_bad.any():
        return None
    at = first + int(is_bad.argmax())
    row = rows[at]
    words = (
        f"loss {row[LOSS]:.4g} and gradient norm {row[GRAD_NORM]:.4g} at step {at + 1}, "
        f"at learning rate {row[LEARNING_RATE]:.3g}"
    )
    return BadStep(at + 1, words)


def describe_collapse(curve: Sequence[Evaluation], metric: Metric) -> str | None:
    """What the collapse at the last evaluation was, in words; `None` if there was none.

    A run had been learning if its best value was `metric.clear_gain` beyond the floor, and has
    collapsed when it keeps less than a fifth of that gain.
    """
    if not curve:
        return None
    gains = [_gain(evaluation.value, metric) for evaluation in curve]
    best = max(range(len(gains)), key=gains.__getitem__)
    if gains[best] < metric.clear_gain or gains[-1] >= COLLAPSED_SHARE * gains[best]:
        return None
    return (
        f"{metric.name} fell to {curve[-1].value:.4g} at step {curve[-1].step} after "
        f"{curve[best].value:.4g} at step {curve[best].step}"
    )


def examine(
    telemetry: Telemetry, stages: Sequence[Stage], curve: Sequence[Evaluation], metric: Metric
) -> Health:
    """The health of a run as far as it has come."""
    rows = telemetry.rows
    norms = rows[:, GRAD_NORM]
    finite = norms[np.isfinite(norms)].astype(np.float64)
    spikes = [
        stage.first_step + int(row) + 1
        for stage in stages
        for row in find_spikes(telemetry.of_stage(stage)[:, LOSS])
    ]
    bad, collapse = find_bad_step(rows), describe_collapse(curve, metric)
    alarms = int((finite > ALARM_NORM).sum())
    is_unstable = len(spikes) >= _UNSTABLE_SPIKES or alarms >= max(
        _UNSTABLE_LEAST_ALARMS, _UNSTABLE_ALARM_SHARE * len(rows)
    )
    return Health(
        verdict=(
            "diverged"
            if bad
            else "collapsed"
            if collapse
            else "unstable"
            if is_unstable
            else "healthy"
        ),
        grad_norm_median=float(np.quantile(finite, 0.5)) if finite.size else None,
        grad_norm_p95=float(np.quantile(finite, 0.95)) if finite.size else None,
        grad_norm_max=float(finite.max()) if finite.size else None,
        steps_above_alarm=alarms,
        loss_spikes=len(spikes),
        nonfinite_steps=1 if bad else 0,  # the run ends at the first
        amp_scale_drops=sum(_count_drops(telemetry.of_stage(stage)) for stage in stages),
        detail=bad.words if bad else collapse or _describe(norms, alarms, spikes),
    )


def _gain(value: float, metric: Metric) -> float:
    """How far a value is from the floor, in the direction of better."""
    return value - metric.floor if metric.direction == "maximize" else metric.floor - value


def find_spikes(losses: npt.NDArray[np.float32]) -> npt.NDArray[np.intp]:
    """Rows at which a stage's loss jumps out of its recent past; a jump that lasts counts once.

    A spike lies above the median of the 25 steps before it by 6 robust standard deviations, so
    that noise is none, and by half of the median's size, so that a loss without noise has none
    either.
    """
    is_spike = np.zeros(len(losses), bool)
    if len(losses) > SPIKE_WINDOW:
        past = np.lib.stride_tricks.sliding_window_view(losses[:-1], SPIKE_WINDOW)
        median = np.median(past, axis=1)
        spread = np.median(np.abs(past - median[:, None]), axis=1)
        deviation = 1.4826 * spread  # of a normal distribution
        rise = losses[SPIKE_WINDOW:] - median
        is_spike[SPIKE_WINDOW:] = (rise > _SPIKE_DEVIATIONS * deviation) & (
            rise > _SPIKE_RISE * np.abs(median)
        )
    return np.flatnonzero(is_spike & ~np.roll(is_spike, 1))


def _count_drops(rows: Rows) -> int:
    return int((np.diff(rows[:, AMP_SCALE]) < 0).sum())


def _describe(norms: npt.NDArray[np.float32], alarms: int, spikes: Sequence[int]) -> str:
    parts = []
    if alarms:
        largest = int(np.where(np.isfinite(norms), norms, -np.inf).argmax())
        parts.append(
            f"gradient norm above {ALARM_NORM:g} in {alarms} of {len(norms)} steps, "
            f"the largest {norms[largest]:.4g} at step {largest + 1}"
        )
    if spikes:
        parts.append(f"loss spikes: {len(spikes)}, the first at step {spikes[0]}")
    return "; ".join(parts)
