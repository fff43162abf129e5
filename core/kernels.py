"""How a device computes what can be computed in several ways: the one place that chooses.

What layers do on the CPU was measured on it; where, is said with each choice or where it is used.
Elsewhere an operation costs a launch, and a number read from the device a wait: there the choices
are fewer and larger operations. They follow from that, and were not measured (`benchmarks.gpu`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ALL_ROWS = 2**31
"""More rows than any batch has."""


@dataclass(frozen=True)
class Kernels:
    """The choices for one kind of device."""

    uses_fused_attention: bool
    """`F.scaled_dot_product_attention`, rather than batched products with a gradient of our own.

    Over [128, 15, 128] with 4 heads, padding and dropout, forward and backward take 7.5 ms by it
    and 5.4 by ours, on an AVX2 core (benchmarks/kernels.py).
    """
    block_rows: int
    """Sequences of a batch to pad together: the fewer, the less padding, and the more operations
    (docs/decisions/0037-batches-are-random.md; benchmarks/ablation)."""
    encoded_at_once: int
    """Sources to encode together for a search: what is worked on then stays in the cache, and few
    are padded to the longest of all (docs/log.md, "What each trick gives")."""
    logits_at_once: int
    """Logits to hold in training: on the CPU what its cache holds, else what memory spares."""
    skips_padding_in_loss: bool
    """Computes no logits where there is padding: how many are left has to be known on the host."""
    uses_wide_dropout: bool
    """Four units of a mask from one draw: torch's own takes twice as long (benchmarks/kernels.py).
    """
    uses_maxima_by_block: bool
    """Looks for the largest of many numbers in blocks: torch finds where a maximum is without
    vector instructions (`core/nn/ranking.py`)."""
    uses_own_gru: bool
    """A GRU in few calls, for small nets (`core/nn/gru.py`)."""
    uses_pinned_copies: bool
    """Copies a batch from pinned memory, for which the host need not wait."""
    uses_flat_parameters: bool
    """Clips and updates all parameters as a few long ones (`core/flat.py`): of a step of 11.8 ms
    with 64 parameters, d_model 64, it saves 1.4; multi-tensor kernels do as well."""


CPU = Kernels(
    uses_fused_attention=False,
    block_rows=16,
    encoded_at_once=64,
    logits_at_once=2**22,
    skips_padding_in_loss=True,
    uses_wide_dropout=True,
    uses_maxima_by_block=True,
    uses_own_gru=True,
    uses_pinned_copies=False,
    uses_flat_parameters=True,
)
ACCELERATOR = Kernels(
    uses_fused_attention=True,
    block_rows=ALL_ROWS,
    encoded_at_once=ALL_ROWS,
    logits_at_once=2**26,
    skips_padding_in_loss=False,
    uses_wide_dropout=False,
    uses_maxima_by_block=False,
    uses_own_gru=False,
    uses_pinned_copies=True,
    uses_flat_parameters=False,
)


def kernels_for(device: torch.device) -> Kernels:
    """The choices for `device`."""
    return CPU if device.type == "cpu" else ACCELERATOR


def move(part: Tensor, device: torch.device) -> Tensor:
    """A part of a batch, made on the host: on `device`, or on its way there."""
    if kernels_for(device).uses_pinned_copies:
        part = part.pin_memory()
    return part.to(device, non_blocking=True)
