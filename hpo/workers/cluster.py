"""A Ray cluster: how a run reaches it, or starts one of its own, and what its slots ask of it."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from hpo.options import RunOptions
from hpo.workers.process import CREDENTIALS


class ClusterError(UserError):
    """A cluster cannot be reached, or has no room."""


def connect(address: str) -> Callable[[], None]:
    """Connects to a cluster, or starts one; returns what leaves it."""
    folder: str | None = None
    options: dict[str, Any] = {"address": address}
    if address == "local":
        # Sockets' names have little room, so not below a TMPDIR of any length.
        _keep_to_this_machine()
        folder = tempfile.mkdtemp(prefix="hpo-ray-", dir="/tmp")
        options |= {"include_dashboard": False, "_temp_dir": folder}
    import ray

    try:
        with _without(CREDENTIALS):
            ray.init(
                **options,
                # The nodes run this very code, whatever they have installed of it.
                runtime_env={"py_modules": list(_packages()), "excludes": ["__pycache__"]},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if "Could not find any running Ray" in str(error):
            raise ClusterError(
                "no Ray cluster is running on this machine",
                where="--cluster",
                got=address,
                way_out="Start one with `ray start --head`, name one as ray://HOST:10001, or give "
                "--cluster local.",
            ) from None
        raise ClusterError(
            last_line(error), where=f"--cluster {address}", way_out="See docs/cluster.md."
        ) from None

    def leave() -> None:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    return leave


@contextlib.contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """Takes variables out of the environment, which Ray's processes and theirs would inherit."""
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


def _keep_to_this_machine() -> None:
    """Sets what makes Ray listen on loopback alone and ask for a token of this process's own.

    Raises: ClusterError if Ray has been imported without, which is when it reads these.
    """
    wanted = {
        # Named for the systems on which it is the default; it binds servers to 127.0.0.1.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
    }
    if "ray" in sys.modules and wanted.items() - os.environ.items():
        raise ClusterError(
            "Ray was imported before the local cluster could be kept to this machine",
            way_out="Import it after hpo, or start a cluster yourself and name it auto.",
        )
    os.environ.update(wanted)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        # A trial that needs too much is the kernel's to end, as without a cluster.
        RAY_memory_monitor_refresh_ms="0",
        RAY_worker_niceness="0",  # its own makes trials give way to everything else
    )


def _packages() -> Iterator[str]:
    import core
    import hpo

    for package in (core, hpo):
        assert package.__file__ is not None
        yield str(Path(package.__file__).parent)


@dataclass(frozen=True)
class Share:
    """What each slot asks of a cluster."""

    slots: int
    threads: int
    gpu: float
    """Of one GPU; 0 for slots on the CPU."""


def share_out(nodes: Sequence[Mapping[str, float]], options: RunOptions) -> Share:
    """Slots for a cluster of nodes with so many `CPU` and `GPU`.

    GPUs are used where there are some, each for `trials_per_gpu` slots, unless `jobs` asks for so
    many slots on the CPU. Raises: ClusterError if GPUs are asked for and there are none.
    """
    gpus = [int(node.get("GPU", 0)) for node in nodes]
    cores = [int(node.get("CPU", 0)) for node in nodes]
    if options.trials_per_gpu is not None and not sum(gpus):
        raise ClusterError(
            "no node of the cluster has a GPU now", where="--trials-per-gpu", got=options.cluster
        )
    if options.jobs is not None or not sum(gpus):
        slots = options.jobs or 1
        return Share(slots, threads_that_fit(cores, [slots] * len(nodes), slots), 0.0)
    each = options.trials_per_gpu or 1
    places = [each * number for number in gpus]
    return Share(sum(places), threads_that_fit(cores, places, sum(places)), 1 / each)


def threads_that_fit(cores: Sequence[int], places: Sequence[int], slots: int) -> int:
    """The most CPU threads for each of `slots` slots on nodes of so many cores and places.

    Where there is no room for all of them, as many as fit with one thread each.
    """

    def fitting(threads: int) -> int:
        return sum(min(own // threads, most) for own, most in zip(cores, places, strict=True))

    wanted = min(slots, fitting(1))
    return max(
        (threads for threads in range(1, max(cores, default=0) + 1) if fitting(threads) >= wanted),
        default=1,
    )


def last_line(error: BaseException) -> str:
    """The last line of an error's text, without its full stop; in Ray's it is the cause."""
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
