"""The residual sum around a sublayer, and where its LayerNorm stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from core.nn.dropout import Dropout

NormPlace = Literal["pre", "post"]


class Residual(nn.Module):
    """x + dropout(sublayer(norm(x))) for `pre`, norm(x + dropout(sublayer(x))) for `post`."""

    def __init__(self, d_model: int, dropout: float, norm: NormPlace) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)
        self.is_pre = norm == "pre"

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        if self.is_pre:
            return self.dropout.add(x, sublayer(self.norm(x)))
        total: Tensor = self.norm(self.dropout.add(x, sublayer(x)))
        return total
