"""One translation run: its corpora, its batches, its model and its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from core.errors import DataError
from core.kernels import kernels_for
from core.nn.blocks import lay_out
from core.nn.loss import token_cross_entropy
from core.settings import RunConfig
from core.task import FusableTask, Placement, Scores, Stage
from core.translation.batching import Batch, BatchPlan, stack_batches
from core.translation.bleu import corpus_bleu
from core.translation.decoding import beam_search, greedy_stacked
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
from core.translation.tokenizer import Tokenizer

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


class TranslationTask(FusableTask):
    """Stage A on the first corpus, stage B on the second, judged on the first one's validation."""

    metric = BLEU

    def __init__(self, config: RunConfig, placement: Placement, cache: Path) -> None:
        self._config = config
        self._model_settings = ModelSettings.model_validate(config.groups["model"])
        self._finetune = FinetuneSettings.model_validate(config.groups["finetune"])
        self._protocol = TranslationProtocol.model_validate(config.protocol)
        self._device = torch.device(placement.device)
        data = TranslationData.model_validate(config.data)
        self._pretrain_corpus = "pocket" if data.source == "pocket" else data.pretrain.folder
        self._data = _load(self._protocol, data, config.data_digest, cache.absolute())
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
                "tokenizer": self.tokenizer.digest,
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
                    about={"corpus": self._pretrain_corpus, **config.groups["model"]},
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
            block_rows=kernels_for(self._device).block_rows,
        )

    @property
    def protocol(self) -> TranslationProtocol:
        return self._protocol

    @property
    def tokenizer(self) -> Tokenizer:
        return self._data.tokenizer

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self._stages

    def build_model(self) -> Transformer:
        return Transformer(self._model_settings, self.tokenizer.vocab_size, PAD_ID)

    def batch(self, stage: Stage, step: int) -> Batch:
        return self._batches[stage.name].batch(step)

    def loss(self, model: torch.nn.Module, batch: Batch, stage: Stage) -> torch.Tensor:
        assert isinstance(model, Transformer)
        batch = batch.to(self._device)
        states = model.read(batch.src, batch.tgt_in)
        return token_cross_entropy(
            states,
            model.embedding.weight,
            lay_out(batch.labels),
            ignore_id=PAD_ID,
            label_smoothing=stage.recipe.label_smoothing_factor,
        )

    def losses(
        self, stacked: torch.nn.Module, batches: Sequence[Batch], stages: Sequence[Stage]
    ) -> Sequence[torch.Tensor]:
        assert isinstance(stacked, Transformer)
        batch, members = stack_batches(batches).to(self._device), len(batches)
        parts = zip(
            stacked.read(batch.src, batch.tgt_in, members).chunk(members),
            stacked.embedding.weight.unbind(),
            lay_out(batch.labels, members).chunk(members),
            stages,
            strict=True,
        )
        return [
            token_cross_entropy(
                states,
                weight,
                labels,
                ignore_id=PAD_ID,
                label_smoothing=stage.recipe.label_smoothing_factor,
            )
            for states, weight, labels, stage in parts
        ]

    def evaluate(self, model: torch.nn.Module, *, final: bool) -> Scores:
        (scores,) = self.evaluate_stacked(model, [model], final=final)
        return scores

    def evaluate_stacked(
        self, stacked: torch.nn.Module, models: Sequence[torch.nn.Module], *, final: bool
    ) -> list[Scores]:
        held_out, count = self._data.held_out, len(models)
        translated = self._translate_greedily(
            stacked, held_out["pretrain"]["validation"].src, count
        )
        of_talks: Sequence[Sequence[str] | None] = [None] * count
        if final and self._protocol.finetune_corpus == "finetune":
            talks = held_out["finetune"]["validation"]
            of_talks = self._translate_greedily(stacked, talks.src, count)
        return [
            self._score(model, hypotheses, talk, final=final)
            for model, hypotheses, talk in zip(models, translated, of_talks, strict=True)
        ]

    def _score(
        self,
        model: torch.nn.Module,
        hypotheses: Sequence[str],
        of_talks: Sequence[str] | None,
        *,
        final: bool,
    ) -> Scores:
        captions = self._data.held_out["pretrain"]["validation"]
        bleu = corpus_bleu(hypotheses, captions.tgt)
        metrics = {"empty": float(bleu.empty)}
        texts: dict[str, Sequence[str]] = {"validation.hyp": hypotheses}
        if final:
            texts |= {"validation.src": captions.src, "validation.ref": captions.tgt}
            texts["validation.beam"] = self.translate(model, captions.src[:SHOWN_SAMPLES])
        if of_talks is not None:
            talks = self._data.held_out["finetune"]["validation"]
            metrics["finetune_bleu"] = corpus_bleu(of_talks, talks.tgt).value
        return Scores(bleu.value, metrics, bleu.signature, _as_files(texts))

    def test(self, model: torch.nn.Module) -> Scores:
        pairs = self._data.held_out["pretrain"].get("test")
        if pairs is None:
            raise DataError(
                "the corpus has no test set",
                where=f"{self._config.data.get('source')}",
                way_out="Name its file in the study's [data.pretrain] test.",
            )
        hypotheses = self.translate(model, pairs.src)
        bleu = corpus_bleu(hypotheses, pairs.tgt)
        texts = {"test.hyp": hypotheses, "test.src": pairs.src, "test.ref": pairs.tgt}
        return Scores(bleu.value, {"empty": float(bleu.empty)}, bleu.signature, _as_files(texts))

    def translate(self, model: torch.nn.Module, sources: Sequence[str]) -> list[str]:
        """By beam search, as the protocol has it."""
        assert isinstance(model, Transformer)
        if self._protocol.beam_size == 1:
            return self._translate_greedily(model, sources, 1)[0]
        found = beam_search(
            model,
            self._encode(sources),
            beam_size=self._protocol.beam_size,
            max_len=self._protocol.max_len,
            length_penalty=self._protocol.length_penalty,
        )
        return self.tokenizer.decode(found)

    def _translate_greedily(
        self, model: torch.nn.Module, sources: Sequence[str], members: int
    ) -> list[list[str]]:
        """What each of the `members` models in `model` says."""
        assert isinstance(model, Transformer)
        found = greedy_stacked(
            model, self._encode(sources), members=members, max_len=self._protocol.max_len
        )
        return [self.tokenizer.decode(own) for own in found]

    def _encode(self, sources: Sequence[str]) -> list[list[int]]:
        """A source is cut as in training: to `max_len` tokens with its `<eos>`."""
        longest = self._protocol.max_len - 1
        return [source[:longest] for source in self.tokenizer.encode(sources)]

    def useful_threads(self, available: int) -> int:
        work = self._protocol.batch_size * self._model_settings.d_model**2
        return available if work >= _WORTH_SHARING else 1

    def facts(self) -> Mapping[str, Any]:
        return {
            "vocab_size": self.tokenizer.vocab_size,
            "truncated_pairs": {name: plan.truncated for name, plan in self._batches.items()},
        }


def _as_files(texts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """One sentence a line; line breaks within a sentence become spaces."""
    return {
        name: "".join(" ".join(line.split("\n")) + "\n" for line in lines)
        for name, lines in texts.items()
    }
