"""What a run leaves for people: a row for every step, evaluations, and their texts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic import make_folder, replace_text
from core.health import BadStep, describe_collapse, examine, find_bad_step
from core.task import Evaluation, Health, Metric, Stage
from core.telemetry import GRAD_NORM, LOSS, Telemetry

if TYPE_CHECKING:
    import torch

    from core.optimizer import Update

KEPT_TEXT_BYTES = 16_384
"""Texts of earlier evaluations are kept up to this size; larger ones only of a stage's last."""


class History:
    """Telemetry, curve and texts of one run, in memory and in its folder."""

    def __init__(self, folder: Path, stages: Sequence[Stage], metric: Metric) -> None:
        self._folder = folder
        self._stages = stages
        self._metric = metric
        self._telemetry = Telemetry(stages)
        self.curve: tuple[Evaluation, ...] = ()
        self.last_texts: Mapping[str, str] = {}
        """Of the last evaluation; empty if it was one of an earlier attempt."""
        self._written: tuple[object, object] | None = None
        """Rows and curve as they are in the folder's files."""

    @property
    def last_step(self) -> int:
        """Step of the last evaluation; 0 before the first."""
        return self.curve[-1].step if self.curve else 0

    @property
    def last_loss(self) -> float | None:
        """Training loss of the last fetched step; `None` before the first."""
        rows = self._telemetry.rows
        return float(rows[-1, LOSS]) if len(rows) else None

    @property
    def pending(self) -> int:
        """Steps whose figures are still on the device."""
        return self._telemetry.pending

    def record(self, loss: torch.Tensor, update: Update) -> None:
        """Keeps a step's figures where they are, without waiting for the device."""
        self._telemetry.record(loss, update)

    def fetch(self) -> BadStep | None:
        """Brings pending figures to the host; returns a bad step, after dropping what followed."""
        first = self._telemetry.fetch()
        bad = find_bad_step(self._telemetry.rows, first=first)
        if bad is not None:
            self._telemetry.truncate(bad.step)
        return bad

    def grad_norms(self, first: int, end: int) -> dict[str, float]:
        """Mean and largest gradient norm of the steps after `first` up to `end`, before clipping.

        Of the fetched ones; without those that AMP skipped. Empty if there are none.
        """
        norms = self._telemetry.rows[first:end, GRAD_NORM]
        norms = norms[np.isfinite(norms)].astype(np.float64)
        if not norms.size:
            return {}
        return {"grad_norm": float(norms.mean()), "grad_norm_max": float(norms.max())}

    def values_of(self, stage: Stage) -> list[float]:
        """The scores of a stage's evaluations so far."""
        end = stage.first_step + stage.steps
        return [item.value for item in self.curve if stage.first_step < item.step <= end]

    def add(self, evaluation: Evaluation) -> None:
        """Appends an evaluation to the curve."""
        self.curve = (*self.curve, evaluation)

    def keep_texts(self, stage: Stage, step: int, texts: Mapping[str, str]) -> None:
        """Writes texts as `stepNNNNNN.NAME`, and drops the large ones of the stage before."""
        artifacts = self._folder / "artifacts"
        make_folder(artifacts)
        for name, text in texts.items():
            assert Path(name).name == name, f"{name!r} is not a plain file name"
            replace_text(artifacts / f"step{step:06d}.{name}", text)
        for earlier in range(stage.first_step + stage.eval_every, step, stage.eval_every):
            for path in artifacts.glob(f"step{earlier:06d}.*"):
                if path.stat().st_size > KEPT_TEXT_BYTES:
                    path.unlink()
        self.last_texts = texts

    def read_rows(self, first: int, end: int) -> torch.Tensor:
        """Telemetry of the steps after `first` up to `end`, [steps, 4]."""
        import torch

        return torch.from_numpy(self._telemetry.rows[first:end].copy())

    def put_rows(self, rows: torch.Tensor, *, after: int = 0) -> None:
        """Replaces the telemetry after step `after`."""
        self._telemetry.put(rows.numpy(), after=after)

    def cut(self, step: int) -> None:
        """Forgets whatever came after `step`."""
        self._telemetry.truncate(step)
        self.curve = tuple(item for item in self.curve if item.step <= step)

    def write(self) -> None:
        """Brings the folder's `telemetry.parquet` and `evaluations.jsonl` up to date."""
        rows, curve = self._telemetry.rows, self.curve
        # Neither is changed in place: what is the same object is what was written.
        if self._written is None or self._written[0] is not rows:
            self._telemetry.write(self._folder / "telemetry.parquet")
        if self._written is None or self._written[1] is not curve:
            write_curve(self._folder / "evaluations.jsonl", curve)
        self._written = rows, curve

    def describe_collapse(self) -> str | None:
        """The collapse at the last evaluation in words; `None` if there is none."""
        return describe_collapse(self.curve, self._metric)

    def examine(self) -> Health:
        """The run's health as far as it has come."""
        return examine(self._telemetry, self._stages, self.curve, self._metric)


def evaluation_as_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as a JSON object."""
    return dataclasses.asdict(evaluation)


def evaluation_from_json(value: Mapping[str, Any]) -> Evaluation:
    """The evaluation that `evaluation_as_json` wrote."""
    return Evaluation(**value)


def write_curve(path: Path, curve: Iterable[Evaluation]) -> None:
    """Writes one evaluation a line."""
    lines = (json.dumps(evaluation_as_json(item), allow_nan=False) for item in curve)
    replace_text(path, "".join(f"{line}\n" for line in lines))


def read_curve(path: Path) -> tuple[Evaluation, ...]:
    """The evaluations in `path`, in order; none if there is no such file."""
    if not path.exists():
        return ()
    lines = path.read_text(encoding="utf-8").split("\n")
    return tuple(evaluation_from_json(json.loads(line)) for line in lines if line)
