"""The rule for how many runs to fuse, from made rates; one measurement of the real thing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from test_fused import MEMBERS, PLACEMENT, config_of

from core.fusing import best_size, choose_size, measure_rate
from core.precision import Precision
from core.translation.task import TranslationTask


@pytest.mark.parametrize(
    ("rates", "most", "expected"),
    [
        ({1: 10.0, 2: 19.0, 4: 36.0, 8: 39.0}, 32, 4),  # 8 gains 8 percent
        ({1: 10.0, 2: 19.0, 4: 36.0, 8: 39.7}, 8, 8),
        ({1: 10.0, 2: 19.0, 4: 36.0}, 7, 4),  # 8 are not to be had
        ({1: 10.0, 2: 9.0, 4: 80.0}, 32, 1),
        ({1: 10.0, 2: 19.0}, 32, 2),  # 4 do not fit
        ({}, 32, 1),  # and here not even one
        ({1: 10.0}, 1, 1),
    ],
)
def test_runs_are_doubled_while_it_pays_and_fits(
    rates: Mapping[int, float], most: int, expected: int
) -> None:
    def rate_of(size: int) -> float:
        if size not in rates:
            raise torch.OutOfMemoryError
        return rates[size]

    assert best_size(rate_of, most) == expected


def test_on_a_cpu_runs_are_not_fused(tmp_path: Path) -> None:
    task = TranslationTask(config_of(tmp_path, **MEMBERS[0]), PLACEMENT, tmp_path)
    precision = Precision("fp32", "cpu")
    assert choose_size(task, PLACEMENT, "auto") == 1
    assert measure_rate(task, torch.device("cpu"), precision, size=3, steps=2) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_it_is_measured(tmp_path: Path) -> None:
    placement = type(PLACEMENT)("cuda:0")
    task = TranslationTask(config_of(tmp_path, **MEMBERS[0]), placement, tmp_path)
    assert choose_size(task, placement, "auto", most=4) in (1, 2, 4)
