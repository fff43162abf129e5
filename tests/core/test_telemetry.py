"""Rows fetched in blocks, forgotten after a step, and read back from Parquet as they were."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.optimizer import Update
from core.settings import Recipe
from core.task import Stage
from core.telemetry import Telemetry, read_telemetry

STAGES = (
    Stage("first", 0, 3, Recipe(), seed=1, eval_every=3, grad_clip=2.0),
    Stage("second", 3, 2, Recipe(), seed=1, eval_every=2, grad_clip=7.0),
)
ROWS = np.array(
    [  # loss, learning rate, norm, scale
        [5.25, 0.125, 1.5, np.nan],
        [4.5, 0.25, 2.5, np.nan],
        [3.75, 0.375, np.inf, 1024.0],
        [2.125, 0.5, 6.5, 512.0],
        [np.nan, 0.0625, 7.5, 512.0],
    ],
    np.float32,
)


def recorded(count: int) -> Telemetry:
    telemetry = Telemetry(STAGES)
    for loss, rate, norm, scale in torch.from_numpy(ROWS[:count]):
        telemetry.record(loss.double().requires_grad_(), Update(rate, norm, scale))
    return telemetry


def test_fetch_moves_what_is_pending_and_says_where_it_begins() -> None:
    telemetry = recorded(2)
    assert (telemetry.pending, len(telemetry.rows)) == (2, 0)
    assert telemetry.fetch() == 0
    telemetry.record(torch.tensor(3.75), Update(*torch.from_numpy(ROWS[2, 1:])))
    assert telemetry.fetch() == 2
    assert telemetry.fetch() == 3
    assert telemetry.pending == 0
    np.testing.assert_array_equal(telemetry.rows, ROWS[:3])


def test_rows_are_cut_and_replaced_by_step() -> None:
    telemetry = recorded(5)
    telemetry.fetch()
    np.testing.assert_array_equal(telemetry.of_stage(STAGES[0]), ROWS[:3])
    np.testing.assert_array_equal(telemetry.of_stage(STAGES[1]), ROWS[3:])
    telemetry.put(ROWS[:2], after=3)
    np.testing.assert_array_equal(telemetry.rows, ROWS[[0, 1, 2, 0, 1]])
    telemetry.truncate(2)
    np.testing.assert_array_equal(telemetry.rows, ROWS[:2])


def test_parquet_says_what_happened(tmp_path: Path) -> None:
    telemetry = recorded(5)
    telemetry.fetch()
    telemetry.write(tmp_path / "telemetry.parquet")
    frame = read_telemetry(tmp_path / "telemetry.parquet")
    assert list(frame["stage"]) == ["first"] * 3 + ["second"] * 2
    assert list(frame["step"]) == [1, 2, 3, 4, 5]
    for column, name in enumerate(("loss", "learning_rate", "grad_norm", "amp_scale")):
        np.testing.assert_array_equal(frame[name].to_numpy(), ROWS[:, column])
    # Each stage has its own limit, and a step that AMP skipped was not clipped but dropped.
    assert list(frame["clipped"]) == [False, True, False, False, True]


@pytest.mark.parametrize("count", [0, 1])
def test_parquet_of_a_run_that_hardly_began(count: int, tmp_path: Path) -> None:
    telemetry = recorded(count)
    telemetry.fetch()
    telemetry.write(tmp_path / "telemetry.parquet")
    assert len(read_telemetry(tmp_path / "telemetry.parquet")) == count
