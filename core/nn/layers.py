"""The layers of a Transformer, Vaswani et al. 2017, figure 1.

Legend: B batch, S source, T target, D d_model, H heads, K = D / H, C cache.
"""

from __future__ import annotations

from torch import Tensor, nn

from core.nn.attention import CrossAttention, SelfAttention
from core.nn.feed_forward import FeedForward
from core.nn.residual import NormPlace, Residual


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each in a residual sum."""

    def __init__(
        self, d_model: int, num_heads: int, d_ff: int, dropout: float, norm: NormPlace
    ) -> None:
        super().__init__()
        self.self_attention = SelfAttention(d_model, num_heads, dropout)
        self.self_residual = Residual(d_model, dropout, norm)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.feed_residual = Residual(d_model, dropout, norm)

    def forward(self, x: Tensor, attend_mask: Tensor | None, *, causal: bool = False) -> Tensor:
        """[B, S, D] -> [B, S, D]; attend_mask broadcasts to [B, H, S, S]."""
        x = self.self_residual(x, lambda y: self.self_attention(y, attend_mask, causal=causal))
        x = self.feed_residual(x, self.feed_forward)
        return x  # noqa: RET504  # a module's call is untyped, `x` is not

    def fill(self, x: Tensor, cache: Tensor, attend_mask: Tensor | None) -> Tensor:
        """The first S positions, of which `cache` [2, B, H, C, K] keeps keys and values."""
        x = self.self_residual(x, lambda y: self.self_attention.fill(y, cache, attend_mask))
        x = self.feed_residual(x, self.feed_forward)
        return x  # noqa: RET504

    def step(self, x: Tensor, cache: Tensor, length: int, attend_mask: Tensor | None) -> Tensor:
        """One more position [B, 1, D] behind the `length` in the cache, to which it is added."""
        x = self.self_residual(
            x, lambda y: self.self_attention.step(y, cache, length, attend_mask)
        )
        x = self.feed_residual(x, self.feed_forward)
        return x  # noqa: RET504


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to a memory, feed-forward, each in a residual sum."""

    def __init__(
        self, d_model: int, num_heads: int, d_ff: int, dropout: float, norm: NormPlace
    ) -> None:
        super().__init__()
        self.self_attention = SelfAttention(d_model, num_heads, dropout)
        self.self_residual = Residual(d_model, dropout, norm)
        self.cross_attention = CrossAttention(d_model, num_heads, dropout)
        self.cross_residual = Residual(d_model, dropout, norm)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.feed_residual = Residual(d_model, dropout, norm)

    def forward(self, x: Tensor, memory: Tensor, attend_mask: Tensor | None) -> Tensor:
        """x [B, T, D], memory [B, S, D] -> [B, T, D]; attend_mask broadcasts to [B, H, T, S]."""
        x = self.self_residual(x, lambda y: self.self_attention(y, causal=True))
        keys_and_values = self.cross_attention.keys_and_values(memory)
        return self._read_memory(x, keys_and_values, attend_mask)

    def step(
        self, x: Tensor, own: Tensor, length: int, crossed: Tensor, attend_mask: Tensor | None
    ) -> Tensor:
        """One position of W hypotheses a sentence, which share the sentence's memory.

        Shapes: x [B, W, D]; own [2, B * W, H, C, K], keys and values of the `length` positions
        before, to which this one's are added; crossed [2, B, H, S, K]; returns [B, W, D].
        """
        rows = x.flatten(0, 1)[:, None]
        rows = self.self_residual(rows, lambda y: self.self_attention.step(y, own, length))
        return self._read_memory(rows.view_as(x), crossed, attend_mask)

    def _read_memory(self, x: Tensor, crossed: Tensor, attend_mask: Tensor | None) -> Tensor:
        x = self.cross_residual(x, lambda y: self.cross_attention(y, crossed, attend_mask))
        x = self.feed_residual(x, self.feed_forward)
        return x  # noqa: RET504  # a module's call is untyped, `x` is not
