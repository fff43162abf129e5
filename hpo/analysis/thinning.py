"""Fewer points of a line than there were steps, without losing what matters of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd


def runs_of(rows: int, points: int) -> npt.NDArray[np.intp]:
    """First rows of at most `points` runs of equal length; the last may be shorter."""
    return np.arange(0, rows, -(-rows // points)) if rows else np.array([], dtype=np.intp)


def thin_norms(history: pd.DataFrame, points: int) -> pd.DataFrame:
    """Columns step, grad_norm, nonfinite: the largest finite norm of each of `points` runs of
    steps with its own step, so that no peak is lost, and whether the run held NaN or infinity.

    `history` has steps and norms, or is thinned itself.
    """
    steps = history["step"].to_numpy(dtype=np.int64)
    norms = history["grad_norm"].to_numpy(dtype=np.float64)
    starts = runs_of(len(steps), points)
    if not len(starts):
        return pd.DataFrame({"step": [], "grad_norm": [], "nonfinite": []})
    finite = np.isfinite(norms)
    is_bad = history["nonfinite"].to_numpy(dtype=bool) if "nonfinite" in history else ~finite
    # Not finite sorts below everything, so that it is picked only where a run has nothing else.
    ranked = np.where(finite, norms, -np.inf)
    picked = [
        start + int(np.argmax(ranked[start:end]))
        for start, end in zip(starts, [*starts[1:], len(steps)], strict=True)
    ]
    return pd.DataFrame(
        {
            "step": steps[picked],
            "grad_norm": np.where(finite[picked], norms[picked], np.nan),
            "nonfinite": np.logical_or.reduceat(is_bad, starts),
        }
    )
