"""Dropout, Srivastava et al. 2014, quick on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.kernels import kernels_for

_LEVELS = 2**16
_GENERATORS: ContextVar[Sequence[torch.Generator | None]] = ContextVar(
    "generators", default=(None,)
)


@contextmanager
def drawing_from(generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Has each of K stacked models' masks drawn from a generator of its own, on the CPU.

    Elsewhere one draw of the device's generator serves all.
    """
    token = _GENERATORS.set(generators)
    try:
        yield
    finally:
        _GENERATORS.reset(token)


def keep_mask(like: Tensor, p: float) -> Tensor:
    """A mask of `like`'s shape and type: 0 with probability `p`, else 1 / (1 - p).

    Each unit takes 16 bits of torch's generator, four units a draw, so that `p` is rounded to a
    multiple of 2**-16 and the mean is 1 exactly. With a draw for each unit, as torch has it, a
    residual sum with dropout takes twice as long, forward and backward (benchmarks/kernels.py).
    Of stacked models `like` holds the first one's units before the second's and so on.
    """
    kept = min(max(round((1 - p) * _LEVELS), 1), _LEVELS)
    generators = _GENERATORS.get()
    units = like.numel() // len(generators)
    draws = torch.empty(len(generators), (units + 3) // 4, dtype=torch.int64, device=like.device)
    for row, generator in zip(draws, generators, strict=True):
        row.random_(-(2**63), None, generator=generator)
    bits = draws.view(torch.int16)[:, :units].reshape(like.shape)
    mask = torch.empty_like(like, memory_format=torch.contiguous_format)
    # Comparing into a float spares the pass that turns a bool into one.
    if kept == _LEVELS:
        return mask.fill_(1)
    torch.lt(bits, kept - _LEVELS // 2, out=mask)
    return mask.mul_(_LEVELS / kept)


class Dropout(nn.Module):
    """Zeroes units with probability `p` in training and scales the others by 1 / (1 - p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        if not self.training or self.p == 0:
            return x
        if kernels_for(x.device).uses_wide_dropout:
            return x * keep_mask(x, self.p)
        return F.dropout(x, self.p)

    def add(self, residual: Tensor, x: Tensor) -> Tensor:
        """`residual` + dropout(`x`), in one pass where it can be."""
        if not self.training or self.p == 0:
            return residual + x
        if kernels_for(x.device).uses_wide_dropout and residual.dtype == x.dtype:
            return torch.addcmul(residual, x, keep_mask(x, self.p))
        return residual + self.forward(x)

    def extra_repr(self) -> str:
        return f"p={self.p}"
