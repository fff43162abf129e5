"""What all contestants share: Multi30k, its tokenizer, the sizes of the model, the recipe."""

from __future__ import annotations

from pathlib import Path

from core.registry import find_task
from core.settings import RunConfig
from core.translation.corpus import Corpora, PairSet, load_corpora
from core.translation.settings import (
    FinetuneSettings,
    ModelSettings,
    PretrainSettings,
    TranslationData,
    TranslationProtocol,
)
from core.translation.special import EOS_ID
from core.translation.tokenizer import Tokenizer, load_tokenizer

MAX_LEN = 64
BATCH_SIZE = 128
DECODED = 1_014
"""Sentences of Multi30k's validation set."""
RECIPE = PretrainSettings()
"""Stage A's: a label smoothing of 0.1, an inverse square root after a linear warmup."""


def model_settings(d_model: int) -> ModelSettings:
    """3 + 3 layers, 4 heads, feed-forward of four times the width, dropout 0.1."""
    return ModelSettings(d_model=d_model, num_heads=4, num_layers=3, d_ff=4 * d_model)


def captions_protocol(steps: int, *, scored: int) -> TranslationProtocol:
    """One stage on all of Multi30k, evaluated at its end on `scored` sentences."""
    return TranslationProtocol(
        pretrain_pairs=29_000,
        validation_pairs=scored,
        batch_size=BATCH_SIZE,
        max_len=MAX_LEN,
        pretrain_steps=0,
        finetune_steps=steps,
        finetune_corpus="pretrain",
        eval_every=steps,
    )


def read_captions(data: Path, cache: Path) -> tuple[Corpora, Tokenizer]:
    """Multi30k, and the project's joint BPE of 8,000 entries."""
    protocol = captions_protocol(1, scored=DECODED)
    corpora = load_corpora(protocol, TranslationData(source=str(data)))
    return corpora, load_tokenizer(protocol, corpora, cache)


def encode(tokenizer: Tokenizer, pairs: PairSet) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of sources and targets as everyone trains on them: cut, and ended by `<eos>`."""
    src, tgt = (
        [[*ids[: MAX_LEN - 1], EOS_ID] for ids in tokenizer.encode(side)]
        for side in (pairs.src, pairs.tgt)
    )
    return src, tgt


def captions_config(
    data: Path, cache: Path, d_model: int, steps: int, *, seed: int, scored: int
) -> RunConfig:
    """A run of the project: `steps` updates on Multi30k by the recipe of stage A."""
    spec = find_task("translation")
    protocol = captions_protocol(steps, scored=scored)
    source = TranslationData(source=str(data))
    # A stage of a few hundred updates warms up in a quarter of them.
    recipe = RECIPE.model_dump() | {"warmup_steps": min(400, steps // 4)}
    return RunConfig(
        task=spec.name,
        groups={
            "model": model_settings(d_model).model_dump(mode="json"),
            "finetune": FinetuneSettings(**recipe).model_dump(mode="json"),
        },
        protocol=protocol.model_dump(mode="json"),
        data=source.model_dump(mode="json"),
        data_digest=spec.prepare(protocol, source, cache).digests["data"],
        structure_seed=seed,
        seed=seed,
    )
