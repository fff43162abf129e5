"""When a lower precision is said to cost something."""

from __future__ import annotations

import pytest

from benchmarks.precision import gap_and_noise


def test_the_gap_is_of_the_means_and_the_noise_pooled_over_seeds() -> None:
    gap, noise = gap_and_noise([10.0, 12.0], [11.0, 17.0])
    assert gap == pytest.approx(3.0)
    assert noise == pytest.approx(10.0**0.5)  # variances 2 and 18
