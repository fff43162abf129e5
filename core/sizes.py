"""Sizes of files as people give and read them."""

from __future__ import annotations

import re

EXAMPLES = "500M, 20G, 1.5T"
_UNITS = "KMGT"
_SIZE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)([KMGT])(?:I?B)?")


def bytes_in(text: str) -> int | None:
    """The bytes in a size such as those in `EXAMPLES`, in steps of 1,024; `None` if it is none
    above zero."""
    found = _SIZE.fullmatch(text.upper())
    if found is None:
        return None
    return int(float(found[1]) * 1024 ** (_UNITS.index(found[2]) + 1)) or None


def size_text(count: int) -> str:
    """`1.5 GiB`, `256 MiB`, `6.4 MiB`."""
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    mib = count / 2**20
    return f"{mib:.1f} MiB" if mib < 10 else f"{mib:.0f} MiB"
