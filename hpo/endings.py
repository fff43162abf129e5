"""What an outcome, or a worker's breakdown, is told to Optuna as."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from core.task import Metric, Outcome, OutcomeState
from hpo.analysis.formats import duration
from hpo.slots import WorkerError

_TROUBLES = {OutcomeState.DIVERGED: "diverged", OutcomeState.COLLAPSED: "collapsed"}


@dataclass(frozen=True)
class Ending:
    """How a trial is recorded."""

    state: Literal["complete", "pruned", "failed"]
    """Samplers learn from complete and pruned trials and do not see failed ones."""
    value: float | None
    outcome: str
    """The outcome's name, or what broke: `completed`, `diverged`, `memory`, `died`, ..."""
    reason: str
    """One line for people; empty for a complete trial."""
    constraint: str | None = None
    """Name of the constraint that the configuration violates; `None` where it is feasible."""


def ending_of(outcome: Outcome, metric: Metric) -> Ending:
    """The ending of a run that came to an outcome other than a pause."""
    trouble = _TROUBLES.get(outcome.state)
    if trouble is None and outcome.state is OutcomeState.COMPLETED:
        if outcome.value is not None and math.isfinite(outcome.value):
            return Ending("complete", outcome.value, outcome.state.value, "")
        trouble = "diverged"  # Optuna would take an infinite value for the best
    if trouble is not None:
        reason = outcome.reason or f"{metric.name} is {outcome.value}"
        return Ending("pruned", outcome.value, trouble, f"{trouble}: {reason}", trouble)
    assert outcome.state is OutcomeState.STOPPED, outcome.state
    return Ending(
        "pruned",
        outcome.value,
        outcome.state.value,
        f"behind other trials at step {outcome.step}",
    )


def ending_of_fault(fault: WorkerError, reason: str) -> Ending:
    """The ending of a trial that is given up for `reason`, `fault` being its last breakdown.

    A model too large for the memory will be so every time, which a sampler should know.
    """
    if fault.kind == "memory":
        return Ending("pruned", None, fault.kind, f"out of memory: {reason}", fault.kind)
    return Ending("failed", None, fault.kind, reason)


def ending_of_misfit(reason: str) -> Ending:
    """The ending of a trial that is not tried, since its configuration cannot fit in memory."""
    return Ending("pruned", None, "memory", reason, "memory")


def ending_of_time_out(
    limit_s: float, step: int, value: float | None, silent_s: float | None
) -> Ending:
    """The ending of a trial over the limit of its time, last at `step` with `value`.

    One that was getting on is too slow for what the study affords, which a sampler should know; of
    one that had been silent for `silent_s` at the limit nothing is known but that it hung.
    """
    limit = duration(limit_s)
    if silent_s is None:
        reason = f"over the trial time limit of {limit} at step {step}"
        return Ending("pruned", value, "time", reason, "time")
    reason = f"no sign of life for {duration(silent_s)} at the trial time limit of {limit}"
    return Ending("failed", None, "hung", reason)
