"""Records of studies and trials made by hand, each field with a default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.task import Grid, Metric
from hpo.records import StudyRecord, TestReading, TestScore, TrialRecord

BLEU = Metric("BLEU", "", "maximize", 0.0)


def trial(
    number: int, state: str = "complete", value: float | None = 1.0, **more: Any
) -> TrialRecord:
    given: dict[str, Any] = {
        "reason": "",
        "parameters": {"model.num_layers": number + 2, "finetune.learning_rate": 3e-4},
        "curve": {} if value is None else {20: value / 2, 40: value},
        "folder": Path("runs/x/trials") / f"{number:04d}",
        "started": None,
        "ended": None,
        "attempts": 1,
    }
    return TrialRecord(number, state, value, **(given | more))


def reading(trial: int, value: float, signature: str = "bleu", **more: Any) -> TestReading:
    """An opening that read one trial's own run."""
    given: dict[str, Any] = {"when": "2025-01-02T03:04:05+00:00", "data_digest": "d"}
    runs = (TestScore(trial, None, value, value + 1),)
    return TestReading(
        **{"selected": trial, "runs": runs, "signature": signature, **given, **more}
    )


def record(*trials: TrialRecord, metric: Metric = BLEU, **more: Any) -> StudyRecord:
    given: dict[str, Any] = {
        "name": "depth_sweep",
        "task": "translation",
        "grid": Grid((("pretrain", 20), ("finetune", 40)), 20),
        "folder": Path("runs/x"),
        "declaration": {},
        "facts": {},
        "readings": (),
        "elapsed_s": 83.0,
        "total": 5,
        "is_owned": False,
        "final_line": "FINAL_TEST_BLEU",
        "optuna_study": None,
    }
    return StudyRecord(metric=metric, trials=trials, **(given | more))
