"""Learning rate as a pure function of the update: linear warmup, then a decay."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

Decay = Callable[[int, int, int], float]
"""(update, steps, warmup) -> factor, asked only for warmup <= update < steps."""


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


# A new shape is one function and one line here, and its name in core.settings.SchedulerType.
_DECAYS: Mapping[str, Decay] = {
    "linear": _linear,
    "cosine": _cosine,
    "inverse_sqrt": _inverse_sqrt,
    "constant": _constant,
    "reduce_on_plateau": _constant,  # what evaluations take off comes on top (core.plateau)
}


def factor(step: int, *, steps: int, warmup: int, decay: str) -> float:
    """Share of the peak learning rate that update `step` of a stage is made with.

    Updates count from 0, so `step` is also the number of updates done before this one. For update
    k of n with warmup w:

        k < w                 (k + 1) / w
        linear                (n - k) / (n - w)
        cosine                (1 + cos(pi (k - w) / (n - w))) / 2
        inverse_sqrt          sqrt(max(w, 1) / (k + 1))
        constant              1
        reduce_on_plateau     1, times what core.plateau makes of the evaluations so far

    The warmup rises to exactly 1 at update w - 1, and no update of it is made with 0. With w = 0
    the decay begins at update 0 with 1; with w = n there is only the warmup, with w > n a part of
    it. Linear and cosine would reach 0 at update n, so that the last update, n - 1, still moves.

    Raises: ValueError for an update outside [0, steps) and KeyError for an unknown decay.
    """
    if not 0 <= step < steps:
        raise ValueError(f"update {step} is outside a stage of {steps}")
    if step < warmup:
        return (step + 1) / warmup
    return _DECAYS[decay](step, steps, warmup)
