"""Who a process is, in words that outlive it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessId:
    """A process, told from a later one of the same number."""

    pid: int
    start: int
    """Clock ticks from boot to its start."""
    boot: str
    """The boot, and the process namespace in which `pid` counts."""

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The living process of a number; `None` if there is none, or on other than Linux."""
        try:
            state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            space = Path("/proc/self/ns/pid").readlink()
        except OSError:
            return None
        return None if state in "ZX" else cls(pid, int(fields[18]), f"{boot} {space}")
