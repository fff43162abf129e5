"""Which kind of breakdown an exception, or the end of a process, was."""

from __future__ import annotations

import errno
import signal
from typing import Literal

_MEMORY_NAMES = ("MemoryError", "OutOfMemoryError")
_MEMORY_WORDS = (
    "std::bad_alloc",
    "can't allocate memory",  # torch's allocator for the CPU
    "cannot allocate memory",
    "out of memory",  # CUDA's own, where torch has no class for it
    "status_alloc_failed",  # cuBLAS, cuDNN
)
_DEVICE_NAMES = ("AcceleratorError",)
_DEVICE_WORDS = ("cuda error", "cudnn error", "device-side assert")

TrialKind = Literal["error", "memory", "device"]


def kind_of(error: BaseException) -> TrialKind:
    """What an exception in a trial says: of memory, of the device, or of neither."""
    name, text = type(error).__name__, str(error).lower()
    if name in _MEMORY_NAMES or getattr(error, "errno", None) == errno.ENOMEM:
        return "memory"
    # Asked first: what the device has no memory for is told as an error of the device, too.
    if any(words in text for words in _MEMORY_WORDS):
        return "memory"
    is_of_device = name in _DEVICE_NAMES or any(words in text for words in _DEVICE_WORDS)
    return "device" if is_of_device and isinstance(error, RuntimeError) else "error"


def line_of(error: BaseException) -> str:
    """An exception in one line for people."""
    if isinstance(error, SystemExit):
        return f"the trial called sys.exit({'' if error.code is None else repr(error.code)})"
    name, text = type(error).__name__, " ".join(str(error).split())
    return f"{name}: {text}" if text else name


def obituary(
    code: int, last_words: str, *, was_short: bool
) -> tuple[str, Literal["died", "killed", "memory"]]:
    """The reason and kind of a process's end that nobody asked for.

    `code` is negative for a signal; `was_short` says whether the kernel has killed for want of
    memory since the job began.
    """
    if code == -signal.SIGKILL and was_short:
        return "the worker was killed for want of memory", "memory"
    if code == -signal.SIGKILL:
        return "the worker was killed", "killed"
    if code < 0:
        return f"the worker died of {signal.Signals(-code).name}", "died"
    return f"the worker exited with code {code}{f': {last_words}' if last_words else ''}", "died"
