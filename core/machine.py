"""The device a run occupies: taken, described, measured."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Mapping
from typing import Any

import torch

from core.precision import Precision, read_cpu_field
from core.task import Placement

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1
"""`M_MMAP_THRESHOLD` and `M_TRIM_THRESHOLD` of glibc's <malloc.h>."""
_LARGEST_KEPT = 2**25  # bytes; glibc takes no more
_NEVER = -1


def occupy(placement: Placement) -> torch.device:
    """The device of `placement`, with the process set up for it: threads, memory, kernels that
    do not hang on a timing.
    """
    device = torch.device(placement.device)
    torch.set_num_threads(placement.threads)
    _keep_freed_blocks()
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        # Benchmarking picks kernels by their timing of the moment, so that two equal runs differ.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        # cuDNN's attention plans anew for each shape, and hardly two batches have the same.
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.cuda.reset_peak_memory_stats(device)
    return device


def _keep_freed_blocks() -> None:
    """Has glibc reuse freed memory where it would hand it back and take it again, zeroed, in every
    step (docs/log.md, "What each trick gives"). What an earlier run left is handed back first.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None and hasattr(libc, "mallopt"):  # musl has none
        libc.malloc_trim(0)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        libc.mallopt(_TRIM_THRESHOLD, _NEVER)


def describe(device: torch.device, precision: Precision) -> dict[str, Any]:
    """What of the machine decides a run's last digits, as JSON."""
    return {
        "device": _name(device),
        "precision": precision.name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory held: of the device since `occupy`, or of this process since it began.

    0 where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        model = read_cpu_field("model name") or platform.machine()
        return f"cpu {model} ({torch.backends.cpu.get_cpu_capability()})"
    return device.type


def describe_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], step: int
) -> tuple[str, ...]:
    """What differs between the machine of an earlier attempt and this one's, one line each.

    Any of it may change a resumed run's last digits.
    """
    return tuple(
        f"{name} {now[name]} from step {step} on, {before[name]} before"
        for name in now
        if name in before and now[name] != before[name]
    )
