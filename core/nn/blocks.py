"""Sequences of unlike lengths in one batch: laid out in blocks, each padded to its own longest.

What works on positions one by one has those of all blocks in one tensor [K * N, ...], and so does
not know of them; attention takes the blocks apart.

Legend: K stacked models ("members", one where nothing is stacked), N positions of a member in all
blocks, R sequences of a member in a block, T queries and S keys of each of them, H heads,
D d_model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.kernels import kernels_for
from core.nn.attention import (
    attend_bias,
    attention_gradients,
    attention_weights,
    causal_mask,
)
from core.nn.dropout import keep_mask


def lay_out(blocks: Sequence[Tensor], members: int = 1) -> Tensor:
    """Blocks [K * R, T, ...] behind one another: [K * N, ...], a member's after another's."""
    if len(blocks) == 1:
        return blocks[0].flatten(0, 1)
    rows = [block.reshape(members, -1, *block.shape[2:]) for block in blocks]
    return torch.cat(rows, 1).flatten(0, 1)


@dataclass(frozen=True)
class Block:
    """Who sees whom in a block."""

    rows: int
    """K * R."""
    queries: int
    keys: int
    mask: Tensor | None
    """As `mask_for` returns it."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a batch, in the order in which they are laid out."""

    blocks: tuple[Block, ...]
    members: int = 1
    is_causal: bool = False
    """Each position sees those up to itself, and no mask says so."""

    @classmethod
    def of(
        cls,
        queries: Sequence[Tensor],
        keys: Sequence[Tensor],
        masks: Sequence[Tensor | None],
        members: int = 1,
    ) -> Blocks:
        """From ids [K * R, T] and [K * R, S] of each block."""
        every = zip(queries, keys, masks, strict=True)
        blocks = tuple(Block(len(q), q.size(1), k.size(1), mask) for q, k, mask in every)
        assert all(block.rows % members == 0 for block in blocks), "a member has fewer rows"
        return cls(blocks, members)

    @classmethod
    def causal(cls, ids: Sequence[Tensor], members: int = 1) -> Blocks:
        """Each position of ids [K * R, T] sees those up to itself."""
        device = ids[0].device
        if kernels_for(device).uses_fused_attention:
            # Its quickest kernel knows causality and takes no masks.
            unmasked = cls.of(ids, ids, [None] * len(ids), members)
            return replace(unmasked, is_causal=True)
        masks = [mask_for(causal_mask(block.size(1), device)) for block in ids]
        return cls.of(ids, ids, masks, members)

    @cached_property
    def spans(self) -> list[tuple[Block, slice, slice, slice]]:
        """Where each block's queries, keys and weights of one head lie among a member's."""
        sizes = (
            [block.rows * block.queries for block in self.blocks],
            [block.rows * block.keys for block in self.blocks],
            [block.rows * block.queries * block.keys for block in self.blocks],
        )
        ends = ([0, *accumulate(size // self.members for size in each)] for each in sizes)
        slices = ([slice(*pair) for pair in pairwise(each)] for each in ends)
        return list(zip(self.blocks, *slices, strict=True))


def mask_for(attend_mask: Tensor) -> Tensor:
    """A mask as attention on its device takes it fastest, made once for all layers."""
    if kernels_for(attend_mask.device).uses_fused_attention:
        return attend_mask
    # fp32's lowest number would be minus infinity in fp16, and a row that sees nothing NaN.
    return attend_bias(attend_mask, torch.float16).float()


def attend_blocks(*sides: Tensor, blocks: Blocks, heads: int, dropout: float = 0.0) -> Tensor:
    """Attention read-out within each sequence.

    Shapes: one side [K * N, 3 * D], queries, keys and values beside one another, or two,
    [K * N, D] queries and [K * N', 2 * D] keys and values of other sequences; returns
    [K * N, D]. Dropout acts on the attention weights.
    """
    if not kernels_for(sides[0].device).uses_fused_attention:
        apply = _BlockAttention.apply
        read: Tensor = apply(blocks, heads, dropout, *sides)  # type: ignore[no-untyped-call]
        return read
    found = []
    for block, queries, keys, _ in blocks.spans:
        groups = open_sides(sides, block, (queries, keys), blocks.members, heads)
        query, key, value = (part.flatten(0, 1) for group in groups for part in group)
        out = F.scaled_dot_product_attention(
            query, key, value, block.mask, dropout_p=dropout, is_causal=blocks.is_causal
        )
        found.append(out.transpose(1, 2).flatten(2))
    return lay_out(found, blocks.members)


class _BlockAttention(torch.autograd.Function):
    """Attention by batched matrix products, block by block, one operation for autograd."""

    @staticmethod
    def forward(ctx: Any, blocks: Blocks, heads: int, dropout: float, *sides: Tensor) -> Tensor:
        """Sides as `attend_blocks` takes them -> [K * N, D]."""
        members, every = blocks.members, blocks.spans
        out = sides[0].new_empty(len(sides[0]), sum(side.size(-1) for side in sides) // 3)
        kept = None
        if dropout:
            # One draw for all blocks, each member's weights before the next one's.
            kept = keep_mask(out.new_empty(members, every[-1][-1].stop * heads), dropout)
        saved = []
        for block, queries, keys, scores in every:
            opened = open_sides(sides, block, (queries, keys), members, heads)
            groups = [group.flatten(1, 3) for group in opened]
            weights, _, value = attention_weights(block.mask, heads, 0.0, *groups)
            mask = _mask_of(kept, scores, heads, weights)
            shape = members, block.rows // members, block.queries, 1, heads
            (target,) = _open(out, queries, shape)
            read = torch.bmm(weights if mask is None else weights * mask, value)
            target.copy_(read.view(target.shape))
            saved += [weights, *groups]
        ctx.save_for_backward(*([] if kept is None else [kept]), *saved)
        ctx.blocks, ctx.heads, ctx.has_dropout = blocks, heads, kept is not None
        ctx.shapes = [side.shape for side in sides]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = list(ctx.saved_tensors)
        kept = saved.pop(0) if ctx.has_dropout else None
        members, heads = ctx.blocks.members, ctx.heads
        grads = [grad.new_empty(shape) for shape in ctx.shapes]
        for block, queries, keys, scores in ctx.blocks.spans:
            weights, *groups = (saved.pop(0) for _ in range(1 + len(grads)))
            mask = _mask_of(kept, scores, heads, weights)
            shape = members, block.rows // members, block.queries, 1, heads
            (own,) = _open(grad, queries, shape)
            _, found = attention_gradients(own.flatten(0, 2), weights, mask, groups)
            targets = open_sides(grads, block, (queries, keys), members, heads)
            for target, group in zip(targets, found, strict=True):
                target.copy_(group.view(target.shape))
        return None, None, None, *grads


def open_sides(
    sides: Sequence[Tensor], block: Block, spans: tuple[slice, slice], members: int, heads: int
) -> list[Tensor]:
    """Views [parts, K, R, H, T or S, D / H] of a block's part of what `attend_blocks` takes."""
    rows = block.rows // members
    if len(sides) == 1:
        return [_open(sides[0], spans[0], (members, rows, block.queries, 3, heads))]
    return [
        _open(sides[0], spans[0], (members, rows, block.queries, 1, heads)),
        _open(sides[1], spans[1], (members, rows, block.keys, 2, heads)),
    ]


def _open(side: Tensor, span: slice, shape: tuple[int, ...]) -> Tensor:
    """A view [parts, K, R, H, T, D / H] of a block's positions in a side [K * N, parts * D].

    `shape` is (K, R, T, parts, H).
    """
    members = shape[0]
    rows = side.view(members, -1, side.size(-1))[:, span]
    return rows.view(*shape, side.size(-1) // math.prod(shape[3:])).permute(3, 0, 1, 4, 2, 5)


def _mask_of(kept: Tensor | None, scores: slice, heads: int, weights: Tensor) -> Tensor | None:
    """The block's part of a dropout mask [K, weights of a member], in the shape of `weights`."""
    if kept is None:
        return None
    return kept[:, scores.start * heads : scores.stop * heads].reshape(weights.shape)
