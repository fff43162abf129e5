"""What a study keeps on disk, and whether there is room for it."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.atomic import is_full
from core.errors import DiskFullError, UserError
from core.sizes import size_text
from core.task import Metric
from hpo.folders import StudyFolder

CHECKPOINT, WEIGHTS = "checkpoint", "weights"
_LEAST_BYTES = 256 * 2**20
"""Room for logs, telemetry, the database and the tokenizer, whatever the model."""
_BYTES_PER_WEIGHT = 4
_STATES_PER_CHECKPOINT = 3
"""Weights and the optimizer's two moments."""


class DiskError(UserError):
    """There is no room for what a study writes."""


@dataclass(frozen=True)
class Finished:
    """A finished trial, as far as its files are concerned."""

    number: int
    value: float | None
    """`None` for all but complete trials: only their weights are worth keeping."""


def best_first(trials: Iterable[Finished], metric: Metric) -> list[int]:
    """Numbers of the complete trials, the best first, the earlier first among equals."""
    sign = -1.0 if metric.direction == "maximize" else 1.0
    ranked = [(sign * one.value, one.number) for one in trials if one.value is not None]
    return [number for _, number in sorted(ranked)]


def tidy(folder: StudyFolder, finished: Iterable[int], kept: Collection[int]) -> tuple[int, int]:
    """Deletes what finished trials no longer need; returns how many folders and bytes that freed.

    Resumable state goes with the trial's end, weights when the trial is not among those `kept`. Of
    other trials nothing is touched, nor of any the records, histories and logs.
    """
    folders = freed = 0
    for number in finished:
        place = folder.trial(number)
        doomed = [place / CHECKPOINT] + ([place / WEIGHTS] if number not in kept else [])
        for path in doomed:
            if path.is_dir():
                freed += remove(path)
                folders += 1
    return folders, freed


def remove(folder: Path) -> int:
    """Deletes a folder, if it is there; returns the bytes that freed."""
    if not folder.is_dir():
        return 0
    freed = size_of(folder)
    shutil.rmtree(folder)
    return freed


def size_of(folder: Path) -> int:
    """Bytes in the files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def estimate_bytes(num_weights: int, *, jobs: int, keep: int) -> int:
    """Room for the weights that are kept, and for each slot: a checkpoint, the next one beside it
    until it is whole, and the weights of the trial that ends."""
    weights = _BYTES_PER_WEIGHT * num_weights
    return _LEAST_BYTES + weights * (2 * _STATES_PER_CHECKPOINT * jobs + keep + jobs)


def check_room(folder: Path, needed: int) -> None:
    """Raises: DiskError if the file system of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskError(
            f"not enough room on the disk: {size_text(needed)} needed, {size_text(free)} free",
            where=str(folder),
            way_out="Make room, lower --jobs or storage.keep, or give another --runs-dir.",
        )


@contextmanager
def telling_of_room(folder: Path) -> Iterator[None]:
    """Turns a disk that became full into one line also where no file of ours is written: a lock,
    a log. `folder` is named where the system names no file."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise DiskFullError(error.filename or f"a file in {folder}") from error
