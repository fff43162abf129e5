"""How short of memory we are: of the machine's, or of the share that a control group gives us."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

_ROOT = Path("/")


def total_bytes(root: Path = _ROOT) -> int | None:
    """All that we may come to use; `None` where the system does not say."""
    limits = [
        limit
        for group in _groups(root)
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := _number(group / name)) is not None
    ]
    kib = _fields(root / "proc/meminfo").get("MemTotal:")
    if kib is not None:
        limits.append(kib * 1024)
    return min(limits, default=None)


def available_bytes(root: Path = _ROOT) -> int | None:
    """What may still be taken without swapping or dying; `None` where the system does not say.

    Memory of files that nobody has used of late counts as free: it is given up on demand.
    """
    free = []
    kib = _fields(root / "proc/meminfo").get("MemAvailable:")
    if kib is not None:
        free.append(kib * 1024)
    for group in _groups(root):
        for limit, used, stale in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, taken = _number(group / limit), _number(group / used)
            if most is not None and taken is not None:
                idle = _fields(group / "memory.stat").get(stale, 0)
                free.append(max(most - taken + idle, 0))
    return min(free, default=None)


def oom_kills(root: Path = _ROOT) -> int:
    """How many processes the kernel has ended so far for want of memory; 0 where it is not told.

    Of our control group where it counts them, as the machine's number is everybody's.
    """
    for group in _groups(root):
        for file in ("memory.events", "memory.oom_control"):
            kills = _fields(group / file).get("oom_kill")
            if kills is not None:
                return kills
    return _fields(root / "proc/vmstat").get("oom_kill", 0)


def _groups(root: Path) -> Iterator[Path]:
    """The folder of our control group and of each above it, the innermost first."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").split("\n")
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers in ("", "memory") and path:
            top = root / "sys/fs/cgroup" / controllers
            inner = top / path.strip("/")
            yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(top))


def _fields(path: Path) -> Mapping[str, int]:
    """The lines `name number [unit]` of a file; none where it cannot be read."""
    try:
        words = [line.split() for line in path.read_text(encoding="utf-8").split("\n")]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdecimal()}


def _number(path: Path) -> int | None:
    """The number that is all of a file; `None` for `max`, or where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
