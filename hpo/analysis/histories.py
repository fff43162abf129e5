"""A trial's telemetry as the analyses need it, and what in it is out of the ordinary."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.errors import DamagedFileError
from core.health import SPIKE_WINDOW, find_spikes
from core.telemetry import read_telemetry

COLUMNS = ["stage", "step", "loss", "learning_rate", "grad_norm", "amp_scale"]


def read_history(folder: Path) -> pd.DataFrame:
    """One row a step of the trial in `folder`: stage, step (from 1), loss, learning_rate,
    grad_norm, amp_scale (NaN: none). Empty without telemetry, or where it is torn."""
    path = folder / "telemetry.parquet"
    empty = pd.DataFrame(columns=COLUMNS)
    if not path.is_file():
        return empty
    try:
        return read_telemetry(path, columns=COLUMNS)
    except (OSError, DamagedFileError):
        # A worker that was killed, or a disk that ran full, must not cost the whole page.
        return empty


@dataclass(frozen=True)
class Spike:
    """A step at which the loss jumped out of its recent past."""

    step: int
    loss: float
    usual: float
    """The median of the 25 steps of its stage before."""


@dataclass(frozen=True)
class Drop:
    """A step before which AMP had to lower its loss scale."""

    step: int
    before: float
    after: float


def spikes_of(history: pd.DataFrame) -> list[Spike]:
    """The loss spikes, as `core.health` counts them, in order."""
    losses = history["loss"].to_numpy(dtype=np.float32)
    steps = history["step"].to_numpy()
    return [
        Spike(int(steps[at]), float(losses[at]), float(np.median(losses[at - SPIKE_WINDOW : at])))
        for stage in _stages(history)
        for at in stage.start + find_spikes(losses[stage])
    ]


def scale_drops(history: pd.DataFrame) -> list[Drop]:
    """Where the loss scale was lowered, in order."""
    scales = history["amp_scale"].to_numpy(dtype=np.float64)
    steps = history["step"].to_numpy()
    return [
        Drop(int(steps[at + 1]), float(scales[at]), float(scales[at + 1]))
        for stage in _stages(history)
        for at in stage.start + np.flatnonzero(np.diff(scales[stage]) < 0)
    ]


def _stages(history: pd.DataFrame) -> Iterator[slice]:
    """The rows of each stage, which follow one another."""
    codes = history["stage"].factorize()[0]
    ends = [*(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        yield slice(start, end)
