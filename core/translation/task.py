"""One translation run: its corpora, its batches, its model and its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from core.errors import DataError
from core.nn.loss import token_cross_entropy
from core.settings import RunConfig
from core.task import Placement, Scores, Stage, Task
from core.translation.batching import Batch, BatchPlan
from core.translation.bleu import corpus_bleu
from core.translation.decoding import beam_search, greedy
from core.translation.model import Transformer
from core.translation.prepared import load_prepared
from core.translation.settings import (
    FinetuneSettings,
    ModelSettings,
    TranslationData,
    TranslationProtocol,
)
from core.translation.spec import BLEU
from core.translation.special import PAD_ID

_WORTH_SHARING = 2**20
"""Batch size times squared width from which a matrix product gains by a second thread. At 16 pairs
and width 64 two threads, which wait for each other after each of hundreds of small products, take
171 ms for a step that one takes 62 ms for."""

SHOWN_SAMPLES = 10
"""Validation sentences translated with beam search at the end of a run, for people to read."""

# What stage A's weights and scores depend on. The rest of the protocol acts later.
_PRETRAIN_KEYS = (
    "pretrain_pairs",
    "validation_pairs",
    "vocab_size",
    "max_len",
    "batch_size",
    "pretrain_steps",
    "eval_every",
    "grad_clip",
    "pretrain",
)


# A warm worker loads them once.
_load = lru_cache(maxsize=1)(load_prepared)


class TranslationTask(Task):
    """Stage A on the first corpus, stage B on the second, judged on the first one's validation."""

    metric = BLEU

    def __init__(self, config: RunConfig, placement: Placement, cache: Path) -> None:
        self._config = config
        self._model_settings = ModelSettings.model_validate(config.groups["model"])
        self._finetune = FinetuneSettings.model_validate(config.groups["finetune"])
        self._protocol = TranslationProtocol.model_validate(config.protocol)
        self._device = torch.device(placement.device)
        self._data = _load(
            self._protocol,
            TranslationData.model_validate(config.data),
            config.data_digest,
            cache.absolute(),
        )
        if self._data.digest != config.data_digest:
            raise DataError(
                "the corpora changed since the study began",
                got=self._data.digest[:12],
                allowed=config.data_digest[:12],
                way_out="Restore the files, or run the study under another name with --name.",
            )
        self._stages = self._plan_stages()
        self._batches = {stage.name: self._plan_batches(stage) for stage in self._stages}

    def _plan_stages(self) -> tuple[Stage, ...]:
        protocol, config = self._protocol, self._config
        stages = []
        if protocol.pretrain_steps:
            recipe = protocol.model_dump(mode="json")
            cache_key = {
                "structure": dict(config.groups["model"]),
                "protocol": {key: recipe[key] for key in _PRETRAIN_KEYS},
                "data": config.data_digest,
                "tokenizer": self._data.tokenizer.digest,
                "seed": config.structure_seed,
            }
            stages.append(
                Stage(
                    name="pretrain",
                    first_step=0,
                    steps=protocol.pretrain_steps,
                    recipe=protocol.pretrain,
                    seed=config.structure_seed,
                    eval_every=protocol.eval_every,
                    grad_clip=protocol.grad_clip,
                    cache_key=cache_key,
                )
            )
        stages.append(
            Stage(
                name="finetune",
                first_step=protocol.pretrain_steps,
                steps=protocol.finetune_steps,
                recipe=self._finetune,
                seed=config.seed,
                eval_every=protocol.eval_every,
                grad_clip=protocol.grad_clip,
            )
        )
        return tuple(stages)

    def _plan_batches(self, stage: Stage) -> BatchPlan:
        corpus = "pretrain" if stage.name == "pretrain" else self._protocol.finetune_corpus
        encoded = self._data.train[corpus]
        return BatchPlan(
            encoded.src,
            encoded.tgt,
            batch_size=self._protocol.batch_size,
            max_len=self._protocol.max_len,
            seed=stage.seed,
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self._stages

    def build_model(self) -> Transformer:
        return Transformer(self._model_settings, self._data.tokenizer.vocab_size, PAD_ID)

    def batch(self, stage: Stage, step: int) -> Batch:
        batch = self._batches[stage.name].batch(step)
        return batch if self._device.type == "cpu" else batch.to(self._device)

    def loss(self, model: torch.nn.Module, batch: Batch, stage: Stage) -> torch.Tensor:
        assert isinstance(model, Transformer)
        states = model(batch.src, batch.tgt_in)
        return token_cross_entropy(
            states,
            model.embedding.weight,
            batch.labels,
            ignore_id=PAD_ID,
            label_smoothing=stage.recipe.label_smoothing_factor,
        )

    def evaluate(self, model: torch.nn.Module, *, final: bool) -> Scores:
        captions = self._data.held_out["pretrain"]["validation"]
        hypotheses = self._translate(model, captions.src, beam_size=1)
        bleu = corpus_bleu(hypotheses, captions.tgt)
        metrics = {"empty": float(bleu.empty)}
        texts: dict[str, Sequence[str]] = {"validation.hyp": hypotheses}
        if final:
            texts |= {"validation.src": captions.src, "validation.ref": captions.tgt}
            shown = captions.src[:SHOWN_SAMPLES]
            texts["validation.beam"] = self._translate(
                model, shown, beam_size=self._protocol.beam_size
            )
            if self._protocol.finetune_corpus == "finetune":
                talks = self._data.held_out["finetune"]["validation"]
                translated = self._translate(model, talks.src, beam_size=1)
                metrics["finetune_bleu"] = corpus_bleu(translated, talks.tgt).value
        return Scores(bleu.value, metrics, bleu.signature, _as_files(texts))

    def test(self, model: torch.nn.Module) -> Scores:
        pairs = self._data.held_out["pretrain"].get("test")
        if pairs is None:
            raise DataError(
                "the corpus has no test set",
                where=f"{self._config.data.get('source')}",
                way_out="Name its file in the study's [data.pretrain] test.",
            )
        hypotheses = self._translate(model, pairs.src, beam_size=self._protocol.beam_size)
        bleu = corpus_bleu(hypotheses, pairs.tgt)
        texts = {"test.hyp": hypotheses, "test.src": pairs.src, "test.ref": pairs.tgt}
        return Scores(bleu.value, {"empty": float(bleu.empty)}, bleu.signature, _as_files(texts))

    def _translate(
        self, model: torch.nn.Module, sources: Sequence[str], *, beam_size: int
    ) -> list[str]:
        assert isinstance(model, Transformer)
        longest = self._protocol.max_len
        # A source is cut as in training: to max_len tokens with its <eos>.
        ids = [source[: longest - 1] for source in self._data.tokenizer.encode(sources)]
        if beam_size == 1:
            found = greedy(model, ids, max_len=longest)
        else:
            found = beam_search(
                model,
                ids,
                beam_size=beam_size,
                max_len=longest,
                length_penalty=self._protocol.length_penalty,
            )
        return self._data.tokenizer.decode(found)

    def useful_threads(self, available: int) -> int:
        work = self._protocol.batch_size * self._model_settings.d_model**2
        return available if work >= _WORTH_SHARING else 1

    def facts(self) -> Mapping[str, Any]:
        return {
            "vocab_size": self._data.tokenizer.vocab_size,
            "truncated_pairs": {name: plan.truncated for name, plan in self._batches.items()},
        }


def _as_files(texts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """One sentence a line; line breaks within a sentence become spaces."""
    return {
        name: "".join(" ".join(line.split("\n")) + "\n" for line in lines)
        for name, lines in texts.items()
    }
