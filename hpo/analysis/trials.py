"""The trials: their outcomes and times, what they cost in words, a choice of them to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.analysis.formats import count, duration, value_text
from hpo.records import StudyRecord, TrialRecord

COSTS = {
    "prepare_s": "preparing data and model",
    "pretrain_s": "training before the last stage",
    "finetune_s": "training in the last stage",
    "evaluate_s": "evaluating",
    "checkpoint_s": "writing checkpoints",
    "wait_s": "waiting for another trial's stage",
    "report_s": "telling scores",
}
"""Fields of `core.task.Cost` that add up to a trial's time, in words."""


def outcome_of(trial: TrialRecord) -> str:
    """The trial's state, or `diverged` or `collapsed` where that is what ended it."""
    verdict = trial.health.get("verdict")
    if trial.state in ("pruned", "failed") and verdict in ("diverged", "collapsed"):
        return str(verdict)
    return trial.state


def parameter_names(record: StudyRecord) -> list[str]:
    """Names of everything that some trial varied, in the order in which they first appear."""
    return list(dict.fromkeys(name for trial in record.trials for name in trial.parameters))


def seconds_of(trial: TrialRecord) -> float | None:
    """Seconds that the trial took: the sum of its costs, else the time between start and end."""
    spent = sum(cost_of(trial.cost, name) for name in COSTS)
    if spent:
        return spent
    if trial.started and trial.ended:
        return (trial.ended - trial.started).total_seconds()
    return None


def cost_sentences(record: StudyRecord) -> list[str]:
    """What the study took, and what it was spared."""
    said = [f"{duration(record.elapsed_s)} on the clock over all runs of the study."]
    said += cache_sentences(record)
    peak = max((cost_of(trial.cost, "peak_memory_bytes") for trial in record.trials), default=0)
    if peak:
        said.append(f"Largest memory of a trial: {peak / 2**30:.2f} GiB.")
    return said


def cache_sentences(record: StudyRecord) -> list[str]:
    """How many trials were spared stage A, and what that saved; nothing where none was."""
    told = [trial.cost for trial in record.trials if trial.cost]
    hits = [cost for cost in told if cost.get("cache_hit")]
    if not hits:
        return []
    saved = sum(cost_of(cost, "cache_saved_s") for cost in hits)
    first = record.grid.stages[0][0]
    return [
        f"Stage {first}: {len(hits)} of {count(len(told), 'trial')} took it from the cache, "
        f"{duration(saved)} saved."
    ]


def prior_sentences(record: StudyRecord) -> list[str]:
    """Which trials' points came from earlier studies; nothing where none did."""
    numbers = [str(trial.number) for trial in record.trials if trial.is_from_prior]
    if not numbers:
        return []
    came = "trial" if len(numbers) == 1 else "trials"
    return [
        f"Proposed by the earlier studies {', '.join(record.warm_start)}: "
        f"{came} {', '.join(numbers)}."
    ]


def quarantine_sentences(record: StudyRecord) -> list[str]:
    """Which devices broke down too often to be given more work; nothing where none did."""
    return [
        f"Taken out of work for breaking down: {device} ({reason})."
        for device, reason in record.quarantined.items()
    ]


def tally(record: StudyRecord) -> dict[str, int]:
    """Outcome -> number of trials, in the order in which they first appear."""
    counted: dict[str, int] = {}
    for trial in record.trials:
        counted[outcome_of(trial)] = counted.get(outcome_of(trial), 0) + 1
    return counted


def tally_text(record: StudyRecord) -> str:
    """`12 of 20 trials finished: 9 complete, 2 pruned, 1 failed`."""
    counted = tally(record)
    each = ", ".join(f"{number} {outcome}" for outcome, number in counted.items())
    begun = f"{record.finished} of {count(record.total, 'trial')} finished"
    return f"{begun}: {each}" if each else begun


def choose_trials(record: StudyRecord, limit: int) -> list[TrialRecord]:
    """At most `limit` trials by number: the best, and the rest evenly spaced."""
    trials = list(record.trials)
    if len(trials) <= limit:
        return trials
    chosen = (
        {round(i * (len(trials) - 1) / (limit - 1)) for i in range(limit)} if limit > 1 else set()
    )
    picked = [trials[i] for i in sorted(chosen)]
    best = record.best
    if best is not None and best not in picked:
        picked[len(picked) // 2 : len(picked) // 2 + 1] = [best]
    return sorted(picked, key=lambda trial: trial.number)


def parameters_text(parameters: Mapping[str, Any]) -> list[str]:
    """`name = value`, one a parameter."""
    return [f"{name} = {value_text(value)}" for name, value in parameters.items()]


def cost_of(cost: Mapping[str, Any], name: str) -> float:
    """A number among what a trial cost; 0 where it is not known."""
    value = cost.get(name)
    return float(value) if isinstance(value, int | float) else 0.0
