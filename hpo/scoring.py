"""How a study's trials are scored, as its row has it: reading a study imports no task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from core.registry import find_task
from core.task import Metric, TaskSpec
from hpo import attributes


@dataclass(frozen=True)
class Scoring:
    """What a task's score is, and what announces it on the test set."""

    metric: Metric
    final_line: str
    """Such as `FINAL_TEST_BLEU`."""

    @classmethod
    def of(cls, spec: TaskSpec) -> Scoring:
        """That of a task."""
        return cls(spec.metric, spec.final_line)

    def as_json(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self)


def stored_scoring(own: Mapping[str, Any]) -> Scoring:
    """That of the study with these attributes; one begun before it was stored has its task's.

    Raises: SettingsError for such a study of a task that there is no more.
    """
    stored = own.get(attributes.SCORING)
    if stored is None:
        return Scoring.of(find_task(own[attributes.DECLARATION]["task"]))
    return Scoring(Metric(**stored["metric"]), stored["final_line"])
