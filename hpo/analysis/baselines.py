"""The classical references that a task offers, beside the best trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.analysis.formats import ScoreFormat
from hpo.records import StudyRecord


def baselines_of(record: StudyRecord) -> list[Mapping[str, Any]]:
    """The study's references, each with the keys of `core.task.Baseline`."""
    return list(record.facts.get("baselines") or ())


def baseline_sentences(record: StudyRecord) -> list[str]:
    """What each reference scores, and how far the best trial is from it."""
    scores, best = ScoreFormat.of(record), record.best
    said = []
    for one in baselines_of(record):
        line = f"{one['name']}: {scores.named(one['value'])}, {one['num_parameters']:,} parameters"
        if best is not None and best.value is not None:
            is_ahead = record.metric.is_better(best.value, one["value"])
            gap = scores.text(abs(best.value - one["value"]))
            line += f"; the best trial is {gap} {'better' if is_ahead else 'worse'}"
        said.append(f"{line}.")
    return said
