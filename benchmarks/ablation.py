"""What each of the core's tricks gives: every one switched off, or a rival put in, by itself.

    python -m benchmarks.ablation [--data FOLDER] [--d-model 128 256] [--only NAME ...] [--compile]

One core, one process. Every turn of a variant stands beside one of the product over the same
batches, first or second by turns, and a ratio compares the two, so that a busy machine disturbs
both; seconds are the process's own. A ratio above 1 says that the product is faster. A variant
replaces functions of `core`, which itself has no switch. FOLDER is laid out as docs/own-data.md
says and defaults to $HPO_DATA; without either the built-in corpus is used.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.decoding import Steered
from core.nn import token_cross_entropy
from core.nn.attention import SelfAttention, attend, attend_bias, merge_heads, split_heads
from core.nn.dropout import Dropout
from core.optimizer import StageOptimizer
from core.precision import choose
from core.task import Stage
from core.translation import decoding
from core.translation.batching import Batch, BatchPlan
from core.translation.corpus import load_corpora
from core.translation.model import DecoderState, Transformer
from core.translation.settings import (
    ModelSettings,
    PretrainSettings,
    TranslationData,
    TranslationProtocol,
)
from core.translation.special import BOS_ID, EOS_ID, PAD_ID
from core.translation.tokenizer import load_tokenizer
from core.translation.tokens import TokenRows

Context = Callable[[], AbstractContextManager[object]]
BATCHES_A_TURN = 2
_MODEL = "core.translation.model"
_POOLED = 2**24
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's mallopt


@dataclass(frozen=True)
class Variant:
    """The product with one thing changed."""

    name: str
    context: Context = nullcontext
    """Entered around everything the variant does: its patches."""
    model: Callable[[Transformer], nn.Module] = lambda model: model
    """What is called in the model's place."""
    ordering: str = "buckets"
    loss: Callable[..., Tensor] = token_cross_entropy
    search: Mapping[str, int] | None = None
    """Arguments of the search that differ."""


@dataclass(frozen=True)
class Corpus:
    """Token ids of training pairs and of sources to translate."""

    src: TokenRows
    tgt: TokenRows
    validation: list[list[int]]
    vocab: int


# What stands in the product's place


def patch(target: str, replacement: object) -> Context:
    """A context in which the name `target` means `replacement`."""
    return lambda: mock.patch(target, replacement)


def by_sdpa() -> AbstractContextManager[object]:
    """Attention by torch's fused kernel."""
    return mock.patch("core.nn.attention.prefers_sdpa", lambda _: True)


def attend_by_autograd(
    *groups: Tensor,
    attend_mask: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """Attention by products, its gradient left to autograd."""
    query, key, value = (part for group in groups for part in group.unbind(0))
    scores = query @ key.transpose(-1, -2) * query.size(-1) ** -0.5
    if causal:
        scores = scores.masked_fill(~torch.ones(scores.shape[-2:]).bool().tril(), -torch.inf)
    if attend_mask is not None:
        scores = scores.masked_fill(~attend_mask, -torch.inf)
    return F.dropout(scores.softmax(-1), dropout) @ value


@contextmanager
def by_torch_dropout() -> Iterator[None]:
    """`F.dropout` in residual sums, a Bernoulli mask on attention weights."""

    def add(self: Dropout, residual: Tensor, x: Tensor) -> Tensor:
        return residual + F.dropout(x, self.p, self.training)

    def mask(like: Tensor, p: float) -> Tensor:
        return torch.empty_like(like).bernoulli_(1 - p).div_(1 - p)

    with (
        mock.patch.object(Dropout, "forward", lambda self, x: F.dropout(x, self.p, self.training)),
        mock.patch.object(Dropout, "add", add),
        mock.patch("core.nn.attention.keep_mask", mask),
    ):
        yield


def from_a_pool(p: float) -> Context:
    """Masks cut at random places out of one that was drawn before."""
    pool = torch.empty(_POOLED).bernoulli_(1 - p).div_(1 - p)

    def mask(like: Tensor, _: float) -> Tensor:
        start = int(torch.randint(_POOLED - like.numel(), ()))
        return pool[start : start + like.numel()].view(like.shape)

    @contextmanager
    def pooled() -> Iterator[None]:
        with (
            mock.patch("core.nn.attention.keep_mask", mask),
            mock.patch("core.nn.dropout.keep_mask", mask),
        ):
            yield

    return pooled


def cross_entropy(
    states: Tensor, weight: Tensor, labels: Tensor, *, ignore_id: int, label_smoothing: float
) -> Tensor:
    """Logits in full, then torch's loss."""
    logits = F.linear(states, weight).flatten(0, 1)
    return F.cross_entropy(
        logits, labels.flatten(), ignore_index=ignore_id, label_smoothing=label_smoothing
    )


def separate_projections(
    self: SelfAttention, x: Tensor, attend_mask: Tensor | None = None, *, causal: bool
) -> Tensor:
    """Query, key and value by three products."""
    joint = self.query_key_value
    parts = zip(joint.weight.chunk(3), joint.bias.chunk(3), strict=True)
    groups = [split_heads(F.linear(x, *part), self.num_heads, 1) for part in parts]
    dropout = self.dropout if self.training else 0.0
    read = attend(*groups, attend_mask=attend_mask, causal=causal, dropout=dropout)
    out: Tensor = self.out(merge_heads(read))
    return out


def by_parameter() -> AbstractContextManager[object]:
    """The optimizer over each parameter instead of one flat tensor of all."""
    init = partialmethod(StageOptimizer.__init__, is_flat=False)
    return mock.patch.object(StageOptimizer, "__init__", init)


@contextmanager
def with_foreach() -> Iterator[None]:
    """A tensor a parameter, updated by AdamW's `foreach` form."""
    adamw = torch.optim.AdamW

    def build(groups: list[dict[str, object]], lr: Tensor, **settings: object) -> object:
        # It takes no tensor for a rate on the CPU.
        return adamw(groups, **(settings | {"fused": False, "foreach": True}), lr=float(lr))

    with (
        by_parameter(),
        mock.patch("torch.optim.AdamW", build),
    ):
        yield


def keeping_blocks(*, keep: bool) -> Context:
    """glibc keeping freed blocks, or giving large ones back as it does at first."""

    @contextmanager
    def keeping() -> Iterator[None]:
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 2**25 if keep else 2**17)
        libc.mallopt(_TRIM_THRESHOLD, -1 if keep else 2**17)
        yield
        libc.mallopt(_MMAP_THRESHOLD, 2**25)
        libc.mallopt(_TRIM_THRESHOLD, -1)

    return keeping


