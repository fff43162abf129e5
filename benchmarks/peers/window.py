"""The rate of a training between two of its updates."""

from __future__ import annotations

import time
from typing import Any


class Window:
    """Counts what is trained on once `warmup` updates are over."""

    def __init__(self, warmup: int) -> None:
        self._warmup = warmup
        self._updates = 0
        self._began = 0.0
        self._src = self._tgt = self._pairs = 0

    def begin_update(self, pairs: int, src: int, tgt: int) -> None:
        """Tells of an update on `pairs` with so many tokens, padding not counted."""
        if self._updates == self._warmup:
            self._began = time.perf_counter()
        self._updates += 1
        if self._updates > self._warmup:
            self._pairs += pairs
            self._src += src
            self._tgt += tgt

    def close(self) -> dict[str, Any]:
        """Seconds since the warmup and the tokens they went to; the last update is over."""
        return {
            "seconds": time.perf_counter() - self._began,
            "updates": self._updates - self._warmup,
            "pairs": self._pairs,
            "src_tokens": self._src,
            "tgt_tokens": self._tgt,
        }
