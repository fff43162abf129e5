"""The amplifier task, described without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.amplifier.effort import count_weights, estimate_effort
from core.amplifier.settings import AmplifierData, AmplifierProtocol, ModelSettings, TrainSettings
from core.settings import RunConfig
from core.task import Effort, Facts, Grid, Metric, Placement, Task, TaskSpec

SOURCES = ("ofdm",)
NMSE = Metric(name="NMSE", unit="dB", direction="minimize", floor=0.0)
"""0 dB is the error of a model that says nothing."""


def _grid(protocol: AmplifierProtocol) -> Grid:
    if protocol.train_steps % protocol.eval_every:
        raise ValueError(
            f"train_steps ({protocol.train_steps}) must be a multiple of eval_every "
            f"({protocol.eval_every})"
        )
    return Grid((("train", protocol.train_steps),), protocol.eval_every)


def _check(groups: Mapping[str, Any], protocol: AmplifierProtocol) -> None:
    model: ModelSettings = groups["model"]
    train: TrainSettings = groups["train"]
    if model.backbone == "transformer_encoder":
        if model.d_model % model.num_heads:
            raise ValueError(
                f"model.num_heads ({model.num_heads}) must divide model.d_model ({model.d_model})"
            )
        if model.window > train.frame_length:
            raise ValueError(
                f"model.window ({model.window}) must not exceed train.frame_length "
                f"({train.frame_length}): no frame shows what lies further back"
            )
    if train.resolve_warmup(protocol.train_steps) > protocol.train_steps:
        raise ValueError(
            f"train.warmup_steps ({train.warmup_steps}) must not exceed "
            f"protocol.train_steps ({protocol.train_steps})"
        )


def _prepare(protocol: AmplifierProtocol, data: AmplifierData, cache: Path) -> Facts:
    from core.amplifier.signals import prepare

    return prepare(data)


def _build(config: RunConfig, placement: Placement, cache: Path) -> Task:
    from core.amplifier.task import AmplifierTask

    return AmplifierTask(config, placement, cache)


def _warm() -> None:
    import core.amplifier.task  # noqa: F401  # to have it loaded


def _count_weights(groups: Mapping[str, Any], protocol: AmplifierProtocol) -> int:
    return count_weights(groups["model"])


def _effort(groups: Mapping[str, Any], protocol: AmplifierProtocol) -> Effort:
    return estimate_effort(groups["model"], groups["train"])


def _signature(protocol: AmplifierProtocol) -> str:
    from core.amplifier.nmse import SIGNATURE

    return SIGNATURE


def _files(data: AmplifierData) -> tuple[Path, tuple[Path, ...]]:
    from core.amplifier.folder import recording_files

    if data.source in SOURCES:
        return Path(), ()
    root = Path(data.source)
    return root, tuple(recording_files(root))


SPEC = TaskSpec(
    name="amplifier",
    metric=NMSE,
    protocol=AmplifierProtocol,
    data=AmplifierData,
    groups={"model": ModelSettings, "train": TrainSettings},
    structure_group="model",
    grid=_grid,
    check=_check,
    prepare=_prepare,
    build=_build,
    warm=_warm,
    sources=SOURCES,
    files=_files,
    count_weights=_count_weights,
    effort=_effort,
    signature=_signature,
    final_line="FINAL_TEST_NMSE",
)
