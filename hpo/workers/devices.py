"""Which GPUs there are, told without torch: a process that has asked CUDA cannot hand them out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

_LISTED = re.compile(r"^(?P<indent>\s*)(?:GPU|MIG)\b.*\(UUID:\s*(?P<uuid>[^)\s]+)\)")
_DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What CUDA_VISIBLE_DEVICES may be set to, one entry a GPU; empty without one."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        entries = [entry.strip() for entry in named.split(",")]
        # CUDA takes the list up to the first entry that is none.
        none = next((place for place, entry in enumerate(entries) if entry in ("", "-1")), None)
        return tuple(entries[:none])
    command = shutil.which("nvidia-smi")
    if command is not None:
        listed = subprocess.run(  # noqa: S603  # a fixed command found on the path
            [command, "-L"], capture_output=True, text=True, check=False, timeout=60
        )
        if listed.returncode == 0:
            return parse_listing(listed.stdout)
    if _DRIVER_FOLDER.is_dir():
        return tuple(str(index) for index in range(len(list(_DRIVER_FOLDER.iterdir()))))
    return ()


def parse_listing(text: str) -> tuple[str, ...]:
    """The UUIDs in `nvidia-smi -L`; a GPU that is cut in MIG devices counts as those alone."""
    gpus: list[list[str]] = []
    for line in text.split("\n"):
        match = _LISTED.match(line)
        if match is None:
            continue
        if not match["indent"]:
            gpus.append([match["uuid"]])
        elif gpus:
            gpus[-1].append(match["uuid"])
    return tuple(uuid for gpu in gpus for uuid in (gpu[1:] or gpu))


def assign(gpus: tuple[str, ...], slot: int) -> str | None:
    """The GPU of a slot, in turn; `None` where there is none and the slot runs on the CPU."""
    return gpus[slot % len(gpus)] if gpus else None
