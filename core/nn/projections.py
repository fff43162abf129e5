"""Linear maps as the Transformer starts them."""

from __future__ import annotations

from torch import nn


def projection(d_in: int, d_out: int, parts: int = 1) -> nn.Linear:
    """A linear map with Xavier-uniform weights and zero biases.

    With `parts` it is that many maps to `d_out` side by side, one matrix product instead of
    several; each part is drawn as if it stood alone.
    """
    linear = nn.Linear(d_in, parts * d_out)
    for weight in linear.weight.chunk(parts):
        nn.init.xavier_uniform_(weight)
    nn.init.zeros_(linear.bias)
    return linear
