"""What stands in the product's place when it decodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import torch
from torch import Tensor

from benchmarks.ablation.freed_memory import has_mallopt, keeping_blocks
from benchmarks.ablation.variant import Variant, by_sdpa, patch
from core.kernels import ALL_ROWS, CPU
from core.nn.attention import attend_bias
from core.nn.blocks import Blocks
from core.translation import decoding
from core.translation.model import DecoderState, Transformer
from core.translation.special import BOS_ID, EOS_ID


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
    ids, memory = state.own[0, 0, :, 0, :, 0], state.crossed[0, 0, :, 0]
    own = Blocks.causal([ids])
    crossed = Blocks.of([ids], [memory[..., 0]], [state.attend_bias])
    x = self._embed(ids).flatten(0, 1)
    for layer in self.decoder:
        x = layer(x, memory.flatten(0, 1), own, crossed)
    states: Tensor = self.decoder_norm(x.view(*ids.shape, -1)[:, -1:])
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


def decoding_variants() -> Iterator[Variant]:
    """The product first; what both searches share."""
    yield Variant("product")
    yield Variant(
        "sources encoded at once",
        patch("core.kernels.CPU", by=replace(CPU, encoded_at_once=ALL_ROWS)),
    )
    yield Variant("torch.topk", patch("core.translation.decoding.largest", by=torch.topk))
    yield Variant(
        "bmm for one-row queries", patch("core.nn.attention._weighted_sum", by=torch.bmm)
    )
    yield Variant("SDPA", by_sdpa)
    yield Variant(
        "not sorted", lambda: mock.patch.object(decoding, "sorted", unsorted, create=True)
    )
    if has_mallopt():
        yield Variant("freed blocks given back", keeping_blocks(keep=False))


def greedy_variants() -> Iterator[Variant]:
    """The product first."""
    yield from decoding_variants()
    yield Variant("argmax", patch("core.translation.decoding.largest", by=by_argmax))
    yield Variant("no cache", _without_cache)
    yield Variant(
        "no compaction",
        patch("core.translation.decoding._greedy", by=greedy_without_compaction),
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
