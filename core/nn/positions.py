"""Sinusoidal positions as `transformers`' M2M100 computes them.

Against Vaswani et al. 2017, section 3.5: all sines stand before all cosines, the wavelengths run
over D/2 - 1 steps, and the first token's position is pad_id + 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_FIRST_TABLE = 256


def sinusoids(positions: int, d_model: int) -> Tensor:
    """Rows sin(p / 10000^(i / (D/2 - 1))), then the cosines: [positions, D], fp32.

    An odd D ends in a column of zeros.
    """
    half = d_model // 2
    rates = torch.exp(torch.arange(half).float() * (-math.log(10_000) / (half - 1)))
    angles = torch.arange(positions).float()[:, None] * rates
    table = torch.cat([angles.sin(), angles.cos()], dim=1)
    return nn.functional.pad(table, (0, d_model - table.size(1)))


class SinusoidalPositions(nn.Module):
    """Position vectors of token ids: pads get zeros and are not counted.

    The table grows when a longer sequence comes, and is no part of the weights.
    """

    table: Tensor

    def __init__(self, d_model: int, pad_id: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.pad_id = pad_id
        self.register_buffer("table", self._rows(_FIRST_TABLE), persistent=False)

    def _rows(self, count: int) -> Tensor:
        rows = sinusoids(count, self.d_model)
        rows[self.pad_id] = 0
        return rows

    def forward(self, ids: Tensor, start: int = 0) -> Tensor:
        """Vectors [B, T, D] of ids [B, T] that follow `start` earlier tokens."""
        longest = self.pad_id + 1 + start + ids.size(1)
        if longest > self.table.size(0):
            # A tensor made under inference mode could not be used in training afterwards.
            with torch.inference_mode(False):
                self.table = self._rows(2 * longest).to(self.table)
        is_token = ids != self.pad_id
        places = (is_token.cumsum(1) + start) * is_token + self.pad_id
        return nn.functional.embedding(places, self.table)
