"""The layers of a Transformer, Vaswani et al. 2017, figure 1.

Legend: B batch, S source, T target, D d_model, H heads, K = D / H, C cache; N positions of all
sentences of a batch that lie in blocks, as `core.nn.blocks` says.
"""

from __future__ import annotations

from torch import Tensor, nn

from core.nn.attention_layers import CrossAttention, SelfAttention
from core.nn.blocks import Blocks
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

    def forward(self, x: Tensor, seen: Tensor | Blocks | None) -> Tensor:
        """[B, S, D] and a mask that broadcasts to [B, H, S, S], or [N, D] and blocks."""
        x = self.self_residual(x, lambda y: self.self_attention(y, seen))
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

    def forward(self, x: Tensor, memory: Tensor, own: Blocks, crossed: Blocks) -> Tensor:
        """x [N, D], memory [N', D] -> [N, D]; blocks of the targets, and of them to sources."""
        x = self.self_residual(x, lambda y: self.self_attention(y, own))
        x = self.cross_residual(x, lambda y: self.cross_attention(y, memory, crossed))
        x = self.feed_residual(x, self.feed_forward)
        return x  # noqa: RET504  # a module's call is untyped, `x` is not

    def step(
        self, x: Tensor, own: Tensor, length: int, crossed: Tensor, attend_mask: Tensor | None
    ) -> Tensor:
        """One position of W hypotheses a sentence, which share the sentence's memory.

        Shapes: x [B, W, D]; own [2, B * W, H, C, K], keys and values of the `length` positions
        before, to which this one's are added; crossed [2, B, H, S, K]; returns [B, W, D].
        """
        rows = x.flatten(0, 1)[:, None]
        rows = self.self_residual(rows, lambda y: self.self_attention.step(y, own, length))
        x = rows.view_as(x)
        x = self.cross_residual(x, lambda y: self.cross_attention.step(y, crossed, attend_mask))
        x = self.feed_residual(x, self.feed_forward)
        return x  # noqa: RET504
