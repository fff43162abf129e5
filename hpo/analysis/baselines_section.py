"""The report's section on the references that a task offers, beside the best trials."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from core.errors import UserError
from core.run import read_outcome
from hpo.analysis.baselines import baseline_sentences, baselines_of
from hpo.analysis.formats import MISSING, ScoreFormat, value_text
from hpo.analysis.markup import Html, join, paragraphs, table, tag
from hpo.analysis.tables import rows_of, text_table
from hpo.records import StudyRecord, TrialRecord

_SHOWN = 10
"""Trials to stand beside the references."""


def baselines_table(record: StudyRecord) -> pd.DataFrame:
    """One row a reference, then one a complete trial, the ten best ones in order.

    Columns: name, value, num_parameters (None where a trial's folder is gone), then the figures
    that references have, by name.
    """
    references = baselines_of(record)
    figures = list(dict.fromkeys(name for one in references for name in one["metrics"]))
    rows = [
        [one["name"], one["value"], one["num_parameters"], *map(one["metrics"].get, figures)]
        for one in references
    ]
    sign = -1.0 if record.metric.direction == "maximize" else 1.0
    complete = [one for one in record.trials if one.state == "complete" and one.value is not None]
    for trial in sorted(complete, key=lambda one: sign * (one.value or 0.0))[:_SHOWN]:
        parameters, metrics = _outcome_of(trial)
        rows.append([f"trial {trial.number}", trial.value, parameters, *map(metrics.get, figures)])
    return text_table(rows, ["name", "value", "num_parameters", *figures])


def baselines_section(record: StudyRecord, scores: ScoreFormat) -> Html:
    """The references and the best trials, with all figures of their last evaluation."""
    found = baselines_table(record)
    figures = list(found.columns[3:])
    rows = [
        (
            row["name"],
            scores.number(row["value"]),
            MISSING if row["num_parameters"] is None else f"{row['num_parameters']:,}",
            *(value_text(row[name]) for name in figures),
        )
        for row in rows_of(found)
    ]
    heads = ("model", record.metric.name, "parameters", *(tag("code", name) for name in figures))
    said = "A reference is fitted to the training set without steps, and scored as trials are."
    return join(
        (
            paragraphs(baseline_sentences(record)),
            table(
                "References and the best trials",
                heads,
                rows,
                numeric=range(1, len(heads)),
                sortable=True,
            ),
            tag("p", said, class_="note"),
        )
    )


def _outcome_of(trial: TrialRecord) -> tuple[int | None, Mapping[str, float]]:
    """Parameters of a trial's model, and the figures of its last evaluation."""
    try:
        outcome = read_outcome(trial.folder)
    except UserError:
        return None, {}
    metrics = outcome.curve[-1].metrics if outcome.curve else {}
    return outcome.facts.get("num_parameters"), metrics
