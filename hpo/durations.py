"""Times as people give them, in options and in files."""

from __future__ import annotations

import re

EXAMPLES = "90s, 45m, 2h, 1h30m"
_UNIT_SECONDS = (3600, 60, 1)
_PARTS = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s)?", re.IGNORECASE)


def seconds_in(text: str) -> float | None:
    """The seconds in a time such as those in `EXAMPLES`; `None` if it is none above zero."""
    parts = _PARTS.fullmatch(text)
    if parts is None:
        return None
    pairs = zip(parts.groups(), _UNIT_SECONDS, strict=True)
    return float(sum(int(part or 0) * unit for part, unit in pairs)) or None
