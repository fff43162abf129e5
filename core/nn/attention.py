"""Multi-head attention, Vaswani et al. 2017, section 3.2.

Legend: B batch, T queries, S keys, D d_model, H heads, K = D / H, N = B * H.

Queries, keys and values travel in groups [parts, B, H, T, K]: one group (query, key, value) where
one matrix product made all three, two (query), (key, value) where the keys are another sequence's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.kernels import kernels_for
from core.nn.dropout import keep_mask


def attend(
    *groups: Tensor,
    attend_mask: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention read-out, softmax(Q K^T / sqrt(K)) V.

    Shapes: groups [parts, B, H, T or S, K], together query, key and value; attend_mask,
    broadcastable to [B, H, T, S], bool, true where attention is allowed, or what `attend_bias`
    made of it, or any other bias of the scores, which may be learned; returns [B, H, T, K]. A row
    that may see nothing returns finite numbers that mean nothing.
    """
    if kernels_for(groups[0].device).uses_fused_attention:
        query, key, value = _parts(groups)
        return F.scaled_dot_product_attention(query, key, value, attend_mask, dropout_p=dropout)
    batch, heads, queries = groups[0].shape[1:4]
    flat = [group.flatten(1, 2) for group in groups]
    if torch.is_grad_enabled():
        apply = _PlainAttention.apply
        read: Tensor = apply(attend_mask, heads, dropout, *flat)  # type: ignore[no-untyped-call]
    else:
        weights, kept, value = attention_weights(attend_mask, heads, dropout, *flat)
        read = _weighted_sum(weights if kept is None else weights * kept, value)
    return read.view(batch, heads, queries, -1)


def attend_bias(attend_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What a mask adds to scores of type `dtype`: made once, it serves many steps of decoding."""
    bias = torch.zeros(attend_mask.shape, dtype=dtype, device=attend_mask.device)
    return bias.masked_fill_(~attend_mask, torch.finfo(dtype).min)


def causal_mask(length: int, device: torch.device) -> Tensor:
    """[T, T], true where a query may see a key: up to itself."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


class _PlainAttention(torch.autograd.Function):
    """Attention by batched matrix products, its gradient written out.

    Autograd would copy more: it stacks the three gradients that are here computed in place.
    """

    @staticmethod
    def forward(
        ctx: Any, attend_mask: Tensor | None, heads: int, dropout: float, *groups: Tensor
    ) -> Tensor:
        """Groups [parts, N, T or S, K] -> [N, T, K]."""
        weights, kept, value = attention_weights(attend_mask, heads, dropout, *groups)
        ctx.has_dropout = kept is not None
        ctx.bias_shape = None
        if attend_mask is not None and attend_mask.requires_grad:
            ctx.bias_shape = attend_mask.shape
        ctx.heads = heads
        ctx.save_for_backward(weights, *([] if kept is None else [kept]), *groups)
        return torch.bmm(weights if kept is None else weights * kept, value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, *groups = ctx.saved_tensors
        kept = groups.pop(0) if ctx.has_dropout else None
        d_scores, grads = attention_gradients(grad, weights, kept, groups)
        d_bias = None
        if ctx.bias_shape is not None:
            d_bias = d_scores.view(-1, ctx.heads, *d_scores.shape[1:]).sum_to_size(ctx.bias_shape)
        return d_bias, None, None, *grads


def attention_gradients(
    grad: Tensor, weights: Tensor, kept: Tensor | None, groups: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of the scores and of the groups.

    Shapes: grad [N, T, K]; weights and the dropout mask `kept` [N, T, S], as `attention_weights`
    returned them; groups [parts, N, T or S, K]; returns [N, T, S] and the groups' shapes.
    """
    query, key, value = _parts(groups)
    grads = [torch.empty_like(group) for group in groups]
    d_query, d_key, d_value = _parts(grads)
    dropped = weights if kept is None else weights * kept
    torch.bmm(dropped.transpose(1, 2), grad, out=d_value)
    weighted = torch.bmm(grad, value.transpose(1, 2)).mul_(dropped)
    # The gradient of softmax: w * (dw - sum(w dw)).
    d_scores = weighted.addcmul_(weights, weighted.sum(-1, keepdim=True), value=-1)
    # The scores are products times this scale.
    scale = query.size(-1) ** -0.5
    torch.baddbmm(d_query, d_scores, key, beta=0, alpha=scale, out=d_query)
    torch.baddbmm(d_key, d_scores.transpose(1, 2), query, beta=0, alpha=scale, out=d_key)
    return d_scores, grads


def _parts(groups: Sequence[Tensor]) -> Iterator[Tensor]:
    """Query, key and value of groups."""
    return (part for group in groups for part in group.unbind(0))


def attention_weights(
    attend_mask: Tensor | None, heads: int, dropout: float, *groups: Tensor
) -> tuple[Tensor, Tensor | None, Tensor]:
    """softmax(Q K^T / sqrt(K)) [N, T, S], the dropout mask to apply to it, and the values."""
    query, key, value = _parts(groups)
    scale, keys = query.size(-1) ** -0.5, key.transpose(1, 2)
    if attend_mask is None:
        scores = torch.bmm(query, keys).mul_(scale)
    else:
        is_bool = attend_mask.dtype == torch.bool
        bias = attend_bias(attend_mask, query.dtype) if is_bool else attend_mask
        scores = query.new_empty(query.size(0), query.size(1), key.size(1))
        scores.view(-1, heads, *scores.shape[1:]).copy_(bias)
        scores.baddbmm_(query, keys, alpha=scale)
    # Under autocast softmax returns fp32.
    weights = torch.softmax(scores, dim=-1).to(query.dtype)
    return weights, keep_mask(weights, dropout) if dropout else None, value


def _weighted_sum(weights: Tensor, value: Tensor) -> Tensor:
    """[N, T, S], [N, S, K] -> [N, T, K]."""
    if weights.size(1) == 1:
        # torch leaves products as small as these to a kernel that takes up to four times as long.
        return (value * weights.transpose(1, 2)).sum(1, keepdim=True)
    return torch.bmm(weights, value)


def split_heads(packed: Tensor, heads: int, parts: int) -> Tensor:
    """[B, T, parts * D] -> [parts, B, H, T, K], a view."""
    batch, length, width = packed.shape
    return packed.view(batch, length, parts, heads, width // (parts * heads)).permute(
        2, 0, 3, 1, 4
    )


def merge_heads(read: Tensor) -> Tensor:
    """[B, H, T, K] -> [B, T, D]."""
    return read.transpose(1, 2).flatten(2)
