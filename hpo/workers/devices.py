"""Which GPUs there are, told without torch: a process that has asked CUDA cannot hand them out."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import SettingsError
from hpo.options import RunOptions

_LISTED = re.compile(r"^(?P<indent>\s*)(?:GPU|MIG)\b.*\(UUID:\s*(?P<uuid>[^)\s]+)\)")
_DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Place:
    """Where a slot runs its trials."""

    name: str
    """See `Slot.name`."""
    device: str
    """See `Slot.device`."""
    gpu: str | None
    """What CUDA_VISIBLE_DEVICES is to be; `None` for the CPU."""


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
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
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


def local_places(
    options: RunOptions,
    gpus: Sequence[str] | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> tuple[Place, ...]:
    """Where the options have trials run: on GPUs, all unless some are named, or on the CPU.

    The CPU is taken where there is no GPU, or where `jobs` asks for it. `gpus` are the visible
    ones, looked up by default; `options.gpus` are positions in it. `say` is told of GPUs that are
    left idle. Raises: SettingsError for GPUs that there are not, or options that contradict.
    """
    refuse_contradictions(options)
    visible = visible_gpus() if gpus is None else tuple(gpus)
    wants_gpus = options.gpus is not None or options.trials_per_gpu is not None
    if wants_gpus and not visible:
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = f" through CUDA_VISIBLE_DEVICES={named}" if named is not None else ""
        raise SettingsError(
            f"no GPU can be seen here{why}",
            where="--gpus" if options.gpus is not None else "--trials-per-gpu",
            way_out="Leave it out to run on the CPU, several trials at a time with --jobs N.",
        )
    if options.jobs is not None or not visible:
        if visible and say is not None:
            say(f"jobs are for the CPU: {len(visible)} GPUs stay idle, which --gpus all would use")
        jobs = options.jobs or 1
        # One slot is the machine; its number would say nothing.
        names = ["cpu"] if jobs == 1 else [f"cpu {index}" for index in range(jobs)]
        return tuple(Place(name, "cpu", None) for name in names)
    chosen = options.gpus if isinstance(options.gpus, tuple) else tuple(range(len(visible)))
    for index in chosen:
        if not 0 <= index < len(visible):
            raise SettingsError(
                "there is no such GPU",
                where="--gpus",
                got=index,
                allowed=f"all, or 0 to {len(visible) - 1} separated by commas",
                way_out="They count from 0, in the order of CUDA_VISIBLE_DEVICES if that is set.",
            )
    return tuple(
        Place(f"gpu {index}{f' #{copy}' if copy > 1 else ''}", f"gpu {index}", visible[index])
        # Every GPU gets its first trial before one gets its second.
        for copy in range(1, (options.trials_per_gpu or 1) + 1)
        for index in chosen
    )


def refuse_contradictions(options: RunOptions) -> None:
    """Raises: SettingsError for options that exclude each other, whatever devices there are."""
    for name, value in (
        ("--jobs", options.jobs),
        ("--trials-per-gpu", options.trials_per_gpu),
        ("--fuse", None if options.fuse == "auto" else options.fuse),
    ):
        if value is not None and value < 1:
            raise SettingsError("must be at least 1", where=name, got=value)
    for name, given in (("--gpus", options.gpus), ("--trials-per-gpu", options.trials_per_gpu)):
        if options.jobs is not None and given is not None:
            raise SettingsError(
                f"--jobs is for trials on the CPU and does not go with {name}",
                got=f"--jobs {options.jobs}",
                way_out="For several trials on one GPU at a time give --trials-per-gpu alone.",
            )
    if options.cluster is not None and options.fuse != 1:
        raise SettingsError(
            "trials are trained as one on this machine alone",
            where="--fuse",
            got=f"--fuse {options.fuse} with --cluster",
            way_out="Leave one of the two out.",
        )
    if isinstance(options.gpus, tuple) and len(set(options.gpus)) < max(len(options.gpus), 1):
        raise SettingsError(
            "each GPU is to be named once",
            where="--gpus",
            got=",".join(map(str, options.gpus)),
            way_out="For several trials on one GPU at a time give --trials-per-gpu K.",
        )
