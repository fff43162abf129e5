"""The trials as a table, and what their time went to as another."""

from __future__ import annotations

import pandas as pd

from hpo.analysis.tables import text_table
from hpo.analysis.trials import COSTS, cost_of, outcome_of, parameter_names, seconds_of
from hpo.records import StudyRecord


def trials_table(record: StudyRecord) -> pd.DataFrame:
    """One row a trial: number, outcome, value, step, seconds, attempts, health, reason.

    Then one column for each parameter under core's name; None where the trial did not draw it.
    """
    names = parameter_names(record)
    columns = ["number", "outcome", "value", "step", "seconds", "attempts", "health", "reason"]
    rows = [
        {
            "number": trial.number,
            "outcome": outcome_of(trial),
            "value": trial.value,
            "step": max(trial.curve, default=0),
            "seconds": seconds_of(trial),
            "attempts": trial.attempts,
            "health": trial.health.get("verdict", ""),
            "reason": trial.reason or trial.health.get("detail", ""),
            **{name: trial.parameters.get(name) for name in names},
        }
        for trial in record.trials
    ]
    return text_table(rows, columns + names)


def cost_table(record: StudyRecord) -> pd.DataFrame:
    """What the trials' time went to: what, seconds; largest first, nothing below 0.05 s."""
    spent = {
        words: sum(cost_of(trial.cost, name) for trial in record.trials)
        for name, words in COSTS.items()
    }
    rows = sorted(((what, s) for what, s in spent.items() if s >= 0.05), key=lambda row: -row[1])
    return pd.DataFrame(rows, columns=["what", "seconds"])
