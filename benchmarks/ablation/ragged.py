"""Other ways to spend less on padding: tokens' positions alone, and torch's nested tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.ablation.variant import Read
from core.nn.attention import attend, causal_mask, merge_heads, split_heads
from core.translation.model import Transformer
from core.translation.special import PAD_ID

ReadOut = Callable[..., Tensor]


def packed(model: Transformer) -> Read:
    """Attention on padded rows, everything else on the positions that are no padding."""
    return _Ragged(model, _attend_padded).read


def nested(model: Transformer) -> Read:
    """The same with attention on nested tensors, but for the causal one, which torch 2.13 does not
    have for them on the CPU.
    """
    return _Ragged(model, _attend_nested).read


class _Ragged:
    """A model on a single block's positions that are no padding."""

    def __init__(self, model: Transformer, read_out: ReadOut) -> None:
        self._model, self._attend = model, read_out

    def read(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """As `Transformer.read`; states of padding are zeros."""
        model = self._model
        (src,), (tgt_in,) = sources, targets
        src_rows, tgt_rows = _token_rows(src), _token_rows(tgt_in)
        x = model._embed(src).flatten(0, 1)[src_rows]
        for layer in model.encoder:
            x = layer.self_residual(x, self._own(layer, src, is_causal=False))
            x = layer.feed_residual(x, layer.feed_forward)
        memory = model.encoder_norm(x)
        x = model._embed(tgt_in).flatten(0, 1)[tgt_rows]
        for layer in model.decoder:
            x = layer.self_residual(x, self._own(layer, tgt_in, is_causal=True))
            x = layer.cross_residual(x, self._crossed(layer, memory, src, tgt_in))
            x = layer.feed_residual(x, layer.feed_forward)
        return _unpack(model.decoder_norm(x), tgt_in).flatten(0, 1)

    def _own(self, layer: nn.Module, ids: Tensor, *, is_causal: bool) -> Callable[..., Tensor]:
        attention = layer.self_attention

        def read(y: Tensor) -> Tensor:
            parts = attention.query_key_value(y).chunk(3, -1)
            return self._read_out(attention, parts, ids, ids, is_causal=is_causal)

        return read

    def _crossed(
        self, layer: nn.Module, memory: Tensor, src: Tensor, tgt_in: Tensor
    ) -> Callable[..., Tensor]:
        attention = layer.cross_attention

        def read(y: Tensor) -> Tensor:
            parts = attention.query(y), *attention.key_value(memory).chunk(2, -1)
            return self._read_out(attention, parts, tgt_in, src, is_causal=False)

        return read

    def _read_out(
        self,
        attention: nn.Module,
        parts: Sequence[Tensor],
        ids: Tensor,
        others: Tensor,
        *,
        is_causal: bool,
    ) -> Tensor:
        dropout = attention.dropout if attention.training else 0.0
        found = self._attend(
            parts, ids, others, attention.num_heads, dropout=dropout, is_causal=is_causal
        )
        result: Tensor = attention.out(found)
        return result


def _attend_padded(
    parts: Sequence[Tensor],
    ids: Tensor,
    others: Tensor,
    heads: int,
    *,
    dropout: float,
    is_causal: bool,
) -> Tensor:
    """Queries of `ids`, keys and values of `others`, tokens' positions alone: [N, D] each."""
    query, *rest = parts
    own = split_heads(_unpack(query, ids), heads, 1)
    key_value = split_heads(_unpack(torch.cat(rest, -1), others), heads, 2)
    mask = (others != PAD_ID)[:, None, None]
    if is_causal:
        mask = causal_mask(ids.size(1), ids.device)
    found = attend(own, key_value, attend_mask=mask, dropout=dropout)
    return merge_heads(found).flatten(0, 1)[_token_rows(ids)]


def _attend_nested(
    parts: Sequence[Tensor],
    ids: Tensor,
    others: Tensor,
    heads: int,
    *,
    dropout: float,
    is_causal: bool,
) -> Tensor:
    if is_causal:
        return _attend_padded(parts, ids, others, heads, dropout=dropout, is_causal=True)

    def nest(part: Tensor, of: Tensor) -> Tensor:
        ends = (of != PAD_ID).sum(1).cumsum(0)
        values = part.unflatten(-1, (heads, -1)).contiguous()
        return torch.nested.nested_tensor_from_jagged(values, F.pad(ends, (1, 0))).transpose(1, 2)

    query, key, value = (
        nest(part, of) for part, of in zip(parts, (ids, others, others), strict=True)
    )
    found = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    return found.transpose(1, 2).values().flatten(1)


def _token_rows(ids: Tensor) -> Tensor:
    return (ids != PAD_ID).flatten().nonzero().squeeze(1)


def _unpack(x: Tensor, ids: Tensor) -> Tensor:
    """[N, D] -> [B, T, D], zeros where there is padding."""
    padded = x.new_zeros(ids.numel(), x.size(-1)).index_copy(0, _token_rows(ids), x)
    return padded.view(*ids.shape, -1)
