"""The encoder-decoder Transformer, Vaswani et al. 2017.

Legend: B batch, S source, T target, N positions of all blocks, D d_model, V vocabulary, L layers,
W hypotheses a sentence, H heads, K = D / H, C cache.

Dropout acts where `transformers`' M2M100 has it with `activation_dropout` 0: on the sum of
embedding and position, on the attention weights, and on what each sublayer returns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.kernels import kernels_for
from core.nn import DecoderLayer, Dropout, EncoderLayer, SinusoidalPositions, linear
from core.nn.attention import attend_bias
from core.nn.blocks import Blocks, lay_out, mask_for
from core.translation.settings import ModelSettings

_EMBEDDING_STD = 0.02
_CACHE_ROOM = 8
"""Positions by which the cache grows: few copies to grow it, little to copy when rows move."""


@dataclass
class DecoderState:
    """What the decoder remembers of a batch between two steps."""

    own: Tensor
    """Keys and values of the positions so far, [L, 2, B * W, H, C, K]."""
    crossed: Tensor
    """Keys and values of the memory, [L, 2, B, H, S, K]; shared by a sentence's hypotheses."""
    attend_bias: Tensor
    """[B, 1, 1, S], 0 where the source is no padding."""
    length: int = 0
    """Positions in `own`."""

    def select_sentences(self, sentences: Tensor) -> None:
        """Keeps the memory of `sentences`, indices into B."""
        self.crossed = self.crossed.index_select(2, sentences)
        self.attend_bias = self.attend_bias.index_select(0, sentences)

    def select_rows(self, rows: Tensor) -> None:
        """Keeps the hypotheses at `rows`, indices into B * W; one may be taken several times."""
        self.own = self.own.index_select(2, rows)

    def make_room(self) -> None:
        """Makes sure that one more position fits."""
        if self.length == self.own.size(-2):
            self.own = F.pad(self.own, (0, 0, 0, _CACHE_ROOM))


