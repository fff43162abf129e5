"""The translation task, described without importing torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.settings import RunConfig
from core.task import Effort, Facts, Grid, Metric, Placement, Resampled, Task, TaskSpec
from core.translation.effort import estimate_effort
from core.translation.memory import least_memory
from core.translation.settings import (
    FinetuneSettings,
    ModelSettings,
    TranslationData,
    TranslationProtocol,
)

if TYPE_CHECKING:
    import torch

    from core.translation.model import Transformer
    from core.translation.tokenizer import Tokenizer

SOURCES = ("pocket", "hub")
BLEU = Metric(name="BLEU", unit="", direction="maximize", floor=0.0)


def _grid(protocol: TranslationProtocol) -> Grid:
    stages = (("pretrain", protocol.pretrain_steps), ("finetune", protocol.finetune_steps))
    return Grid(tuple(stage for stage in stages if stage[1]), protocol.eval_every)


def _check(groups: Mapping[str, Any], protocol: TranslationProtocol) -> None:
    model: ModelSettings = groups["model"]
    finetune: FinetuneSettings = groups["finetune"]
    if model.d_model % model.num_heads:
        raise ValueError(
            f"model.num_heads ({model.num_heads}) must divide model.d_model ({model.d_model})"
        )
    if finetune.resolve_warmup(protocol.finetune_steps) > protocol.finetune_steps:
        raise ValueError(
            f"finetune.warmup_steps ({finetune.warmup_steps}) must not exceed "
            f"protocol.finetune_steps ({protocol.finetune_steps})"
        )


def _count_weights(groups: Mapping[str, Any], protocol: TranslationProtocol) -> int:
    """Embedding and matrices; norms and biases are a hundredth of them."""
    model: ModelSettings = groups["model"]
    # Encoder and decoder layers together: three attentions of four matrices, two feed-forwards.
    layer = 12 * model.d_model**2 + 4 * model.d_model * model.d_ff
    return protocol.vocab_size * model.d_model + model.num_layers * layer


def _effort(groups: Mapping[str, Any], protocol: TranslationProtocol) -> Effort:
    return estimate_effort(groups["model"], protocol, _count_weights(groups, protocol))


def _least_memory(
    groups: Mapping[str, Any], protocol: TranslationProtocol, data: TranslationData
) -> int:
    return least_memory(groups["model"], protocol, data, _count_weights(groups, protocol))


def _signature(protocol: TranslationProtocol) -> str:
    """SacreBLEU's, which depends on its version and on nothing that a study declares."""
    from core.translation.bleu import corpus_bleu

    return corpus_bleu(["a"], ["a"]).signature


def _files(data: TranslationData) -> tuple[Path, tuple[Path, ...]]:
    from core.translation.folder import corpus_files

    if data.source in SOURCES:
        return Path(), ()
    root = Path(data.source)
    languages = (data.source_language, data.target_language)
    corpora = (data.pretrain, data.finetune)
    return root, tuple(path for one in corpora for path in corpus_files(root, one, languages))


def _prepare(protocol: TranslationProtocol, data: TranslationData, cache: Path) -> Facts:
    from core.translation.corpus import prepare

    return prepare(protocol, data, cache)


def _build(config: RunConfig, placement: Placement, cache: Path) -> Task:
    from core.translation.task import TranslationTask

    return TranslationTask(config, placement, cache)


def _warm() -> None:
    import core.translation.task  # noqa: F401  # to have it loaded


def _compare(folder: Path, other: Path) -> float | None:
    from core.translation.comparison import compare

    return compare(folder, other)


def _resample(folders: Sequence[Path], references_in: Sequence[Path]) -> Sequence[Resampled]:
    from core.translation.comparison import resample

    return resample(folders, references_in)


def _translate(task: Task, model: torch.nn.Module, texts: Sequence[str]) -> list[str]:
    from core.translation.task import TranslationTask

    assert isinstance(task, TranslationTask)
    return task.translate(model, texts)


def _export_transformers(task: Task, model: torch.nn.Module, folder: Path) -> str:
    from core.translation.pretrained import write_pretrained

    return write_pretrained(*_parts(task, model), folder)


def _export_ctranslate2(task: Task, model: torch.nn.Module, folder: Path) -> str:
    from core.translation.converted import write_converted

    return write_converted(*_parts(task, model), folder)


def _parts(
    task: Task, model: torch.nn.Module
) -> tuple[Transformer, Tokenizer, TranslationProtocol]:
    """What a trained model is exported with."""
    from core.translation.model import Transformer
    from core.translation.task import TranslationTask

    assert isinstance(task, TranslationTask)
    assert isinstance(model, Transformer)
    return model, task.tokenizer, task.protocol


SPEC = TaskSpec(
    name="translation",
    metric=BLEU,
    protocol=TranslationProtocol,
    data=TranslationData,
    groups={"model": ModelSettings, "finetune": FinetuneSettings},
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
    least_memory=_least_memory,
    is_fusable=True,
    compare=_compare,
    resample=_resample,
    signature=_signature,
    translate=_translate,
    exports={"transformers": _export_transformers, "ctranslate2": _export_ctranslate2},
    final_line="FINAL_TEST_BLEU",
)
