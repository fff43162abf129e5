"""Layers of multi-head attention, Vaswani et al. 2017, section 3.2.2.

Legend: B batch, T queries, S keys, D d_model, H heads, K = D / H, W hypotheses; N positions of all
sequences of a batch that lie in blocks, as `core.nn.blocks` says.
"""

from __future__ import annotations

from torch import Tensor, nn

from core.nn.attention import attend, merge_heads, split_heads
from core.nn.blocks import Blocks, attend_blocks
from core.nn.projections import projection


class SelfAttention(nn.Module):
    """Attention of a sequence to itself; query, key and value come from one product."""

    def __init__(self, d_model: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query_key_value = projection(d_model, d_model, parts=3)
        self.out = projection(d_model, d_model)

    def forward(self, x: Tensor, seen: Tensor | Blocks | None = None) -> Tensor:
        """[B, T, D] and what `attend` takes for a mask, or [N, D] and blocks -> x's shape.

        Dropout acts on the attention weights.
        """
        dropout = self.dropout if self.training else 0.0
        packed = self.query_key_value(x)
        if isinstance(seen, Blocks):
            read = attend_blocks(packed, blocks=seen, heads=self.num_heads, dropout=dropout)
        else:
            group = split_heads(packed, self.num_heads, 3)
            read = merge_heads(attend(group, attend_mask=seen, dropout=dropout))
        out: Tensor = self.out(read)
        return out

    def fill(self, x: Tensor, cache: Tensor, attend_mask: Tensor | None = None) -> Tensor:
        """Attention of the first T positions to one another, whose keys and values are kept.

        Shapes: x [B, T, D]; cache [2, B, H, C, K] with C >= T, written up to T; attend_mask,
        broadcastable to [B, H, T, T]; returns [B, T, D].
        """
        group = split_heads(self.query_key_value(x), self.num_heads, 3)
        cache[:, :, :, : x.size(1)] = group[1:]
        out: Tensor = self.out(merge_heads(attend(group, attend_mask=attend_mask)))
        return out

    def step(
        self, x: Tensor, cache: Tensor, length: int, attend_mask: Tensor | None = None
    ) -> Tensor:
        """Attention of one new position to itself and to the `length` before it.

        Shapes: x [B, 1, D]; cache [2, B, H, C, K] with C > length, whose keys and values at
        `length` are written; attend_mask, as `attend` takes it, broadcastable to
        [B, H, 1, length + 1]; returns [B, 1, D].
        """
        group = split_heads(self.query_key_value(x), self.num_heads, 3)
        cache[:, :, :, length] = group[1:, :, :, 0]
        read = attend(group[:1], cache[:, :, :, : length + 1], attend_mask=attend_mask)
        out: Tensor = self.out(merge_heads(read))
        return out


class CrossAttention(nn.Module):
    """Attention of a sequence to another, the memory."""

    def __init__(self, d_model: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = projection(d_model, d_model)
        self.key_value = projection(d_model, d_model, parts=2)
        self.out = projection(d_model, d_model)

    def forward(self, x: Tensor, memory: Tensor, blocks: Blocks) -> Tensor:
        """[N, D], memory [N', D] -> [N, D]; dropout acts on the attention weights."""
        dropout = self.dropout if self.training else 0.0
        sides = self.query(x), self.key_value(memory)
        read = attend_blocks(*sides, blocks=blocks, heads=self.num_heads, dropout=dropout)
        out: Tensor = self.out(read)
        return out

    def keys_and_values(self, memory: Tensor) -> Tensor:
        """The memory [B, S, D] as a group [2, B, H, S, K], the same for every query."""
        return split_heads(self.key_value(memory), self.num_heads, 2)

    def step(self, x: Tensor, keys_and_values: Tensor, attend_mask: Tensor | None) -> Tensor:
        """[B, W, D] -> [B, W, D], a position of W hypotheses of each sentence."""
        query = split_heads(self.query(x), self.num_heads, 1)
        out: Tensor = self.out(
            merge_heads(attend(query, keys_and_values, attend_mask=attend_mask))
        )
        return out
