"""A curve in one line of text, for terminals."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int, *, low: float, high: float) -> str:
    """At most `width` bars, each the mean of its part of `values`, from `low` to `high`.

    Values beyond the two are drawn as they are; a part that holds one which is not finite as `!`.
    """
    bars = min(width, len(values))
    parts = [
        values[place * len(values) // bars : (place + 1) * len(values) // bars]
        for place in range(bars)
    ]
    return "".join(_bar(math.fsum(part) / len(part), low, high) for part in parts)


def _bar(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return "!"
    share = (value - low) / (high - low) if high > low else 0.0
    return _BARS[round(min(max(share, 0.0), 1.0) * (len(_BARS) - 1))]