class Transformer(nn.Module):
    """Encoder and decoder, their embeddings and the output layer tied.

    Norms stand before each sublayer with a final one after each stack (`norm = "pre"`), or after
    each residual sum (`"post"`).
    """

    def __init__(self, settings: ModelSettings, vocab_size: int, pad_id: int) -> None:
        super().__init__()
        d_model = settings.d_model
        self.settings = settings
        self.pad_id = pad_id
        self.embedding = nn.Embedding(vocab_size, d_model, padding_idx=pad_id)
        nn.init.normal_(self.embedding.weight, std=_EMBEDDING_STD)
        nn.init.zeros_(self.embedding.weight[pad_id])
        self.positions = SinusoidalPositions(d_model, pad_id)
        self.dropout = Dropout(settings.dropout)
        sizes = d_model, settings.num_heads, settings.d_ff, settings.dropout, settings.norm
        layers = range(settings.num_layers)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in layers)
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in layers)
        is_pre = settings.norm == "pre"
        self.encoder_norm = nn.LayerNorm(d_model) if is_pre else nn.Identity()
        self.decoder_norm = nn.LayerNorm(d_model) if is_pre else nn.Identity()

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        """Decoder states [B, T, D] for sources [B, S] and shifted targets [B, T], both ids."""
        return self.read([src], [tgt_in]).view(*tgt_in.shape, -1)

    def read(
        self, sources: Sequence[Tensor], targets: Sequence[Tensor], members: int = 1
    ) -> Tensor:
        """Decoder states [N, D], laid out as `core.nn.blocks` says, of blocks of ids.

        Each block has sources [B, S] and shifted targets [B, T] of its own sizes; of stacked
        models it has one model's rows after another's.
        """
        masks = self._masks(sources)
        memory = self._encode(sources, masks, members)
        x = self._embed_blocks(targets, members)
        own = Blocks.causal(targets, members)
        crossed = Blocks.of(targets, sources, masks, members)
        for layer in self.decoder:
            x = layer(x, memory, own, crossed)
        states: Tensor = self.decoder_norm(x)
        return states

    def encode(self, src: Tensor) -> Tensor:
        """Memory [B, S, D] of sources [B, S]."""
        return self._encode([src], self._masks([src]), 1).view(*src.shape, -1)

    def _encode(self, sources: Sequence[Tensor], masks: Sequence[Tensor], members: int) -> Tensor:
        seen = Blocks.of(sources, sources, masks, members)
        x = self._embed_blocks(sources, members)
        for layer in self.encoder:
            x = layer(x, seen)
        memory: Tensor = self.encoder_norm(x)
        return memory

    def _masks(self, sources: Sequence[Tensor]) -> list[Tensor]:
        return [mask_for(self.attend_mask(src)) for src in sources]

    def project(self, states: Tensor) -> Tensor:
        """Logits [..., V] of decoder states [..., D]."""
        return linear(states, self.embedding.weight)

    def attend_mask(self, src: Tensor) -> Tensor:
        """[B, 1, 1, S], true where the source is no padding."""
        return (src != self.pad_id)[:, None, None, :]

    def start(self, src: Tensor, width: int = 1, *, members: int = 1) -> DecoderState:
        """Encodes sources [B, S] and makes room for `width` hypotheses each.

        Stacked models have B / `members` sources each, one model's after another's.
        """
        crossed = self._read_sources(src, members)
        layers, parts, batch, heads, _, head_size = crossed.shape
        own = crossed.new_zeros(layers, parts, batch * width, heads, _CACHE_ROOM, head_size)
        return DecoderState(own, crossed, attend_bias(self.attend_mask(src), crossed.dtype))

    def _read_sources(self, src: Tensor, members: int) -> Tensor:
        """Keys and values of the memory, [L, 2, B, H, S, K], anything where the source is padding.

        Sources of like length stand side by side; those that are encoded together are padded to
        the longest of them alone.
        """
        most = kernels_for(src.device).encoded_at_once
        if len(src) <= most:
            return self._read_at_once(src)
        parts = []
        at_once = max(most // members, 1)
        for few in torch.split(src.view(members, -1, src.size(1)), at_once, 1):
            length = int((few != self.pad_id).sum(-1).max())
            part = self._read_at_once(few[..., :length].flatten(0, 1))
            part = F.pad(part, (0, 0, 0, src.size(1) - length))
            parts.append(part.view(*part.shape[:2], members, -1, *part.shape[3:]))
        return torch.cat(parts, 3).flatten(2, 3)

    def _read_at_once(self, src: Tensor) -> Tensor:
        memory = self.encode(src)
        layers = self._decoder_layers()
        return torch.stack([each.cross_attention.keys_and_values(memory) for each in layers])

    def step(self, tokens: Tensor, state: DecoderState) -> Tensor:
        """Decoder states [B, W, D] after one more token [B, W] a hypothesis, kept in `state`."""
        state.make_room()
        x = self._embed(tokens.view(-1, 1), state.length).view(*tokens.shape, -1)
        layers = self._decoder_layers()
        for layer, own, crossed in zip(layers, state.own, state.crossed, strict=True):
            x = layer.step(x, own, state.length, crossed, state.attend_bias)
        state.length += 1
        states: Tensor = self.decoder_norm(x)
        return states

    def _decoder_layers(self) -> list[DecoderLayer]:
        return [cast("DecoderLayer", layer) for layer in self.decoder]

    def _embed(self, ids: Tensor, start: int = 0) -> Tensor:
        return self._join(self.positions(ids, start), ids)

    def _embed_blocks(self, blocks: Sequence[Tensor], members: int) -> Tensor:
        positions = [self.positions(ids) for ids in blocks]
        return self._join(lay_out(positions, members), lay_out(blocks, members))

    def _join(self, positions: Tensor, ids: Tensor) -> Tensor:
        scale = math.sqrt(self.settings.d_model)
        x: Tensor = self.dropout(positions.add(self.embedding(ids), alpha=scale))
        return x