@contextmanager
def medium_precision() -> Iterator[None]:
    """fp32 products that may round their factors to bf16."""
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


def bf16() -> AbstractContextManager[object]:
    """Autocast."""
    return torch.autocast("cpu", torch.bfloat16)


class Packed(nn.Module):
    """The model with everything but attention's read-out on the positions that are no padding."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        """As `Transformer.forward`; states of padding are zeros."""
        model = self.model
        src_rows, tgt_rows = _token_rows(src), _token_rows(tgt_in)
        mask = model.attend_mask(src)
        x = model._embed(src).flatten(0, 1)[src_rows]
        for layer in model.encoder:
            own = _packed_self(layer, src.shape, src_rows, mask, causal=False)
            x = layer.feed_residual(layer.self_residual(x, own), layer.feed_forward)
        memory = model.encoder_norm(x)
        x = model._embed(tgt_in).flatten(0, 1)[tgt_rows]
        for layer in model.decoder:
            own = _packed_self(layer, tgt_in.shape, tgt_rows, None, causal=True)
            x = layer.self_residual(x, own)
            cross = _packed_cross(layer, memory, (src.shape, src_rows), tgt_in.shape, tgt_rows)
            x = layer.cross_residual(x, lambda y, cross=cross: cross(y, mask))
            x = layer.feed_residual(x, layer.feed_forward)
        return _unpack(model.decoder_norm(x), tgt_in.shape, tgt_rows)


def _token_rows(ids: Tensor) -> Tensor:
    return (ids != PAD_ID).flatten().nonzero().squeeze(1)


def _unpack(x: Tensor, shape: torch.Size, rows: Tensor) -> Tensor:
    """[N, D] -> [B, T, D], zeros where there is padding."""
    return x.new_zeros(shape.numel(), x.size(-1)).index_copy(0, rows, x).view(*shape, -1)


def _packed_self(
    layer: nn.Module, shape: torch.Size, rows: Tensor, mask: Tensor | None, *, causal: bool
) -> Callable[[Tensor], Tensor]:
    attention = layer.self_attention
    dropout = attention.dropout if layer.training else 0.0

    def read(y: Tensor) -> Tensor:
        packed = _unpack(attention.query_key_value(y), shape, rows)
        group = split_heads(packed, attention.num_heads, 3)
        out = attend(group, attend_mask=mask, causal=causal, dropout=dropout)
        result: Tensor = attention.out(merge_heads(out).flatten(0, 1)[rows])
        return result

    return read


def _packed_cross(
    layer: nn.Module,
    memory: Tensor,
    source: tuple[torch.Size, Tensor],
    shape: torch.Size,
    rows: Tensor,
) -> Callable[[Tensor, Tensor], Tensor]:
    attention = layer.cross_attention
    heads = attention.num_heads
    dropout = attention.dropout if layer.training else 0.0
    keys_and_values = split_heads(_unpack(attention.key_value(memory), *source), heads, 2)

    def read(y: Tensor, mask: Tensor) -> Tensor:
        query = split_heads(_unpack(attention.query(y), shape, rows), heads, 1)
        out = attend(query, keys_and_values, attend_mask=mask, dropout=dropout)
        result: Tensor = attention.out(merge_heads(out).flatten(0, 1)[rows])
        return result

    return read


# Decoding's rivals


def start_without_cache(
    self: Transformer, src: Tensor, width: int = 1, **_: object
) -> DecoderState:
    """Keeps the tokens where the keys would be, and the memory."""
    memory = self.encode(src)
    tokens = torch.full((1, 1, len(src) * width, 1, 1, 1), BOS_ID)
    mask = self.attend_mask(src)
    return DecoderState(tokens, memory[None, None, :, None], attend_bias(mask, memory.dtype))


def step_without_cache(self: Transformer, tokens: Tensor, state: DecoderState) -> Tensor:
    """Runs the decoder over all that was said so far."""
    newest = tokens.reshape(1, 1, -1, 1, 1, 1)
    state.own = torch.cat([state.own[..., : state.length, :], newest], -2)
    state.length += 1
    x = self._embed(state.own[0, 0, :, 0, :, 0])
    mask = state.attend_bias
    for layer in self.decoder:
        x = layer(x, state.crossed[0, 0, :, 0], mask)
    states: Tensor = self.decoder_norm(x[:, -1:])
    return states


def greedy_without_compaction(
    model: Transformer, src: Tensor, max_len: int, _members: int
) -> list[list[int]]:
    """Finished sentences go on until the last of the batch is done."""
    state = model.start(src)
    tokens = torch.full((len(src), 1), BOS_ID)
    is_done = torch.zeros(len(src), dtype=torch.bool)
    written = torch.full((len(src), max_len), EOS_ID)
    for place in range(max_len):
        tokens = model.project(model.step(tokens, state)).argmax(-1)
        written[:, place] = tokens[:, 0].masked_fill(is_done, EOS_ID)
        is_done |= tokens[:, 0] == EOS_ID
        if is_done.all():
            break
    return written.tolist()


def unsorted(places: Iterator[int], **_: object) -> list[int]:
    """The order of the sources as it is."""
    return list(places)


def by_argmax(scores: Tensor, _: int) -> tuple[Tensor, Tensor]:
    """The largest, and its place."""
    places = scores.argmax(-1, keepdim=True)
    return scores, places


def training_variants(dropout: float, *, compiled: bool) -> Iterator[Variant]:
    """The product first."""
    yield Variant("product")
    yield Variant("random batches", ordering="random")
    yield Variant("random batches, packed", model=Packed, ordering="random")
    yield Variant("buckets, packed", model=Packed)
    yield Variant("SDPA", by_sdpa)
    yield Variant("attention by autograd", patch("core.nn.attention.attend", attend_by_autograd))
    yield Variant(
        "three projections",
        lambda: mock.patch.object(SelfAttention, "forward", separate_projections),
    )
    yield Variant("torch's dropout", by_torch_dropout)
    yield Variant("pool of masks", from_a_pool(dropout))
    yield Variant("AdamW a parameter", by_parameter)
    yield Variant("AdamW foreach", with_foreach)
    yield Variant("F.cross_entropy", loss=cross_entropy)
    if _has_mallopt():
        yield Variant("freed blocks given back", keeping_blocks(keep=False))
    yield Variant("matmul precision medium", medium_precision)
    if choose("auto", torch.device("cpu")).name == "bf16":
        yield Variant("bf16", bf16)
    if compiled:
        yield Variant("torch.compile", model=lambda m: torch.compile(m, dynamic=True))
        tuned = {"mode": "max-autotune-no-cudagraphs", "dynamic": True}
        yield Variant("torch.compile, autotuned", model=lambda m: torch.compile(m, **tuned))


def decoding_variants() -> Iterator[Variant]:
    """The product first; what both searches share."""
    yield Variant("product")
    yield Variant("sources encoded at once", patch(f"{_MODEL}._ENCODED_AT_ONCE", 2**31))
    yield Variant("torch.topk", patch("core.translation.decoding.largest", torch.topk))
    yield Variant("bmm for one-row queries", patch("core.nn.attention._weighted_sum", torch.bmm))
    yield Variant("SDPA", by_sdpa)
    yield Variant(
        "not sorted", lambda: mock.patch.object(decoding, "sorted", unsorted, create=True)
    )
    if _has_mallopt():
        yield Variant("freed blocks given back", keeping_blocks(keep=False))


def greedy_variants() -> Iterator[Variant]:
    """The product first."""
    yield from decoding_variants()
    yield Variant("argmax", patch("core.translation.decoding.largest", by_argmax))
    yield Variant("no cache", _without_cache)
    yield Variant(
        "no compaction", patch("core.translation.decoding._greedy", greedy_without_compaction)
    )
    for size in (32, 64, 128, 512, 1024):
        yield Variant(f"batch size {size}", search={"batch_size": size})


def beam_variants() -> Iterator[Variant]:
    """The product first."""
    yield from decoding_variants()
    for size in (64, 128, 512, 1024):
        yield Variant(f"batch size {size}", search={"batch_size": size})


@contextmanager
def _without_cache() -> Iterator[None]:
    with (
        mock.patch.object(Transformer, "start", start_without_cache),
        mock.patch.object(Transformer, "step", step_without_cache),
        mock.patch.object(DecoderState, "make_room", lambda _: None),
    ):
        yield


def _has_mallopt() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")


# Measuring


class Training:
    """Makes updates as a run makes them, by one variant."""

    def __init__(self, variant: Variant, corpus: Corpus, settings: ModelSettings) -> None:
        self.variant = variant
        torch.manual_seed(1)
        self._model = Transformer(settings, corpus.vocab, PAD_ID).train()
        stage = Stage("pretrain", 0, 10_000, PretrainSettings(), 1, 10_000, 1.0)
        with variant.context():
            precision = choose("fp32", torch.device("cpu"))
            self._optimizer = StageOptimizer(self._model, stage, precision)
            self._called = variant.model(self._model)
        self._plan = BatchPlan(corpus.src, corpus.tgt, batch_size=128, max_len=64, seed=1)
        if variant.ordering == "random":
            # Sorting within a batch leaves its company as it was drawn.
            with mock.patch("core.translation.batching._POOL_BATCHES", 1):
                self._plan.batch(0)

    def turn(self, index: int) -> tuple[int, float]:
        """Target tokens and seconds of some updates; an index has its batches."""
        first = index * BATCHES_A_TURN
        batches = [self._plan.batch(step) for step in range(first, first + BATCHES_A_TURN)]
        with self.variant.context():
            begun = time.process_time()
            for batch in batches:
                self._update(batch)
            seconds = time.process_time() - begun
        return sum(int((batch.labels != PAD_ID).sum()) for batch in batches), seconds

    def _update(self, batch: Batch) -> None:
        states = self._called(batch.src, batch.tgt_in)
        loss = self.variant.loss(
            states,
            self._model.embedding.weight,
            batch.labels,
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

    def turn(self, _: int) -> tuple[int, float]:
        """Sentences and seconds."""
        torch.manual_seed(1)
        arguments = {"max_len": 64, **(self.variant.search or {})}
        with self.variant.context():
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


def read_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("HPO_DATA", "pocket"))
    parser.add_argument("--d-model", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--layers", type=int, default=3, help="of encoder and decoder each")
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--sentences", type=int, default=1_014)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", nargs="+", help="variants by name, beside the product")
    parser.add_argument(
        "--parts", nargs="+", default=["training", "greedy", "beam"], help="default: all three"
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile too; takes minutes")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints the tables."""
    args = read_arguments(arguments)
    torch.set_num_threads(1)
    has_compiler = shutil.which("g++") is not None
    if args.compile and not has_compiler:
        print("torch.compile: not measured, as it needs g++, which is not there")
    with tempfile.TemporaryDirectory() as cache:
        corpus = read_corpus(args.data, args.pairs, args.sentences, Path(cache))

    def chosen(variants: Iterator[Variant]) -> list[Variant]:
        wanted = args.only
        return [v for v in variants if not wanted or v.name in ("product", *wanted)]

    with ExitStack() as stack:
        if _has_mallopt():
            stack.enter_context(keeping_blocks(keep=True)())
        for d_model in args.d_model:
            settings = ModelSettings(d_model=d_model, num_layers=args.layers, d_ff=4 * d_model)
            if "training" in args.parts:
                variants = training_variants(
                    settings.dropout, compiled=args.compile and has_compiler
                )
                rivals = [Training(v, corpus, settings) for v in chosen(variants)]
                compare(f"Training, d_model {d_model}", "target tokens/s", rivals, args.rounds)
            for part, beam_size, variants in (
                ("greedy", 1, greedy_variants()),
                ("beam", 4, beam_variants()),
            ):
                if part in args.parts:
                    searches = [Search(v, corpus, settings, beam_size) for v in chosen(variants)]
                    title = f"{part.capitalize()}, beam size {beam_size}, d_model {d_model}"
                    compare(title, "sentences/s", searches, args.rounds)


if __name__ == "__main__":
    main()
