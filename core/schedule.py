"""Learning rate as a pure function of the update: a warmup, then a decay."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Warmup = Callable[[float], float]
"""Updates made, this one included, over the length of the warmup: above 0 -> factor."""
Decay = Callable[[int, int, int], float]
"""(update, steps, warmup) -> factor, asked only for warmup <= update < steps."""


def _rise_linear(share: float) -> float:
    return min(share, 1.0)


def _rise_exponential(share: float) -> float:
    return -math.expm1(-share)


def _rise_cosine(share: float) -> float:
    return 0.5 * (1.0 - math.cos(math.pi * min(share, 1.0)))


def _linear(update: int, steps: int, warmup: int) -> float:
    return (steps - update) / (steps - warmup)


def _cosine(update: int, steps: int, warmup: int) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * (update - warmup) / (steps - warmup)))


def _inverse_sqrt(update: int, steps: int, warmup: int) -> float:
    del steps  # the only decay that does not know when it ends
    return math.sqrt(max(warmup, 1) / (update + 1))


def _constant(update: int, steps: int, warmup: int) -> float:
    del update, steps, warmup
    return 1.0


# A new one is a function and a line here, and its name in core.settings.
WARMUPS: Mapping[str, Warmup] = {
    "linear": _rise_linear,
    "exponential": _rise_exponential,
    "cosine": _rise_cosine,
}
DECAYS: Mapping[str, Decay] = {
    "linear": _linear,
    "cosine": _cosine,
    "inverse_sqrt": _inverse_sqrt,
    "noam": _inverse_sqrt,
    "constant": _constant,
    "reduce_on_plateau": _constant,  # what evaluations take off comes on top (core.plateau)
}


def factor(step: int, *, steps: int, warmup: int, decay: str, shape: str = "linear") -> float:
    """Share of the peak learning rate that update `step` of a stage is made with.

    Updates count from 0, so `step` is also the number of updates done before this one. For update
    k of n with warmup w, the product of the warmup's shape

        linear                min((k + 1) / w, 1)
        exponential           1 - exp(-(k + 1) / w)
        cosine                (1 - cos(pi min((k + 1) / w, 1))) / 2

    and, from k = w on, of the decay

        linear                (n - k) / (n - w)
        cosine                (1 + cos(pi (k - w) / (n - w))) / 2
        inverse_sqrt, noam    sqrt(max(w, 1) / (k + 1))
        constant              1
        reduce_on_plateau     1, times what core.plateau makes of the evaluations so far

    A linear or cosine warmup rises to exactly 1 at update w - 1. An exponential one (Ma and Yarats
    2019, arXiv:1910.04209) has no end: 63 percent of the rate are reached at update w - 1, 95
    percent at 3 w - 1, and the rate itself never is. No update is made with 0. With w = 0 there is
    no warmup and the decay begins at update 0 with 1; with w = n there is only the warmup, with
    w > n a part of it. Linear and cosine decays would reach 0 at update n, so that the last
    update, n - 1, still moves. With a linear warmup `noam` is equation 3 of Vaswani et al. 2017
    over its own peak, (d_model w)^-0.5, whose place the learning rate takes.

    Raises: ValueError for an update outside [0, steps) and KeyError for an unknown shape or decay.
    """
    if not 0 <= step < steps:
        raise ValueError(f"update {step} is outside a stage of {steps}")
    risen = WARMUPS[shape]((step + 1) / warmup) if warmup else 1.0
    return risen if step < warmup else risen * DECAYS[decay](step, steps, warmup)
