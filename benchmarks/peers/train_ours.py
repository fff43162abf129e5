"""Trains by the project's own loop, `core.train`; the clock is in the task that feeds it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.processes import Request, answer
from benchmarks.peers.setting import captions_config
from benchmarks.peers.window import Window
from core.settings import RunConfig
from core.task import Evaluation, OutcomeState, Placement, Progress, Scores, Stage, Verdict
from core.train import train
from core.translation.batching import Batch
from core.translation.special import PAD_ID
from core.translation.task import TranslationTask

SCORED = 8
"""Validation sentences of the one evaluation, after the window."""


class _TimedTask(TranslationTask):
    """Tells a window of every batch."""

    def __init__(self, config: RunConfig, placement: Placement, cache: Path, warmup: int) -> None:
        super().__init__(config, placement, cache)
        self._window = Window(warmup)
        self.found: dict[str, Any] = {}

    def batch(self, stage: Stage, step: int) -> Batch:
        batch = super().batch(stage, step)
        src, tgt = (
            sum(int((block != PAD_ID).sum()) for block in side)
            for side in (batch.src, batch.labels)
        )
        self._window.begin_update(sum(map(len, batch.src)), src, tgt)
        return batch

    def evaluate(self, model: torch.nn.Module, *, final: bool) -> Scores:
        self.found = self._window.close()
        return super().evaluate(model, final=final)


def measure(request: Request) -> dict[str, Any]:
    """Tokens and seconds of `steps` updates after `warmup`."""
    cache, steps = Path(request["cache"]), request["warmup"] + request["steps"]
    config = captions_config(
        Path(request["data"]),
        cache,
        request["d_model"],
        steps,
        seed=request["seed"],
        scored=SCORED,
    )
    placement = Placement("cpu", 1)
    task = _TimedTask(config, placement, cache, request["warmup"])
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(task, config, placement, Path(folder), None, _go_on)
    assert outcome.state is OutcomeState.COMPLETED, outcome.reason
    return task.found | {"precision": outcome.facts["precision"]}


def _go_on(event: Progress | Evaluation) -> Verdict:
    del event
    return Verdict.CONTINUE


if __name__ == "__main__":
    answer(measure)
