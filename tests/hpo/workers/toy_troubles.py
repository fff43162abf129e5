"""A module that slots run in children of theirs: it breaks down as its configuration says.

Only children import it, as it takes the place of torch for what asks whether a GPU can be used.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

from core.settings import RunConfig
from core.task import Cost, Health, OnEvent, Outcome, OutcomeState, Placement, Progress

torch = ModuleType("torch")
torch.cuda = SimpleNamespace(is_available=lambda: True)  # type: ignore[attr-defined]
sys.modules["torch"] = torch
warmed: list[int] = []


class OutOfMemoryError(RuntimeError):
    """Of the name that torch's has."""


def warm() -> None:
    warmed.append(os.getpid())


def run(
    config: RunConfig, placement: Placement, folder: Path, cache_dir: Path, on_event: OnEvent
) -> Outcome:
    on_event(Progress("only", 1, 2, None, 1.0))
    marker = folder / "tried"
    if not marker.exists():
        marker.touch()
        _break(config.groups["model"]["kind"], folder)
    seen = {"gpu": os.environ["CUDA_VISIBLE_DEVICES"], "device": placement.device}
    return Outcome(
        state=OutcomeState.COMPLETED,
        step=2,
        value=1.0,
        curve=(),
        health=Health("healthy"),
        cost=Cost(),
        facts={**seen, "threads": placement.threads, "pid": os.getpid(), "warmed": warmed},
    )


def _break(kind: str, folder: Path) -> None:
    match kind:
        case "exit":
            sys.exit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "exit at once":
            os._exit(134)
        case "signal":
            os.kill(os.getpid(), signal.SIGABRT)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "limit":
            _, hard = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, hard))
            bytearray(2 << 30)
        case "torch memory":
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        case "family":  # dies before what it has started
            _start_another(folder)
            os.kill(os.getpid(), signal.SIGKILL)
        case "silent family":
            _start_another(folder)
            time.sleep(60)
        case "silent":
            time.sleep(60)
        case "frozen":
            ctypes.CDLL(None).prctl(1, 0)  # as if the kernel ended nobody with its parent
            os.kill(os.getpid(), signal.SIGSTOP)
        case str(text) if text.startswith("raise "):
            raise RuntimeError(text.removeprefix("raise "))


def _start_another(folder: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    (folder / "started").write_text(str(process.pid))
