"""glibc's memory of freed blocks, which runs of the product keep (`core.machine`)."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.ablation.variant import Context

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of mallopt


def keeping_blocks(*, keep: bool) -> Context:
    """glibc keeping freed blocks, or giving large ones back as it does at first."""

    @contextmanager
    def keeping() -> Iterator[None]:
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 2**25 if keep else 2**17)
        libc.mallopt(_TRIM_THRESHOLD, -1 if keep else 2**17)
        yield
        libc.mallopt(_MMAP_THRESHOLD, 2**25)
        libc.mallopt(_TRIM_THRESHOLD, -1)

    return keeping


def has_mallopt() -> bool:
    """Whether this is glibc, or behaves like it."""
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")
