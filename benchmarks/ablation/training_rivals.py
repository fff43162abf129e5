"""What stands in the product's place when it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partialmethod
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.ablation.freed_memory import has_mallopt, keeping_blocks
from benchmarks.ablation.ragged import nested, packed
from benchmarks.ablation.variant import Context, Variant, by_sdpa, patch
from benchmarks.like_lengths import LikeLengths
from core.kernels import ALL_ROWS
from core.nn import linear
from core.nn.attention import merge_heads
from core.nn.attention_layers import SelfAttention
from core.nn.blocks import Blocks, attend_blocks, lay_out, open_sides
from core.nn.dropout import Dropout
from core.optimizer import StageOptimizer
from core.precision import choose

_MASKED = "core.nn.blocks.keep_mask", "core.nn.dropout.keep_mask"
_POOLED = 2**24


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
        mock.patch("core.nn.blocks.keep_mask", mask),
    ):
        yield


def from_a_pool(p: float) -> Context:
    """Masks cut at random places out of one that was drawn before."""
    pool = torch.empty(_POOLED).bernoulli_(1 - p).div_(1 - p)

    def mask(like: Tensor, _: float) -> Tensor:
        start = int(torch.randint(_POOLED - like.numel(), ()))
        return pool[start : start + like.numel()].view(like.shape)

    return patch(*_MASKED, by=mask)


def attend_by_autograd(*sides: Tensor, blocks: Blocks, heads: int, dropout: float = 0.0) -> Tensor:
    """Attention by products, its gradient left to autograd."""
    found = []
    for block, queries, keys, _ in blocks.spans:
        groups = open_sides(sides, block, (queries, keys), blocks.members, heads)
        query, key, value = (part.flatten(0, 1) for group in groups for part in group)
        scores = query @ key.transpose(-1, -2) * query.size(-1) ** -0.5
        if block.mask is not None:
            scores = scores + block.mask
        read = F.dropout(scores.softmax(-1), dropout) @ value
        found.append(merge_heads(read))
    return lay_out(found, blocks.members)


def cross_entropy(
    states: Tensor, weight: Tensor, labels: Tensor, *, ignore_id: int, label_smoothing: float
) -> Tensor:
    """Logits in full, then torch's loss."""
    logits = F.linear(states, weight)
    return F.cross_entropy(
        logits, labels.flatten(), ignore_index=ignore_id, label_smoothing=label_smoothing
    )


def separate_projections(self: SelfAttention, x: Tensor, seen: Blocks) -> Tensor:
    """Query, key and value by three products."""
    joint = self.query_key_value
    parts = zip(joint.weight.chunk(3), joint.bias.chunk(3), strict=True)
    packed = torch.cat([linear(x, *part) for part in parts], -1)
    dropout = self.dropout if self.training else 0.0
    read = attend_blocks(packed, blocks=seen, heads=self.num_heads, dropout=dropout)
    out: Tensor = self.out(read)
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


@contextmanager
def medium_precision() -> Iterator[None]:
    """fp32 products that may round their factors to bf16."""
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision("highest")


def training_variants(dropout: float, *, compiled: bool) -> Iterator[Variant]:
    """The product first."""
    yield Variant("product")
    yield Variant("blocks of 8", block_rows=8)
    yield Variant("blocks of 32", block_rows=32)
    yield Variant("one block", block_rows=ALL_ROWS)
    yield Variant("batches of like length", plan=LikeLengths, block_rows=ALL_ROWS)
    yield Variant("packed", read=packed, block_rows=ALL_ROWS)
    yield Variant("nested tensors", read=nested, block_rows=ALL_ROWS)
    yield Variant("SDPA", by_sdpa)
    yield Variant(
        "attention by autograd",
        patch("core.nn.attention_layers.attend_blocks", by=attend_by_autograd),
    )
    yield Variant(
        "three projections",
        patch("core.nn.attention_layers.SelfAttention.forward", by=separate_projections),
    )
    yield Variant("torch's dropout", by_torch_dropout)
    yield Variant("pool of masks", from_a_pool(dropout))
    yield Variant("AdamW a parameter", by_parameter)
    yield Variant("AdamW foreach", with_foreach)
    yield Variant("F.cross_entropy", loss=cross_entropy)
    if has_mallopt():
        yield Variant("freed blocks given back", keeping_blocks(keep=False))
    yield Variant("matmul precision medium", medium_precision)
    if choose("auto", torch.device("cpu")).name == "bf16":
        yield Variant("fp32", precision="fp32")
    if compiled:
        yield Variant("torch.compile", read=lambda model: torch.compile(model.read, dynamic=True))
        yield Variant(
            "torch.compile, one block, SDPA",
            by_sdpa,
            read=lambda model: torch.compile(model.read, dynamic=True),
            block_rows=ALL_ROWS,
        )
