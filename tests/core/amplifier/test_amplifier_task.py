"""One amplifier run: it learns, follows its evaluations, and goes on as if nothing had been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.amplifier.batching import FramePlan
from core.amplifier.recording import Recording
from core.amplifier.settings import TrainSettings
from core.amplifier.spec import SPEC
from core.amplifier.task import AmplifierTask
from core.errors import DataError
from core.run import run, score_test
from core.settings import RunConfig
from core.task import Evaluation, OutcomeState, Placement, Progress, Verdict
from core.telemetry import read_telemetry

SMALL = {"train_samples": 2_048, "validation_samples": 512, "test_samples": 512}


def config_of(**changes: Any) -> RunConfig:
    """A small run on the built-in data; `changes` are settings of any group, by name."""

    def own(model: type, **given: Any) -> Any:
        return model(**given, **{k: v for k, v in changes.items() if k in model.model_fields})

    data = SPEC.data.model_validate({"ofdm": {**SMALL, **changes.get("ofdm", {})}})
    protocol = own(SPEC.protocol)
    return RunConfig(
        task="amplifier",
        groups={name: own(kind).model_dump(mode="json") for name, kind in SPEC.groups.items()},
        protocol=protocol.model_dump(mode="json"),
        data=data.model_dump(mode="json"),
        data_digest=SPEC.prepare(protocol, data, Path()).digests["data"],
        structure_seed=5,
        seed=3,
    )


def go(config: RunConfig, folder: Path, pause_at: int | None = None) -> Any:
    """The outcome of a run, which is paused as soon as it tells of a step at or after this one."""

    def answer(event: Progress | Evaluation) -> Verdict:
        is_place = pause_at is not None and event.step >= pause_at
        return Verdict.PAUSE if is_place else Verdict.CONTINUE

    return run(config, Placement(), folder, folder / "cache", answer)


@pytest.mark.parametrize(
    ("backbone", "rate", "score"),
    # Seen: -31.1, -28.1 and -28.8. One complex gain comes to -22.5, eight linear taps to -23.4.
    [("gru", 2e-2, -29.0), ("lstm", 2e-2, -26.0), ("transformer_encoder", 2e-2, -26.5)],
)
def test_learns_the_built_in_amplifier(
    tmp_path: Path, backbone: str, rate: float, score: float
) -> None:
    config = config_of(
        backbone=backbone, learning_rate=rate, warmup_steps=20, lr_scheduler_type="cosine",
        train_steps=400, eval_every=100,
    )  # fmt: skip
    outcome = go(config, tmp_path / "run")
    assert outcome.state is OutcomeState.COMPLETED
    assert outcome.health.verdict == "healthy"
    assert outcome.value < score
    figures = outcome.curve[-1].metrics
    assert figures["acpr_error_db"] < 6
    assert figures["evm_db"] < -20
    # Every evaluation tells what the gradients since the one before were like.
    rows = read_telemetry(tmp_path / "run" / "telemetry.parquet")
    last = rows["grad_norm"][300:]
    assert figures["grad_norm"] == pytest.approx(last.mean(), rel=1e-5)
    assert figures["grad_norm_max"] == pytest.approx(last.max(), rel=1e-5)
    tested = score_test(config, Placement(), tmp_path / "run", tmp_path / "cache")
    assert tested.value == pytest.approx(outcome.value, abs=3)


@pytest.mark.parametrize("pause_at", [3, 8, 57])
def test_a_rate_that_followed_evaluations_is_taken_up_again(
    tmp_path: Path, pause_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.reporting.PROGRESS_EVERY_S", 0.0)  # a sign of life every step
    # A rate at which scores go up and down, and no patience.
    config = config_of(
        learning_rate=0.2, plateau_patience=0, train_steps=60, eval_every=3, batch_size=7,
    )  # fmt: skip
    straight = go(config, tmp_path / "straight")
    rates = read_telemetry(tmp_path / "straight" / "telemetry.parquet")["learning_rate"]
    assert rates.iloc[0] == np.float32(0.2)
    assert rates.nunique() > 2
    assert (rates.diff().dropna() <= 0).all()
    assert go(config, tmp_path / "broken", pause_at).state is OutcomeState.PAUSED
    resumed = go(config, tmp_path / "broken")
    assert [e.value for e in resumed.curve] == [e.value for e in straight.curve]
    pd.testing.assert_frame_equal(
        *(read_telemetry(tmp_path / n / "telemetry.parquet") for n in ("straight", "broken"))
    )


@pytest.mark.parametrize(
    ("backbone", "given", "expected"),
    [("gru", "auto", 200), ("lstm", "auto", 200), ("transformer_encoder", "auto", 1),
     ("gru", 1.0, 1), ("transformer_encoder", 200.0, 200)],
)  # fmt: skip
def test_auto_clips_as_each_field_does(backbone: str, given: Any, expected: float) -> None:
    assert TrainSettings(grad_clip=given).resolve_clip(backbone) == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"backbone": "transformer_encoder", "num_heads": 5},
            "num_heads (5) must divide model.d_",
        ),
        (
            {"backbone": "transformer_encoder", "window": 64},
            "model.window (64) must not exceed train.frame_length (50)",
        ),
        ({"warmup_steps": 3_601}, "warmup_steps (3601) must not exceed protocol.train_steps"),
    ],
)
def test_what_cannot_be_built_is_refused(settings: dict[str, Any], said: str) -> None:
    groups = {
        name: kind(**{k: v for k, v in settings.items() if k in kind.model_fields})
        for name, kind in SPEC.groups.items()
    }
    with pytest.raises(ValueError) as caught:
        SPEC.check(groups, SPEC.protocol())
    assert said in str(caught.value)


def test_other_data_and_frames_longer_than_the_data_are_refused(tmp_path: Path) -> None:
    config = config_of().model_copy(update={"data_digest": "0" * 64})
    with pytest.raises(DataError, match="the recording changed since the study began"):
        AmplifierTask(config, Placement(), tmp_path)
    with pytest.raises(DataError, match=r"shorter than a frame, got 2048.*\(2049\)"):
        AmplifierTask(config_of(frame_length=2_049), Placement(), tmp_path)


def test_an_epoch_has_every_frame_once_in_an_order_of_its_own() -> None:
    place = np.arange(101) + 0j
    plan = FramePlan(Recording(place, 2 * place), length=7, stride=3, batch_size=5, seed=1)
    assert (plan.frames, plan.steps_per_epoch) == (32, 7)
    epochs = [[plan.batch(epoch * 7 + step) for step in range(7)] for epoch in range(2)]
    for batches in epochs:
        assert [len(batch.x) for batch in batches] == [5] * 6 + [2]
        firsts = torch.cat([batch.x[:, 0, 0] for batch in batches])
        assert sorted(firsts.tolist()) == [3.0 * frame for frame in range(32)]
    assert not torch.equal(epochs[0][0].x, epochs[1][0].x)
    batch = plan.batch(0)
    assert torch.equal(batch.x, epochs[0][0].x)
    assert torch.equal(batch.y, 2 * batch.x)
    assert (batch.x[:, 1:, 0] - batch.x[:, :-1, 0] == 1).all()
