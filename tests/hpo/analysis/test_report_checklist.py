"""The checklist of a trial: pass or fail, with the number and the step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_records import BLEU, trial

from core.task import Grid
from hpo.analysis.checklist import Check, checklist
from hpo.analysis.formats import ScoreFormat
from hpo.analysis.histories import read_history, scale_drops, spikes_of

GRID = Grid((("pretrain", 40), ("finetune", 40)), 20)
CURVE = {20: 10.0, 40: 20.0, 60: 21.0, 80: 19.5}


def history(**columns: Any) -> pd.DataFrame:
    """80 quiet steps, but for the columns given."""
    quiet: dict[str, Any] = {
        "stage": ["pretrain"] * 40 + ["finetune"] * 40,
        "step": np.arange(1, 81),
        "loss": np.full(80, 2.0),
        "learning_rate": np.full(80, 1e-3),
        "grad_norm": np.full(80, 0.5),
        "amp_scale": np.full(80, np.nan),
    }
    return pd.DataFrame(quiet | columns)


def changed(value: float, at: dict[int, float]) -> np.ndarray[Any, Any]:
    """80 times the value, but other ones at some steps (from 1)."""
    column = np.full(80, value)
    for step, other in at.items():
        column[step - 1] = other
    return column


def checks(told: pd.DataFrame, **more: Any) -> dict[str, Check]:
    one = trial(0, value=19.5, **({"curve": CURVE} | more))
    return {check.name: check for check in checklist(one, told, GRID, ScoreFormat(BLEU, 2))}


def test_a_quiet_run_passes_all_but_what_its_score_fails() -> None:
    found = checks(history())
    assert [(check.verdict, check.said) for check in found.values()] == [
        ("pass", "largest 0.5 at step 1"),
        ("–", "none used: only fp16 needs one"),
        ("pass", "none in 80 steps"),
        ("fail", "20.00 at step 40, 19.50 BLEU at step 80: -0.50 in stage finetune"),
    ]


def test_a_long_gradient_fails_with_its_size_step_and_number() -> None:
    check = checks(history(grad_norm=changed(0.5, {7: 12.0, 33: 31.4})))["gradient norm under 10"]
    assert (check.passed, check.said) == (
        False,
        "largest 31.4 at step 33, 2 steps of 80 at 10 or above",
    )


def test_a_gradient_that_is_not_finite_fails_unless_amp_tried_again() -> None:
    broken = changed(0.5, {50: np.nan})
    check = checks(history(grad_norm=broken))["gradient norm under 10"]
    assert (check.passed, check.said) == (
        False,
        "largest 0.5 at step 1, not finite at step 50",
    )
    retried = history(grad_norm=broken, amp_scale=np.full(80, 1024.0))
    assert checks(retried)["gradient norm under 10"].passed


def test_a_loss_scale_that_is_lowered_fails_with_the_step() -> None:
    scale = np.r_[np.full(10, 65536.0), np.full(50, 32768.0), np.full(20, 16384.0)]
    told = history(amp_scale=scale)
    assert [drop.step for drop in scale_drops(told)] == [11, 61]
    check = checks(told)["loss scale steady"]
    assert (check.passed, check.said) == (
        False,
        "lowered 2 times, last from 32768 to 16384 at step 61",
    )
    steady = checks(history(amp_scale=np.full(80, 1024.0)))["loss scale steady"]
    assert (steady.passed, steady.said) == (True, "1024 to the end")


def test_a_loss_spike_fails_with_its_height_and_step() -> None:
    told = history(loss=changed(2.0, {35: 3.5, 79: 9.0}))
    assert [spike.step for spike in spikes_of(told)] == [35, 79]
    check = checks(told)["no loss spikes"]
    assert (check.passed, check.said) == (False, "2 spikes, the largest to 9 from 2 at step 79")


@pytest.mark.parametrize(
    ("curve", "passed", "said"),
    [
        (
            {20: 3.0, 40: 8.5},
            True,
            "3.00 at step 20, 8.50 BLEU at step 40: +5.50 in stage pretrain",
        ),
        ({20: 3.0}, None, "fewer than two evaluations"),
        ({}, None, "fewer than two evaluations"),
        ({20: 3.0, 60: 4.0}, None, "one evaluation of stage finetune"),
    ],
)
def test_the_score_is_judged_in_the_stage_in_which_the_trial_ended(
    curve: dict[int, float], passed: bool | None, said: str
) -> None:
    check = checks(history(), curve=curve)["score rising"]
    assert (check.passed, check.said) == (passed, said)


def test_without_telemetry_the_stored_health_is_all_that_is_known(tmp_path: Path) -> None:
    none = read_history(tmp_path)
    assert none.empty
    unknown = checks(none)
    assert unknown["gradient norm under 10"].verdict == "–"
    assert unknown["no loss spikes"].said == "no telemetry"
    health = {"grad_norm_max": 12.5, "loss_spikes": 2}
    known = checks(none, health=health)
    assert known["gradient norm under 10"].said == "largest 12.5"
    assert known["gradient norm under 10"].passed is False
    assert known["no loss spikes"].said == "2 spikes"
