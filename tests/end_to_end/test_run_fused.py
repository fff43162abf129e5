"""`hpo run --fuse`: real trials of one structure in one process, and the same study without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import hpo
from core.telemetry import read_telemetry
from hpo.launch import Result
from tests.end_to_end.command import Running
from tests.end_to_end.command import hpo as command

TELEMETRY = "telemetry.parquet"
SPACE = """
task = "translation"
[settings]
"model.d_model" = 20
"model.num_heads" = 2
"model.num_layers" = 1
"model.d_ff" = 28
"model.dropout" = 0.0
[parameters]
"finetune.learning_rate" = { type = "float", low = 1e-4, high = 1e-2, log = true }
"finetune.label_smoothing_factor" = { type = "float", low = 0.0, high = 0.2 }
"""
STUDY = """
task = "translation"
search_space = "space.toml"
trials = 4
seed = 1
[data]
source = "pocket"
pocket = { pretrain_pairs = 211, finetune_pairs = 97, validation_pairs = 23, test_pairs = 29 }
[protocol]
pretrain_pairs = 211
finetune_pairs = 97
validation_pairs = 23
test_pairs = 29
vocab_size = 307
max_len = 17
batch_size = 16
pretrain_steps = 10
finetune_steps = 30
eval_every = 10
[sampler]
name = "random"
[pruner]
name = "none"
"""


@pytest.fixture
def declared(tmp_path: Path) -> Path:
    (tmp_path / "space.toml").write_text(SPACE)
    (tmp_path / "alike.toml").write_text(STUDY)
    return tmp_path / "alike.toml"


def curves(result: Result) -> list[tuple[Any, ...]]:
    """What is stored of each trial but times, its scores as the tests compare them."""
    return [
        (one.number, one.state.name, one.params, dict(one.intermediate_values))
        for one in result.record.optuna_study.get_trials()
    ]


@pytest.mark.slow
def test_a_study_comes_to_the_same_fused_or_not(declared: Path, tmp_path: Path) -> None:
    fused = hpo.run(str(declared), fuse=3, jobs=1, runs_dir=tmp_path / "fused")
    alone = hpo.run(str(declared), jobs=1, runs_dir=tmp_path / "alone")
    assert fused.failure is None
    for ours, theirs in zip(curves(fused), curves(alone), strict=True):
        assert ours[:3] == theirs[:3]
        # Sums are in another order, which may turn a near tie of two words.
        assert ours[3] == pytest.approx(theirs[3], abs=1.0)
        losses = [
            read_telemetry(tmp_path / form / "alike" / "trials" / f"{ours[0]:04d}" / TELEMETRY)
            for form in ("fused", "alone")
        ]
        assert list(losses[0]["loss"]) == pytest.approx(list(losses[1]["loss"]), rel=2e-4)
    outcomes = sorted((tmp_path / "fused" / "alike" / "trials").glob("*/outcome.json"))
    facts = [json.loads(path.read_text())["outcome"]["facts"] for path in outcomes]
    assert [one.get("fused_runs", 1) for one in facts] == [3, 3, 3, 1]
    assert fused.reading is not None


@pytest.mark.slow
def test_ctrl_c_pauses_all_and_without_fuse_the_study_goes_on(
    declared: Path, tmp_path: Path
) -> None:
    words = (f"--study={declared}", "--trials=3", "--set=protocol.finetune_steps=120")
    running = Running("run", *words, "--fuse=3", cwd=tmp_path)
    try:
        running.wait_for("trial 2 finetune step 20:")
        running.press_ctrl_c()
        assert running.wait() == 130, running.errors.read_text("utf-8")
        assert running.survivors() == []
    finally:
        running.end()
    folders = sorted((tmp_path / "runs" / "alike" / "trials").iterdir())
    assert len(folders) == 3
    for folder in folders:
        outcome = json.loads((folder / "outcome.json").read_text())["outcome"]
        assert outcome["state"] == "paused"
        assert outcome["step"] >= 20
    done = command("run", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ends = [json.loads((folder / "outcome.json").read_text())["outcome"] for folder in folders]
    assert [(one["state"], one["step"]) for one in ends] == [("completed", 130)] * 3
