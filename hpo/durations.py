"""Times as people give them, in options and in files."""

from __future__ import annotations

import math
import re

_LONGEST_H = 99_999
"""Eleven years: the next digit is more likely a slip of the hand."""
ALLOWED = f"1s to {_LONGEST_H}h, for example 90s, 45m, 2h, 1h30m"
_UNIT_SECONDS = (3600, 60, 1)
_PARTS = re.compile(r"(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?", re.IGNORECASE)


def seconds_in(text: str) -> float | None:
    """The seconds in a time such as those in `ALLOWED`; `None` if it is not one of them."""
    parts = _PARTS.fullmatch(text)
    if parts is None:
        return None
    pairs = zip(parts.groups(), _UNIT_SECONDS, strict=True)
    seconds = sum(int(part or 0) * unit for part, unit in pairs)
    return float(seconds) if 0 < seconds <= _LONGEST_H * 3600 else None


def duration_option(seconds: float) -> str:
    """The time as `seconds_in` reads it, in whole seconds, at least as long: `1h30m`."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    parts = zip((*divmod(minutes, 60), rest), "hms", strict=True)
    return "".join(f"{number}{unit}" for number, unit in parts if number)
