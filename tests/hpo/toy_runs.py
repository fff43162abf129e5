"""Whole runs of the toy study, for tests of what surrounds the driver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from toy_bench import toy_slots

from hpo.declarations import Study
from hpo.events import (
    Event,
    Note,
)
from hpo.launch import Result, launch
from hpo.options import RunOptions
from hpo.reading import read_study


class Watcher:
    """Remembers events; raises at one, if told to."""

    def __init__(self, fall: Callable[[Event], bool] | None = None) -> None:
        self.events: list[Event] = []
        self._fall = fall

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if self._fall is not None and self._fall(event):
            raise ZeroDivisionError

    def notes(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Note)]

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def run_study(study: Study, runs: Path, watch: Watcher | None = None, **options: Any) -> Result:
    options.setdefault("trials", 3)
    slots = options.pop("make_slots", toy_slots)
    return launch(
        study, RunOptions(runs_dir=runs, **options), watch or Watcher(), make_slots=slots
    )


def told_of(runs: Path, name: str = "toy", storage: str | None = None) -> list[tuple[Any, ...]]:
    trials = read_study(storage, name, runs).optuna_study.get_trials()
    return [
        (one.number, one.state.name, one.params, one.value, one.intermediate_values)
        for one in trials
    ]
