"""Small tables of learning curves with known answers, and searchers that follow a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler

from benchmarks.replay.tables import Table, load_table
from benchmarks.replay.world import Searcher
from core.task import Evaluation, Verdict
from hpo.schedulers import Choice, Propose, Standing, Thaw

Judge = Callable[[int, int], Verdict]


def config(
    x: int, bleu: Sequence[float], *, cost: float = 1.0, kind: str = "a", **changed: Any
) -> dict[str, Any]:
    """A configuration of `SPACE`; perplexity falls as BLEU rises."""
    ppl = [100.0 / (1.0 + value) for value in bleu]
    return {"x": x, "kind": kind, "bleu": list(bleu), "ppl": ppl, "cost": cost, **changed}


SPACE = {"x": [10, 20, 30, 40, 50], "kind": ["a", "b"]}


def write_table(
    path: Path, configs: Sequence[Mapping[str, Any]], space: Mapping[str, Any] = SPACE
) -> Path:
    """Writes a table in the format of the real ones."""
    raw = {"corpus": path.stem, "space": space, "configs": list(configs)}
    path.write_text(json.dumps(raw))
    return path


def make_table(folder: Path, *configs: Mapping[str, Any]) -> Table:
    """The table of these configurations."""
    return load_table(write_table(folder / "made.json", configs))


class Script:
    """Proposes these points in turn, judges by a function of (trial, step), thaws if told to."""

    def __init__(
        self, points: Sequence[Mapping[str, Any]], judge: Judge | None = None, thaws: bool = False
    ) -> None:
        self.points = list(points)
        self._judge = judge or (lambda number, step: Verdict.CONTINUE)
        self._thaws = thaws
        self.standings: list[Standing] = []
        self.judged: list[tuple[int, int, float]] = []

    def choose(self, standing: Standing) -> Choice | None:
        self.standings.append(standing)
        if self.points:
            return Propose(self.points.pop(0))
        return Thaw(min(standing.paused)) if self._thaws and standing.paused else None

    def judge(self, trial: optuna.Trial, evaluation: Evaluation, standing: Standing) -> Verdict:
        self.judged.append((trial.number, evaluation.step, evaluation.value))
        assert trial.number in standing.running
        return self._judge(trial.number, evaluation.step)


def searcher(script: Script) -> Searcher:
    """The script with a random sampler and no pruner."""
    return Searcher(script, lambda number: RandomSampler(seed=number), NopPruner())
