"""One speech run: its recordings, its batches, its model and its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.errors import DataError
from core.kernels import move
from core.nn.loss import token_cross_entropy
from core.settings import RunConfig, derive_seed
from core.speech.decoding import greedy
from core.speech.features import LogMel
from core.speech.model import SpeechModel
from core.speech.recordings import Recordings, Utterance, load_recordings
from core.speech.settings import ModelSettings, SpeechData, SpeechProtocol, TrainSettings
from core.speech.spec import WER
from core.speech.units import BEGIN_ID, END_ID, PAD_ID, Units
from core.speech.wer import signature, word_errors
from core.task import Placement, Scores, Stage, Task

_AT_ONCE = 50
"""Utterances decoded together: of like length, so that little is padding."""
_WORTH_SHARING = 2**21
"""Batch size times squared width times layers from which a second thread is worth its waiting."""


class Batch(NamedTuple):
    """Training utterances; ids are `PAD_ID` behind the end."""

    waves: Tensor
    """[B, N]"""
    lengths: Tensor
    """[B], samples."""
    text: Tensor
    """[B, T] that the model reads: the begin, then the units."""
    labels: Tensor
    """[B, T] that it is to say: the units, then the end."""


# A warm worker loads them once.
@lru_cache(maxsize=1)
def _load(protocol: SpeechProtocol, data: SpeechData, _digest: str) -> Recordings:
    return load_recordings(protocol, data)


class SpeechTask(Task):
    """Trains on utterances drawn by step; judged on the validation set."""

    metric = WER

    def __init__(self, config: RunConfig, placement: Placement, cache: Path) -> None:
        self._model_settings = ModelSettings.model_validate(config.groups["model"])
        self._train = TrainSettings.model_validate(config.groups["train"])
        self._protocol = SpeechProtocol.model_validate(config.protocol)
        self._settings = SpeechData.model_validate(config.data)
        self._device, self._seed = torch.device(placement.device), config.seed
        self._data = _load(self._protocol, self._settings, config.data_digest)
        if self._data.digest != config.data_digest:
            _load.cache_clear()
            raise DataError(
                "the recordings changed since the study began",
                got=self._data.digest[:12],
                allowed=config.data_digest[:12],
                way_out="Restore the files, or run the study under another name with --name.",
            )
        texts = self._data.training_texts
        self._units = Units(texts, are_words=self._protocol.units == "words")
        protocol = self._protocol
        self._log_mel = LogMel(
            self._settings.sample_rate, protocol.mel_bands, protocol.frames_per_position
        ).to(self._device)

    @property
    def stages(self) -> tuple[Stage, ...]:
        protocol = self._protocol
        return (
            Stage(
                name="train",
                first_step=0,
                steps=protocol.train_steps,
                recipe=self._train,
                seed=self._seed,
                eval_every=protocol.eval_every,
                grad_clip=protocol.grad_clip,
            ),
        )

    def build_model(self) -> SpeechModel:
        protocol = self._protocol
        longest = int(protocol.max_audio_s * self._settings.sample_rate)
        return SpeechModel(
            self._model_settings,
            audio_size=self._log_mel.size,
            max_audio=self._log_mel.positions(longest),
            max_text=protocol.max_units + 1,
            num_units=len(self._units),
        )

    def batch(self, stage: Stage, step: int) -> Batch:
        seed = derive_seed(stage.seed, "batch", step)
        drawn = self._data.draw(seed, self._protocol.batch_size)
        waves, lengths = _padded(drawn)
        rng = np.random.default_rng(derive_seed(seed, "noise"))
        loudest = self._protocol.noise * np.abs(waves).max(axis=1, keepdims=True)
        loud = (loudest * rng.uniform(size=(len(waves), 1))).astype(np.float32)
        waves += loud * rng.standard_normal(waves.shape, dtype=np.float32)
        text, labels = self._as_ids([one.text for one in drawn])
        return Batch(torch.from_numpy(waves), lengths, text, labels)

    def loss(self, model: torch.nn.Module, batch: Batch, stage: Stage) -> Tensor:
        assert isinstance(model, SpeechModel)
        waves, lengths, text, labels = (move(part, self._device) for part in batch)
        states = model(*self._listen(waves, lengths), text)
        return token_cross_entropy(
            states,
            model.head.weight,
            labels,
            ignore_id=PAD_ID,
            label_smoothing=stage.recipe.label_smoothing_factor,
        )

    def evaluate(self, model: torch.nn.Module, *, final: bool) -> Scores:
        return self._score(model, self._data.validation, "validation")

    def test(self, model: torch.nn.Module) -> Scores:
        if not self._data.test:
            raise DataError(
                "there is no test set",
                where=self._settings.source,
                way_out="Name its list in the study's [data.manifest] test.",
            )
        return self._score(model, self._data.test, "test")

    def useful_threads(self, available: int) -> int:
        model = self._model_settings
        work = self._protocol.batch_size * model.d_model**2 * model.num_layers
        return available if work >= _WORTH_SHARING else 1

    def facts(self) -> Mapping[str, Any]:
        return {"units": len(self._units)}

    def _score(self, model: torch.nn.Module, utterances: Sequence[Utterance], name: str) -> Scores:
        references = [one.text for one in utterances]
        heard = self._transcribe(model, utterances)
        errors = word_errors(references, heard)
        right = sum(map(str.__eq__, references, heard))
        metrics = {
            "substituted": errors.substituted,
            "left_out": errors.left_out,
            "put_in": errors.put_in,
            "utterances_right": 100 * right / len(references),
        }
        texts = {f"{name}.hyp": _as_lines(heard), f"{name}.ref": _as_lines(references)}
        return Scores(errors.rate, metrics, signature(), texts)

    def _transcribe(self, model: torch.nn.Module, utterances: Sequence[Utterance]) -> list[str]:
        """What the model hears in each, utterances of like length together."""
        assert isinstance(model, SpeechModel)
        order = sorted(range(len(utterances)), key=lambda i: len(utterances[i].wave))
        heard = [""] * len(utterances)
        for begin in range(0, len(order), _AT_ONCE):
            places = order[begin : begin + _AT_ONCE]
            waves, lengths = _padded([utterances[i] for i in places])
            audio = self._listen(
                torch.from_numpy(waves).to(self._device), lengths.to(self._device)
            )
            found = greedy(model, *audio, self._protocol.max_units)
            for place, ids in zip(places, found, strict=True):
                heard[place] = self._units.decode(ids)
        return heard

    def _listen(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            positions: tuple[Tensor, Tensor] = self._log_mel(waves, lengths)
        return positions

    def _as_ids(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [self._units.encode(text)[: self._protocol.max_units] for text in texts]
        width = 1 + max(map(len, rows))
        read = [[BEGIN_ID, *row] + [PAD_ID] * (width - len(row) - 1) for row in rows]
        said = [[*row, END_ID] + [PAD_ID] * (width - len(row) - 1) for row in rows]
        return torch.tensor(read), torch.tensor(said)


def _padded(utterances: Sequence[Utterance]) -> tuple[np.ndarray[Any, Any], Tensor]:
    """Waves [B, N], zero behind their ends, and their lengths [B]."""
    lengths = [len(one.wave) for one in utterances]
    waves = np.zeros((len(utterances), max(lengths)), dtype=np.float32)
    for row, one in zip(waves, utterances, strict=True):
        row[: len(one.wave)] = one.wave
    return waves, torch.tensor(lengths)


def _as_lines(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)
