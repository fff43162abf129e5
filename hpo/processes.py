"""Who a process is, in words that outlive it; and what one that we start begins with."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1


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


def importing_us() -> dict[str, str]:
    """The environment with which a fresh interpreter finds this program's packages first."""
    root = str(Path(__file__).resolve().parents[1])
    earlier = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": root + (os.pathsep + earlier if earlier else "")}


def end_with_parent(parent: int) -> None:
    """Has the kernel kill this process, though it be stopped, when what started it ends.

    On Linux that is the *thread* that started it. `parent` is its process number.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel knew
        os._exit(1)
