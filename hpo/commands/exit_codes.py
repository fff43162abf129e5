"""How a command ends, and how it complains."""

from __future__ import annotations

import re
import sys

_PASSWORD = re.compile(r"(:/+[^\s:@]*:)\S*(?=@)|(password=)[^\s'\"]+")
DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def complain(line: str) -> None:
    """Prints one line on standard error, with what could act on a terminal spelled out.

    A line may repeat what it was given in the wrong place: a URL with a password, too.
    """
    from hpo.output import visible

    told = _PASSWORD.sub(r"\1\2***", line)
    print(f"hpo: {visible(told)}", file=sys.stderr)
