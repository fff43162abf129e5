"""What every step was like: kept on the device, fetched in blocks, written as Parquet.

Reading takes no torch, so that those who draw telemetry need not load it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from core.atomic import replace_file
from core.errors import DamagedFileError
from core.task import Stage

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from core.optimizer import Update

LOSS, LEARNING_RATE, GRAD_NORM, AMP_SCALE = range(4)
"""Columns of `Telemetry.rows`."""

_MARK = b"hpo.digest"
"""In the footer of files that hold a digest."""
_DIGEST_SIZE = 32

Rows = npt.NDArray[np.float32]


class Telemetry:
    """One row of four figures for every step of the whole curve."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = stages
        self._rows: Rows = np.empty((0, 4), np.float32)
        self._pending: list[torch.Tensor] = []
        # Half a second, which would else pass for the cost of the first write. pyarrow loads
        # pandas.
        for module in ("pandas", "pyarrow.parquet"):
            import_module(module)

    @property
    def rows(self) -> Rows:
        """[steps fetched, 4]: loss, learning rate, norm before clipping, AMP scale (NaN: none)."""
        return self._rows

    @property
    def pending(self) -> int:
        """Steps recorded and not yet fetched."""
        return len(self._pending) // 4

    def record(self, loss: torch.Tensor, update: Update) -> None:
        """Keeps a step's figures where they are, without waiting for the device."""
        self._pending += (loss.detach().float(), *update)

    def fetch(self) -> int:
        """Moves what is pending to the host; returns the number of rows there were before."""
        before = len(self._rows)
        if self._pending:
            import torch

            block = torch.stack(self._pending).view(-1, 4).cpu().numpy()
            self._rows = np.concatenate([self._rows, block])
            self._pending = []
        return before

    def put(self, rows: Rows, *, after: int = 0) -> None:
        """Replaces all that was recorded after step `after` by `rows`."""
        self._pending = []
        self._rows = np.concatenate([self._rows[:after], rows])

    def truncate(self, step: int) -> None:
        """Forgets the steps after `step`."""
        self.put(self._rows[:0], after=step)

    def of_stage(self, stage: Stage) -> Rows:
        """The fetched rows of one stage."""
        return self._rows[stage.first_step : stage.first_step + stage.steps]

    def write(self, path: Path) -> None:
        """Writes the fetched rows: stage, step (from 1, whole curve), the figures, clipped or not.

        A clipped step is one whose gradient was scaled down; a step that AMP skipped is not one.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = [stage.name for stage in self._stages]
        count = len(self._rows)
        ends = np.array([stage.first_step + stage.steps for stage in self._stages])
        stage_of = np.searchsorted(ends, np.arange(count), side="right")
        limits = np.array([stage.grad_clip for stage in self._stages])[stage_of]
        norm, scale = self._rows[:, GRAD_NORM], self._rows[:, AMP_SCALE]
        table = pa.table(
            {
                "stage": pa.DictionaryArray.from_arrays(stage_of.astype(np.int32), names),
                "step": np.arange(1, count + 1, dtype=np.int32),
                "loss": self._rows[:, LOSS],
                "learning_rate": self._rows[:, LEARNING_RATE],
                "grad_norm": norm,
                "clipped": (norm > limits) & np.isfinite(norm),
                "amp_scale": pa.array(scale, mask=np.isnan(scale)),
            }
        )
        table = table.replace_schema_metadata({_MARK: ""})

        def write(temporary: Path) -> None:
            pq.write_table(table, temporary)
            content = temporary.read_bytes()
            at = _footer_of(content)
            temporary.write_bytes(content[:at] + _digest(content) + content[at:])

        replace_file(path, write)


def read_telemetry(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """What `Telemetry.write` wrote, one row a step; `amp_scale` is NaN where there was none.

    Nothing is parsed before the digest fits. A file from before there were digests is taken as it
    is. Raises: FileNotFoundError, DamagedFileError.
    """
    import pandas as pd
    import pyarrow as pa

    content = path.read_bytes()
    if _MARK in content:
        at = _footer_of(content)
        digest, content = (
            content[at - _DIGEST_SIZE : at],
            (content[: max(0, at - _DIGEST_SIZE)] + content[at:]),
        )
        if digest != _digest(content):
            raise DamagedFileError(
                "the digest does not fit the content: the file is damaged", where=str(path)
            )
    try:
        frame: pd.DataFrame = pd.read_parquet(BytesIO(content), columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DamagedFileError(
            f"this is no telemetry ({type(error).__name__})", where=str(path)
        ) from error
    return frame


# Parquet is read from its end, where the footer says at which offsets the columns lie. Between the
# two there is room for a digest of all the rest, which other readers of the format pass over.


def _footer_of(content: bytes) -> int:
    """Where the footer begins; nothing sensible of a damaged file."""
    return max(0, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
