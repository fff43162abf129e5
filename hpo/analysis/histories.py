"""A trial's telemetry as the analyses need it, and what in it is out of the ordinary."""

from __future__ import annotations

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


def spikes_of(history: pd.DataFrame) -> pd.DataFrame:
    """One row a loss spike: step, loss, usual (the median of the 25 steps of its stage before)."""
    rows = []
    for _, stage in history.groupby("stage", sort=False, observed=True):
        losses = stage["loss"].to_numpy(dtype=np.float32)
        steps = stage["step"].to_numpy()
        for at in find_spikes(losses):
            usual = float(np.median(losses[at - SPIKE_WINDOW : at]))
            rows.append((int(steps[at]), float(losses[at]), usual))
    return pd.DataFrame(rows, columns=["step", "loss", "usual"])


def scale_drops(history: pd.DataFrame) -> pd.DataFrame:
    """One row a step before which AMP had to lower its loss scale: step, before, after."""
    rows = []
    for _, stage in history.groupby("stage", sort=False, observed=True):
        scales = stage["amp_scale"].to_numpy(dtype=np.float64)
        steps = stage["step"].to_numpy()
        for at in np.flatnonzero(np.diff(scales) < 0):
            rows.append((int(steps[at + 1]), float(scales[at]), float(scales[at + 1])))
    return pd.DataFrame(rows, columns=["step", "before", "after"])
