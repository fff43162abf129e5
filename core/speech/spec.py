"""The speech task, described without importing torch or numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.settings import RunConfig
from core.speech.settings import (
    SYNTHETIC,
    ModelSettings,
    SpeechData,
    SpeechProtocol,
    TrainSettings,
)
from core.speech.wer import signature
from core.task import Effort, Facts, Grid, Load, Metric, Placement, Task, TaskSpec

WER = Metric(name="WER", unit="%", direction="minimize", floor=90.0, clear_gain=15.0)
"""Who always says the same one or two digits is wrong in 90 percent of random strings' words,
whether those are of up to two, five or seven (found by trying); who says nothing, in 100. On small
validation sets the rate of a model that hardly knows anything yet comes and goes by ten."""

_HOP_S = 0.010
_TYPICAL_AUDIO_S, _TYPICAL_WORDS = 2.0, 4
_CALLS_PER_LAYER = 20


def _grid(protocol: SpeechProtocol) -> Grid:
    return Grid((("train", protocol.train_steps),), protocol.eval_every)


def _check(groups: Mapping[str, Any], protocol: SpeechProtocol) -> None:
    model: ModelSettings = groups["model"]
    train: TrainSettings = groups["train"]
    if model.d_model % model.num_heads:
        raise ValueError(
            f"model.num_heads ({model.num_heads}) must divide model.d_model ({model.d_model})"
        )
    if train.resolve_warmup(protocol.train_steps) > protocol.train_steps:
        raise ValueError(
            f"train.warmup_steps ({train.warmup_steps}) must not exceed "
            f"protocol.train_steps ({protocol.train_steps})"
        )


def _audio_positions(protocol: SpeechProtocol, seconds: float) -> int:
    return math.ceil(seconds / _HOP_S / protocol.frames_per_position)


def _count_weights(groups: Mapping[str, Any], protocol: SpeechProtocol) -> int:
    """Matrices and positions; norms and biases are a hundredth of them."""
    model: ModelSettings = groups["model"]
    layer = 4 * model.d_model**2 + 2 * model.d_model * model.d_ff
    positions = _audio_positions(protocol, protocol.max_audio_s) + protocol.max_units
    inputs = positions + protocol.mel_bands * protocol.frames_per_position
    return model.num_layers * layer + inputs * model.d_model


def _effort(groups: Mapping[str, Any], protocol: SpeechProtocol) -> Effort:
    """By the products of the layers over typical utterances: two seconds, four words."""
    model: ModelSettings = groups["model"]
    layer = 4 * model.d_model**2 + 2 * model.d_model * model.d_ff
    audio = _audio_positions(protocol, _TYPICAL_AUDIO_S)
    positions = audio + _TYPICAL_WORDS
    # Two operations a product; attention reads every position from every other.
    utterance = 2.0 * model.num_layers * positions * (layer + 2 * positions * model.d_model)
    calls = float(_CALLS_PER_LAYER * model.num_layers)
    update = Load(3 * protocol.batch_size * utterance, 3 * calls)
    reads = {
        name: Load(count * utterance, (1 + protocol.max_units) * calls)
        for name, count in (
            ("validation", protocol.validation_utterances),
            ("test", protocol.test_utterances),
        )
    }
    return Effort({"train": update}, reads["validation"], reads["validation"], reads["test"])


def _prepare(protocol: SpeechProtocol, data: SpeechData, cache: Path) -> Facts:
    from core.speech.recordings import prepare

    del cache  # nothing is derived that would be worth keeping
    return prepare(protocol, data)


def _files(data: SpeechData) -> tuple[Path, tuple[Path, ...]]:
    from core.speech.recordings import files_of

    return files_of(data)


def _build(config: RunConfig, placement: Placement, cache: Path) -> Task:
    from core.speech.task import SpeechTask

    return SpeechTask(config, placement, cache)


def _warm() -> None:
    import core.speech.task  # noqa: F401  # to have it loaded


SPEC = TaskSpec(
    name="speech",
    metric=WER,
    protocol=SpeechProtocol,
    data=SpeechData,
    groups={"model": ModelSettings, "train": TrainSettings},
    structure_group="model",
    grid=_grid,
    check=_check,
    prepare=_prepare,
    build=_build,
    warm=_warm,
    sources=(SYNTHETIC,),
    count_weights=_count_weights,
    effort=_effort,
    files=_files,
    signature=lambda protocol: signature(),
    final_line="FINAL_TEST_WER",
)
