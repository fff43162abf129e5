"""One amplifier run: its recording, its frames, its model and its score."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.amplifier.backbones import build_backbone
from core.amplifier.batching import Batch, FramePlan, as_tensor
from core.amplifier.nmse import SIGNATURE, figures, nmse_db
from core.amplifier.recording import Complex
from core.amplifier.settings import AmplifierData, AmplifierProtocol, ModelSettings, TrainSettings
from core.amplifier.signals import load_signals
from core.amplifier.spec import NMSE
from core.errors import DataError
from core.kernels import move
from core.settings import RunConfig
from core.task import Placement, Scores, Stage, Task

_WORTH_SHARING = 2**20
"""Batch size times squared width from which a matrix product gains by a second thread."""

# A warm worker reads it once.
_load = lru_cache(maxsize=1)(load_signals)


class AmplifierTask(Task):
    """One stage on frames of the training set, judged on the whole validation set."""

    metric = NMSE

    def __init__(self, config: RunConfig, placement: Placement, cache: Path) -> None:
        self._model_settings = ModelSettings.model_validate(config.groups["model"])
        self._train = TrainSettings.model_validate(config.groups["train"])
        protocol = AmplifierProtocol.model_validate(config.protocol)
        self._device = torch.device(placement.device)
        self._signals = _load(AmplifierData.model_validate(config.data))
        if self._signals.digest != config.data_digest:
            raise DataError(
                "the recording changed since the study began",
                got=self._signals.digest[:12],
                allowed=config.data_digest[:12],
                way_out="Restore the files, or run the study under another name with --name.",
            )
        recording = self._signals.splits["train"]
        if len(recording) < self._train.frame_length:
            raise DataError(
                "the training set is shorter than a frame",
                got=len(recording),
                allowed=f"at least train.frame_length ({self._train.frame_length}) samples",
            )
        self._frames = FramePlan(
            recording,
            length=self._train.frame_length,
            stride=self._train.frame_stride,
            batch_size=self._train.batch_size,
            seed=config.seed,
        )
        self._stage = Stage(
            name="train",
            first_step=0,
            steps=protocol.train_steps,
            recipe=self._train,
            seed=config.seed,
            eval_every=protocol.eval_every,
            grad_clip=self._train.resolve_clip(self._model_settings.backbone),
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (self._stage,)

    def build_model(self) -> nn.Module:
        return build_backbone(self._model_settings)

    def batch(self, stage: Stage, step: int) -> Batch:
        return self._frames.batch(step)

    def loss(self, model: nn.Module, batch: Batch, stage: Stage) -> Tensor:
        x, y = (move(side, self._device) for side in batch)
        return F.mse_loss(model(x).float(), y)

    def evaluate(self, model: nn.Module, *, final: bool) -> Scores:
        return self._score(model, "validation")

    def test(self, model: nn.Module) -> Scores:
        return self._score(model, "test")

    def _score(self, model: nn.Module, split: str) -> Scores:
        recording, band = self._signals.splits[split], self._signals.band
        predicted = self._predict(model, as_tensor(recording.input))
        value = nmse_db(predicted, recording.output, band.segment)
        return Scores(value, figures(predicted, recording.output, band), SIGNATURE)

    def _predict(self, model: nn.Module, samples: Tensor) -> Complex:
        """The output [N] for an input [N, 2], each segment without a past."""
        length = self._signals.band.segment
        whole = len(samples) // length * length
        parts = [samples[:whole].view(-1, length, 2), samples[None, whole:]]
        outputs = [
            model(part.to(self._device)).float().cpu().reshape(-1, 2)
            for part in parts
            if part.numel()
        ]
        found = torch.cat(outputs).double().numpy()
        predicted: Complex = found[:, 0] + 1j * found[:, 1]
        return predicted

    def useful_threads(self, available: int) -> int:
        settings = self._model_settings
        is_recurrent = settings.backbone != "transformer_encoder"
        width = settings.hidden_size if is_recurrent else settings.d_model
        return available if self._train.batch_size * width**2 >= _WORTH_SHARING else 1

    def facts(self) -> Mapping[str, Any]:
        return {
            "frames": self._frames.frames,
            "steps_per_epoch": self._frames.steps_per_epoch,
            "grad_clip": self._stage.grad_clip,
        }
