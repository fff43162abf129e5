"""Turns of variants beside turns of the product, and the table of their ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.ablation.variant import Variant
from benchmarks.decoding import Steered
from core.nn.blocks import lay_out
from core.optimizer import StageOptimizer
from core.precision import choose
from core.task import Stage
from core.translation import decoding
from core.translation.batching import Batch
from core.translation.corpus import load_corpora
from core.translation.model import Transformer
from core.translation.settings import (
    ModelSettings,
    PretrainSettings,
    TranslationData,
    TranslationProtocol,
)
from core.translation.special import PAD_ID
from core.translation.tokenizer import load_tokenizer
from core.translation.tokens import TokenRows

BATCHES_A_TURN = 2


@dataclass(frozen=True)
class Corpus:
    """Token ids of training pairs and of sources to translate."""

    src: TokenRows
    tgt: TokenRows
    validation: list[list[int]]
    vocab: int


class Training:
    """Makes updates as a run makes them, by one variant."""

    def __init__(self, variant: Variant, corpus: Corpus, settings: ModelSettings) -> None:
        self.variant = variant
        torch.manual_seed(1)
        self._model = Transformer(settings, corpus.vocab, PAD_ID).train()
        stage = Stage("pretrain", 0, 10_000, PretrainSettings(), 1, 10_000, 1.0)
        with variant.context():
            self._precision = choose(variant.precision, torch.device("cpu"))
            self._optimizer = StageOptimizer(self._model, stage, self._precision)
            self._read = variant.read(self._model)
        self._plan = variant.plan(
            corpus.src,
            corpus.tgt,
            batch_size=128,
            max_len=64,
            seed=1,
            block_rows=variant.block_rows,
        )

    def turn(self, index: int) -> tuple[int, float]:
        """Target tokens and seconds of some updates; an index has its batches."""
        first = index * BATCHES_A_TURN
        batches = [self._plan.batch(step) for step in range(first, first + BATCHES_A_TURN)]
        with self.variant.context():
            begun = time.process_time()
            for batch in batches:
                self._update(batch)
            seconds = time.process_time() - begun
        labels = [block for batch in batches for block in batch.labels]
        return sum(int((block != PAD_ID).sum()) for block in labels), seconds

    def _update(self, batch: Batch) -> None:
        with self._precision.autocast():
            loss = self.variant.loss(
                self._read(batch.src, batch.tgt_in),
                self._model.embedding.weight,
                lay_out(batch.labels),
                ignore_id=PAD_ID,
                label_smoothing=0.1,
            )
        self._optimizer.update(loss)


class Search:
    """Decodes the same sources in each turn, by one variant."""

    def __init__(
        self, variant: Variant, corpus: Corpus, settings: ModelSettings, beam_size: int
    ) -> None:
        self.variant, self._beam_size = variant, beam_size
        torch.manual_seed(1)
        self._model = Steered(settings, corpus.vocab, PAD_ID)
        self._sources = corpus.validation
        self._precision = choose(variant.precision, torch.device("cpu"))

    def turn(self, _: int) -> tuple[int, float]:
        """Sentences and seconds."""
        torch.manual_seed(1)
        arguments = {"max_len": 64, **(self.variant.search or {})}
        with self.variant.context(), self._precision.autocast():
            begun = time.process_time()
            if self._beam_size == 1:
                decoding.greedy(self._model, self._sources, **arguments)
            else:
                decoding.beam_search(
                    self._model, self._sources, beam_size=self._beam_size, **arguments
                )
            return len(self._sources), time.process_time() - begun


def compare(title: str, unit: str, rivals: Sequence[Training | Search], rounds: int) -> None:
    """Prints a table: a row for each variant, the product's rate beside its own."""
    product = rivals[0]
    print(f"\n{title}\n| instead | {unit} | the product's | ratio | middle half | first turn, s |")
    print("|---|---|---|---|---|---|")
    product.turn(0)
    for rival in rivals[1:]:
        name = rival.variant.name
        try:
            first = rival.turn(0)[1]
        except (RuntimeError, NotImplementedError) as error:  # what torch cannot do is a result
            print(f"| {name} | failed: {str(error).splitlines()[0][:90]} |||||")
            continue
        ours, theirs, ratios = [], [], []
        for index in range(1, rounds + 1):
            pair = (product, rival) if index % 2 else (rival, product)
            turns = {each: each.turn(index) for each in pair}
            ours.append(turns[product][0] / turns[product][1])
            theirs.append(turns[rival][0] / turns[rival][1])
            ratios.append(ours[-1] / theirs[-1])
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"| {name} | {statistics.median(theirs):,.0f} | {statistics.median(ours):,.0f} "
            f"| {middle:.2f} | {low:.2f}-{high:.2f} | {first:.1f} |",
            flush=True,
        )


def read_corpus(data: str, pairs: int, sentences: int, cache: Path) -> Corpus:
    """Encoded as a run encodes it."""
    protocol = TranslationProtocol(finetune_corpus="pretrain", pretrain_pairs=pairs)
    corpora = load_corpora(protocol, TranslationData(source=data))
    tokenizer = load_tokenizer(protocol, corpora, cache)
    train = corpora.pretrain.train
    sources = corpora.pretrain.validation.src[:sentences]
    return Corpus(
        TokenRows.of(tokenizer.encode(train.src)),
        TokenRows.of(tokenizer.encode(train.tgt)),
        tokenizer.encode(sources),
        tokenizer.vocab_size,
    )
