"""Weights & Biases: a run a trial, in files unless a key or a mode says otherwise."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from hpo.declarations import Study
from hpo.folders import StudyFolder, make_private
from hpo.sinks.sink import Scalar


def open_sink(study: Study, folder: StudyFolder) -> WandB:
    """The sink of a study: online with WANDB_API_KEY or WANDB_MODE=online, else offline."""
    key = os.environ.get("WANDB_API_KEY")
    mode = os.environ.get("WANDB_MODE", "online" if key else "offline")
    if mode == "offline":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    return WandB(study.name, make_private(folder.path), mode)


class WandB:
    """Implements `Sink` by the client of Weights & Biases."""

    def __init__(self, study: str, folder: Path, mode: str) -> None:
        self._study = study
        self._folder = folder
        self._mode: Any = mode  # which wandb checks
        self._runs: dict[int, wandb.Run] = {}

    def begin(self, trial: int, parameters: Mapping[str, Any], attempt: int) -> int:
        """See `Sink.begin`."""
        run = self._runs[trial] = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "hpo"),
            group=self._study,
            name=f"{self._study} trial {trial}",
            config=dict(parameters),
            dir=str(self._folder),
            mode=self._mode,
            reinit="create_new",
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, x_disable_stats=True
            ),
        )
        # Its own counter may not go back; evaluations come after the steps that they follow.
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        return 0

    def write(self, trial: int, scalars: Sequence[Scalar]) -> None:
        """See `Sink.write`."""
        by_step: dict[int, dict[str, float]] = {}
        for name, step, value in scalars:
            by_step.setdefault(step, {"step": step})[name] = value
        for step in sorted(by_step):
            self._runs[trial].log(by_step[step])

    def end(self, trial: int, outcome: str, score: float | None, step: int) -> None:
        """See `Sink.end`."""
        run = self._runs.pop(trial)
        run.summary["outcome"] = outcome
        if score is not None:
            run.summary["score"] = score
        run.finish(exit_code=int(outcome == "failed"))

    def close(self) -> None:
        """See `Sink.close`."""
        for run in self._runs.values():
            run.finish()
