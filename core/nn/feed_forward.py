"""The position-wise feed-forward network, Vaswani et al. 2017, section 3.3."""

from __future__ import annotations

from torch import Tensor, nn

from core.nn.projections import projection


class FeedForward(nn.Module):
    """max(0, x W1 + b1) W2 + b2, for x of [..., D]."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.expand = projection(d_model, d_ff)
        self.contract = projection(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        # In place, for this is a layer's widest activation, and of two dimensions, for autograd
        # copies where the result of a product of more, a view, is changed in place.
        y: Tensor = self.contract(self.expand(x.flatten(0, -2)).relu_())
        return y.view_as(x)
