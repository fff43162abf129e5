"""Readers of the values of options, each mistake told in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal

from core import sizes
from core.errors import did_you_mean
from hpo.commands.parsing import CommandError
from hpo.durations import ALLOWED, seconds_in


def whole_number(name: str, low: int, high: int | None = None) -> Callable[[str], int]:
    """A reader of whole numbers from `low` to `high`, both included."""
    bounds = f">= {low}" if high is None else f"from {low} to {high}"

    def read(text: str) -> int:
        is_number = re.fullmatch(r"[+-]?[0-9]{1,18}", text)
        if is_number and low <= int(text) and (high is None or int(text) <= high):
            return int(text)
        got = int(text) if is_number else text
        raise CommandError(f"{name} must be a whole number {bounds}", got=got)

    return read


def one_of(name: str, allowed: Iterable[str]) -> Callable[[str], str]:
    """A reader of one of some words."""

    def read(text: str) -> str:
        if text in allowed:
            return text
        raise CommandError(
            f"{name} does not know this",
            got=text,
            allowed=", ".join(allowed),
            way_out=did_you_mean(text, allowed),
        )

    return read


def rate_of(name: str) -> Callable[[str], float]:
    """A reader of learning rates, above 0 and at most 1."""

    def read(text: str) -> float:
        try:
            rate = float(text)
        except ValueError:
            rate = 0.0
        if 0 < rate <= 1:
            return rate
        raise CommandError(f"{name} must be a rate above 0 and at most 1", got=text)

    return read


def warmup(text: str) -> str:
    """A number of updates, or a share of them such as `10%`."""
    if re.fullmatch(r"[0-9]{1,7}|[0-9]{1,3}(\.[0-9]{1,3})?%", text):
        return text
    raise CommandError("--warmup must be updates or a share", got=text, allowed="50, or 10%")


def gpus(text: str) -> Literal["all"] | tuple[int, ...]:
    """`all`, or positions in the list of GPUs, such as `0,1,3`."""
    if text == "all":
        return "all"
    if re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", text):
        return tuple(int(index) for index in text.split(","))
    raise CommandError("--gpus must say which", got=text, allowed="all, or numbers such as 0,1,3")


def fuse(text: str) -> int | Literal["auto"]:
    """`auto`, or how many."""
    return "auto" if text == "auto" else whole_number("--fuse", 1)(text)


def cluster(text: str) -> str:
    """Where a Ray cluster is."""
    if text in ("auto", "local") or re.fullmatch(r"ray://[A-Za-z0-9._\-\[\]:]+:[0-9]{1,5}", text):
        return text
    raise CommandError(
        "--cluster names no cluster", got=text, allowed="auto, local, ray://HOST:PORT"
    )


def duration(name: str) -> Callable[[str], float]:
    """A reader of durations such as `90s`, `45m`, `2h` and `1h30m`, in seconds."""

    def read(text: str) -> float:
        seconds = seconds_in(text)
        if seconds is None:
            raise CommandError(f"{name} must be a time", got=text, allowed=ALLOWED)
        return seconds

    return read


def size(text: str) -> int:
    """The bytes in a size such as `500M` and `20G`."""
    found = sizes.bytes_in(text)
    if found is None:
        raise CommandError("--limit must be a size above zero", got=text, allowed=sizes.EXAMPLES)
    return found
